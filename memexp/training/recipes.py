"""Train one trial by the function ``train`` of a Python file that the spec names.

memexp keeps what makes trials comparable: it draws the subset, the initial weights and the seed, hands
over exactly the subset's images, and evaluates as always. What happens between is the file's business.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memexp.errors import InputError
from memexp.seeds import torch_seed
from memexp.spec.designs import Mask
from memexp.spec.python_files import blamed, function_in, require_call
from memexp.spec.sections import PASSED, UserTraining
from memexp.training.batches import Work, chosen_images, normalized, on_device
from memexp.training.models import OneTrial
from memexp.training.tryout import require_logits, require_steady

_POSITIONAL, _SEED = PASSED[:3], PASSED[3]


def find_recipe(recipe: UserTraining) -> Callable[..., Any]:
    """The file's function.

    Raises
    ------
    InputError
        If the file fails, or defines no ``train`` that takes what it will be passed.
    """
    function = function_in(recipe.code, "train", f"train({', '.join(PASSED)}, ...), the keys of the block by name")
    require_call(function, recipe.code.name, _POSITIONAL, {_SEED: 0} | recipe.arguments)
    return function


def train_one(work: Work, recipe: UserTraining, model: nn.Module, mask: Mask, trial: int) -> nn.Module:
    """Train a fresh model on the examples of one trial.

    Parameters
    ----------
    model
        (B, C, H, W) -> (B, K), with the trial's initial weights.
    mask : bool, shape (N,)
        Training examples of the trial.
    trial
        Its number: it decides the seed, which is set for torch, NumPy and ``random`` too.

    Returns
    -------
    stack
        The trained model, (1, B, C, H, W) -> (1, B, K).

    Raises
    ------
    InputError
        If the file's function raises something, or returns something else than nothing or a module.
    """
    function = find_recipe(recipe)
    chosen = torch.from_numpy(np.flatnonzero(mask))
    images = normalized(work, on_device(work, chosen_images(work.x_train, chosen.to(work.x_train.device))))
    labels = work.y_train.index_select(0, chosen.to(work.device))
    seed = torch_seed(work.spec.subsets.seed, "recipe", trial)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    model = model.to(work.device).to(memory_format=torch.channels_last).train()  # as the images are
    with blamed(during=f"in trial {trial}"):
        returned = function(model, images, labels, seed=seed, **recipe.arguments)
    if not (returned is None or isinstance(returned, nn.Module)):
        raise InputError(
            f"{recipe.code.name}: train() returned {type(returned).__name__}; it must return nothing, or the module "
            "to evaluate"
        )
    trained = model if returned is None else returned.to(work.device)
    with blamed(during=f"in trial {trial}"):
        _require_logits(trained.eval(), images[:2], work.n_classes, f"{recipe.code.name}: the trained module")
    return OneTrial(trained)


@torch.no_grad()
def _require_logits(model: nn.Module, images: Tensor, n_classes: int, who: str) -> None:
    """Refuse a trained module that gives something else than (B, K), or not always the same to an image."""
    require_logits(model(images), len(images), n_classes, who)
    require_steady(model, images, who)
