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
        rows += [("recipe", _sgd(training)), ("rate", _schedule(training))]
        rows.append(("augmentation", _augmentation(training)))
    rows.append(("standardized", "yes" if training.standardize else "no"))
    if training.min_in_accuracy:
        text = f"a trial below {training.min_in_accuracy:g} on its own training set has failed"
        rows.append(("gate", text))
    return rows


def in_words(arguments: dict[str, Any]) -> str:
    """Arguments as Python would write them, so that 0 is not "0"."""
    return ", ".join(f"{key}={short(value)}" for key, value in arguments.items())


def _sgd(recipe: Training) -> str:
    words = [f"SGD with batches of {recipe.batch_size:,} for {recipe.epochs:g} epochs", f"momentum {recipe.momentum:g}"]
    words += ["Nesterov"] * recipe.nesterov
    words.append(f"weight decay {recipe.weight_decay:g}")
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
    words = [f"random crops with {crop} pixels of padding"] * bool(crop) + ["random left-right flips"] * flip
    return " and ".join(words) or "none"
