"""The spec: what to train, as frozen pydantic models. Unknown keys are faults.

Reading a spec file, with the YAML line of every fault, is in :mod:`memexp.spec.reading`; checks that
need the data or the models are in :mod:`memexp.runs.plan`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictInt, Tag, field_validator, model_validator

from memexp.spec.argument_files import with_digests
from memexp.spec.datasets import Dataset
from memexp.spec.identity import typed_json
from memexp.spec.index_sets import read_digest
from memexp.spec.sections import NUMBER, Flag, MinInAccuracy, Model, PythonFile, Standardize, UserTraining
from memexp.spec.sections import Block as _Block
from memexp.spec.subsets import PositiveInt
from memexp.spec.subsets import Subsets as Subsets
from memexp.spec.user_paths import NAME
from memexp.spec.yaml_text import as_yaml


class Augment(_Block):
    """Drawn anew for each image at each step, on the device."""

    crop: Annotated[StrictInt, Field(ge=0, le=4096)] = Field(
        0, description="zero padding in pixels, then a random crop"
    )
    flip: Flag = Field(False, description="left-right flip with probability 1/2")


class Training(_Block):
    """How one trial is trained: SGD, stated in full."""

    epochs: Annotated[float, Field(gt=0, le=1e6), NUMBER] = Field(
        description="passes over the trial's own training set"
    )
    batch_size: PositiveInt = Field(description="examples of a step, at most those that a trial trains on")
    lr: Annotated[float, Field(gt=0), NUMBER] = Field(description="highest learning rate")
    momentum: Annotated[float, Field(ge=0, lt=1), NUMBER] = Field(0.9, description="of SGD")
    nesterov: Flag = Field(False, description="Nesterov's momentum; needs a momentum above 0")
    weight_decay: Annotated[float, Field(ge=0), NUMBER] = Field(0.0, description="on every parameter")
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
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: faster where the device has units for it; sums, weights and updates stay fp32"
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
        return self


def _which_training(value: Any) -> str:
    named = "file" in value if isinstance(value, dict) else isinstance(value, UserTraining)
    return (UserTraining if named else Training).__name__


AnyTraining = Annotated[
    Annotated[Training, Tag(Training.__name__)] | Annotated[UserTraining, Tag(UserTraining.__name__)],
    Discriminator(_which_training),
]


class Spec(_Block):
    """One experiment: dataset, model, training, subsets, and what to record of every trial."""

    name: Annotated[str, Field(pattern=NAME)] = Field(description="the run's folder below --runs")
    dataset: Dataset = Field(description="what to train and to test on")
    model: Model = Field(description="what to train")
    training: AnyTraining = Field(description="how a trial is trained")
    subsets: Subsets = Field(description="which examples each trial sees, and how many trials")
    record: list[Literal["correct", "margin", "predicted"]] = Field(
        default=["correct", "margin", "predicted"],
        description="of every example; correct always; margin adds log p_y - log sum of the others, predicted the "
        "class of the largest logit. Without this key, a run goes on recording what it began with",
    )

    @field_validator("record")
    @classmethod
    def _always_correct(cls, record: list[str]) -> list[str]:
        if "correct" not in record:
            raise ValueError("must contain 'correct'; every estimate is made from it")
        return sorted(set(record))

    @model_validator(mode="after")
    def _imported_as_a_whole(self) -> Spec:
        if (self.subsets.design == "imported") != (self.dataset.source == "imported"):
            raise ValueError(
                "'design: imported' and 'source: imported' go together, and only `memexp import` writes them; choose "
                "another design and source"
            )
        return self

    @property
    def sgd(self) -> Training:
        """The recipe of a spec that trains by memexp's own."""
        assert isinstance(self.training, Training)
        return self.training

    def to_yaml(self) -> str:
        """The resolved spec: every default filled in, every file's content in it."""
        return as_yaml(self.model_dump())

    def science(self, contents: bool = True) -> dict[str, Any]:
        """What the outcomes depend on, apart from the data's content: the spec's part of the identity.

        Without the name, the number of trials (or the error to reach, from which it follows), the dataset
        block (the data count by content) and what only guards it.

        ``contents``: whether files that arguments name are read for their digests; else their paths stay.
        """
        science: dict[str, Any] = typed_json(self.model_dump(exclude={"name", "dataset"}))
        subsets = science["subsets"]
        del subsets["trials"], subsets["target_se"], subsets["removed_labels"], subsets["removed_thresholds"]
        subsets["removed"] = [[name, read_digest(packed)] for name, packed in self.subsets.index_sets.items()]
        if not subsets["control"]:
            del subsets["control"]
        for name, file in (("model", self.model.file), ("training", getattr(self.training, "file", None))):
            if isinstance(file, PythonFile):
                science[name]["file"] = file.digest  # its name does not count
            else:
                science[name].pop("file", None)
            science[name] = with_digests(science[name]) if contents else science[name]
        return science
