"""Attacks against ten-line references of the published code, silent targets, planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from memexp.analysis import attack as attacks
from memexp.analysis.attack import attack
from memexp.analysis.partners import Partners, count_trials_of
from memexp.analysis.privacy import GUESSED, audit, epsilon_bound
from memexp.analysis.roc import Roc, mean
from memexp.analysis.shadows import Shadows, separation
from memexp.analysis.trial_table import TrialTable, groups
from memexp.errors import InputError
from memexp.spec.designs import draw_masks
from memexp.spec.subsets import Subsets
from tests.analysis.in_memory import table_of_arrays

Arrays = dict[str, NDArray[np.float64]]


def shadow_table(
    design: str = "balanced", ratio: float = 0.5, n_trials: int = 32, n_train: int = 300, seed: int = 0
) -> tuple[Arrays, NDArray[np.int64]]:
    """Margins of a world in which some examples are memorized: (arrays, group of each trial)."""
    random = np.random.default_rng(seed)
    subsets = Subsets(design=design, ratio=ratio, trials=n_trials, seed=seed)
    mask = draw_masks(subsets, n_train, range(n_trials)).T
    hard, gain = random.normal(2, 2, (n_train, 1)), random.exponential(1, (n_train, 1))
    margin = hard + gain * mask + random.normal(0, 1.5, mask.shape)
    test = random.normal(2, 2, (200, 1)) + random.normal(0, 1.5, (200, n_trials))
    number = np.arange(n_trials)
    truth = {"truth": (hard + gain / 2)[:, 0]}
    arrays = {"mask": mask, "train_margin": margin.astype(np.float16), "test_margin": test.astype(np.float16)}
    return arrays | truth, groups(subsets, np.zeros_like(number), number)


def table(**options: object) -> TrialTable:
    return table_of_arrays(*shadow_table(**options))  # type: ignore[arg-type]


def scores_of(found: TrialTable, target: int) -> dict[str, NDArray[np.float64]]:
    partners = Partners(found, count_trials_of(found))
    return attacks._Batch(found, np.array([target]), partners, lambda _: None).scores(0)


@pytest.mark.parametrize(("ratio", "n_trials"), [(0.5, 16), (0.5, 34), (0.7, 40)])
def test_lira_is_the_published_function(ratio: float, n_trials: int) -> None:
    """`generate_ours` and `compute_score_lira(fix_variance=True)`, on the trials of other groups."""
    arrays, group = shadow_table(ratio=ratio, n_trials=n_trials)
    mask, margin = arrays["mask"], arrays["train_margin"].astype(np.float64)
    size = 2 if ratio == 0.5 else 10
    for target in (0, 5, n_trials - 1):
        other = np.arange(n_trials) // size != target // size
        dat = [[row[other & side] for row, side in zip(margin, sides, strict=True)] for sides in (mask, ~mask)]
        lengths = {len(each) for side in dat for each in side}
        assert len(lengths) <= 2, "lists of equal length on each side"
        density, fixed = [], []
        for side in dat:
            center, deviation = np.median(side, axis=1), np.std(side, axis=1)
            density.append(norm.logpdf(margin[:, target], center, deviation + 1e-30))
            fixed.append(norm.logpdf(margin[:, target], center, np.std(np.array(side) - center[:, None]) + 1e-30))
        found = scores_of(table_of_arrays(arrays, group), target)
        np.testing.assert_allclose(found["lira"], density[0] - density[1], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found["lira_fixed"], fixed[0] - fixed[1], rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(found["loss"], margin[:, target])
        center, residuals = np.median(dat[1], axis=1), np.array(dat[1]) - np.median(dat[1], axis=1)[:, None]
        offline = -norm.logsf(margin[:, target], center, np.std(residuals))
        apart = offline < 30  # where neighbours differ by more than rounding
        np.testing.assert_array_equal(np.argsort(offline[apart]), np.argsort(found["lira_offline"][apart]))


def test_rmia_is_the_share_of_the_test_set_with_a_smaller_ratio() -> None:
    arrays, group = shadow_table(n_trials=24)
    mask, share, z = (
        arrays["mask"],
        expit(arrays["train_margin"].astype(float)),
        expit(arrays["test_margin"].astype(float)),
    )
    for target in (3, 20):
        other = np.arange(24) // 2 != target // 2
        p_out, p_in = (np.array([row[other & side].mean() for row, side in zip(share, sides, strict=True)])
                       for sides in (~mask, mask))  # fmt: skip
        ratio_z = z[:, target] / z[:, other].mean(axis=1)
        a = attacks.OFFLINE
        found = scores_of(table_of_arrays(arrays, group), target)
        for name, p in (("rmia", (p_in + p_out) / 2), ("rmia_offline", (1 + a) / 2 * p_out + (1 - a) / 2)):
            expected = np.mean((share[:, target] / p)[:, None] / ratio_z > 1, axis=1)
            np.testing.assert_allclose(found[name], expected, atol=1 / 200 + 1e-12)  # a tie may fall either way
            assert np.mean(np.abs(found[name] - expected) > 1e-12) < 0.02


@pytest.mark.long
@pytest.mark.parametrize(("design", "ratio"), [("balanced", 0.5), ("balanced", 0.75), ("uniform", 0.5), ("even", 0.5)])
def test_a_target_that_says_nothing_is_not_told_apart(design: str, ratio: float) -> None:
    """It says what every trial says on average: only a leak of the others' counts could give it away."""
    n_trials = 24 if design == "uniform" else 16
    aucs: dict[str, list[float]] = {name: [] for name in attacks.METHODS}
    for seed in range(3):
        arrays, group = shadow_table(
            "balanced" if design == "even" else design, ratio, n_trials, n_train=3000, seed=seed
        )
        for target in range(0, n_trials, 2):
            silent = arrays["train_margin"].copy()
            silent[:, target] = arrays["truth"]
            told = None if design == "even" else group  # what an import knows: each example is in as many trials
            found = scores_of(table_of_arrays(arrays | {"train_margin": silent}, told), target)
            for name in aucs:
                aucs[name].append(roc_auc_score(arrays["mask"][:, target], found[name]))
    for name, values in aucs.items():
        assert np.mean(values) == pytest.approx(0.5, abs=0.005), name


def test_a_group_that_stays_gives_the_target_away() -> None:
    """The control of the test above: with the target alone left out, a silent one has an AUC below 1/2."""
    arrays, _ = shadow_table(n_trials=16, n_train=4000)
    found = []
    for target in range(16):
        silent = arrays["train_margin"].copy()
        silent[:, target] = arrays["truth"]
        alone = table_of_arrays(arrays | {"train_margin": silent})
        partners = Partners(alone, np.array([1, 2]))
        scores = attacks._Batch(alone, np.array([target]), partners, lambda _: None).scores(0)["lira_fixed"]
        found.append(roc_auc_score(arrays["mask"][:, target], scores))
    assert np.mean(found) < 0.48


@pytest.mark.long
def test_the_attack_counts_what_scikit_learn_counts() -> None:
    found, whole = attack(table()), table()
    expected = {name: [] for name in found.methods}  # type: ignore[var-annotated]
    for target in range(32):
        member = whole.read("mask", slice(None))[:, target]
        for name, scores in scores_of(whole, target).items():
            expected[name].append(roc_auc_score(member, scores))
    for name, curve in found.methods.items():
        np.testing.assert_allclose(curve.aucs, expected[name], atol=1e-12)
        assert curve.auc.low < curve.auc.value < curve.auc.high
        assert (np.diff(curve.roc) >= -1e-12).all()
        assert curve.roc[-1] == 1
    assert found.methods["lira"].auc.value > found.methods["loss"].auc.value + 0.03
    assert (found.n_targets, found.n_trials, found.left_out, found.audit) == (32, 32, 2, None)
    risk, gain = found.risk, np.random.default_rng(0)
    gain.normal(2, 2, (300, 1))
    assert np.corrcoef(risk.separation, gain.exponential(1, 300))[0, 1] > 0.7
    assert (risk.targets == 16).all()
    assert 0 < risk.detected.mean() < 0.5


def test_batches_of_targets_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attack(table(n_trials=16))
    monkeypatch.setattr(attacks, "_NUMBERS", 1)
    monkeypatch.setattr("memexp.analysis.trial_table._VALUES", 1000)
    parts = attack(table(n_trials=16))
    for name, curve in whole.methods.items():
        np.testing.assert_allclose(parts.methods[name].aucs, curve.aucs, atol=1e-9)
    np.testing.assert_allclose(parts.risk.separation, whole.risk.separation)


def test_few_targets_are_of_different_groups() -> None:
    assert attacks._targets(table(), 16).tolist() == list(range(0, 32, 2))
    assert attacks._targets(table(), None).tolist() == list(range(32))
    with pytest.raises(InputError, match=r"--targets 33: there are 32 trials; give that or fewer"):
        attack(table(), 33)
    with pytest.raises(InputError, match=r"2 trials are too few.*its whole group of 2 is left out"):
        attack(table(n_trials=2))


def test_medians_and_deviations_are_those_of_what_is_left() -> None:
    random = np.random.default_rng(1)
    values, mask = random.integers(-3, 4, (50, 13)).astype(np.float16), random.random((50, 13)) < 0.4
    for left in ([], [4], [0, 5, 12], list(range(11))):
        stay = np.isin(np.arange(13), left, invert=True)
        for side, found in zip((mask, ~mask), Shadows(values, mask).without(np.array(left, np.intp)), strict=True):
            for row in range(50):
                kept = values[row, side[row] & stay].astype(float)
                assert found.number[row] == len(kept)
                if not len(kept):
                    assert np.isnan([found.median[row], found.deviation[row]]).all()
                    continue
                assert found.median[row] == np.median(kept)
                assert found.deviation[row] == pytest.approx(np.std(kept), abs=1e-12)
                assert found.square[row] == pytest.approx(np.sum((kept - np.median(kept)) ** 2), abs=1e-9)


def test_separation_is_the_area_under_the_curve_of_one_example() -> None:
    arrays, _ = shadow_table("uniform", 0.7, 60)
    auc, error, *_ = separation(arrays["train_margin"], arrays["mask"])
    for i in range(20):
        assert auc[i] == pytest.approx(roc_auc_score(arrays["mask"][i], arrays["train_margin"][i]))
    many = np.random.default_rng(2).normal(0, 1, (4000, 60))
    tied = np.round(many[:20]).astype(np.float16)  # many equal ones, 0 and -0 among them
    for row, member, auc in zip(tied, arrays["mask"], separation(tied, arrays["mask"][:20])[0], strict=False):
        assert auc == pytest.approx(roc_auc_score(member, row))
    side = np.broadcast_to(np.arange(60) < 40, many.shape)
    auc, error, *_ = separation(many + side, side)
    assert auc.std() < error.mean() < 1.2 * auc.std()
    for row, member in zip(many[:3] + side[:3], side[:3], strict=True):  # DeLong's error, with a 0 and a 1 on each side
        parts = [
            [*(np.sign(x - theirs).mean() / 2 + 0.5 for x in mine), 0, 1]
            for mine, theirs in ((row[member], row[~member]), (-row[~member], -row[member]))
        ]
        expected = np.sqrt(sum(np.var(part, ddof=1) / len(part) for part in parts))
        assert separation(row[None], member[None])[1] == pytest.approx(expected)
    nothing = separation(many[:1], np.ones((1, 60), np.bool_))
    assert np.isnan(nothing).all()


@pytest.mark.parametrize(("sides", "least"), [((42, 18), 0.94), ((30, 30), 0.94), ((8, 4), 0.93)])
def test_the_interval_of_a_separation_holds_it_up_to_its_ends(sides: tuple[int, int], least: float) -> None:
    """DeLong's error alone holds as few as 0.76 of them: normal values of one or two deviations, a few that stray."""
    draws, (n_in, n_out) = np.random.default_rng(4), sides
    mask = np.broadcast_to(np.arange(n_in + n_out) < n_in, (1500, n_in + n_out))
    for truth in (0.5, 0.9, 0.98, 0.995):
        noise = draws.normal(0, 1, mask.shape)
        astray = draws.random(mask.shape) < 1 - truth
        for values in (
            noise + mask * np.sqrt(2) * ndtri(truth),
            noise * np.where(mask, 1, 3) + mask * np.sqrt(10) * ndtri(truth),
            noise / 1000 + np.where(mask, ~astray, 0.5),
            noise / 1000 + np.where(mask, 0.5, astray),
        ):
            low, high = separation(values, mask)[2:]
            assert ((low <= truth) & (truth <= high)).mean() > least, truth


def test_a_perfect_separation_has_an_exact_bound() -> None:
    """As if the trials of the smaller side were tosses, each a pair of its own, that all came up right."""
    mask = np.arange(20) < 14
    for values, bound in ((np.where(mask, 2.0, 1.0), binomtest(6, 6)), (np.where(mask, 1.0, 2.0), binomtest(0, 6))):
        _, _, low, high = separation(values[None], mask[None])
        assert (low[0], high[0]) == pytest.approx(tuple(bound.proportion_ci(0.95)))


@pytest.mark.parametrize(("n_trials", "out"), [(6, 3), (10, 3), (20, 2), (60, 18)])
def test_few_trials_are_not_sure_of_what_chance_told_apart(n_trials: int, out: int) -> None:
    """Nothing gives these examples away; DeLong's error alone is sure of up to 12 % of them."""
    values = np.random.default_rng(3).normal(0, 1, (4000, n_trials))
    auc, error, *_ = separation(values, np.broadcast_to(np.arange(n_trials) >= out, values.shape))
    assert np.mean(auc - 1.96 * error > 0.5) < 0.03
    assert error.min() > 0


@pytest.mark.long
def test_bounds_on_epsilon() -> None:
    """Values of the published program, and no bound where nothing is known."""
    assert epsilon_bound(1000, 600, 600) == pytest.approx(5.2704, abs=1e-4)
    assert epsilon_bound(100, 100, 100) == pytest.approx(3.4902, abs=1e-4)
    assert epsilon_bound(1438, 100, 90) == pytest.approx(1.6241, abs=1e-4)
    assert epsilon_bound(100, 100, 50) == 0.0
    random = np.random.default_rng(0)
    found = np.array([audit(random.random(400), random.random(400) < 0.5) for _ in range(40)])
    assert found.shape == (40, len(GUESSED))
    assert np.mean(found.max(axis=1) > 0) <= 0.08
    # randomized response: each member is told with the chance that epsilon = 1 allows
    truth = random.random((25, 600)) < 0.5
    told = truth ^ (random.random(truth.shape) > 1 / (1 + np.exp(-1.0)))
    bounds = np.array([max(audit(t + random.random(600) / 2, m)) for t, m in zip(told, truth, strict=True)])
    assert np.mean(bounds > 1) <= 0.08
    assert np.median(bounds) > 0.2


@pytest.mark.long
def test_epsilon_is_bounded_where_membership_was_a_coin() -> None:
    found = attack(table(design="bernoulli"), coin=True)
    assert found.audit is not None
    assert found.audit.epsilon.shape == (32,)
    assert (found.audit.epsilon > 0).any()


def test_an_example_that_no_shadow_model_lacks_is_not_called_undetected() -> None:
    """Of the first one, which all trials saw, nothing is known; of the second one, which one trial lacks, a little."""
    random = np.random.default_rng(8)
    mask = random.random((60, 20)) < 0.5
    mask[0], mask[1] = True, np.arange(20) > 0
    arrays = {f"{axis}_margin": random.normal(size=mask.shape) for axis in ("train", "test")}
    risk = attack(table_of_arrays({"mask": mask} | arrays)).risk
    assert (risk.targets[:2].tolist(), risk.targets[2:].tolist()) == ([0, 19], mask[2:].sum(axis=1).tolist())
    assert np.isnan(risk.detected[0])
    assert np.isfinite(risk.detected[1:]).all()


@pytest.mark.parametrize(("design", "lacking", "told"), [("even", 0, False), ("even", 1, True), ("coins", 0, False)])
def test_trials_of_unknown_groups_that_are_not_whole_are_told(design: str, lacking: int, told: bool) -> None:
    """Seven of eight trials, each example in four of the eight: what says nothing seems to say less than nothing."""
    random = np.random.default_rng(7)
    order = random.random((400, 8))
    mask = (np.argsort(order, axis=1) < 4 if design == "even" else order < 0.5)[:, lacking:]
    arrays = {f"{axis}_margin": random.normal(size=mask.shape) for axis in ("train", "test")}
    found = attack(table_of_arrays({"mask": mask} | arrays))
    assert ("more equal numbers of trials than chance gives" in found.note) == told
    assert (found.methods["lira"].auc.value < 0.45) == told


def test_the_interval_over_targets_counts_groups() -> None:
    """Pairs of equal targets are as good as half as many."""
    values = np.random.default_rng(0).normal(0.7, 0.1, 20)
    twice = mean(np.repeat(values, 2), np.repeat(np.arange(20), 2))
    once = mean(values, np.arange(20))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert once.high - once.value == pytest.approx(2.093 * values.std(ddof=1) / np.sqrt(20), rel=1e-3)
    alone = mean(values[:2], np.zeros(2, np.int64))
    assert np.isnan(alone.low)


def test_thresholds_let_fewer_others_through_than_allowed() -> None:
    scores, member = np.arange(200.0), np.arange(200) % 2 == 0
    for fpr in (0.001, 0.01, 0.05, 0.055):
        passed = scores > Roc.threshold(scores, member, fpr)
        assert (passed & ~member).sum() / 100 < fpr
        assert (scores >= Roc.threshold(scores, member, fpr))[~member].sum() / 100 >= fpr


@pytest.mark.long
def test_the_intervals_over_targets_cover() -> None:
    """The examples stay, the trials are drawn anew: the truth is the mean over all draws, though targets share models.

    In 200 draws the intervals of AUC hold it in 0.91 to 0.98 of them with 32 balanced trials or 16 targets of 64, in
    0.86 (lira) to 0.94 with 16 trials of coins; those of the true positives at 1 % in 0.88 to 0.95.
    """
    world = np.random.default_rng(7)
    hard, gain, test = world.normal(2, 2, (80, 1)), world.exponential(1, (80, 1)), world.normal(2, 2, (30, 1))
    found = []
    for seed in range(30):
        random, subsets = np.random.default_rng(seed), Subsets(design="balanced", ratio=0.5, trials=16, seed=seed)
        mask = draw_masks(subsets, 80, range(16)).T
        margin = hard + gain * mask + random.normal(0, 1.5, mask.shape) + random.normal(0, 0.5, (1, 16))
        arrays = {
            "mask": mask,
            "train_margin": margin.astype(np.float16),
            "test_margin": (test + random.normal(0, 1.5, (30, 16))).astype(np.float16),
        }
        number = np.arange(16)
        found.append(attack(table_of_arrays(arrays, groups(subsets, np.zeros_like(number), number))).methods)
    for name in ("lira", "rmia", "loss"):
        aucs = [each[name].auc for each in found]
        truth = np.mean([auc.value for auc in aucs])
        assert np.mean([auc.low < truth < auc.high for auc in aucs]) >= 0.8
        half = np.mean([auc.high - auc.low for auc in aucs]) / 2
        assert half < 3.5 * np.std([auc.value for auc in aucs]), "intervals that are not needlessly wide"
