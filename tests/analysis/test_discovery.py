"""False discoveries: exact p-values, their adjustment in a stream, and what a selection with both keeps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom, norm

from memexp.analysis import SHOWN_FDR, products
from memexp.analysis.discovery import SCREEN, Discoveries, Reach, Tally, _most_extreme, permutation_p_values
from memexp.analysis.pairs import Pairs, Selection
from memexp.analysis.search import select_pairs
from tests.analysis.test_estimates import brute_force, packed
from tests.conftest import ROOT


def p_value(in_correct: int, in_count: int, correct: int, n_trials: int) -> float:
    found = permutation_p_values(*(np.array([each]) for each in (in_correct, in_count, correct)), n_trials)
    return float(found[0])


def test_p_values_are_shares_of_all_reassignments_of_the_trials() -> None:
    right = [1, 1, 1, 1, 0, 0, 0, 1]
    for in_correct in range(1, 6):
        counts = [sum(right[trial] for trial in chosen) for chosen in itertools.combinations(range(8), 5)]
        above = in_correct * 8 >= 5 * sum(right)
        as_far = [count >= in_correct if above else count <= in_correct for count in counts]
        if in_correct in counts:
            assert p_value(in_correct, 5, sum(right), 8) == pytest.approx(min(1, 2 * np.mean(as_far)))


@pytest.mark.long
@given(st.integers(2, 4000), st.data())
def test_p_values_are_tails_of_the_hypergeometric_distribution(n_trials: int, data: Any) -> None:
    in_count, correct = (data.draw(st.integers(1, n_trials - 1)) for _ in range(2))
    least, most = max(0, in_count + correct - n_trials), min(in_count, correct)
    k = data.draw(st.integers(least, most))
    tails = hypergeom(n_trials, correct, in_count)
    expected = tails.sf(k - 1) if k * n_trials >= in_count * correct else tails.cdf(k)
    assert p_value(k, in_count, correct, n_trials) == pytest.approx(min(1, 2 * expected), rel=1e-6, abs=1e-300)


@pytest.mark.long
@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(0, 2**32))
def test_a_family_is_of_the_pairs_that_can_reach_a_small_p_value(n_trials: int, seed: int) -> None:
    """Against the tails of all tables of given margins."""
    draws = np.random.default_rng(seed)
    in_count, correct = draws.integers(0, n_trials + 1, 4), draws.integers(0, n_trials + 1, 5)
    most = max(hypergeom(n_trials, n, n).pmf(n) <= 1e-3 for n in in_count)
    wanted = np.zeros((2, 5, 4), bool)
    for (j, c), (i, n) in itertools.product(enumerate(correct), enumerate(in_count)):
        tails = hypergeom(n_trials, c, n)
        for sign, p in enumerate((tails.cdf(max(0, n + c - n_trials)), tails.sf(min(n, c) - 1))):
            wanted[sign, j, i] = 0 < n < n_trials and (p <= 1e-3 * (1 + 1e-9) or not most)
    reach = Reach(in_count, correct, n_trials)
    tests, trains = np.array([0, 2, 3]), np.array([1, 3])
    np.testing.assert_array_equal(reach.family(tests, trains), wanted[:, tests][:, :, trains].sum((1, 2)))
    for sign, (test, train) in itertools.product((0, 1), itertools.product(range(5), range(4))):
        holds = reach.holds(np.array([train]), np.array([test]), np.array([bool(sign)]))
        assert holds[0] == wanted[sign, test, train]


@pytest.mark.long
@given(
    st.lists(st.tuples(st.floats(1e-30, 1), st.booleans()), min_size=1, max_size=60),
    st.integers(0, 1000),
    st.integers(1, 5),
)
def test_the_stream_adjusts_like_the_whole_list_of_each_sign(
    found_pairs: list[tuple[float, bool]], others: int, parts: int
) -> None:
    """Within the width of a bin, and never too small; hypotheses that were not worth a p-value count as 1."""
    values, positive = np.array([p for p, _ in found_pairs]), np.array([sign for _, sign in found_pairs])
    stream = Discoveries()
    for part in np.array_split(np.arange(len(values)), parts):
        stream.add(Tally(np.full(2, len(part)), values[part], positive[part]))
    stream.add(Tally(np.full(2, others), np.empty(0), np.empty(0, bool)))
    found = stream.adjusted(values, positive, np.ones(len(values), bool))
    assert (stream.adjusted(values, positive, np.zeros(len(values), bool)) == 1).all()
    for sign in (True, False):
        one_sided = np.where((values < 1) & (positive == sign), values / 2, 1.0)
        whole = false_discovery_control(np.concatenate([one_sided, np.ones(others)]))[: len(values)][positive == sign]
        assert (found[positive == sign] >= whole * (1 - 1e-9)).all()
        assert (found[positive == sign] <= np.minimum(1, whole * 1.0024) + 1e-9).all()


def planted(draws: Any, effect: float, n_trials: int = 200) -> tuple[Any, Any]:
    """Masks (N, T) and outcomes (M, T); training example i < 5 moves test example i by ``effect``."""
    mask = draws.random((40, n_trials)) < 0.7
    level = np.full((30, n_trials), 0.5)
    level[:5] += effect * (mask[:5] - 0.5)
    return mask, draws.random(level.shape) < level


def select(mask: Any, right: Any, selection: Selection) -> Pairs:
    labels = np.zeros(len(right), int), np.zeros(len(mask), int)
    return select_pairs(packed(right, mask), labels, np.ones(len(mask), np.float32), selection).pairs


@pytest.mark.long
def test_noise_alone_is_seldom_discovered_and_what_was_planted_is_found() -> None:
    selection = Selection(influence=-1, fdr=0.1)
    draws = np.random.default_rng(0)
    with_any = sum(len(select(*planted(draws, 0.0), selection)) > 0 for _ in range(100))
    assert with_any <= 27  # 19 expected at most, 10 of each sign; 28 or more would happen once in 50
    found = [select(*planted(draws, 0.7), selection) for _ in range(20)]
    true = [int(((pairs.train == pairs.test) & (pairs.train < 5)).sum()) for pairs in found]
    assert np.mean(true) > 4.9
    assert sum(len(pairs) for pairs in found) - sum(true) < 0.2 * sum(true)


@pytest.mark.long
def test_the_rate_holds_for_helpful_and_for_harmful_influences_apart() -> None:
    """Five strong helpers of each test example and few weak harmers: in one list a third of the harmers were noise."""
    draws = np.random.default_rng(0)
    truth = np.zeros((60, 300))
    for test in range(60):
        truth[test, (5 * test + np.arange(5)) % 300] = 0.18
        if test % 6 == 0:
            truth[test, (5 * test + 7) % 300] = -0.3
    shares: dict[int, list[float]] = {1: [], -1: []}
    true = {1: 0, -1: 0}
    for _ in range(40):
        mask = draws.random((300, 400)) < 0.7
        right = draws.random((60, 400)) < np.clip(0.5 + truth @ (mask - 0.7), 0, 1)
        pairs = select(mask, right, Selection(influence=-1, fdr=0.1))
        for sign, rates in shares.items():
            mine = pairs.take(np.sign(pairs.influence) == sign)
            hits = int((truth[mine.test, mine.train] * sign > 0).sum())
            true[sign] += hits
            rates.append(1 - hits / len(mine) if len(mine) else 0.0)
    print({sign: (np.mean(rates), true[sign] / 40) for sign, rates in shares.items()})
    assert all(np.mean(rates) < 0.125 for rates in shares.values())  # 0.1 and twice the error of such a mean
    assert true[1] > 40 * 100
    assert true[-1] > 40 * 5


def test_of_listed_pairs_an_interval_above_0_says_little_and_the_rate_what_it_promises() -> None:
    """6,000 pairs of which 30 are true, 100 trials: what pages show, and what an interval would have let through."""
    draws = np.random.default_rng(0)
    truth = np.zeros((100, 60))
    counts = {name: np.zeros(3) for name in ("listed", "interval above 0", "discoveries")}
    covered = 0
    for _ in range(20):
        mask = np.argsort(np.argsort(draws.random((60, 100)), axis=0), axis=0) < 42
        truth[np.arange(30), np.arange(30)] = draws.uniform(0.2, 0.6, 30)
        level = np.minimum(draws.uniform(0.05, 0.98, 100), 1 - truth.sum(1))
        right = draws.random((100, 100)) < level[:, None] + truth @ mask
        pairs = select(mask, right, Selection())
        real = truth[pairs.test, pairs.train]
        holds = (pairs.influence_low <= real + 1e-6) & (real <= pairs.influence_high + 1e-6)
        listed = np.ones(len(pairs), bool), pairs.influence_low > 0, pairs.fdr <= SHOWN_FDR
        np.testing.assert_array_equal(np.isnan(pairs.influence_listed_low), ~listed[2])
        covered += ((pairs.influence_listed_low <= real) & (real <= pairs.influence_listed_high)).sum()
        for name, chosen in zip(counts, listed, strict=True):
            counts[name] += chosen.sum(), (real[chosen] == 0).sum(), holds[chosen].sum()
    shares = {name: (each[0] / 20, each[1] / each[0], each[2] / each[0]) for name, each in counts.items()}
    for name, (many, noise, held) in shares.items():
        row = f"| {many:.0f} | {100 * noise:.0f} % | {100 * held:.0f} % |"
        print(f"{name}: {row}")
        assert row in (ROOT / "docs/estimators.md").read_text("utf-8")
    assert shares["interval above 0"][1] > 0.75
    assert shares["interval above 0"][2] < 0.25
    assert shares["discoveries"][0] > 15
    assert shares["discoveries"][1] < 0.05
    assert shares["discoveries"][2] > 0.9
    print("their own intervals, that allow for having been picked:", covered / counts["discoveries"][0])
    assert covered > 0.95 * counts["discoveries"][0]


def test_intervals_of_listed_pairs_are_at_the_false_coverage_level() -> None:
    """R of m pairs are listed: the usual closed formulas at a level of 1 - .05 R / m."""
    pairs = select(*planted(np.random.default_rng(1), 0.7), Selection())
    listed = pairs.fdr <= SHOWN_FDR
    assert 3 <= listed.sum() < len(pairs)
    z = norm.isf(0.025 * listed.sum() / 1200)
    for k in np.flatnonzero(listed):
        n1, n2 = pairs.in_count[k], pairs.out_count[k]
        k1, k2 = pairs.in_correct[k], pairs.out_correct[k]
        ends = [[(2 * x + z * z + sign * z * np.sqrt(z * z + 4 * x * (1 - x / n))) / (2 * (n + z * z))
                 for sign in (-1, 1)] for x, n in ((k1, n1), (k2, n2))]  # fmt: skip
        value, (q1, q2) = k1 / n1 - k2 / n2, ((k1 + 1) / (n1 + 2), (k2 + 1) / (n2 + 2))
        half = z * np.sqrt(q1 * (1 - q1) / (n1 + 2) + q2 * (1 - q2) / (n2 + 2))
        low = value - np.hypot(k1 / n1 - ends[0][0], ends[1][1] - k2 / n2)
        high = value + np.hypot(ends[0][1] - k1 / n1, k2 / n2 - ends[1][0])
        assert pairs.influence_listed_low[k] == pytest.approx(min(low, q1 - q2 - half), abs=1e-6)
        assert pairs.influence_listed_high[k] == pytest.approx(min(1, max(high, q1 - q2 + half)), abs=1e-6)


def test_discoveries_come_by_certainty() -> None:
    pairs = select(*planted(np.random.default_rng(1), 0.7), Selection(influence=-1, most=10_000))
    sure, everything = pairs.discoveries(), pairs.discoveries(1)
    assert len(everything) == len(pairs) > len(sure) == int((pairs.fdr <= 0.05).sum()) > 0
    keys = list(zip(everything.fdr, everything.p_value, -np.abs(everything.influence), strict=True))
    assert keys == sorted(keys)


@pytest.mark.long
@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(2, 9))
def test_the_strongest_of_each_example_are_those_of_a_loop(seed: int, k: int, tile: int) -> None:
    draws = np.random.default_rng(seed)
    mask, right = planted(draws, 0.5, n_trials=30)
    influence = brute_force(mask.T, right.T).astype(np.float32)
    wanted = set()
    for matrix, flip in ((influence, False), (influence.T, True)):
        for row, values in enumerate(matrix):
            for sign in (1, -1):
                ranked = sorted((-sign * value, place) for place, value in enumerate(values) if sign * value > 0)
                wanted |= {(row, place)[:: -1 if flip else 1] for _, place in ranked[:k]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_WIDEST", tile)
        pairs = select(mask, right, Selection(influence=2, strongest=k))
    assert set(zip(pairs.test.tolist(), pairs.train.tolist(), strict=True)) == wanted
    assert not pairs.selected.any()
    np.testing.assert_array_equal(pairs.influence, influence[pairs.test, pairs.train])
    assert (np.diff(pairs.influence) <= 0).all()


def test_what_the_screen_leaves_out_makes_no_discovery_appear() -> None:
    """Rates of pairs beyond the screen are those of all p-values; of the others never smaller."""
    draws = np.random.default_rng(3)
    mask, right = planted(draws, 0.6)
    pairs = select(mask, right, Selection(influence=-1, most=10_000))
    assert len(pairs) == 1200
    far = pairs.p_value < norm.sf(SCREEN)  # half the p-value at the screen: well beyond it
    assert 5 <= far.sum() < 30
    for sign in (True, False):
        mine = (pairs.influence > 0) == sign
        whole = false_discovery_control(np.where(mine & (pairs.p_value < 1), pairs.p_value / 2, 1.0))
        np.testing.assert_allclose(pairs.fdr[far & mine], whole[far & mine], rtol=0.0024)
        assert (pairs.fdr[mine] >= whole[mine] * (1 - 1e-9)).all()


def test_the_most_extreme_table_has_its_probability_with_thousands_of_trials() -> None:
    """Numbers of ways overflow there; scipy's distribution is the second computation."""
    found = _most_extreme(1_400, 2_000)
    correct = np.array([0, 1, 700, 1_400, 1_999, 2_000])
    expected = hypergeom.pmf(np.minimum(1_400, correct), 2_000, correct, 1_400)
    np.testing.assert_allclose(found[correct], expected, rtol=1e-8)
