"""Further test sets: tested on beside the first one, each under its name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import memexp as package
from memexp.data import load_data
from memexp.errors import DataError, InputError
from memexp.runs.run import open_run
from memexp.spec.reading import read_spec
from memexp.spec.spec import Spec
from tests.conftest import Done, changed, in_process, make_spec

SUBSETS = {"ratio": 0.7, "trials": 20}
DIGITS = {"source": "digits", "limit": {"train": 150, "test": 40}}


def write_sets(folder: Path) -> None:
    """``v2.npz``: noisy digits of the classes 0 and 3 only; ``plain.npz``: 30 others, as a data set of its own."""
    whole = load_data(make_spec(dataset={"source": "digits"}).dataset)
    some = np.flatnonzero(np.isin(whole.y_train, [0, 3]))[-25:]
    noise = np.random.default_rng(0).integers(0, 160, (25, 8, 8, 1))
    np.savez(
        folder / "v2.npz", x_train=(whole.x_train[some] // 2 + noise // 2).astype(np.uint8), y_train=whole.y_train[some]
    )
    np.savez(
        folder / "plain.npz",
        x_train=whole.x_train[:20], y_train=np.arange(20) % 10,
        x_test=whole.x_test[-30:], y_test=whole.y_test[-30:], id_test=np.array([f"p{k}" for k in range(30)]),
    )  # fmt: skip


def with_tests(folder: Path, **tests: Any) -> dict[str, Any]:
    """The spec with the sets ``v2`` and ``plain``, or those given."""
    sets = tests or {name: {"source": "npz", "path": str(folder / f"{name}.npz")} for name in ("v2", "plain")}
    return changed(dataset=DIGITS | {"tests": sets}, subsets=SUBSETS, training={"epochs": 15}, name="sets")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and a trained run ``runs/sets``, beside it ``runs/tiny`` without further sets."""
    folder = tmp_path_factory.mktemp("further")
    write_sets(folder)
    for spec in (with_tests(folder), changed(dataset=DIGITS, subsets=SUBSETS, training={"epochs": 15})):
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        done = in_process("launch", "spec.yaml", "--workers", 0, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.long
def test_a_further_set_changes_nothing_of_the_first_one(sets: Path) -> None:
    both = [open_run(sets / "runs" / name) for name in ("tiny", "sets")]
    block, more = (run.store().read_block(0) for run in both)
    for name in block:
        if name != "seconds":
            np.testing.assert_array_equal(
                block[name], more[name][:, :40] if name.startswith("test_") and more[name].ndim == 2 else more[name]
            )
    examples = both[1].store().examples()
    assert examples["test_set"].tolist() == ["test"] * 40 + ["v2"] * 25 + ["plain"] * 30
    assert examples["test_index"][40:].tolist() == [*range(25), *range(30)]
    assert "test_set" not in both[0].store().examples()
    assert "test_set" not in both[0].manifest.data


@pytest.mark.long
def test_outcomes_and_influence_are_those_of_the_set_alone(sets: Path) -> None:
    """The same trials with the set as the only test set: its outcomes and its influences are the same bits."""
    alone = changed(dataset=DIGITS, subsets=SUBSETS, training={"epochs": 15})
    whole = load_data(make_spec(dataset=DIGITS).dataset)
    v2 = np.load(sets / "v2.npz")
    arrays = {"x_train": whole.x_train, "y_train": whole.y_train, "x_test": v2["x_train"], "y_test": v2["y_train"]}
    alone["dataset"] = {}
    run = package.launch(alone, data=arrays, runs=sets / "alone", workers=0)
    found = package.open_run(sets / "runs/sets")
    assert found.merged.examples["test_set"][40] == "v2"
    np.testing.assert_array_equal(
        run.merged.rows("test_correct", slice(0, 25)), found.merged.rows("test_correct", slice(40, 65))
    )
    mine = found.pairs(fdr=1)
    v2_pairs = mine[mine["test_set"] == "v2"].assign(test=lambda each: each["test"] - 40)
    theirs = run.pairs(fdr=1).set_index(["train", "test"])["influence"]
    assert len(theirs)
    assert v2_pairs.set_index(["train", "test"])["influence"].sort_index().equals(theirs.sort_index())


@pytest.mark.long
def test_every_set_is_told_under_its_name(sets: Path, memexp: Callable[..., Done], tmp_path: Path) -> None:
    run = sets / "runs/sets"
    right = package.open_run(run).merged.rows("test_correct", slice(0, 95))
    shown = " ".join(memexp("estimate", run).stderr.split())
    for name, rows in (("test", slice(0, 40)), ("v2", slice(40, 65)), ("plain", slice(65, 95))):
        assert f"on {name} {right[rows].mean():.4f}, {rows.stop - rows.start} examples" in shown
    first = package.open_run(run).merged.per_trial("test_accuracy")
    np.testing.assert_allclose(first, right[:40].mean(axis=0), rtol=1e-6)
    assert memexp("export", run, "--format", "csv", "--out", tmp_path / "out.csv").returncode == 0
    rows = list(csv.DictReader((tmp_path / "out-pairs.csv").read_text().splitlines()))
    assert {row["test_set"] for row in rows} >= {"test", "v2"}
    assert all((row["test_id"][0] == "p") == (row["test_set"] == "plain") for row in rows), "names where a set has them"
    assert memexp("report", run, "--out", tmp_path / "report").returncode == 0
    page = (tmp_path / "report/index.html").read_text("utf-8")
    assert "accuracy on v2" in page
    assert '"set": [' in (tmp_path / "report/data.js").read_text("utf-8")
    lists = {}
    for name in ("v2", "test"):
        done = memexp("select", run, "--pairs", "--tests", name, "--out", tmp_path / "s.json")
        assert done.returncode == 0, done.stderr
        lists[name] = json.loads((tmp_path / "s.json").read_text())["high influence"]
    passing = package.open_run(run).estimates.pairs.passing()
    v2 = (passing.test >= 40) & (passing.test < 65)
    assert lists["v2"] == np.unique(passing.train[v2]).tolist()
    assert lists["test"] == np.unique(passing.train[passing.test < 40]).tolist()
    refused = memexp("select", run, "--pairs", "--tests", "v3", "--out", tmp_path / "s.json")
    assert refused.returncode == 2
    assert "no test set is called 'v3'; they are called test, v2, plain" in " ".join(refused.stderr.split())
    assert memexp("verify", run, "--retrain", 2).returncode == 0
    assert memexp("attack", run, "--targets", 2).returncode == 0


@pytest.mark.long
def test_values_are_of_the_first_set_or_of_the_one_that_is_named(sets: Path) -> None:
    from memexp.analysis.values import data_values

    run = package.open_run(sets / "runs/sets")
    right, masks = run.merged.rows("test_correct", slice(0, 95)), run.merged.rows("mask", slice(0, 150))
    for name, rows in ((None, slice(0, 40)), ("plain", slice(65, 95))):
        accuracy = right[rows].mean(axis=0)
        loop = [accuracy[mask].mean() - accuracy[~mask].mean() for mask in masks]
        np.testing.assert_allclose(data_values(run.merged, run.spec.subsets, tests=name).value, loop, atol=1e-12)
    with pytest.raises(InputError, match="no test set is called 'w'"):
        data_values(run.merged, run.spec.subsets, tests="w")


def test_classes_are_matched_by_their_names(tmp_path: Path) -> None:
    x = np.arange(24.0).reshape(12, 2)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.array(["cat", "dog", "eel"] * 4))
    np.savez(tmp_path / "b.npz", x_train=x[:3], y_train=np.array(["eel", "cat", "eel"]))
    np.savez(tmp_path / "c.npz", x_train=x[:3], y_train=np.array([2, 1, 2]))
    block = {
        "source": "npz",
        "path": "a.npz",
        "tests": {name: {"source": "npz", "path": f"{name}.npz"} for name in "bc"},
    }
    data = load_data(read(tmp_path, block).dataset)
    assert data.y_test.tolist() == [2, 0, 2, 2, 1, 2]
    assert data.first_tests == 3, "without a test set of its own, the first further one is the first"


def read(folder: Path, dataset: dict[str, Any]) -> Spec:
    (folder / "spec.yaml").write_text(yaml.safe_dump(changed(dataset=dataset), sort_keys=False))
    return read_spec(folder / "spec.yaml").spec


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.ones((4, 8, 8), np.uint8), ["0", "cat"] * 2, "tests.v2: its class 'cat' is none of those trained on"),
        (
            np.ones((4, 9, 9), np.uint8),
            [0, 1] * 2,
            r"tests.v2: its examples are \(9, 9, 1\) uint8, .*\(8, 8, 1\) uint8",
        ),
        (np.ones((4, 8, 8)), [0, 1] * 2, "float32"),
        (np.ones((0, 8, 8), np.uint8), [], "tests.v2: .*name data with at least one train example"),
    ],
)
def test_sets_that_do_not_fit_are_refused(tmp_path: Path, x: Any, y: list[Any], words: str) -> None:
    np.savez(tmp_path / "v2.npz", x_train=x, y_train=np.array(y) if y else np.zeros(0, np.int64))
    with pytest.raises(DataError, match=words):
        load_data(read(tmp_path, DIGITS | {"tests": {"v2": {"source": "npz", "path": "v2.npz"}}}).dataset)


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        ({"test": {"source": "digits"}}, "the name of the dataset's own test set"),
        ({"a b": {"source": "digits"}}, "dataset.tests.a b: 'a b' must be 1 to 100 letters"),
        ({"v2": {"source": "digits", "label_noise": {"fraction": 0.1}}}, "tests.v2 is only tested on"),
        ({"v2": {"source": "digits", "tests": {"v3": {"source": "digits"}}}}, "tests.v2 is only tested on"),
        ({"v2": {"source": "digit"}}, "digits"),
    ],
)
def test_faults_of_further_sets_are_named(tmp_path: Path, tests: Any, words: str, memexp: Callable[..., Done]) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(changed(dataset=DIGITS | {"tests": tests})))
    done = memexp("plan", "spec.yaml")
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
