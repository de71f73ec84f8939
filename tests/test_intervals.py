"""Coverage of the 95 % intervals, computed exactly by adding up binomial probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from memexp.analysis.intervals import Z95, difference

GRID = np.array([0, 0.002, 0.01, *np.linspace(0.05, 0.95, 19), 0.99, 0.998, 1])
Interval = Callable[..., tuple[Any, Any]]


def ours(k1: Any, n1: int, k2: Any, n2: int) -> tuple[Any, Any]:
    found = difference(k1, n1, k2, n2)
    return found.low, found.high


def wald(k1: Any, n1: int, k2: Any, n2: int) -> tuple[Any, Any]:
    p1, p2 = k1 / n1, k2 / n2
    half = Z95 * np.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    return p1 - p2 - half, p1 - p2 + half


def coverage(interval: Interval, n_in: int, n_out: int, grid: Any) -> np.ndarray[Any, Any]:
    """Probability that the interval holds the truth, for every pair of true accuracies of the grid."""
    k_in, k_out = np.arange(n_in + 1), np.arange(n_out + 1)
    low, high = interval(k_in[:, None], n_in, k_out[None], n_out)
    p_in, p_out = binom.pmf(k_in[None], n_in, grid[:, None]), binom.pmf(k_out[None], n_out, grid[:, None])
    result = np.empty((len(grid), len(grid)))
    for a, b in np.ndindex(result.shape):
        truth = grid[a] - grid[b]
        holds = (low <= truth + 1e-9) & (truth <= high + 1e-9)
        result[a, b] = p_in[a] @ holds.astype(float) @ p_out[b]
    return result


@pytest.mark.parametrize("trials", [10, 30, 100, 1000])
def test_intervals_are_honest_everywhere_and_walds_is_not(trials: int) -> None:
    """The goal: on average 94 % to 97 % over all true accuracies, nowhere below 92 %, 0 and 1 included."""
    n_out = round(0.3 * trials)
    even = np.linspace(0, 1, 41 if trials < 1000 else 15)
    mine = coverage(ours, trials - n_out, n_out, even)
    corners = GRID[[0, 1, 2, 3, 8, 13, -4, -3, -2, -1]]
    near, naive = (coverage(interval, trials - n_out, n_out, corners) for interval in (ours, wald))
    print(f"{trials} trials: mean {mine.mean():.4f}, least {min(mine.min(), near.min()):.4f}, Wald {naive.min():.4f}")
    assert 0.94 <= mine.mean() <= 0.97
    assert min(mine.min(), near.min()) >= 0.92
    assert naive.min() < 0.85


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (5, 5), (9, 1), (8, 2), (3, 7), (14, 6), (27, 3), (30, 15)])
def test_other_splits_of_few_trials_are_as_honest(n_in: int, n_out: int) -> None:
    assert coverage(ours, n_in, n_out, GRID).min() >= 0.92


def test_no_trial_agreeing_does_not_make_us_certain() -> None:
    sure = difference(70, 70, 0, 30)
    assert sure.value == 1
    assert sure.se > 0.01
    assert sure.low < 0.95
    assert sure.high == 1
    none = difference(0, 70, 0, 30)
    assert none.low < -0.05 < 0.05 < none.high


def test_intervals_are_symmetric_and_hold_the_estimate() -> None:
    draws = np.random.default_rng(0)
    n1, n2 = draws.choice([1, 3, 7, 40, 200], (2, 1000))
    k1, k2 = draws.integers(0, n1 + 1), draws.integers(0, n2 + 1)
    a, b = difference(k1, n1, k2, n2), difference(k2, n2, k1, n1)
    np.testing.assert_allclose(a.low, -b.high)
    np.testing.assert_allclose(a.se, b.se)
    assert ((a.low <= a.value) & (a.value <= a.high)).all()
    assert a.low.min() >= -1
    assert a.high.max() <= 1
