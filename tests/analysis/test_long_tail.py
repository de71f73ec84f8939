"""The theory's exact quantities, against published values, brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from memexp.analysis.long_tail import cost_of_not_fitting, expected_frequency, multiplicity
from memexp.errors import InputError


def zipf(count: int) -> np.ndarray:
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("kinds", "n", "gamma", "opt", "cost"),
    [
        (5_000, 50_000, 0.5, 0.018, 0.015),
        (5_000, 10_000, 0.5, 0.113, 0.035),
        (25_000, 50_000, 0.5, 0.107, 0.031),
        (50_000, 50_000, 0.0, 0.15, 0.07),
    ],
)
def test_costs_are_the_published_ones(kinds: int, n: int, gamma: float, opt: float, cost: float) -> None:
    """Feldman (2020), to the printed digits, some of which are cut, not rounded; the last line is in percent."""
    found = cost_of_not_fitting(zipf(kinds), n, 10, gamma)
    unit = 0.01 if gamma == 0 else 0.001
    assert abs(found.opt - opt) < unit
    assert abs(found.cost - cost) < unit


def test_the_weight_of_singletons_is_the_published_one() -> None:
    found = cost_of_not_fitting(zipf(50_000), 50_000, 10)
    assert round(found.tau1 * 50_000, 2) == 0.47
    assert round(found.singletons / 50_000, 2) == 0.17
    assert round(zipf(50_000)[-1] * 50_000, 2) == 0.09


def test_a_tabular_learner_that_fits_no_singleton_meets_the_bound() -> None:
    """Draw data sets of the model; labels uniform. The learner knows what it saw twice or more, and guesses else."""
    p, n, classes, random = zipf(500), 400, 4, np.random.default_rng(0)
    excess = []
    for _ in range(3000):
        counts = np.bincount(random.choice(500, n, p=p), minlength=500)
        guess = 1 - 1 / classes
        error = guess * p[counts <= 1].sum()
        excess.append(error - guess * p[counts == 0].sum())
    found, se = np.mean(excess), np.std(excess) / np.sqrt(len(excess))
    assert abs(found - cost_of_not_fitting(p, n, classes).cost) < 3 * se
    assert se < 0.01 * found


def test_multiplicities_and_frequencies_are_those_of_counting() -> None:
    p, n, random = np.array([0.5, 0.3, 0.15, 0.05]), 6, np.random.default_rng(1)
    counts = random.multinomial(n, p, size=200_000)
    for times in range(4):
        assert multiplicity(p, n, times) == pytest.approx((counts == times).sum(axis=1).mean(), rel=0.02)
        seen = (counts == times) * p
        assert expected_frequency(p, n, times) == pytest.approx(seen.sum() / (counts == times).sum(), rel=0.02)


def test_what_no_subpopulation_can_be_is_nan_not_zero() -> None:
    assert np.isnan(expected_frequency(np.array([1.0]), 5, 1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.5, 0.4], 10, 2), "sum 0.9"),
        (([[0.5, 0.5]], 10, 2), r"shape \(1, 2\)"),
        (([0.5, 0.5], 0, 2), "n = 0"),
        (([0.5, 0.5], 5, 1), "classes = 1"),
        (([0.5, 0.5], 5, 2, 0.6), "gamma = 0.6"),
        (([1.5, -0.5], 5, 2), "shares from 0 to 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        cost_of_not_fitting(*arguments)
