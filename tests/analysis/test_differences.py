"""Differences of two runs example by example: right numbers, and no discoveries where runs differ in nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from memexp.analysis.counts import Counts
from memexp.analysis.differences import differences


def drawn(random: np.random.Generator, inside: np.ndarray, outside: np.ndarray, trials: int) -> Counts:
    n_in = np.full(len(inside), round(0.7 * trials))
    n_out = trials - n_in
    return Counts(random.binomial(n_in, inside), n_in, random.binomial(n_out, outside), n_out)


def test_a_difference_by_hand() -> None:
    first = Counts(*(np.array([n, 0]) for n in (69, 70, 12, 30)))
    second = Counts(*(np.array([n, 3]) for n in (40, 40, 15, 20)))
    found = differences(first, second)
    shares = [(69.5 / 71, 71), (12.5 / 31, 31), (40.5 / 41, 41), (15.5 / 21, 21)]
    parts = [p * (1 - p) / n for p, n in shares]
    centre = shares[0][0] - shares[1][0] - shares[2][0] + shares[3][0]
    se = sum(parts) ** 0.5
    freedom = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, (_, n) in zip(parts, shares, strict=True))
    assert found.value[0] == pytest.approx(69 / 70 - 12 / 30 - 1 + 15 / 20)
    assert found.se[0] == pytest.approx(se)
    assert found.low[0] == pytest.approx(centre - student.ppf(0.975, freedom) * se)
    assert found.p_value[0] == pytest.approx(2 * student.sf(centre / se, freedom)) == found.fdr[0]
    for values in (found.value, found.se, found.low, found.p_value, found.fdr):
        assert np.isnan(values[1]), "an example that was never in and never out"
    assert found.by_certainty(1.0).tolist() == [0]


@pytest.mark.parametrize("trials", [40, 200])
def test_runs_that_differ_in_nothing_show_nothing(trials: int) -> None:
    """Of 60,000 examples as memorized as in practice, and as hard as can be, the test errs as often as it says."""
    random = np.random.default_rng(0)
    inside = np.maximum(random.random(60_000), random.random(60_000))
    for outside in (inside * random.random(60_000), np.full(60_000, 0.5)):
        found = differences(*(drawn(random, inside, outside, trials) for _ in range(2)))
        for level, most in ((0.05, 0.06), (0.01, 0.012), (0.001, 0.0016)):
            assert (found.p_value < level).mean() < most
        assert ((found.low <= 0) & (found.high >= 0)).mean() > 0.945
        assert len(found.by_certainty(0.05)) <= 3


def test_examples_that_differ_are_found_with_few_others() -> None:
    random = np.random.default_rng(1)
    inside, outside = np.ones(5000), random.random(5000)
    other = outside.copy()
    other[:300] = np.where(outside[:300] < 0.5, outside[:300] + 0.5, outside[:300] - 0.5)
    found = differences(drawn(random, inside, outside, 300), drawn(random, inside, other, 300)).by_certainty(0.05)
    assert (found < 300).sum() > 250
    assert (found >= 300).mean() < 0.08
