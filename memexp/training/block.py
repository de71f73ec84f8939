"""Train the trials of one block and evaluate them on every example: the whole recipe, read downwards.

The data live on the device as tensors. Trials that can be stacked train together, others one after
the other, by the same code: a batch is always (S, B, C, H, W) for S trials. Stacked trials take the
same number of steps. The examples of each come from an endless stream of permutations of its own
subset, cut into full batches: a batch may cross the end of an epoch, and none is ever partial.

Axes: S trials in a stack, B batch, N train, M test, K classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from memexp.data import Data
from memexp.seeds import torch_seed
from memexp.spec.designs import Mask, subset_size
from memexp.spec.sections import UserTraining
from memexp.spec.spec import Spec
from memexp.training import models
from memexp.training.architectures import MLP
from memexp.training.batches import Draws, Work, batches, epochs, prepare, skip
from memexp.training.checkpoint import Keeper, Moment
from memexp.training.compiled import answers
from memexp.training.evaluation import evaluated, outcome_of
from memexp.training.learning import Learning
from memexp.training.optimizers import Updates
from memexp.training.outcome import Outcome as Outcome
from memexp.training.outcome import Progress
from memexp.training.own_trial import OwnTrials, run_trials
from memexp.training.precision import Forward, computing, precision_of
from memexp.training.recipes import train_one
from memexp.training.rehearsal import rehearse
from memexp.training.sgd import learning_rate
from memexp.training.weights_file import weights_file

# ------------------------------------------------------------------------------------------ training


def count_steps(spec: Spec, n_train: int, trial: int = 0) -> int:
    """Optimizer steps of a trial by memexp's recipe: epochs * m / batch size, rounded up."""
    recipe = spec.sgd
    return math.ceil(recipe.epochs * subset_size(spec.subsets, n_train, trial) / recipe.batch_size)


class Trained(NamedTuple):
    """S trials after their last step: the stack, what it was fed, (S, N), how it learned, seconds before a stop."""

    stack: nn.Module
    fed: Mask
    learning: Learning | None = None
    seconds: float = 0.0


def _trained(
    work: Work,
    masks: Mask,
    trials: Sequence[int],
    forward: Forward,
    tell: Progress,
    keeper: Keeper,
) -> Trained:
    """Train S trials together, from fresh weights or from where they were interrupted."""
    if isinstance(work.spec.training, UserTraining):  # which is handed the subset and nothing else
        (trial,) = trials
        stack = train_one(work, work.spec.training, _fresh(work, trial), masks[0], trial)
        tell(1.0)
        return Trained(stack, masks)
    recipe, seed = work.spec.sgd, work.spec.subsets.seed
    stack = models.stack([_fresh(work, trial) for trial in trials], recipe.together).to(work.device).train()
    updates = Updates(stack, recipe)
    steps = count_steps(work.spec, len(work.y_train), trials[0])
    draws = [Draws(seed, trial) for trial in trials]
    torch.manual_seed(torch_seed(seed, "layers", trials[0]))  # for dropout and the like
    answer = answers(work.compiled)
    learning = Learning(masks) if "learning" in work.spec.record else None
    moment = Moment(stack, [*updates.states, *([learning] if learning else [])], work.device)
    first, seconds = keeper.begin(trials, moment)  # 0, unless they were interrupted
    fed, step = np.zeros_like(masks), 0
    for epoch, fed in epochs(work, masks, trials, steps):
        done, step = step, max(step, min(first, step + len(epoch)))
        skip(work, draws, step - done)
        if step - done == len(epoch):
            continue
        keeper.require_same(fed)
        for x, y in batches(work, epoch[step - done :], draws):
            if keeper.due():
                keeper.keep(moment, step, fed, step / steps)
            updates.before_backward()
            with forward():
                logits = answer(stack, x.unflatten(0, (len(trials), -1))).flatten(0, 1)
            # the sum over trials of each trial's mean: trials do not see each other's gradient
            loss = F.cross_entropy(logits.float(), y, reduction="sum", label_smoothing=recipe.label_smoothing)
            (loss / recipe.batch_size).backward()
            updates.step(learning_rate(recipe, steps, step))
            if learning is not None:
                learning.step(logits, y)
            step += 1
        if learning is not None:
            learning.end_epoch(epoch)
        tell(step / steps)
        # Nothing brings a trial back from NaN; the evaluation records why it failed. In a stack the others go on.
        if len(trials) == 1 and not loss.isfinite():  # which waits for the device
            break
    updates.finish()
    return Trained(stack, fed, learning, seconds)


def _fresh(work: Work, trial: int) -> nn.Module:
    block = work.spec.model
    _, channels, height, width = work.x_train.shape
    init = torch_seed(work.spec.subsets.seed, "weights", trial)
    return models.create(block.arch, block.arguments, (height, width, channels), work.n_classes, init, block.code)


def train(work: Work, masks: Mask, trials: Sequence[int], tell: Progress = lambda _: None) -> nn.Module:
    """Only train some trials together, (S, B, C, H, W) -> (S, B, K); in evaluation mode."""
    torch.set_flush_denormal(True)
    dense = isinstance(_fresh(work, trials[0]), MLP)
    with computing(precision_of(work.spec), work.device, dense) as forward:
        trained = _trained(work, masks, trials, forward, tell, Keeper())
    return trained.stack.eval()


def count_stacked(work: Work, model: nn.Module, trained: Sequence[int], trial: int) -> int:
    """How many of the trials that were trained together were one stack with ``trial``, whose network is ``model``."""
    size = models.stack_size(model, work.device.type)
    place = list(trained).index(trial)
    return next(len(part) for part in _stacks(work, trained, size) if place in part)


# --------------------------------------------------------------------------------------------- block


def prepare_block(spec: Spec, data: Data, device: str, sharing: int = 1, compiled: bool = False) -> Work | OwnTrials:
    """What all trials of a run share, once per process: networks' data on the device, or a function of the user's."""
    if spec.trial is not None:
        return OwnTrials.of(spec, spec.trial, data)
    return replace(prepare(spec, data, device, sharing), compiled=compiled)


def train_block(
    work: Work | OwnTrials,
    masks: Mask,
    trials: Sequence[int],
    tell: Progress = lambda _: None,
    keeper: Keeper | None = None,
) -> list[Outcome]:
    """Train and evaluate some trials.

    Parameters
    ----------
    work
        From :func:`prepare_block`.
    masks : bool, shape (len(trials), N)
        Training examples of each trial.
    trials
        Their numbers: they decide initial weights, data order and augmentation.
    tell
        Called now and then with the share of the block that is done.
    keeper
        Keeps how far they have come, and knows how far they were; not for trials of the user's own.

    Returns
    -------
    outcomes
        One for each trial. On a CPU with one thread they are the same bits every time.
    """
    if isinstance(work, OwnTrials):
        return run_trials(work, masks, trials, tell)
    # Momenta of pixels that are always 0 decay to denormal numbers, on which the optimizer was
    # measured five times slower. Zero is what they stand for.
    torch.set_flush_denormal(True)
    model, keeper = _fresh(work, trials[0]), keeper or Keeper()
    dense, size = isinstance(model, MLP), models.stack_size(model, work.device.type)
    with computing(precision_of(work.spec), work.device, dense) as forward:
        rehearse(work, model, forward)
        del model  # and what it holds of the device's memory
        for part in _stacks(work, trials, size):
            mine = [int(trials[k]) for k in part]
            if keeper.outcomes.keys() >= set(mine):
                continue
            start, done = time.perf_counter(), len(keeper.outcomes)

            def tell_part(share: float, done: int = done, count: int = len(mine)) -> None:
                tell((done + share * count) / len(trials))

            stack, fed, learning, spent = _trained(work, masks[part], mine, forward, tell_part, keeper)
            train = evaluated(work, stack, work.x_train, work.y_train, len(mine), forward)
            test = evaluated(work, stack, work.x_test, work.y_test, len(mine), forward)
            seconds = (spent + time.perf_counter() - start) / len(mine)
            outcomes: dict[int, Outcome] = {}
            for s, trial in enumerate(mine):
                outcomes[trial] = outcome_of(work, fed[s], train, test, s, seconds)
                if learning is not None:
                    outcomes[trial].arrays.update(learning.arrays(s))
                if trial < work.spec.keep.weights and outcomes[trial].failure is None:
                    outcomes[trial] = replace(outcomes[trial], weights=weights_file(stack, s))
            keeper.finish(outcomes)
    return [keeper.outcomes[trial] for trial in trials]


def _stacks(work: Work, trials: Sequence[int], size: int) -> list[NDArray[np.intp]]:
    """Places of the trials that train together: at most ``size``, of equally many steps."""
    if isinstance(work.spec.training, UserTraining) or not work.spec.training.together:
        return [np.array([place]) for place in range(len(trials))]
    steps = np.array([count_steps(work.spec, len(work.y_train), trial) for trial in trials])
    alike = [np.flatnonzero(steps == count) for count in np.unique(steps)]
    return [part for same in alike for part in np.array_split(same, -(-len(same) // size))]
