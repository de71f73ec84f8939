"""What a plan tries: the recipe, and the network on one batch. torch and timm are imported where they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from memexp.data import Data
from memexp.errors import InputError
from memexp.spec.sections import Model
from memexp.spec.spec import Spec, Training
from memexp.spec.yaml_file import Fault


def recipe_faults(spec: Spec) -> list[Fault]:
    """What is wrong with the user's own training or trial, before it trains."""
    if spec.trial is not None:
        from memexp.training.own_trial import find_trial

        try:
            find_trial(spec.trial)
        except InputError as error:
            return [Fault(("trial", "file"), str(error))]
        return []
    if isinstance(spec.training, Training):
        return _optimizer_faults(spec.training)
    from memexp.training.recipes import find_recipe

    try:
        find_recipe(spec.training)
    except InputError as error:
        return [Fault(("training", "file"), str(error))]
    return []


def _optimizer_faults(recipe: Training) -> list[Fault]:
    if recipe.optimizer == "sgd":
        return []
    from memexp.training.optimizers import require_optimizer

    try:
        require_optimizer(recipe)
    except InputError as error:
        return [Fault(("training", "optimizer"), str(error))]
    return []


class Tried(NamedTuple):
    """What trying a model told: its weights, the share of an image that it never sees, a file's size, what is fresh."""

    parameters: int = 0
    unseen: float = 0.0
    file_bytes: int = 0
    fresh: Sequence[str] = ()


def try_model(spec: Spec, data: Data) -> Tried:
    """Make the model once and try it."""
    from memexp.training import models, tryout
    from memexp.training.pretrained import load_weights

    (height, width, channels), n_classes = data.x_train.shape[1:], len(data.classes)
    block, image = spec.model, (height, width, channels)
    _require_weights(block)
    model = models.create_for(data, block)
    fresh = load_weights(model, file) if block.code is None and (file := block.arguments.get("weights")) else []
    if spec.training.standardize == "weights":
        models.moments_of_weights(block.arch, channels)
    unseen = tryout.try_out(model, image, n_classes)
    if isinstance(spec.training, Training):  # a user's own may train another part of it, or with other outputs
        tryout.try_training(model, image, n_classes, spec.training.batch_size)
    state = model.state_dict().values()  # and the header of the file, which names each
    file_bytes = sum(value.nbytes for value in state) + 200 * len(state)
    return Tried(sum(parameter.numel() for parameter in model.parameters()), unseen, file_bytes, fresh)


def _require_weights(model: Model) -> None:
    """Refuse weights files of timm's networks that are absent; those that exist have become absolute paths."""
    if model.code is not None:
        return
    configs = [model.arguments.get(key) for key in ("pretrained_cfg", "pretrained_cfg_overlay")]
    named = [model.arguments.get("checkpoint_path"), *(each.get("file") for each in configs if isinstance(each, dict))]
    for path in named:
        if (path and not Path(str(path)).is_absolute()) or (path and not Path(str(path)).is_file()):
            raise InputError(
                f"the weights file {path} does not exist (relative paths start at the spec's folder); write it, for "
                "example with torch.save(model.state_dict(), ...), or correct the path"
            )
