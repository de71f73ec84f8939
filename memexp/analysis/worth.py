"""What removing the memorized examples would cost, told by the trials alone.

Trials differ in how many memorized examples they happen to train on. The slope of their test accuracy on that
number says what one memorized example is worth beside one that is not: positive where classes have a long tail,
negative where labels are ambiguous.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.estimates import Estimates
from memexp.analysis.merged import Merged

MEMORIZED = 0.25  # the paper's threshold


@dataclass(frozen=True)
class Worth:
    """What memorized examples are worth for the test set.

    Attributes
    ----------
    memorized
        Training examples with memorization of at least the threshold.
    cost, cost_se
        Accuracy that training without them is expected to lose beyond training without as many random ones, and
        its standard error over trials; NaN with fewer than 10 trials, or where all or none are memorized. It
        extends a line from subsets that hold a few more or fewer of them to one that holds none: the sign is what
        it tells, the size roughly.
    """

    memorized: int
    cost: float
    cost_se: float


def worth_of_memorized(merged: Merged, estimates: Estimates, threshold: float = MEMORIZED) -> Worth:
    """Regress each trial's test accuracy on the number of memorized examples that it trained on.

    A trial trains on a given number of examples (on average, for `bernoulli`, whose number is regressed out), so a
    memorized one takes the place of another. The slope times M (1 - M / N), by which the numbers of memorized
    examples differ between a training set without these M and one without M random ones.
    """
    with np.errstate(invalid="ignore"):
        chosen = estimates.scores.memorization >= threshold
    count, n_train = int(chosen.sum()), len(chosen)
    accuracy = merged.per_trial("test_accuracy").astype(np.float64)
    number, size = _numbers_in(merged, chosen)
    if len(accuracy) < 10 or count in (0, n_train):
        return Worth(count, math.nan, math.nan)
    slope, se = _slope(number, size, accuracy)
    less = count * (1 - count / n_train)
    return Worth(count, slope * less, se * less)


def _numbers_in(merged: Merged, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many of the chosen examples, and of all, each trial trained on; both of shape (T,)."""
    number, size = np.zeros(merged.n_trials), np.zeros(merged.n_trials)
    for rows, (band,) in merged.bands("mask"):
        number += band[chosen[rows]].sum(axis=0)
        size += band.sum(axis=0)
    return number, size


def _slope(
    number: NDArray[np.float64], size: NDArray[np.float64], accuracy: NDArray[np.float64]
) -> tuple[float, float]:
    """Least squares slope on ``number`` beside ``size`` (where it varies), and its error, robust (HC3)."""
    columns = [np.ones_like(number), number - number.mean()]
    if np.ptp(size):
        columns.append(size - size.mean())
    design = np.stack(columns, axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1] or len(number) <= design.shape[1]:
        return math.nan, math.nan
    inverse = np.linalg.inv(design.T @ design)
    coefficient = inverse @ design.T @ accuracy
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    residual = (accuracy - design @ coefficient) / np.maximum(1 - leverage, 1e-12)
    weighted = design * residual[:, None]
    return float(coefficient[1]), math.sqrt(float((inverse @ (weighted.T @ weighted) @ inverse)[1, 1]))
