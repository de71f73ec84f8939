"""How often trials without an example are right on it, from their margins: smoothed, then calibrated.

An example is out in few trials, so of memorization's two accuracies that one is mostly noise. A margin says how
nearly a trial was right or wrong: the share of right trials is a step at margin 0, and a smooth step of some width
in its place has less variance. What that does to the mean is undone by a monotone map to accuracy, learnt from the
other examples. Then the two estimates are averaged by the weight that predicts left out trials best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from memexp.analysis.counts import Counts
from memexp.analysis.intervals import added_variance
from memexp.analysis.levels import STEPS
from memexp.analysis.merged import Merged
from memexp.brief import Brief

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST = 200  # examples to learn the map from

_WIDTH = 0.5  # of the step at 100 trials, in standard deviations of a margin over trials; shrinks with their cube root
_LARGEST = 16.0  # margin: beyond, a trial is as sure as can be
_UNITS = 256  # steps of a margin for exact sums: no coarser than what float16 leaves of a large one
_GROUPS = 10  # of trials that are left out in turn
_FOLDS = 5  # of examples: each is mapped by what the others taught
_LEAST = 0.05  # of the binomial variance; no error is said to be smaller


@dataclass(frozen=True, repr=False)
class Smoothed(Brief):
    """Accuracy of the trials without each example.

    Attributes
    ----------
    accuracy : shape (N,)
        NaN where an example was never out.
    variance
        Mean squared error over the examples, as a share of that of the plain share of right trials; at most 1.
    """

    accuracy: Floats
    variance: float


@dataclass(frozen=True, repr=False)
class Calibrated(Brief):
    """Of each training example, float32, shape (N,); NaN where memorization is undefined, and without margins.

    Attributes
    ----------
    memorization_calibrated, memorization_calibrated_se
        In-accuracy minus smoothed out-accuracy, and its standard error.
    """

    memorization_calibrated: NDArray[np.float32]
    memorization_calibrated_se: NDArray[np.float32]


def calibrated(counts: Counts, smoothed: Smoothed | None) -> Calibrated:
    """Memorization whose out-accuracy is the smoothed one.

    The standard error is that of Agresti and Caffo (see :func:`memexp.analysis.intervals.added_variance`), the variance
    of the out-accuracy times what smoothing leaves of it on average.
    """
    if smoothed is None:
        return no_calibrated(len(counts.in_count))
    value = counts.in_accuracy - smoothed.accuracy
    inside = added_variance(counts.in_correct, counts.in_count)
    outside = added_variance(counts.out_correct, counts.out_count)
    se = np.where(np.isnan(value), np.nan, np.sqrt(inside + smoothed.variance * outside))
    return Calibrated(value.astype(np.float32), se.astype(np.float32))


def no_calibrated(n_train: int) -> Calibrated:
    """Without margins, or with few examples: all NaN."""
    return Calibrated(*np.full((2, n_train), np.nan, np.float32))


def smooth_out_accuracy(merged: Merged) -> Smoothed | None:
    """The accuracy of the trials without each example; None without margins or with fewer than 200 examples.

    Sums over trials are of integers, and trials are dealt to groups by seed and number: the same in any order.
    """
    if "train_margin" not in merged.matrices or len(merged.examples["train_label"]) < FEWEST:
        return None
    spread = _spread(merged)
    width = _WIDTH * (100 / merged.n_trials) ** (1 / 3) * spread
    return None if not spread > 0 else _smoothed(_sums(merged, width))


def _spread(merged: Merged) -> float:
    """Standard deviation of a margin over the trials without the example, pooled over the examples."""
    units = np.rint(_UNITS * _bounded_margins()).astype(np.int64)
    squares, free = 0.0, 0
    for _, (mask, margin) in merged.bands("mask", "train_margin"):
        values = np.where(mask, 0, units[margin.view(np.uint16)])
        count = mask.shape[1] - mask.sum(1, dtype=np.int64)
        off = (values**2).sum(1) - values.sum(1) ** 2 / np.maximum(count, 1)
        squares, free = squares + float(off.sum()), free + int(np.maximum(count - 1, 0).sum())
    return float(np.sqrt(squares / free)) / _UNITS if free else 0.0


def _bounded_margins() -> Floats:
    """Each of the 65,536 numbers that float16 has, between -16 and 16."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    return np.clip(np.nan_to_num(every), -_LARGEST, _LARGEST)


def _sums(merged: Merged, width: float) -> Integers:
    """Of the trials without the example in each group: number, right ones, sum of steps; (groups, 3, N)."""
    steps = np.rint(STEPS * ndtr(_bounded_margins() / width)).astype(np.int64)
    order = np.lexsort((merged.per_trial("trial"), merged.per_trial("seed")))
    found = np.zeros((_GROUPS, 3, len(merged.examples["train_label"])), np.int64)
    for rows, (mask, right, margin) in merged.bands("mask", "train_correct", "train_margin"):
        values = np.where(mask, 0, steps[margin.view(np.uint16)])
        for group in range(_GROUPS):
            trials = order[group::_GROUPS]
            out = ~mask[:, trials]
            found[group, :, rows] = out.sum(1), (out & right[:, trials]).sum(1), values[:, trials].sum(1)
    return found


def _smoothed(sums: Integers) -> Smoothed:
    """Average share and mapped mean; the weight, and what is left of the variance, from groups left out in turn.

    A trial that was left out is predicted by either: for each example the mean of (prediction - outcome)^2 over its
    trials is the squared error plus a variance that no prediction changes. The mean over examples is least at the
    quotient of ``gain`` and ``cost``.
    """
    total = sums.sum(axis=0)
    share, mapped = _both(total)
    gain = cost = 0.0
    for left_out in sums:
        rest, other = _both(total - left_out)
        usable = ~np.isnan(rest)
        difference = (other - rest)[usable]
        # what fewer trials gain is more, by the part of an example's trials that was left out
        kept = 1 - left_out[0, usable] / total[0, usable]
        number, right = (kept * each[usable] / total[0, usable] for each in left_out[:2])
        gain += float((difference * (right - number * rest[usable])).sum())
        cost += float((number * difference**2).sum())
    weight = float(np.clip(gain / cost, 0, 1)) if cost else 0.0
    known = total[0] > 1
    binomial = float((share * (1 - share) / np.maximum(total[0] - 1, 1))[known].sum())
    saved = 2 * weight * gain - weight**2 * cost
    left = float(np.clip(1 - saved / binomial, _LEAST, 1)) if binomial else 1.0
    return Smoothed(share + weight * (mapped - share), left)


def _both(sums: Integers) -> tuple[Floats, Floats]:
    """Share of right trials, and what the mean step maps to by the examples of other folds; (N,), NaN without any."""
    number, right, steps = sums
    with np.errstate(invalid="ignore"):
        share, mean = right / number, steps / (STEPS * number)
    mapped = np.full(len(share), np.nan)
    fold = np.arange(len(share)) % _FOLDS
    for each in range(_FOLDS):
        taught = (fold != each) & (number > 0)
        asked = (fold == each) & (number > 0)
        if taught.any():
            mapped[asked] = np.interp(mean[asked], *monotone_map(mean[taught], share[taught], number[taught]))
    return share, mapped


def monotone_map(x: Floats, y: Floats, weight: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Isotonic regression of y on x as a line through the centres of its flat parts; their x and y, ascending.

    Centres are what makes it continuous (Oron and Flournoy 2017, "Centered isotonic regression").
    """
    at, place = np.unique(x, return_inverse=True)
    weights = np.bincount(place, weight)
    parts: list[tuple[float, float, float]] = []  # weight, and the sums of x and y with it, of each flat part
    sums = np.bincount(place, weight * y)
    for part in zip(weights.tolist(), (weights * at).tolist(), sums.tolist(), strict=True):
        while parts and parts[-1][2] * part[0] >= part[2] * parts[-1][0]:  # its mean is not below the next one's
            before = parts.pop()
            part = (before[0] + part[0], before[1] + part[1], before[2] + part[2])
        parts.append(part)
    size, of_x, of_y = np.array(parts).T
    return of_x / size, of_y / size
