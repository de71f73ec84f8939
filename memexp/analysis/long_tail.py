"""The long-tail theory as numbers: what not fitting rare examples costs, exactly, and in a run.

Feldman (2020), "Does Learning Require Memorization? A Short Tale about a Long Tail", Theorem 2.3: whatever the
learner, its expected error is at least that of the best one plus ``tau_l`` for every example that it does not
fit and that is one of ``l`` of its subpopulation in the training set. Only ``tau_1`` matters in practice: the
expected frequency of a subpopulation seen once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.errors import Incomplete, InputError, command
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_committed, read_states
from memexp.store.trials import DONE, TrialStore

Floats = NDArray[np.float64]


class Cost(NamedTuple):
    """What limited memorization costs, for one list of frequencies.

    Attributes
    ----------
    tau1
        Expected frequency of a subpopulation of which the training set has one example.
    singletons
        Expected number of such subpopulations.
    opt
        Expected error of the best learner: guessing on the subpopulations that were not seen.
    cost
        Error beyond ``opt`` of the best learner that memorizes no example by more than ``gamma``.
    """

    tau1: float
    singletons: float
    opt: float
    cost: float


def cost_of_not_fitting(frequencies: Sequence[float] | Floats, n: int, classes: int, gamma: float = 0.0) -> Cost:
    """Exact quantities of Feldman's model with independent, uniform labels of the subpopulations.

    Parameters
    ----------
    frequencies : shape (N,)
        Of the subpopulations; a list pi that sums to 1.
    n
        Examples of the training set, at least 1.
    classes
        Number of labels K, at least 2.
    gamma
        Most memorization of any example, from 0 (fits no label that it could not guess) to 1 - 1/K (no limit).

    Returns
    -------
    Cost
        tau1 = sum p^2 (1-p)^(n-1) / sum p (1-p)^(n-1); singletons = sum n p (1-p)^(n-1);
        opt = (1 - 1/K) sum p (1-p)^n; cost = tau1 * singletons * (1 - 1/K - gamma).

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    p = np.asarray(frequencies, dtype=np.float64)
    if p.ndim != 1 or not p.size or not np.isfinite(p).all() or (p < 0).any() or not math.isclose(p.sum(), 1.0):
        raise InputError(
            f"frequencies: an array of shape {p.shape} and sum {p.sum():.6g}; give one list of shares from 0 to 1, "
            "of sum 1"
        )
    if n < 1 or classes < 2 or not 0 <= gamma <= 1 - 1 / classes:
        raise InputError(
            f"n = {n}, classes = {classes}, gamma = {gamma:g}: n must be at least 1, classes at least 2, and gamma "
            "from 0 to 1 - 1/classes, beyond which nothing limits the learner"
        )
    seen_once = multiplicity(p, n, 1)
    tau1 = expected_frequency(p, n, 1)
    guess = 1 - 1 / classes
    return Cost(tau1, seen_once, guess * float(p @ _binomial(p, n, 0)), tau1 * seen_once * (guess - gamma))


def multiplicity(frequencies: Floats, n: int, times: int) -> float:
    """Expected number of subpopulations of which a training set of ``n`` has exactly ``times`` examples."""
    return float(_binomial(frequencies, n, times).sum())


def expected_frequency(frequencies: Floats, n: int, times: int) -> float:
    """Expected frequency ``tau_l`` of a subpopulation seen ``times`` times among ``n``; NaN where none can be."""
    p = np.asarray(frequencies, dtype=np.float64)
    likelihood = _binomial(p, n, times)
    total = float(likelihood.sum())
    return float(p @ likelihood) / total if total else math.nan


def _binomial(p: Floats, n: int, times: int) -> Floats:
    """P(exactly ``times`` of ``n``) for each frequency, shape (N,)."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(times, n, p), dtype=np.float64)


@dataclass(frozen=True)
class Multiplicity:
    """Trials of a run, by how many examples of each subpopulation they trained on.

    Attributes
    ----------
    n
        Examples that a trial trains on (the mean over trials).
    singletons, unfitted : float64, shape (T,)
        Training examples that are the only one of their subpopulation in the trial; and those of them that the
        trial got wrong.
    error, opt, bound : float64, shape (T,)
        Test error; the error of guessing on the subpopulations that the trial did not see; and that plus tau_1
        for each unfitted singleton, which no learner can be below on average.
    accuracy : float64, shape (T, 4)
        On test examples whose subpopulation the trial saw 0, 1, 2, or more times; NaN where there is none.
    class_error, class_singletons : float64, shape (K,)
        Test error of each class, and its mean number of singletons, over all trials; NaN for classes without tests.
    """

    n: float
    singletons: Floats
    unfitted: Floats
    error: Floats
    opt: Floats
    bound: Floats
    accuracy: Floats
    class_error: Floats
    class_singletons: Floats


def read_multiplicity(paths: RunPaths, store: TrialStore, frequencies: Floats, n_classes: int) -> Multiplicity:
    """Count, in each finished trial of a run, what the theory speaks of.

    Parameters
    ----------
    paths, store
        Of the run; its store records the subpopulations.
    frequencies : shape (S,)
        Probability of each subpopulation, by its number.
    n_classes
        Number of labels.

    Raises
    ------
    InputError
        If the store records no subpopulations.
    Incomplete
        If no trial is finished.
    """
    examples = store.examples()
    if "train_subpopulation" not in examples:
        raise InputError(
            f"{store.path} records no subpopulations; give a run whose dataset is `source: subpopulations` or "
            "`source: hypercube`, or whose limit has superclasses"
        )
    status, _ = read_states(paths, store)
    rows: list[list[float]] = []
    accuracy, errors, alone = [], [], []
    for number in range(store.layout.n_blocks):
        trials = store.layout.block(number)
        done = np.flatnonzero(status[trials.start : trials.stop] == DONE)
        if len(done):
            content = read_committed(paths, store, number)[0]
            for row in done:
                counted = _count({name: content[name][row] for name in _OUTCOMES}, examples, frequencies, n_classes)
                rows.append(counted[0])
                accuracy.append(counted[1])
                errors.append(counted[2])
                alone.append(counted[3])
    if not rows:
        raise Incomplete(f"{paths.root} has no finished trial; run `{command('resume', paths.root)}`")
    n, singletons, unfitted, error, unseen = np.array(rows).T
    opt = (1 - 1 / n_classes) * unseen
    bound = opt + expected_frequency(frequencies, round(n.mean()), 1) * unfitted
    with np.errstate(invalid="ignore"):
        class_error = np.mean(errors, axis=0)
    return Multiplicity(
        float(n.mean()),
        singletons,
        unfitted,
        error,
        opt,
        bound,
        np.array(accuracy),
        class_error,
        np.mean(alone, axis=0),
    )


_OUTCOMES = ("mask", "train_correct", "test_correct")


def _count(
    outcome: Mapping[str, NDArray[np.bool_]], examples: Mapping[str, NDArray[Any]], frequencies: Floats, n_classes: int
) -> tuple[list[float], Floats, Floats, Floats]:
    """One trial: its numbers, accuracy by multiplicity, and error and singletons by class."""
    mask, right = outcome["mask"], outcome["test_correct"]
    seen = np.bincount(examples["train_subpopulation"][mask], minlength=len(frequencies))
    alone = mask & (seen[examples["train_subpopulation"]] == 1)
    times = np.minimum(seen[examples["test_subpopulation"]], 3)
    numbers = [mask.sum(), alone.sum(), (alone & ~outcome["train_correct"]).sum(), (~right).mean()]
    labels = examples["test_label"]
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(times, right, 4) / np.bincount(times, minlength=4)
        errors = np.bincount(labels, ~right, n_classes) / np.bincount(labels, minlength=n_classes)
    singletons = np.bincount(examples["train_label"][alone], minlength=n_classes).astype(np.float64)
    return [*map(float, numbers), float(frequencies[seen == 0].sum())], accuracy, errors, singletons
