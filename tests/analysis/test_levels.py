"""Influence of probabilities: equal to a loop bit for bit, whatever the tiles and products; what rounding costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import rankdata

from memexp.analysis import levels as levels_module
from memexp.analysis import products
from memexp.analysis.levels import STEPS, Levels, probabilities, ranks
from memexp.analysis.products import Tile, Trials


def margins(draws: Any, n_test: int, n_trials: int) -> Any:
    return (draws.normal(0, 6, (n_test, 1)) + draws.normal(0, 2, (n_test, n_trials))).astype(np.float16)


def trials_of(mask: Any) -> Trials:
    """bool (N, T) -> Trials without outcomes of tests."""
    return Trials(np.zeros((1, -(-mask.shape[1] // 8)), np.uint8), np.packbits(mask, axis=1), mask.shape[1])


def test_probabilities_are_sigmoids_in_steps() -> None:
    margin = np.array([[0, 1.5, -1.5, 4, -4, 20, -20, 65504, -65504, np.inf, -np.inf]], np.float16)
    expected = np.rint(STEPS * expit(margin.astype(np.float64)))
    np.testing.assert_array_equal(probabilities(margin), expected)
    assert probabilities(margin)[0, 0] in (STEPS // 2, STEPS // 2 + 1)
    assert probabilities(margin).max() == STEPS


@settings(max_examples=25)
@given(
    n_trials=st.integers(1, 50), n_train=st.integers(1, 20), n_test=st.integers(1, 9), tile=st.integers(2, 7),
    kind=st.sampled_from(["int8", "float32"]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_soft_influence_equals_a_loop_bit_for_bit(
    n_trials: int, n_train: int, n_test: int, tile: int, kind: str, seed: int
) -> None:
    draws = np.random.default_rng(seed)
    mask = draws.random((n_train, n_trials)) < draws.choice([0.05, 0.5, 0.95], n_train)[:, None]
    values = probabilities(margins(draws, n_test, n_trials))
    expected = np.full((n_test, n_train), np.nan)
    error = np.full((n_test, n_train), np.nan)
    for j in range(n_test):
        for i in range(n_train):
            inside, outside = values[j][mask[i]].astype(int), values[j][~mask[i]].astype(int)
            n, m = len(inside), len(outside)
            if n and m:  # one quotient of integers, so that nothing is rounded before
                expected[j, i] = (inside.sum() * m - outside.sum() * n) / (n * m * STEPS)
                assert expected[j, i] == pytest.approx((inside.mean() - outside.mean()) / STEPS, abs=1e-12)
            if n > 1 and m > 1:
                error[j, i] = np.sqrt(inside.var(ddof=1) / n + outside.var(ddof=1) / m) / STEPS
    trials = trials_of(mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_HEIGHT", tile)
        patch.setattr(products, "fastest_kind", lambda: kind)
        patch.setattr(levels_module, "_BAND", tile)
        levels = Levels(trials, values, unit=STEPS)
        whole = np.full((n_test, n_train), np.nan, np.float32)
        for top in range(0, n_test, tile + 1):
            tests = np.arange(top, min(top + tile + 1, n_test))
            for left in range(0, n_train, tile):
                whole[top : top + tile + 1, left : left + tile] = levels.difference(
                    Tile(tests, slice(left, min(left + tile, n_train)))
                )
        train, test = (places.ravel() for places in np.meshgrid(np.arange(n_train), np.arange(n_test)))
        of_pairs, se = levels.pair_difference(train, test)
        sums = np.concatenate([part for _, part in levels.sums(Tile(slice(0, n_test), slice(0, n_train)))])
    np.testing.assert_array_equal(whole, expected.astype(np.float32))
    np.testing.assert_array_equal(of_pairs.astype(np.float32).reshape(whole.shape), whole)
    np.testing.assert_allclose(se.reshape(whole.shape), error, atol=1e-9)
    np.testing.assert_array_equal(sums, values.astype(np.int64) @ mask.T)


def test_rounding_to_steps_costs_far_less_than_the_standard_error() -> None:
    """Against probabilities that are not rounded; the margins differ between trials as those of trained models do."""
    draws = np.random.default_rng(0)
    mask = draws.random((40, 4000)) < 0.7
    margin = margins(draws, 60, 4000)
    exact = expit(margin.astype(np.float64))
    n = mask.sum(1)
    inside = exact @ mask.T
    expected = inside / n - (exact.sum(1, keepdims=True) - inside) / (4000 - n)
    levels = Levels(trials_of(mask), probabilities(margin), unit=STEPS)
    tests, trains = (np.arange(k) for k in (60, 40))
    found = levels.difference(Tile(tests, trains))
    train, test = (places.ravel() for places in np.meshgrid(trains, tests))
    _, error = levels.pair_difference(train, test)
    error = error.reshape(found.shape)
    rounded = np.abs(found - expected)
    print(f"largest rounding {rounded.max():.1e}; median share of the error {np.median(rounded / error):.1e}")
    assert rounded.max() < 5e-6
    usual = error > 1e-4
    assert usual.mean() > 0.8
    assert (rounded / error)[usual].max() < 0.01


@settings(max_examples=20)
@given(n_trials=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_ranks_are_those_of_scipy_in_at_most_128_steps(n_trials: int, seed: int) -> None:
    margin = np.round(margins(np.random.default_rng(seed), 3, n_trials), 1)
    expected = np.array([rankdata(row.astype(np.float64)) - 1 for row in margin])
    scale = 1 if n_trials <= 128 else 127 / (n_trials - 1)
    np.testing.assert_array_equal(ranks(margin), np.rint(expected * scale))
    assert ranks(margin).max() <= 127
