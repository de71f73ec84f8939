"""Differences of two proportions: estimate, standard error, and intervals honest at 0 and 1.

Memorization and influence are both P(correct | in) - P(correct | out), estimated from k_in of n_in
and k_out of n_out correct trials.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memexp.analysis.exact import MOST_OUTCOMES, interval_table

Z95 = 1.959963984540054

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """p_in - p_out with its uncertainty; all of one shape, NaN where a side has no trial."""

    value: Floats
    se: Floats
    low: Floats
    high: Floats


def difference(k_in: ArrayLike, n_in: ArrayLike, k_out: ArrayLike, n_out: ArrayLike) -> Difference:
    """Difference of proportions k_in/n_in - k_out/n_out.

    Parameters
    ----------
    k_in, n_in, k_out, n_out
        Integer counts that broadcast together.

    Returns
    -------
    difference
        ``se`` is the Agresti-Caffo standard error (one success and one failure added on each side),
        which is not 0 at proportions of 0 or 1. ``low`` and ``high`` bound a 95% interval: with few
        trials an exact one from a table (:mod:`memexp.analysis.exact`), otherwise the union of
        Newcombe's hybrid score interval (1998, method 10) and Agresti and Caffo's (2000). Each of
        the two falls short near other corners; tests/analysis/test_intervals.py computes the exact coverage
        of all of them, and of Wald's.
    """
    k1, n1, k2, n2 = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (k_in, n_in, k_out, n_out)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = k1 / n1 - k2 / n2
    se = np.sqrt(added_variance(k1, n1) + added_variance(k2, n2))
    low, high = closed_bounds(k1, n1, k2, n2)
    defined = (n1 > 0) & (n2 > 0)
    few = defined & ((n1 + 1) * (n2 + 1) <= MOST_OUTCOMES)
    if few.any():
        low, high = np.where(few, np.nan, low), np.where(few, np.nan, high)
        low[few], high[few] = _from_tables(k1[few], n1[few], k2[few], n2[few])
    return Difference(*(np.where(defined, a, np.nan) for a in (value, se, low, high)))


def added_variance(k: ArrayLike, n: ArrayLike) -> Floats:
    """Variance of a proportion k/n after one success and one failure are added (Agresti and Caffo 2000): never 0."""
    trials = np.asarray(n, np.float64) + 2
    share = (np.asarray(k, np.float64) + 1) / trials
    return np.asarray(share * (1 - share) / trials)


def closed_bounds(k1: Floats, n1: Floats, k2: Floats, n2: Floats, z: float = Z95) -> tuple[Floats, Floats]:
    """Ends of the union of Newcombe's and Agresti and Caffo's intervals, ``z`` standard errors wide to either side.

    NaN where a side has no trial.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p1, p2 = k1 / n1, k2 / n2
        q1, q2 = (k1 + 1) / (n1 + 2), (k2 + 1) / (n2 + 2)
        se = np.sqrt(added_variance(k1, n1) + added_variance(k2, n2))
        (low1, high1), (low2, high2) = _wilson_bounds(p1, n1, z), _wilson_bounds(p2, n2, z)
        low = p1 - p2 - np.hypot(p1 - low1, high2 - p2)
        high = p1 - p2 + np.hypot(high1 - p1, p2 - low2)
        low = np.maximum(np.minimum(low, q1 - q2 - z * se), -1.0)
        high = np.minimum(np.maximum(high, q1 - q2 + z * se), 1.0)
    return low, high


def _from_tables(k1: Floats, n1: Floats, k2: Floats, n2: Floats) -> tuple[Floats, Floats]:
    """Exact intervals, one table for each pair of trial numbers; all of shape (few,)."""
    low, high = np.empty(k1.shape), np.empty(k1.shape)
    sizes, which = np.unique(np.stack([n1, n2]).astype(np.int64), axis=1, return_inverse=True)
    for number, (n_in, n_out) in enumerate(sizes.T.tolist()):
        here = which == number
        outcome = k1[here].astype(np.int64), k2[here].astype(np.int64)
        lows, highs = interval_table(n_in, n_out)
        low[here], high[here] = lows[outcome], highs[outcome]
    return low, high


def wilson(k: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Proportion k/n with Wilson's 95% interval (1927): share, low, high; NaN where n is 0."""
    successes, trials = (np.asarray(each, np.float64) for each in (k, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = successes / trials
        low, high = _wilson_bounds(share, trials)
        return share, np.where(share == 0, 0.0, low), np.where(share == 1, 1.0, high)  # not nearly so, by rounding


def _wilson_bounds(p: Floats, n: Floats, z: float = Z95) -> tuple[Floats, Floats]:
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def clustered_error(values: Floats, group: NDArray[np.int64]) -> tuple[float, int]:
    """Standard error of a mean, and the number of groups, which are the independent units; NaN with a single one.

    Parameters
    ----------
    values, group : shape (T,)
        What the mean is of, and the group of each.
    """
    names, place = np.unique(group, return_inverse=True)
    n_groups = len(names)
    if n_groups < 2:
        return np.nan, n_groups
    off = np.bincount(place, values - values.mean())
    return float(np.sqrt(n_groups / (n_groups - 1) * (off**2).sum()) / len(values)), n_groups
