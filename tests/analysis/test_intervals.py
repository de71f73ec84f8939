"""Coverage of the 95 % intervals, computed exactly by adding up binomial probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from memexp.analysis.exact import LEVEL
from memexp.analysis.intervals import Z95, difference
from memexp.spec.designs import draw_masks
from memexp.spec.spec import Subsets
from tests.conftest import ROOT

GRID = np.array([0, 0.002, 0.01, *np.linspace(0.05, 0.95, 19), 0.99, 0.998, 1])
Interval = Callable[..., tuple[Any, Any]]


def ours(k1: Any, n1: int, k2: Any, n2: int) -> tuple[Any, Any]:
    found = difference(k1, n1, k2, n2)
    return found.low, found.high


def wald(k1: Any, n1: int, k2: Any, n2: int) -> tuple[Any, Any]:
    p1, p2 = k1 / n1, k2 / n2
    half = Z95 * np.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    return p1 - p2 - half, p1 - p2 + half


def coverage(interval: Interval, n_in: int, n_out: int, p_in: Any, p_out: Any) -> np.ndarray[Any, Any]:
    """Probability that the interval holds the truth, for every pair of true accuracies, shape (p_in, p_out)."""
    k_in, k_out = np.arange(n_in + 1), np.arange(n_out + 1)
    low, high = interval(k_in[:, None], n_in, k_out[None], n_out)
    of_in, of_out = (binom.pmf(k[None], n, p[:, None]) for k, n, p in ((k_in, n_in, p_in), (k_out, n_out, p_out)))
    result = np.empty((len(p_in), len(p_out)))
    for a, b in np.ndindex(result.shape):
        truth = p_in[a] - p_out[b]
        rows, columns = of_in[a] > 1e-12, of_out[b] > 1e-12
        ends = low[np.ix_(rows, columns)], high[np.ix_(rows, columns)]
        holds = (ends[0] <= truth + 1e-9) & (truth <= ends[1] + 1e-9)
        result[a, b] = of_in[a][rows] @ holds @ of_out[b][columns]
    return result


EDGE, FINE = np.array([0, 0.0005, 0.01, 0.99, 0.9995, 1]), np.linspace(0, 1, 1001)
LEAST = {  # per cent, by ratio and trials; on grids as fine, wherever they lie, no less was found
    (0.7, 10): 93.1, (0.7, 30): 93.1, (0.7, 100): 93.5, (0.7, 1000): 94.4, (0.9, 30): 93.1, (0.9, 100): 91.9,
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("ratio", "trials"), LEAST)
def test_intervals_are_honest_everywhere_and_walds_is_not(ratio: float, trials: int) -> None:
    """Over all true accuracies, the worst of which lie where one of the two is nearly 0 or 1; as the pages say."""
    n_out = round((1 - ratio) * trials)
    sizes = trials - n_out, n_out
    even = np.linspace(0, 1, 101 if trials < 1000 else 31)
    mine = coverage(ours, *sizes, even, even)
    fine = FINE if trials < 1000 else FINE[::2]  # the worst for 1,000 trials is broad
    least = min(mine.min(), *(coverage(ours, *sizes, *axes).min() for axes in ((EDGE, fine), (fine, EDGE))))
    corners = GRID[[0, 1, 2, 3, 8, 13, -4, -3, -2, -1]]
    naive = coverage(wald, *sizes, corners, corners).min()
    row = f"| {trials:,} | {100 * mine.mean():.1f} % | {100 * least:.1f} % | {100 * naive:.1f} % |"
    print(f"ratio {ratio}: {row}")
    assert 100 * least == pytest.approx(LEAST[ratio, trials], abs=0.06)
    assert coverage(ours, *sizes, EDGE[[0, -1]], EDGE[[0, -1]])[[0, 1], [0, 1]].min() > 0.999, "wider than need be"
    assert naive < 0.85
    if ratio == 0.7:
        assert 0.94 <= mine.mean() <= 0.97
        assert row in (ROOT / "docs/estimators.md").read_text("utf-8")


def test_the_least_coverage_is_said_where_it_is_claimed() -> None:
    for page in ("README.md", "docs/estimators.md"):
        text = (ROOT / page).read_text("utf-8")
        for number in (LEAST[0.7, 10], LEAST[0.9, 100]):
            assert f"{number} %" in text, page
    assert f"level of {LEVEL:g}" in (ROOT / "docs/estimators.md").read_text("utf-8")


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (5, 5), (9, 1), (8, 2), (3, 7), (14, 6), (27, 3), (30, 15)])
def test_other_splits_of_few_trials_are_as_honest(n_in: int, n_out: int) -> None:
    assert coverage(ours, n_in, n_out, GRID, GRID).min() >= 0.92


def test_no_trial_agreeing_does_not_make_us_certain() -> None:
    sure = difference(70, 70, 0, 30)
    assert sure.value == 1
    assert sure.se > 0.01
    assert sure.low < 0.95
    assert sure.high == 1
    none = difference(0, 70, 0, 30)
    assert none.low < -0.05 < 0.05 < none.high


@pytest.mark.long
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


def test_examples_picked_for_their_estimate_are_covered_less() -> None:
    """Nine of ten examples need nobody to see them, the others are learnt by heart in part; right whenever in."""
    levels, shares = np.array([0.95, 0.9, 0.5, 0.1]), np.array([0.9, 0.06, 0.02, 0.02])
    for trials in (30, 100, 1000):
        n_out = round(0.3 * trials)
        k_out = np.arange(n_out + 1)
        found = difference(trials - n_out, trials - n_out, k_out, n_out)
        weight = shares[:, None] * binom.pmf(k_out, n_out, levels[:, None])
        truth = 1 - levels[:, None]
        holds = (found.low <= truth + 1e-9) & (truth <= found.high + 1e-9)
        picked = weight * (found.value >= 0.25)
        rate, of_picked = (weight * holds).sum(), (picked * holds).sum() / picked.sum()
        print(f"{trials} trials: all {rate:.4f}, estimated at 0.25 or more {of_picked:.4f}")
        assert rate > 0.94
        assert (of_picked < 0.8) == (trials == 30)


def test_trials_of_a_balanced_group_are_not_independent() -> None:
    """An example that is right when out only where its twin is in: its accuracy varies less than binomially."""
    spread = {}
    for design in ("balanced", "uniform"):
        subsets = Subsets(design=design, ratio=0.7, trials=100)
        accuracies = []
        for seed in range(6):
            mask = draw_masks(subsets.model_copy(update={"seed": seed}), 400, range(100)).astype(bool)
            accuracies += [mask[~mask[:, i], i + 1].mean() for i in range(0, 400, 2)]
        spread[design] = np.std(accuracies) / np.sqrt(0.21 / 30)
    print(f"deviation as a share of the binomial one: {spread}")
    assert 0.84 < spread["balanced"] < 0.94  # sqrt(7 / 9), of the hypergeometric distribution, is 0.88
    assert 0.95 < spread["uniform"] < 1.1
