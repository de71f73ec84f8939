"""The rank test: against exact distributions, all permutations, and the level of its p-values."""

from __future__ import annotations

import itertools
from math import comb
from typing import Any

import numpy as np
import pytest

from memexp.analysis.discovery import SCREEN
from memexp.analysis.levels import ranks
from memexp.analysis.products import Tile
from memexp.analysis.rank_test import RankTest
from tests.analysis.test_levels import trials_of


def all_pairs(margin: Any, mask: Any) -> tuple[Any, Any]:
    """Two-sided p-values and signs of (M, T) margins and (N, T) masks, (M, N)."""
    test = RankTest(trials_of(mask), ranks(margin))
    train, place = (places.ravel() for places in np.meshgrid(np.arange(len(mask)), np.arange(len(margin))))
    sums = test.levels.pair_sums(train, place).astype(float)
    p_values, positive = test.p_values(train, place, sums)
    return p_values.reshape(len(margin), len(mask)), positive.reshape(len(margin), len(mask))


def rank_sums(n_in: int, n_out: int) -> Any:
    """Probability of each sum of ``n_in`` of the ranks 0, 1, ..., exactly."""
    total = n_in + n_out
    ways = np.zeros((n_in + 1, n_in * total))
    ways[0, 0] = 1
    for rank in range(total):
        for k in range(min(rank + 1, n_in), 0, -1):
            ways[k, rank:] += ways[k - 1, : ways.shape[1] - rank]
    return ways[n_in] / comb(total, n_in)


@pytest.mark.parametrize(("n_in", "n_out"), [(7, 3), (5, 5), (14, 6), (35, 15), (70, 30), (90, 10)])
def test_tails_are_the_exact_ones_and_never_much_smaller(n_in: int, n_out: int) -> None:
    total = n_in + n_out
    exact = rank_sums(n_in, n_out)[::-1].cumsum()[::-1]
    mask = np.arange(total)[None] < n_in
    test = RankTest(trials_of(mask), ranks(np.arange(total, dtype=np.float16)[None]))
    worst = []
    for level in (0.1, 0.01, 1e-3, 1e-4, 1e-6, 1e-8):
        if level < 1 / comb(total, n_in):
            continue
        least = int(np.argmax(exact <= level))  # the smallest sum whose tail is at most the level
        p_value, positive = test.p_values(np.array([0]), np.array([0]), np.array([float(least)]))
        assert positive[0]
        worst.append(p_value[0] / 2 / exact[least])
        mirrored = n_in * (total - 1) - least
        below, helpful = test.p_values(np.array([0]), np.array([0]), np.array([float(mirrored)]))
        assert below[0] == pytest.approx(p_value[0])
        assert not helpful[0]
    print(n_in, n_out, np.round(worst, 3))
    assert min(worst) > 0.94
    assert worst[0] == pytest.approx(1, abs=0.02)
    assert max(worst) < 6


@pytest.mark.parametrize(
    "margin", [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 1, 1, 5, 6, 6, 9], [0, 0, 0, 0, 0, 1, 1, 1, 1]]
)
def test_p_values_are_close_to_the_share_of_all_reassignments_also_with_ties(margin: list[int]) -> None:
    rank = ranks(np.array([margin], np.float16))[0]
    sums = np.array([rank[list(chosen)].sum() for chosen in itertools.combinations(range(9), 6)])
    chosen = [list(each) for each in itertools.combinations(range(9), 6)]
    masks = np.zeros((len(chosen), 9), bool)
    for row, places in zip(masks, chosen, strict=True):
        row[places] = True
    found, positive = all_pairs(np.array([margin], np.float16), masks)
    mean = sums.mean()
    expected = np.array([(sums >= s).mean() if s > mean else (sums <= s).mean() for s in sums])
    far = expected < 0.2
    ratio = found[0][far] / 2 / expected[far]
    print(np.round(np.unique(ratio), 2))
    assert ((ratio > 0.6) & (ratio < 2.5)).all()
    assert (positive[0] == (sums > mean)).all()


def test_where_nothing_can_be_told_the_p_value_is_1() -> None:
    draws = np.random.default_rng(0)
    mask = np.array([[True] * 20, [False] * 20, [True] * 12 + [False] * 8])
    margin = np.array([np.zeros(20), draws.normal(size=20)], np.float16)
    p_values, _ = all_pairs(margin, mask)
    np.testing.assert_array_equal(p_values[:, :2], 1)
    assert p_values[0, 2] == 1
    assert p_values[1, 2] < 1
    few = RankTest(trials_of(mask[:, :3]), ranks(margin[:, :3]))
    assert (few.p_values(np.array([2]), np.array([1]), np.array([3.0]))[0] == 1).all()
    test = RankTest(trials_of(mask), ranks(margin))
    places = np.array([0, 1, 2, 2]), np.array([1, 1, 1, 0])
    np.testing.assert_array_equal(test.in_family(*places), [False, False, True, False])
    np.testing.assert_array_equal(test.family(np.arange(2), np.arange(3)), [1, 1])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["normal", "two humps", "heavy tails", "few values"])
def test_the_level_holds_whatever_the_margins_look_like(kind: str) -> None:
    """Shares of p-values of at most .01 and .001 among 600,000 pairs without influence, against the level."""
    draws = np.random.default_rng(1)
    shape = (600, 100)
    margin = {
        "normal": lambda: draws.normal(size=shape),
        "two humps": lambda: draws.normal(size=shape) + 8 * (draws.random(shape) < 0.1),
        "heavy tails": lambda: draws.standard_t(1.5, shape),
        "few values": lambda: draws.poisson(0.3, shape),
    }[kind]()
    mask = np.argsort(np.argsort(draws.random((1000, 100)), axis=1), axis=1) < 70
    p_values, _ = all_pairs(margin.astype(np.float16), mask)
    shares = {level: (p_values <= level).mean() / level for level in (0.01, 0.001)}
    print(kind, {level: round(share, 3) for level, share in shares.items()})
    assert all(share < 1.05 + 0.05 * (level < 0.01) for level, share in shares.items())
    assert kind == "few values" or shares[0.01] > 0.95


def test_a_tile_gives_the_pairs_beyond_the_screen_with_their_sums() -> None:
    draws = np.random.default_rng(2)
    mask = draws.random((30, 60)) < 0.7
    margin = (draws.normal(size=(20, 60)) + 2 * mask[:20]).astype(np.float16)
    test = RankTest(trials_of(mask), ranks(margin))
    tests, trains = np.arange(5, 20), np.arange(2, 30)
    train, place, sums = test.look_at(Tile(tests, trains), tests, trains)
    rank = ranks(margin).astype(float)
    expected = set()
    for j in tests:
        for i in trains:
            n, deviation = mask[i].sum(), rank[j].std(ddof=1)
            gap = rank[j][mask[i]].sum() - n * rank[j].mean()
            if abs(gap) >= SCREEN * deviation * np.sqrt(n * (60 - n) / 60):
                expected.add((i, j, rank[j][mask[i]].sum()))
    assert set(zip(train, place, sums, strict=True)) == expected
    assert len(expected) > 10
