"""How a trial is trained by memexp: the optimizer, the learning rate, the changes of the images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictInt, model_validator

from memexp.spec.sections import NUMBER, Block, Flag, MinInAccuracy, Standardize
from memexp.spec.subsets import PositiveInt

Share = Annotated[float, Field(gt=0, le=1), NUMBER]
Positive = Annotated[float, Field(gt=0), NUMBER]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2)]


def _rising(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise ValueError(f"{value} must not fall")
    return value


class RandomResizedCrop(Block):
    """A box of random area and shape, at a random place, scaled to the image's size."""

    scale: Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_rising)] = Field(
        default=[0.08, 1.0], description="smallest and largest share of the area"
    )
    ratio: Annotated[Range, AfterValidator(_rising)] = Field(
        default=[0.75, 4 / 3], description="smallest and largest width / height"
    )


class RandomErasing(Block):
    """A box of random area and shape becomes zero, as the network gets it: the mean, where images are standardized."""

    probability: Share = Field(description="of an image to lose a box")
    scale: Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_rising)] = Field(
        default=[0.02, 1 / 3], description="smallest and largest share of the area"
    )
    ratio: Annotated[Range, AfterValidator(_rising)] = Field(
        default=[0.3, 1 / 0.3], description="smallest and largest width / height"
    )


class Augment(Block):
    """Drawn anew for each image at each step."""

    crop: Annotated[StrictInt, Field(ge=0, le=4096)] = Field(
        0, description="zero padding in pixels, then a random crop"
    )
    flip: Flag = Field(False, description="left-right flip with probability 1/2")
    random_resized_crop: RandomResizedCrop | None = Field(
        None, description="boxes of random area and shape, scaled to the image; {} for the usual ones"
    )
    random_erasing: RandomErasing | None = Field(None, description="boxes that become zero")

    @property
    def is_drawn(self) -> bool:
        """Whether anything is drawn of an image."""
        return bool(self.crop or self.flip or self.random_resized_crop or self.random_erasing)

    @model_validator(mode="after")
    def _one_crop(self) -> Augment:
        if self.crop and self.random_resized_crop is not None:
            raise ValueError("has crop and random_resized_crop, which both move the image; delete one of them")
        return self


class Training(Block):
    """How one trial is trained: by SGD, stated in full, or by an optimizer of timm's."""

    epochs: Annotated[float, Field(gt=0, le=1e6), NUMBER] = Field(
        description="passes over the trial's own training set"
    )
    batch_size: PositiveInt = Field(description="examples of a step, at most those that a trial trains on")
    lr: Annotated[float, Field(gt=0), NUMBER] = Field(description="highest learning rate")
    optimizer: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")] = Field(
        "sgd", description="sgd is memexp's own, on every parameter; others are timm's: adamw, lion, ..."
    )
    optimizer_arguments: dict[str, Any] = Field(
        default={}, description="further arguments of timm's optimizer, such as betas: [0.9, 0.95]"
    )
    momentum: Annotated[float, Field(ge=0, lt=1), NUMBER] = Field(
        0.9, description="of sgd, and of timm's optimizers that have one"
    )
    nesterov: Flag = Field(False, description="Nesterov's momentum of sgd; needs a momentum above 0")
    weight_decay: Annotated[float, Field(ge=0), NUMBER] = Field(
        0.0, description="of sgd on every parameter; of timm's optimizers not on biases, norms and what a network names"
    )
    clip_norm: Positive | None = Field(
        None, description="a gradient whose norm over all parameters is larger is scaled down to this norm"
    )
    ema: Annotated[float, Field(gt=0, lt=1), NUMBER] | None = Field(
        None,
        description="evaluate a moving average of the weights: the share that it keeps at each step, at most; in step "
        "t no more than (1 + t) / (10 + t)",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1), NUMBER] = Field(
        0.0, description="share of each label that is spread over all classes, in training only"
    )
    schedule: Literal["constant", "linear", "cosine", "step"] = Field(
        "constant", description="after the warm-up; linear and cosine end at 0"
    )
    warmup_epochs: Annotated[float, Field(ge=0), NUMBER] = Field(0.0, description="epochs of linear rise from 0")
    milestones: list[Annotated[float, Field(gt=0), NUMBER]] = Field(
        default=[], description="for step: epochs at which the rate is multiplied by decay"
    )
    decay: Annotated[float, Field(gt=0, lt=1), NUMBER] = Field(
        0.1, description="for step: the factor at each milestone"
    )
    augment: Augment = Field(default_factory=Augment, description="random changes of the training images")
    standardize: Standardize = False
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="of products and convolutions; sums, weights and updates are fp32 always. tf32: operands of 10 "
        "bits on a GPU, fp32 elsewhere; bf16: of 7 bits, faster where the device has units for it, fp32 elsewhere",
    )
    min_in_accuracy: MinInAccuracy = 0.0

    @model_validator(mode="after")
    def _coherent(self) -> Training:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs = {self.warmup_epochs:g} must be less than epochs = {self.epochs:g}")
        if bool(self.milestones) != (self.schedule == "step"):
            raise ValueError("milestones go with 'schedule: step', and 'schedule: step' needs them")
        if self.milestones != sorted(set(self.milestones)) or max(self.milestones, default=0.0) >= self.epochs:
            raise ValueError(f"milestones = {self.milestones} must rise, and stay below epochs = {self.epochs:g}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.optimizer == "sgd" and self.optimizer_arguments:
            raise ValueError("optimizer_arguments are of timm's optimizers; sgd has momentum and nesterov")
        if self.optimizer != "sgd" and self.nesterov:
            raise ValueError(f"nesterov is of sgd; {self.optimizer} takes its own arguments in optimizer_arguments")
        return self

    @property
    def together(self) -> bool:
        """Whether trials may train as one stack: where no step looks at more than one number of a tensor at a time."""
        return self.optimizer == "sgd" and self.clip_norm is None


# Keys that came after the first runs: at their defaults they are no part of an identity, so older runs keep theirs.
_LATER: dict[str, Any] = {"optimizer": "sgd", "optimizer_arguments": {}, "clip_norm": None, "ema": None}
_LATER_CHANGES: dict[str, Any] = {"random_resized_crop": None, "random_erasing": None}


def without_later_keys(science: dict[str, Any]) -> dict[str, Any]:
    """The section's part of the identity without what an older spec could not say and does not differ in."""
    kept = _but(science, _LATER)
    return kept | {"augment": _but(kept["augment"], _LATER_CHANGES)}


def _but(section: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name not in defaults or value != defaults[name]}
