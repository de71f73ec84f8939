"""What will be trained, in words: the rows of a plan on the recipe and on the arguments that the user wrote."""

from __future__ import annotations

from typing import Any

from memexp.spec.sections import UserTraining
from memexp.spec.spec import Spec, Training
from memexp.spec.yaml_text import short


def recipe_rows(spec: Spec) -> list[tuple[str, str]]:
    """Names and values: the recipe, the changes of the images, and arguments with their types visible."""
    if spec.trial is not None:
        given = in_words(spec.trial.arguments)
        answers = "a number" if "score" in spec.record else "a class"
        more = f", and {', '.join(spec.trial.scalars)}" if spec.trial.scalars else ""
        return [
            ("answers", f"{answers} for each example{more}"),
            *([("arguments", given)] if given else []),
        ]
    training = spec.training
    rows = []
    for name, block in (("data", spec.dataset), ("model", spec.model)):
        if given := in_words(getattr(block, "arguments", {})):
            rows.append((f"{name} arguments", given))
    if isinstance(training, UserTraining):
        given = in_words(training.arguments)
        rows.append(("recipe", f"train() of {training.code.name}" + (f" with {given}" if given else "")))
    else:
        rows += [("recipe", _optimizer(training)), ("rate", _schedule(training))]
        rows.append(("augmentation", _augmentation(training)))
    of_weights = training.standardize == "weights"
    moments = "by the mean and deviation of timm's weights" if of_weights else "yes" if training.standardize else "no"
    rows.append(("standardized", moments))
    if training.min_in_accuracy:
        text = f"a trial below {training.min_in_accuracy:g} on its own training set has failed"
        rows.append(("gate", text))
    return rows


def in_words(arguments: dict[str, Any]) -> str:
    """Arguments as Python would write them, so that 0 is not "0"."""
    return ", ".join(f"{key}={short(value)}" for key, value in arguments.items())


def _optimizer(recipe: Training) -> str:
    own = recipe.optimizer == "sgd"
    name = "SGD" if own else f"timm's {recipe.optimizer}"
    words = [f"{name} with batches of {recipe.batch_size:,} for {recipe.epochs:g} epochs"]
    words += [f"momentum {recipe.momentum:g}"] * own + ["Nesterov"] * recipe.nesterov
    words += [given] if (given := in_words(recipe.optimizer_arguments)) else []
    words.append(f"weight decay {recipe.weight_decay:g}" + ("" if own else " but on biases and norms"))
    words += [f"gradients up to norm {recipe.clip_norm:g}"] if recipe.clip_norm is not None else []
    words += [f"evaluated: average of the weights with {recipe.ema:g}"] if recipe.ema is not None else []
    words += [f"label smoothing {recipe.label_smoothing:g}"] if recipe.label_smoothing else []
    return ", ".join([*words, recipe.precision])


def _schedule(recipe: Training) -> str:
    after = {
        "constant": "constant",
        "linear": "falling in a line to 0",
        "cosine": "falling as a cosine to 0",
        "step": f"times {recipe.decay:g} after epoch {', '.join(f'{each:g}' for each in recipe.milestones)}",
    }[recipe.schedule]
    warmup = f"rising from 0 for {recipe.warmup_epochs:g} epochs, then " if recipe.warmup_epochs else ""
    return f"{recipe.lr:g}, {warmup}{after}"


def _augmentation(recipe: Training) -> str:
    crop, flip = recipe.augment.crop, recipe.augment.flip
    words = [f"random crops with {crop} pixels of padding"] * bool(crop)
    if (cut := recipe.augment.random_resized_crop) is not None:
        words.append(f"random boxes of {_range(cut.scale)} of the area, width / height {_range(cut.ratio)}, resized")
    words += ["random left-right flips"] * flip
    if (hole := recipe.augment.random_erasing) is not None:
        words.append(f"a box of {_range(hole.scale)} of the area erased with probability {hole.probability:g}")
    return " and ".join(words) or "none"


def _range(ends: list[float]) -> str:
    return " to ".join(f"{end:.3g}" for end in ends)
