"""The pilot: a few steps on a few examples, to tell what a trial costs on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from memexp.data import Data
from memexp.errors import InputError
from memexp.runs.plan import Plan
from memexp.spec.designs import draw_masks
from memexp.spec.index_sets import pack
from memexp.spec.python_files import blamed
from memexp.training import models
from memexp.training.batches import Work, prepare
from memexp.training.block import prepare_block, train, train_block
from memexp.training.devices import set_up_torch
from memexp.training.evaluation import evaluate

_ENOUGH_SECONDS = 0.5
_FEW = 256  # examples to evaluate, at least, where they are evaluated quickly
_FIRST_BATCH = 8


@dataclass(frozen=True)
class Pace:
    """Measured seconds of one trial of a stack: ``per_step``, ``per_example`` evaluated.

    ``stacked``: trials that train together. ``work``: the few examples that were used.
    """

    per_step: float
    per_example: float
    stacked: int
    work: Work


def seconds_per_trial(plan: Plan, device: str = "cpu") -> float:
    """Estimated seconds of one trial on one worker with one thread, which has a processor (or the GPU) for itself.

    Extrapolated from a few steps: steps * time per step + examples * time per evaluated example, in processor time
    where a processor trains: other programs that run beside the pilot, as on a login node, do not count. A user's
    recipe trains one whole trial on a few examples instead; its time is taken as proportional to them. A trial of
    the user's own is run once, the first one, as it will be. Both by the clock: they may start processes.

    Raises
    ------
    InputError
        If the user's model or recipe fails.
    """
    if plan.spec.trial is not None:
        return _seconds_of_own_trial(plan, device)
    try:
        if plan.steps is None:
            return _seconds_of_own_recipe(plan, device)
        pace = measure_pace(plan, device)
        return plan.steps * pace.per_step + (plan.layout.n_train + plan.layout.n_test) * pace.per_example
    finally:
        if device.startswith("cuda"):
            torch.cuda.empty_cache()  # workers ask next how much of the GPU's memory is free


def _seconds_of_own_trial(plan: Plan, device: str) -> float:
    set_up_torch(device)
    work = prepare_block(plan.spec, plan.data, device)
    (outcome,) = train_block(work, draw_masks(plan.spec.subsets, plan.layout.n_train, [0], plan.data.groups), [0])
    if outcome.failure is not None:
        raise InputError(f"trial 0 would have failed: {outcome.failure}")
    return float(outcome.arrays["seconds"])


def _seconds_of_own_recipe(plan: Plan, device: str) -> float:
    set_up_torch(device)
    few = min(plan.layout.n_train, _FEW)
    work = prepare(plan.spec, _head(plan.data, few), device)
    with blamed():
        start = time.perf_counter()
        stack = train(work, np.ones((1, few), dtype=np.bool_), [0])
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        trained = time.perf_counter()
        evaluate(work, stack)
        evaluated = time.perf_counter()
    examples = plan.layout.n_train + plan.layout.n_test
    return ((trained - start) * plan.subset + (evaluated - trained) * examples) / few


def measure_pace(plan: Plan, device: str = "cpu") -> Pace:
    """Train one stack for a few steps with one thread, and evaluate a few examples.

    A step of a large network takes minutes on one processor. So the first steps are of a few examples;
    their number grows until a step takes long enough to be measured, and the whole batch is taken to
    cost in proportion.
    """
    set_up_torch(device)
    model, batch = models.create_for(plan.data, plan.spec.model), plan.spec.sgd.batch_size
    stacked = min(models.stack_size(model, device), plan.layout.block_size) if plan.spec.sgd.together else 1
    size = min(_FIRST_BATCH, batch)
    while True:
        few = min(plan.layout.n_train, max(2 * size, _FEW) if size == batch else size)
        work = prepare(plan.spec, _head(plan.data, few), device)
        _timed(work, stacked, size, 1)  # first use of every kernel
        short = _timed(work, stacked, size, 1)
        if size == batch or short * stacked > _ENOUGH_SECONDS / 4:
            break
        size = min(4 * size, batch)
    steps = int(np.clip(_ENOUGH_SECONDS / max(short, 1e-4), 2, 50))
    per_step = max(0.0, _timed(work, stacked, size, 1 + steps) - short) / steps
    evaluated = 2 * few  # training and test examples of the small data set
    return Pace(per_step * batch / size, max(0.0, short - per_step) / evaluated, stacked, work)


def _timed(work: Work, n_trials: int, batch: int, steps: int) -> float:
    """Seconds per trial of a stack that takes so many steps of ``batch`` examples."""
    n_train = len(work.y_train)
    training = work.spec.sgd.model_copy(
        update={
            "epochs": steps * batch / n_train,
            "batch_size": batch,
            "schedule": "constant",
            "warmup_epochs": 0.0,
            "milestones": [],
        }
    )
    subsets = work.spec.subsets.model_copy(update={"design": "remove", "removed": {"none": pack([])}, "ratio": None})
    tiny = replace(work, spec=work.spec.model_copy(update={"training": training, "subsets": subsets}))
    clock = time.process_time if work.device.type == "cpu" else time.perf_counter  # it trains with one thread
    start = clock()
    with blamed():
        train_block(tiny, np.ones((n_trials, n_train), dtype=np.bool_), list(range(n_trials)))
    return (clock() - start) / n_trials


def _head(data: Data, count: int) -> Data:
    """The first examples, the training set used as test set too."""
    x, y = data.x_train[:count], data.y_train[:count]
    return replace(data, x_train=x, y_train=y, x_test=x, y_test=y)
