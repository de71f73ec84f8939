"""Empirical Bayes for picked examples: what memorization is likely to be, given all the other examples.

Examples listed because their estimate is high are partly there by luck: their mean is too high and
intervals of each estimate by itself take no notice. Here the pairs of accuracies (in, out) of all
examples are draws from an unknown distribution on the unit square. It is estimated by nonparametric
maximum likelihood (Laird 1978; Efron 2014) with expectation-maximization on a grid, smoothed in each
step (Silverman et al. 1990), and gives each example a posterior. Where margins tell the accuracy without
an example better than its few trials, it counts as that of more trials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from memexp.analysis.calibrated import Smoothed
from memexp.analysis.counts import Counts
from memexp.brief import Brief

Floats = NDArray[np.float64]

FEWEST = 200  # examples to learn a distribution from; of 50, intervals of picked ones hold the truth of 88 %

_LEAST, _MOST = 41, 101  # points of the grid on each axis
_SPACING = 0.8  # of the points, in standard deviations of an accuracy, where _MOST allows it
_ROUNDS = 60  # of expectation-maximization; with smoothing it settles in fewer
_KERNEL = np.array([1, 4, 6, 4, 1]) / 16  # of smoothing: one point of standard deviation
# The variance that smoothing leaves is less than its mean where accuracies are near 0 or 1, and more in the middle:
# counted so much larger, intervals of picked examples hold the truth as often as without (benchmarks/estimators.py).
_CAUTION = 1.2
_CELLS = 1 << 22  # numbers held at once


@dataclass(frozen=True, repr=False)
class Posterior(Brief):
    """Of each training example, float32, shape (N,); NaN where memorization is undefined or examples are few.

    Attributes
    ----------
    memorization_posterior
        Mean of memorization.
    memorization_posterior_low, memorization_posterior_high
        The middle 95 %.
    probability_memorized
        That memorization is at least the threshold.
    """

    memorization_posterior: NDArray[np.float32]
    memorization_posterior_low: NDArray[np.float32]
    memorization_posterior_high: NDArray[np.float32]
    probability_memorized: NDArray[np.float32]


def posterior(counts: Counts, threshold: float, smoothed: Smoothed | None = None) -> Posterior:
    """The posterior of each example, from the counts of all of them; the order of the examples does not matter.

    Parameters
    ----------
    threshold
        Memorization from which on an example counts as memorized.
    smoothed
        What margins tell of the accuracy without each example.
    """
    known = (counts.in_count > 0) & (counts.out_count > 0)
    columns = np.full((4, len(known)), np.nan, np.float32)
    if known.sum() >= FEWEST:
        outside = (counts.out_correct, counts.out_count) if smoothed is None else _equivalent(counts, smoothed)
        outcomes = np.stack([counts.in_correct, counts.in_count, *outside])[:, known]
        distinct, place, times = np.unique(outcomes, axis=1, return_inverse=True, return_counts=True)
        sides = [_Side.of(correct, count) for correct, count in (distinct[:2], distinct[2:])]
        prior = _prior(sides[0].likelihood, sides[1].likelihood, times)
        columns[:, known] = _summaries(sides[0], sides[1], prior, threshold)[:, place.ravel()]
    return Posterior(*columns)


def no_posterior(n_train: int) -> Posterior:
    """Of trials that gave numbers instead of classes: all NaN."""
    return Posterior(*np.full((4, n_train), np.nan, np.float32))


def _equivalent(counts: Counts, smoothed: Smoothed) -> tuple[Floats, Floats]:
    """Right trials and trials whose share would be known as well as the smoothed accuracy is, each of shape (N,).

    The rarer outcome is a whole number, so that none of it stays none.
    """
    count = counts.out_count / min(1.0, _CAUTION * smoothed.variance)
    accuracy = np.nan_to_num(smoothed.accuracy)
    right, wrong = np.rint(count * accuracy), np.rint(count * (1 - accuracy))
    return np.where(accuracy < 0.5, right, count - wrong), count


@dataclass(frozen=True)
class _Side:
    """Grid of accuracies on one axis, shape (G,), and the likelihood of each outcome there, (outcomes, G)."""

    accuracy: Floats
    likelihood: Floats

    @classmethod
    def of(cls, correct: NDArray[Any], count: NDArray[Any]) -> _Side:
        """Points at equal distances of the arcsine, where a binomial accuracy has the same error everywhere."""
        size = 1 + math.ceil(math.pi * math.sqrt(count.max()) / _SPACING)
        accuracy = np.sin(np.linspace(0, np.pi / 2, min(max(size, _LEAST), _MOST))) ** 2
        k, n = correct[:, None].astype(np.float64), count[:, None].astype(np.float64)
        logarithm = xlogy(k, accuracy) + xlogy(n - k, 1 - accuracy)
        return cls(accuracy, np.exp(logarithm - logarithm.max(axis=1, keepdims=True)))


def _prior(inside: Floats, outside: Floats, times: NDArray[np.int64]) -> Floats:
    """Share of the examples at each pair of accuracies, (G in, G out)."""
    weight = np.full((inside.shape[1], outside.shape[1]), 1 / (inside.shape[1] * outside.shape[1]))
    share = times / times.sum()
    for _ in range(_ROUNDS):
        marginal = ((inside @ weight) * outside).sum(axis=1)
        weight = weight * (inside.T @ ((share / marginal)[:, None] * outside))
        weight = _smoothed(_smoothed(weight).T).T
    return weight


def _smoothed(weight: Floats) -> Floats:
    """Along the first axis; what would leave at an end is reflected."""
    reach = len(_KERNEL) // 2
    padded = np.pad(weight, ((reach, reach), (0, 0)), "symmetric")
    return np.asarray(sum(part * padded[at : at + len(weight)] for at, part in enumerate(_KERNEL)))


def _summaries(inside: _Side, outside: _Side, prior: Floats, threshold: float) -> Floats:
    """Mean, low, high and probability of each outcome, (4, outcomes)."""
    difference = np.subtract.outer(inside.accuracy, outside.accuracy).ravel()
    order = np.argsort(difference, kind="stable")
    difference = difference[order]
    reached = np.searchsorted(difference, threshold - 1e-9)
    found = np.empty((4, len(inside.likelihood)))
    step = max(1, _CELLS // len(order))
    for top in range(0, found.shape[1], step):
        rows = slice(top, top + step)
        mass = prior * inside.likelihood[rows, :, None] * outside.likelihood[rows, None, :]
        mass = mass.reshape(len(mass), -1)[:, order]
        mass /= mass.sum(axis=1, keepdims=True)
        up_to = mass.cumsum(axis=1)
        found[0, rows] = mass @ difference
        for row, tail in ((1, 0.025), (2, 0.975)):
            found[row, rows] = difference[np.minimum((up_to < tail).sum(axis=1), len(order) - 1)]
        found[3, rows] = mass[:, reached:].sum(axis=1)
    return np.clip(found, -1, 1)
