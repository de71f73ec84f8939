"""Trials of the user's own: the numbers of a plain loop, bit for bit; what they return is checked at the door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scipy.stats import ttest_ind

from memexp.analysis.means import Moments, difference, p_values, welch
from memexp.errors import InputError, SpecError
from memexp.runs.plan import make_plan
from memexp.runs.run import open_run, prepare_run
from memexp.runs.worker import Trainer
from memexp.spec.designs import draw_masks
from memexp.spec.reading import read_spec

CLASSES = """
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

def data():
    x, y = load_iris(return_X_y=True)
    return x[::2], y[::2], x[1::2], y[1::2]

def sizes():
    return data()[1], data()[3]

def trial(mask, seed, c):
    x, y, x_test, _ = data()
    model = LogisticRegression(C=c, max_iter=1000).fit(x[mask], y[mask])
    return model.predict(x), model.predict(x_test)
"""
NUMBERS = CLASSES.replace("return data()[1], data()[3]", "return 75, 75").replace(
    "return model.predict(x), model.predict(x_test)",
    "return {'train': model.predict_proba(x)[:, 1], 'test': model.predict_proba(x_test)[:, 1], 'norm': 2}",
)
SUBSETS = "subsets: {ratio: 0.6, trials: 20, seed: 5}\n"


def write(folder: Path, code: str, keys: str = "c: 10") -> Path:
    (folder / "own.py").write_text(code)
    (folder / "spec.yaml").write_text(f"name: own\ntrial: {{file: own.py, {keys}}}\n{SUBSETS}")
    return folder / "spec.yaml"


def loop(path: Path, code: str) -> tuple[np.ndarray[Any, Any], Any, dict[str, Any]]:
    """Masks (T, N) and what trial() gives, called in a plain loop."""
    space: dict[str, Any] = {}
    exec(code, space)
    masks = draw_masks(read_spec(path).spec.subsets, 75, range(20))
    return masks, [space["trial"](mask, 0, 10) for mask in masks], space


@pytest.mark.long
def test_classes_give_the_memorization_of_a_plain_loop_bit_for_bit(tmp_path: Path, memexp: Callable[..., Any]) -> None:
    path = write(tmp_path, CLASSES)
    done = memexp("launch", path, "--workers", 0)
    assert done.returncode == 0, done.stderr
    masks, answers, space = loop(path, CLASSES)
    right = np.array([train for train, _ in answers]) == space["sizes"]()[0]
    inside = [right[mask, i].sum() / mask.sum() for i, mask in enumerate(masks.T)]
    outside = [right[~mask, i].sum() / (~mask).sum() for i, mask in enumerate(masks.T)]
    estimates = zarr.open_group(tmp_path / "runs/own/estimates.zarr", mode="r")
    np.testing.assert_array_equal(estimates["memorization"][:], np.subtract(inside, outside).astype(np.float32))
    assert memexp("verify", "runs/own", "--retrain", 10).returncode == 0
    assert memexp("report", "runs/own").returncode == 0
    pages = [page.read_text("utf-8") for page in sorted((tmp_path / "runs/own/report").glob("*.html"))]
    assert len(pages) > 3
    assert not any("Python file" in page for page in pages), "which is not why there are no pictures"


@pytest.mark.long
def test_numbers_give_differences_of_means_with_welchs_errors(tmp_path: Path, memexp: Callable[..., Any]) -> None:
    path = write(tmp_path, NUMBERS, "c: 10, scalars: [norm]")
    done = memexp("launch", path, "--workers", 0)
    assert done.returncode == 0, done.stderr
    masks, answers, _ = loop(path, NUMBERS)
    train, test = (np.array([np.float32(answer[side]) for answer in answers]) for side in ("train", "test"))
    estimates: Any = zarr.open_group(tmp_path / "runs/own/estimates.zarr", mode="r")
    for i in (0, 30, 74):
        sides = [train[side, i].astype(np.float64) for side in (masks[:, i], ~masks[:, i])]
        found, wanted = estimates["memorization"][i], sides[0].mean() - sides[1].mean()
        assert found == np.float32(wanted)
        interval = ttest_ind(*sides, equal_var=False).confidence_interval()
        np.testing.assert_allclose(estimates["memorization_low"][i], interval.low, rtol=1e-4)
        np.testing.assert_allclose(estimates["memorization_high"][i], interval.high, rtol=1e-4)
    assert memexp("estimate", "runs/own", "--dense", "--all-classes").returncode == 0
    estimates = zarr.open_group(tmp_path / "runs/own/estimates.zarr", mode="r")
    mask, score = masks[:, 3], test[:, 7].astype(np.float64)
    wanted = score[mask].mean() - score[~mask].mean()
    np.testing.assert_allclose(estimates["influence"][7, 3], wanted, rtol=1e-5)
    store = open_run(tmp_path / "runs/own").store()
    np.testing.assert_array_equal(store.per_trial("scalar_norm"), np.full(20, 2, np.float32))
    for verb in (("verify", "runs/own"), ("compare", "runs/own"), ("report", "runs/own"), ("status", "runs/own")):
        assert memexp(*verb).returncode == 0, verb


def test_welch_is_scipys_and_says_nothing_where_nothing_spreads() -> None:
    draws = np.random.default_rng(0)
    a, b = draws.normal(0, 1, 9), draws.normal(1, 3, 14)
    sides = [Moments.of(len(each), each.sum(), (each**2).sum()) for each in (a, b)]
    expected = ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(p_values(welch(*sides), 9, 14), expected.pvalue)
    same = welch(Moments.of(3, 3.0, 3.0), Moments.of(3, 0.0, 0.0))
    assert np.isnan(difference(same).low)
    np.testing.assert_allclose(p_values(same, 3, 3), 2 / 20)  # the share of 3 in 6 that are as far apart


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("return model.predict(x), ", "return model.predict(x)[1:], "), r"line 13: trial\(\).*shape \(74,\)"),
        (("model.predict(x),", "model.predict(x) * 1.0,"), "type float64 for train; sizes.. gives labels"),
        (("model.predict(x_test)\n", "model.predict(x_test), {'loss': 1}\n"), "loss, which nothing keeps"),
        (
            (
                "return model.predict(x), ",
                "from pandas import Series\n    return Series(model.predict(x), np.argsort(mask, kind='stable')), ",
            ),
            r"answers for train whose index is not 0, 1, ... in order",
        ),
        (("return model.predict(x), ", "1 / 0; return model.predict(x), "), "own.py, line 16 .in trial 0.: ZeroDiv"),
    ],
)
def test_what_trial_returns_is_checked_at_the_door(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    plan = make_plan(read_spec(write(tmp_path, CLASSES.replace(*change))))
    trainer = Trainer(prepare_run(plan.spec, plan.data, tmp_path / "runs"), "cpu")
    with pytest.raises(InputError, match=message):
        trainer.retrain([0])


def test_numbers_that_are_not_finite_are_a_failed_trial(tmp_path: Path) -> None:
    code = NUMBERS.replace("model.predict_proba(x)[:, 1]", "np.where(mask, np.nan, 0.0)")
    plan = make_plan(read_spec(write(tmp_path, code, "c: 10, scalars: [norm]")))
    (outcome,) = Trainer(prepare_run(plan.spec, plan.data, tmp_path / "runs"), "cpu").retrain([0])
    assert "NaN or infinity for the train examples" in str(outcome.failure)


@pytest.mark.parametrize(
    ("code", "keys", "message"),
    [
        (CLASSES.replace("def sizes", "def size"), "c: 10", "defines no function sizes"),
        (CLASSES.replace("return data()[1], data()[3]", "return 1.5, 2"), "c: 10", "wanted is the number of examples"),
        (CLASSES, "d: 10", "there is no argument 'd'"),
        (CLASSES, "seed: 1", "memexp passes that itself"),
    ],
)
def test_faults_before_training(tmp_path: Path, code: str, keys: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_plan(read_spec(write(tmp_path, code, keys)))


def test_trial_takes_the_place_of_the_other_sections(tmp_path: Path) -> None:
    path = write(tmp_path, CLASSES)
    path.write_text(path.read_text() + "model: {arch: memexp_mlp}\n")
    with pytest.raises(SpecError, match="model: does not go with trial"):
        read_spec(path)


def test_an_edited_file_is_another_experiment(tmp_path: Path) -> None:
    for code in (CLASSES, CLASSES + "\n# edited\n"):
        plan = make_plan(read_spec(write(tmp_path, code)))
        if code == CLASSES:
            prepare_run(plan.spec, plan.data, tmp_path / "runs")
    with pytest.raises(InputError, match=r"trial.file"):
        prepare_run(plan.spec, plan.data, tmp_path / "runs")
