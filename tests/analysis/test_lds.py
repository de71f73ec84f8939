"""The linear datamodelling score and datamodels: against loops, SciPy and scikit-learn, and by planted truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge as SklearnRidge

from memexp.analysis import datamodel, lds
from memexp.analysis.datamodel import Ridge, best_penalty, difference, fit
from memexp.analysis.ground_truth import beside, trial_names, without_used, write_ground_truth
from memexp.analysis.lds import linear_datamodelling_score, spearman
from memexp.analysis.merged import merge
from memexp.analysis.trial_table import TrialTable, chosen, groups, table_of_merged
from memexp.errors import InputError
from memexp.runs.run import open_run
from memexp.spec.designs import draw_masks
from memexp.spec.subsets import Subsets
from memexp.store.manifest import read_manifest
from memexp.store.trials import DONE
from tests.analysis.in_memory import table_of_arrays
from tests.analysis.test_estimates import make_store, random_trials
from tests.conftest import Done

Floats = NDArray[np.float64]


def linear_world(
    n_trials: int = 60, seed: int = 0, noise: float = 1.0, design: str = "balanced", sizes: tuple[int, int] = (40, 30)
) -> tuple[TrialTable, Floats]:
    """Trials whose margins are linear in their masks, with noise: (table, weights (M, N))."""
    n_train, n_test = sizes
    random = np.random.default_rng(seed)
    subsets = Subsets(design=design, ratio=0.5, trials=n_trials, seed=seed)
    number = np.arange(n_trials)
    mask = draw_masks(subsets, n_train, number.tolist()).T
    weights = np.random.default_rng(99).normal(size=(n_test, n_train))
    margin = weights @ mask + noise * random.normal(size=(n_test, n_trials))
    arrays: dict[str, NDArray[Any]] = {"mask": mask, "test_margin": margin, "test_correct": margin > 0}
    return table_of_arrays(arrays, groups(subsets, np.zeros_like(number), number)), weights


def test_the_score_is_the_mean_of_scipys_rank_correlations() -> None:
    """The snippet that is published with TRAK."""
    table, weights = linear_world()
    scores = weights + np.random.default_rng(1).normal(size=weights.shape)
    masks = table.read("mask", slice(None)).T
    for outcome in ("margin", "correct"):
        values = table.read(f"test_{outcome}", slice(None)).T
        predicted = masks @ scores.T
        expected = [
            spearmanr(predicted[:, j], values[:, j])[0] if len(np.unique(values[:, j])) > 1 else np.nan
            for j in range(len(scores))
        ]
        found = linear_datamodelling_score(table, scores, outcome)
        np.testing.assert_allclose(found.each, expected, atol=1e-12)
        assert found.mean == pytest.approx(np.nanmean(expected), abs=1e-12)
        assert found.tests == np.isfinite(expected).sum()
        assert found.low < found.mean < found.high


def test_bands_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table, weights = linear_world()
    whole = linear_datamodelling_score(table, weights, "margin")
    monkeypatch.setattr(lds, "_PREDICTIONS", 300)
    monkeypatch.setattr("memexp.analysis.trial_table._VALUES", 200)
    parts = linear_datamodelling_score(table, weights, "margin")
    np.testing.assert_allclose(parts.each, whole.each)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high))


def test_an_oracle_scores_one() -> None:
    table, weights = linear_world(noise=0)
    found = linear_datamodelling_score(table, weights, "margin")
    assert found.mean == pytest.approx(1)
    assert found.se_trials == pytest.approx(0, abs=1e-9)
    assert linear_datamodelling_score(table, -weights, "margin").mean == pytest.approx(-1)


@pytest.mark.long
@pytest.mark.parametrize("design", ["balanced", "bernoulli"])
def test_the_interval_over_trials_covers(design: str) -> None:
    """The tests are always the same, the trials are drawn anew: the truth is the mean over all draws."""
    found = []
    scores = np.random.default_rng(99).normal(size=(30, 40)) + np.random.default_rng(5).normal(size=(30, 40))
    for seed in range(150):
        table, _ = linear_world(50, seed, noise=3.0, design=design)
        found.append(linear_datamodelling_score(table, scores, "margin"))
    truth = np.mean([each.mean for each in found])
    spread = np.std([each.mean for each in found])
    assert np.sqrt(np.mean([each.se_trials**2 for each in found])) == pytest.approx(spread, rel=0.2)
    inside = [abs(each.mean - truth) < 2.05 * each.se_trials for each in found]
    assert np.mean(inside) > 0.9
    assert np.mean([each.low < truth < each.high for each in found]) >= np.mean(inside)


def test_the_influence_of_a_column_is_what_it_changes() -> None:
    """With ties; against leaving columns out one by one (the jackknife)."""
    random = np.random.default_rng(0)
    first = random.integers(0, 20, (1, 400)).astype(float)
    second = (first + random.normal(0, 8, first.shape) > 10).astype(float)
    each, influence = spearman(first, second)
    jackknife = [
        (each - spearman(np.delete(first, place, axis=1), np.delete(second, place, axis=1))[0])[0] * 399
        for place in range(0, 400, 7)
    ]
    np.testing.assert_allclose(influence[::7], jackknife, atol=0.02)


def test_scores_that_do_not_fit_are_refused() -> None:
    table, weights = linear_world()
    with pytest.raises(
        InputError, match=r"shape \(40, 30\); the run needs \(test, train\) = \(30, 40\); they are \(tr"
    ):
        linear_datamodelling_score(table, weights.T, "margin")
    with pytest.raises(InputError, match=r"shape \(29, 40\); the run needs \(test, train\) = \(30, 40\)$"):
        linear_datamodelling_score(table, weights[1:], "margin")
    broken = weights.copy()
    broken[3, 7] = np.nan
    with pytest.raises(InputError, match="1 in rows 0 to 29 and columns 0 to 39 are not; give 0 where"):
        linear_datamodelling_score(table, broken, "margin")
    with pytest.raises(InputError, match="5 trials are too few"):
        linear_datamodelling_score(chosen(table, "0:5"), weights, "margin")
    with pytest.raises(InputError, match="type <U1; give numbers"):
        linear_datamodelling_score(table, np.full(weights.shape, "a"), "margin")
    with pytest.raises(InputError, match=r"did not record 'score', only correct, margin; "):
        linear_datamodelling_score(table, weights, "score")


def test_scores_of_merged_trials_are_not_judged_by_these_in_whichever_run_they_are(tmp_path: Path) -> None:
    """The trials of one run, merged into another of another seed, were used by what was made there."""
    done = np.full(12, DONE, np.uint8)
    one, other = (make_store(tmp_path / f"{s}", random_trials(12, 6, 4, s), done, 4, spec_seed=s) for s in (1, 2))
    subsets = Subsets(design="uniform", ratio=0.7, trials=12)
    both = table_of_merged(merge(one, [other]), subsets)
    scores = tmp_path / "scores.npy"
    beside(scores).write_bytes(trial_names(chosen(both, "0:9"), read_manifest(one)))
    fresh, used = without_used(table_of_merged(merge(other), subsets), read_manifest(other), scores)
    assert (used, fresh.names) == (9, [(2, 9), (2, 10), (2, 11)])
    earlier = f'{{"experiment": "{read_manifest(other).identity}", "trials": [[2, 0]]}}'  # by the run's own seed alone
    beside(scores).write_text(earlier)
    assert without_used(table_of_merged(merge(other), subsets), read_manifest(other), scores)[1] == 1


def test_tables_for_other_programs_are_of_one_set_of_trials(tmp_path: Path) -> None:
    """Whatever was in the folder, and however far an export came."""
    done = np.full(12, DONE, np.uint8)
    manifest = read_manifest(make_store(tmp_path / "run", random_trials(12, 6, 4, 1), done, 4))
    table, out = linear_world(design="uniform")[0], tmp_path / "tables"
    written = write_ground_truth(table, manifest, out)
    assert {path.name for path in out.iterdir()} == {path.name for path in written} >= {"indices.pt", "trials.json"}
    other, _ = linear_world(design="bernoulli")

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_ground_truth(other, manifest, out, stop)
    assert not list(out.iterdir())
    write_ground_truth(other, manifest, out)
    np.testing.assert_array_equal(np.load(out / "masks.npy"), other.read("mask", slice(None)).T)
    assert not (out / "indices.pt").exists(), "trials of bernoulli are of different sizes"


def test_of_a_group_that_scores_were_made_from_no_trial_judges_them() -> None:
    """In groups of ten, trials 10 and 11 tell what the others of their group saw: after 0 to 11, the next is 20."""
    subsets, number = Subsets(design="balanced", ratio=0.7, trials=40), np.arange(40)
    arrays = {"mask": draw_masks(subsets, 30, number.tolist()).T, "test_correct": np.ones((3, 40), np.bool_)}
    table = table_of_arrays(arrays, groups(subsets, np.zeros_like(number), number))
    assert table.without({(0, k) for k in range(12)}).number.tolist() == list(range(20, 40))
    assert table.without(set()).n_trials == 40


@pytest.mark.long
def test_weights_of_examples_of_which_trials_tell_nothing_are_told(
    memexp: Callable[..., Done], trained_run: Path, tmp_path: Path
) -> None:
    words = ("datamodel", trained_run, "--method", "difference", "--out", "scores.npy", "--trials")
    done = memexp(*words, "0:3")
    unknown = (np.abs(np.load(tmp_path / "scores.npy")).sum(axis=0) == 0).sum()
    mask = open_run(trained_run).store().read_block(0)["mask"][:3]
    assert unknown >= mask.all(axis=0).sum() > 50
    assert f"{(mask.all(axis=0) | ~mask.any(axis=0)).sum()} training examples are in all of these" in done.stderr
    assert "weights are 0" not in memexp(*words, "0:40").stderr


def test_trials_are_chosen_by_number() -> None:
    table, _ = linear_world()
    assert chosen(table, "10:20").number.tolist() == list(range(10, 20))
    assert chosen(table, "50:").n_trials == 10
    assert chosen(table, ":3").n_trials == 3
    assert chosen(table, None) is table
    with pytest.raises(InputError, match=r"--trials 60:: no finished trial has such a number; they go from 0 to 59"):
        chosen(table, "60:")
    with pytest.raises(InputError, match=r"--trials 7: give FIRST:END, such as 0:512"):
        chosen(table, "7")


def weights_of(table: TrialTable, held_out: TrialTable | None = None, **options: Any) -> tuple[Floats, Any]:
    found = np.full((table.n_test, table.n_train), np.nan)

    def write(tests: slice, trains: slice, part: NDArray[np.float32]) -> None:
        found[tests, trains] = part

    return found, fit(table, "margin", held_out, write, **options)


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_a_datamodel_is_scikit_learns_ridge(penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datamodel, "_WEIGHTS", 8 * 60 * 7)
    monkeypatch.setattr("memexp.analysis.trial_table._VALUES", 600)
    whole, _ = linear_world(60, design="bernoulli")
    table, held_out = chosen(whole, "0:48"), chosen(whole, "48:")
    masks, margin = (table.read(name, slice(None)).T for name in ("mask", "test_margin"))
    reference = SklearnRidge(alpha=penalty).fit(masks, margin)
    found, result = weights_of(table, held_out, penalty=penalty)
    np.testing.assert_allclose(found, reference.coef_, atol=1e-4)
    late, truth = (held_out.read(name, slice(None)).T for name in ("mask", "test_margin"))
    off = truth - margin.mean(axis=0)
    expected = 1 - ((truth - reference.predict(late)) ** 2).sum(axis=0) / (off**2).sum(axis=0)
    np.testing.assert_allclose(result.held_out_r2, expected, atol=1e-4)
    left_out = [  # bernoulli trials are drawn each by itself
        margin[t] - SklearnRidge(alpha=penalty).fit(np.delete(masks, t, 0), np.delete(margin, t, 0)).predict(masks[[t]])
        for t in range(48)
    ]
    np.testing.assert_allclose(Ridge(table).left_out_errors(margin, penalty), np.concatenate(left_out), atol=1e-6)


def test_of_a_balanced_design_whole_groups_are_left_out() -> None:
    """Leaving out one of two complementary trials promises a prediction that new trials do not keep."""
    whole, _ = linear_world(120, sizes=(400, 30))
    table, late = chosen(whole, "0:60"), chosen(whole, "60:")
    masks, margin = (table.read(name, slice(None)).T for name in ("mask", "test_margin"))
    penalty = 30.0
    expected = [
        margin[t : t + 2]
        - SklearnRidge(alpha=penalty)
        .fit(np.delete(masks, [t, t + 1], 0), np.delete(margin, [t, t + 1], 0))
        .predict(masks[t : t + 2])
        for t in range(0, 60, 2)
    ]
    found = Ridge(table).left_out_errors(margin, penalty)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)
    _, honest = weights_of(table, late, penalty=penalty)
    assert np.mean(honest.r2) == pytest.approx(np.mean(honest.held_out_r2), abs=0.05)
    alone = table_of_arrays({"mask": masks.T, "test_margin": margin.T})
    _, promised = weights_of(alone, late, penalty=penalty)
    assert np.mean(promised.r2) > np.mean(promised.held_out_r2) + 0.3


def test_the_penalty_is_that_of_the_least_error_left_out() -> None:
    table, _ = linear_world(60, noise=2.0)
    ridge = Ridge(table)
    margin = table.read("test_margin", slice(None)).T
    errors = [(ridge.left_out_errors(margin, penalty) ** 2).sum() for penalty in ridge.penalties()]
    assert best_penalty(ridge, "margin") == ridge.penalties()[int(np.argmin(errors))]
    assert ridge.penalties()[0] < best_penalty(ridge, "margin") < ridge.penalties()[-1]


def test_margins_predict_better_than_correctness() -> None:
    """By weights of the same trials, scored on others."""
    whole, truth = linear_world(400, noise=4.0)
    table, others = chosen(whole, "0:300"), chosen(whole, "300:")
    found, result = weights_of(table, others)
    np.testing.assert_allclose(np.corrcoef(found.ravel(), truth.ravel())[0, 1], 1, atol=0.15)
    scores = {outcome: np.empty_like(found) for outcome in ("margin", "correct")}
    for outcome, each in scores.items():
        difference(table, outcome, lambda tests, trains, part, each=each: each.__setitem__((tests, trains), part))
    by = {name: linear_datamodelling_score(others, each, "margin").mean for name, each in scores.items()}
    assert by["margin"] > by["correct"] + 0.02
    assert np.nanmean(result.held_out_r2) == pytest.approx(np.nanmean(result.r2), abs=0.1)
    masks, margin = (table.read(name, slice(None)) for name in ("mask", "test_margin"))
    assert scores["margin"][4, 9] == pytest.approx(margin[4, masks[9]].mean() - margin[4, ~masks[9]].mean(), abs=1e-5)


def test_trials_that_saw_the_same_give_no_datamodel() -> None:
    same = table_of_arrays({"mask": np.ones((5, 20), np.bool_), "test_margin": np.zeros((3, 20))})
    with pytest.raises(InputError, match="all trials saw the same training examples"):
        weights_of(same)
    with pytest.raises(InputError, match="too few for a datamodel"):
        weights_of(chosen(linear_world()[0], "0:9"))
