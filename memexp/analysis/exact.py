"""Exact intervals for the difference of two proportions where trials are few.

Closed formulas lean on the normal distribution; with 7 trials in and 3 out there are 32 possible
outcomes and no such distribution. Here the test of Miettinen and Nurminen (1985) is inverted with
its exact, unconditional p-value (Chan and Zhang 1999): the largest probability, over the unknown
common level, of an outcome at least as far from the supposed difference.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

Floats = NDArray[np.float64]

# An exact test at level .05 covers 97.4 % on average at (7, 3), because so few outcomes cannot hit a
# level. At .07 no truth is covered less than 93 %, and the average is 96 %.
LEVEL = 0.07
MOST_OUTCOMES = 500  # above, the closed formulas keep their promise, and this would be slow

_DIFFERENCES = np.linspace(-1, 1, 401)
_NUISANCE = np.linspace(0, 1, 101)


@lru_cache(maxsize=256)
def interval_table(n_in: int, n_out: int) -> tuple[Floats, Floats]:
    """Lower and upper ends for every outcome.

    Parameters
    ----------
    n_in, n_out
        Trials with and without the example, each at least 1.

    Returns
    -------
    low, high : float64, shape (n_in + 1, n_out + 1)
        Indexed by the numbers of correct trials; rounded outwards to a multiple of 0.005.
    """
    if n_in < n_out:  # which side is called "in" must not matter, not even by rounding
        low, high = interval_table(n_out, n_in)
        return -high.T, -low.T
    k_in, k_out = (k.ravel().astype(np.float64) for k in np.indices((n_in + 1, n_out + 1)))
    distances = _scores(k_in, n_in, k_out, n_out)
    rows = zip(_DIFFERENCES, distances, strict=True)
    kept = np.stack([_p_values(n_in, n_out, delta, distance) > LEVEL for delta, distance in rows])
    last = len(_DIFFERENCES) - 1
    first_kept, last_kept = kept.argmax(0), last - kept[::-1].argmax(0)
    low = _DIFFERENCES[np.maximum(first_kept - 1, 0)].reshape(n_in + 1, n_out + 1)
    high = _DIFFERENCES[np.minimum(last_kept + 1, last)].reshape(n_in + 1, n_out + 1)
    if n_in == n_out:  # the wider of an outcome's interval and its mirror image
        low, high = np.minimum(low, -high.T), np.maximum(high, -low.T)
    return low, high


def _p_values(n_in: int, n_out: int, delta: float, distance: Floats) -> Floats:
    """p-value of every outcome if the true difference is ``delta``; arrays of shape (outcomes,)."""
    lowest, highest = max(0.0, -delta), min(1.0, 1.0 - delta)
    order = np.argsort(-distance, kind="stable")
    p_out = lowest + (highest - lowest) * _NUISANCE[:, None]
    p_in = np.clip(p_out + delta, 0, 1)
    # Each side has few numbers of correct trials and the outcomes are their pairs, so logarithms are few too.
    of_in, of_out = (_binomial(np.arange(n + 1.0), n, p) for n, p in ((n_in, p_in), (n_out, p_out)))
    probability = of_in[:, order // (n_out + 1)] * of_out[:, order % (n_out + 1)]
    at_least_as_far = probability.cumsum(axis=1).max(axis=0)
    ties_end = np.searchsorted(-distance[order], -distance, side="right") - 1
    return np.asarray(at_least_as_far[ties_end])


def _scores(k_in: Floats, n_in: int, k_out: Floats, n_out: int) -> Floats:
    """Distance of each outcome from each difference in standard errors, shape (differences, outcomes).

    The standard error is that under the likeliest level that has this difference.
    """
    delta = _DIFFERENCES[:, None]
    low, high = (np.repeat(end, len(k_in), 1) for end in (np.maximum(0.0, -delta), np.minimum(1.0, 1.0 - delta)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(30):  # the likelihood is concave in the level: halve on the sign of its slope
            level = (low + high) / 2
            p_in = level + delta
            slope = k_in / p_in - (n_in - k_in) / (1 - p_in) + k_out / level - (n_out - k_out) / (1 - level)
            low, high = np.where(slope > 0, level, low), np.where(slope > 0, high, level)
    p_out, p_in = (low + high) / 2, np.clip((low + high) / 2 + delta, 0, 1)
    variance = p_in * (1 - p_in) / n_in + p_out * (1 - p_out) / n_out
    gap = np.abs(k_in / n_in - k_out / n_out - delta)
    distance: Floats = np.where(gap < 1e-12, 0.0, gap / np.sqrt(np.maximum(variance, 1e-12)))
    return distance.round(7)  # outcomes at the same distance are one step of the test


def _binomial(k: Floats, n: int, p: Floats) -> Floats:
    logarithm: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + xlogy(k, p) + xlogy(n - k, 1 - p)
    return np.exp(logarithm)
