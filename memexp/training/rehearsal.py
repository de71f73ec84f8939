"""One step and one evaluation by a network that no trial uses: what does not compile fails there, before the trials."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from memexp.spec.sections import UserTraining
from memexp.training import compiled, models
from memexp.training.batches import Draws, Work, batches
from memexp.training.evaluation import evaluated
from memexp.training.models import OneTrial
from memexp.training.precision import Forward


def rehearse(work: Work, model: nn.Module, forward: Forward) -> None:
    """Compile what a trial will need, or settle that this process does without: then its trials are eager throughout.

    Parameters
    ----------
    model
        A fresh network that is used for nothing else afterwards.
    """
    if not work.compiled or compiled.given_up():
        return
    recipe = work.spec.training
    stack = models.stack([model], isinstance(recipe, UserTraining) or recipe.together).to(work.device)
    if not isinstance(stack, OneTrial):
        return  # nothing of it is compiled
    cuda = [work.device] if work.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # dropout draws
        if not isinstance(recipe, UserTraining):
            _step(work, stack.train(), forward)
        evaluated(work, stack, work.x_train[:1], work.y_train[:1], 1, forward)


def _step(work: Work, stack: nn.Module, forward: Forward) -> None:
    """Forward and backward, on a batch that is made as all of them are: compiled code is for one layout in memory."""
    order = torch.zeros(1, 1, work.spec.sgd.batch_size, dtype=torch.int64)
    ((x, y),) = batches(work, order, [Draws(work.spec.subsets.seed, 0)])
    with forward():
        logits = compiled.answers(True)(stack, x.unflatten(0, (1, -1))).flatten(0, 1)
    try:
        F.cross_entropy(logits.float(), y).backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever back ends raise; what else fails, fails again in the trial
        compiled.give_up(error)
