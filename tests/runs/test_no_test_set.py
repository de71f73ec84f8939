"""A run without a test set: memorization as with one, and no influence anywhere."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import yaml

import memexp as package
from memexp.runs.run import open_run
from tests.conftest import Done, changed, in_process, made_once

pytestmark = pytest.mark.long

Table = np.ndarray[Any, Any]


def two_tables() -> dict[str, Table]:
    """120 rows of 4 numbers; a class is a corner, and some rows lie in the wrong one."""
    draws = np.random.default_rng(5)
    y = draws.integers(0, 3, 120)
    x = draws.normal(size=(120, 4)) + 2 * np.eye(3, 4)[y]
    return {"x_train": x.astype(np.float32), "y_train": y}


@pytest.fixture(scope="module")
def untested(shared_folder: Path) -> Path:
    """The same training set twice: alone, and with a test set."""

    def write(folder: Path) -> None:
        arrays = two_tables()
        np.savez(folder / "alone.npz", **arrays)
        np.savez(folder / "tested.npz", **arrays, x_test=arrays["x_train"][:9], y_test=arrays["y_train"][:9])

    data = made_once(shared_folder / "untested_data", write)

    def train(folder: Path) -> None:
        for name in ("alone", "tested"):
            dataset = {"source": "npz", "path": str(data / f"{name}.npz")}
            spec = changed(name=name, dataset=dataset, record=["correct", "margin"])
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
            done = in_process("launch", f"{name}.yaml", "--workers", 0, folder=folder)
            assert done.returncode == 0, done.stderr

    return made_once(shared_folder / "untested", train) / "runs"


def test_memorization_is_that_of_the_same_trials_with_a_test_set(untested: Path) -> None:
    alone, tested = (package.open_run(untested / name) for name in ("alone", "tested"))
    np.testing.assert_array_equal(alone.memorization, tested.memorization)
    assert np.nanmax(alone.memorization) > 0.3
    store = xarray.open_zarr(untested / "alone/trials.zarr", consolidated=False)
    assert dict(store.sizes) == {"trial": 20, "train": 120, "test": 0}
    assert store["test_correct"].shape == store["test_margin"].shape == (20, 0)


def test_every_command_says_that_there_is_no_influence(untested: Path, memexp: Callable[..., Done]) -> None:
    run, plan = untested / "alone", memexp("plan", untested.parent / "alone.yaml")
    assert "120 training and no test examples, 3 classes" in plan.stdout
    assert "there is no test set, so no influence; test: {fraction: 0.2} would draw one" in plan.stdout
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        exports = ("export --format fz --out a.npz", "export --format csv --out a.csv")
        for words in ("status", "verify", "estimate", "estimate --dense", "report", "compare", *exports):
            verb, *options = words.split()
            found[words] = memexp(verb, run, *options)
            assert found[words].returncode == 0, found[words].stderr
    assert "influence     none: there is no test set" in found["estimate"].stderr + found["estimate"].stdout
    assert "nan" not in found["estimate"].stderr + found["estimate"].stdout
    assert "has none" in found["compare"].stdout
    page = (run / "report/index.html").read_text(encoding="utf-8")
    assert re.search(r"None: this run has no test set", page)
    assert "accuracy, test" not in page
    selected = memexp("select", run, "--duplicates", 0.9, "--out", "s.json")
    assert (selected.returncode, "there is no test set" in selected.stderr) == (2, True)


def test_a_lost_file_of_a_run_without_a_test_set_is_seen(
    untested: Path, tmp_path: Path, memexp: Callable[..., Done]
) -> None:
    import shutil

    shutil.copytree(untested / "alone", tmp_path / "copy")
    assert open_run(tmp_path / "copy").store().layout.n_test == 0
    (tmp_path / "copy/trials.zarr/train_correct/c/1/0").unlink()
    assert "its file is missing" in memexp("verify", "copy").stdout + memexp("verify", "copy").stderr


def test_a_removal_needs_a_test_set(untested: Path, memexp: Callable[..., Done], tmp_path: Path) -> None:
    subsets = {"design": "remove", "ratio": None, "removed": [1, 2], "trials": 4}
    spec = changed(
        dataset={"source": "npz", "path": str(untested.parent.parent / "untested_data/alone.npz")}, subsets=subsets
    )
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = memexp("plan", "r.yaml")
    assert (done.returncode, "remove tells what leaving examples out costs on the test set" in done.stderr) == (2, True)


def test_a_notebook_shows_it(untested: Path) -> None:
    view = package.open_run(untested / "alone")
    assert "120 training and no test examples" in repr(view)
    assert "nan" not in view._repr_html_()
    assert len(view.pairs(fdr=1)) == 0
    assert len(view.plot_accuracies().get_yticklabels()) == 2
