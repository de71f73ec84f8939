"""What removing the memorized examples would cost, told by the trials alone.

Trials differ in how many memorized examples they happen to train on. The slope of their test accuracy on that
number says what one memorized example is worth beside one that is not: positive where classes have a long tail,
negative where labels are ambiguous. A trial of luck makes the examples that it did not see look less memorized, so
those whose number is counted in a trial are chosen by other trials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.counts import Counts, count_train
from memexp.analysis.merged import Merged

MEMORIZED = 0.25  # the paper's threshold
FEWEST = 20  # trials: below, the error is too uncertain itself

_FOLDS = 5

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Worth:
    """What memorized examples are worth for the test set.

    Attributes
    ----------
    threshold
        Memorization from which on an example counts as memorized.
    cost, cost_se
        Accuracy that training without them is expected to lose beyond training without as many random ones, and
        its standard error over trials; NaN with fewer than 20 trials, or where all or none are memorized. It
        extends a line from subsets that hold a few more or fewer of them to one that holds none: the sign is what
        it tells, the size roughly.
    """

    threshold: float
    cost: float
    cost_se: float

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return not math.isnan(self.cost)

    def __str__(self) -> str:
        told = f"{100 * self.cost:+.1f} ± {100 * self.cost_se:.1f} points of test accuracy"
        sign = "they help, as in a long tail" if self.cost > 0 else "they hurt, as ambiguous or wrong labels do"
        kind = sign if abs(self.cost) > 2 * self.cost_se else "these trials do not tell whether they help or hurt"
        return f"those at {self.threshold:g} or more are worth {told} beside as many others: {kind}"


def worth_of_memorized(merged: Merged, threshold: float = MEMORIZED) -> Worth:
    """Regress each trial's test accuracy on the number of memorized examples that it trained on.

    A trial trains on a given number of examples (on average, for `bernoulli`, whose number is regressed out), so a
    memorized one takes the place of another. The slope times M (1 - M / N), by which the numbers of memorized
    examples differ between a training set without these M and one without M random ones.
    """
    fold = np.empty(merged.n_trials, np.int64)
    fold[np.lexsort((merged.per_trial("trial"), merged.per_trial("seed")))] = np.arange(merged.n_trials) % _FOLDS
    chosen = _memorized_elsewhere(merged, fold, threshold)
    count, n_train = chosen.sum(axis=1).astype(np.float64), chosen.shape[1]
    less = float((count * (1 - count / n_train)).mean())
    if merged.n_trials < FEWEST or not less or "test" not in merged.accuracies:
        return Worth(threshold, math.nan, math.nan)
    number, size = _numbers_in(merged, chosen, fold)
    slope, se = _slope(number, size, fold, merged.per_trial("test_accuracy").astype(np.float64))
    return Worth(threshold, slope * less, se * less)


def _memorized_elsewhere(merged: Merged, fold: NDArray[np.int64], threshold: float) -> Bits:
    """Of each fold the examples that the trials of the others call memorized, (folds, N)."""
    bands = []
    for _, (mask, right) in merged.bands("mask", "train_correct"):
        of_fold = [count_train(mask[:, fold == each], right[:, fold == each]) for each in range(_FOLDS)]
        bands.append(np.array([[getattr(counts, field.name) for field in fields(Counts)] for counts in of_fold]))
    counts = np.concatenate(bands, axis=2)
    with np.errstate(invalid="ignore"):
        return np.stack([Counts(*others).value() >= threshold for others in counts.sum(axis=0) - counts])


def _numbers_in(merged: Merged, chosen: Bits, fold: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """How many of the examples chosen for its fold, and of all, each trial trained on; both of shape (T,)."""
    number, size = np.zeros(merged.n_trials), np.zeros(merged.n_trials)
    for rows, (band,) in merged.bands("mask"):
        for each in range(_FOLDS):
            number[fold == each] += band[chosen[each, rows]][:, fold == each].sum(axis=0)
        size += band.sum(axis=0)
    return number, size


def _slope(number: Floats, size: Floats, fold: NDArray[np.int64], accuracy: Floats) -> tuple[float, float]:
    """Least squares slope on ``number`` within folds, beside ``size`` where it varies; its error is robust (HC3)."""
    columns = [number - number.mean(), *(fold == np.arange(_FOLDS)[:, None]).astype(np.float64)]
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
    return float(coefficient[0]), math.sqrt(float((inverse @ (weighted.T @ weighted) @ inverse)[0, 0]))
