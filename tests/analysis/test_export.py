"""Exports: code written for the released files reads them; tables give the numbers back bit for bit."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memexp.analysis.estimates import Estimates, open_estimates
from memexp.analysis.export import export
from memexp.analysis.merged import Merged, open_merged
from memexp.errors import InputError
from memexp.runs.run import Run
from tests.analysis.test_estimates import brute_force


@pytest.fixture
def scored(run_copy: Run) -> tuple[Merged, Estimates]:
    return open_merged(run_copy.paths), open_estimates(run_copy.paths)


def matrices(merged: Merged) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """mask (T, N) and test_correct (T, M)."""
    masks, correct = (
        np.unpackbits(merged.packed(name), axis=1, count=merged.n_trials).astype(bool).T
        for name in ("mask", "test_correct")
    )
    return masks, correct


@pytest.mark.long
def test_code_for_the_released_files_reads_an_export(scored: tuple[Merged, Estimates], tmp_path: Path) -> None:
    merged, estimates = scored
    assert export(merged, estimates, "fz", tmp_path / "own.npz") == [tmp_path / "own.npz"]
    file = np.load(tmp_path / "own.npz")
    memorization, labels = file["tr_mem"], file["tr_labels"]
    assert memorization.dtype == np.float64
    np.testing.assert_array_equal(memorization.astype(np.float32), estimates.scores.memorization)
    np.testing.assert_array_equal(labels, merged.examples["train_label"])
    np.testing.assert_array_equal(file["tt_labels"], merged.examples["test_label"])
    influence = brute_force(*matrices(merged)).astype(np.float32)
    for label in range(10):
        of_class = file[f"infl_matrix_class{label}"]
        trains, tests = file[f"tr_classidx_{label}"], file[f"tt_classidx_{label}"]
        assert of_class.shape == (len(trains), len(tests))
        assert (labels[trains] == label).all()
        assert (file["tt_labels"][tests] == label).all()
        np.testing.assert_array_equal(of_class, influence[np.ix_(tests, trains)].T)
    assert sum(len(file[f"tr_classidx_{label}"]) for label in range(10)) == len(labels)

    pairs = {
        (i, j)
        for label in range(10)
        for i in file[f"tr_classidx_{label}"]
        for j in file[f"tt_classidx_{label}"]
        if memorization[i] >= 0.25 and influence[j, i] >= np.float32(0.15)
    }
    assert pairs
    assert set(zip(file["tr_idx"], file["tt_idx"], strict=True)) == pairs
    np.testing.assert_array_equal(file["infl"].astype(np.float32), influence[file["tt_idx"], file["tr_idx"]])
    np.testing.assert_array_equal(file["mem"], memorization[file["tr_idx"]])


def test_csv_gives_every_number_back(scored: tuple[Merged, Estimates], tmp_path: Path) -> None:
    merged, estimates = scored
    written = export(merged, estimates, "csv", tmp_path / "own.csv")
    assert written == [tmp_path / "own.csv", tmp_path / "own-pairs.csv"]
    train, pairs = (read_csv(path) for path in written)
    assert train["train"] == [str(i) for i in range(300)]
    records = (estimates.scores, estimates.posterior, estimates.calibrated)
    for name, values in ((field.name, getattr(record, field.name)) for record in records for field in fields(record)):
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(np.array(train[name], values.dtype), values)
    np.testing.assert_array_equal(np.array(train["train_label"], int), merged.examples["train_label"])
    flipped = np.array(train["train_label_flipped"]) == "True"
    np.testing.assert_array_equal(flipped, merged.examples["train_label_flipped"])
    for name, values in estimates.pairs.columns().items():
        read = np.array(pairs[name])
        np.testing.assert_array_equal(read == "True" if values.dtype == bool else read.astype(values.dtype), values)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_name_the_classes(form: str, scored: tuple[Merged, Estimates], tmp_path: Path) -> None:
    merged, estimates = scored
    names = [f"class {label}, \u00e9" for label in range(10)]
    if form == "csv":
        train, pairs = (read_csv(path) for path in export(merged, estimates, form, tmp_path / "own.csv", names))
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        written = export(merged, estimates, form, tmp_path / "own.parquet", names)
        train, pairs = (parquet.read_table(path).to_pydict() for path in written)
    assert train["class_name"] == [names[int(label)] for label in train["train_label"]]
    for axis in ("train", "test"):
        labels = merged.examples[f"{axis}_label"][np.array(pairs[axis], int)]
        assert pairs[f"{axis}_class_name"] == [names[label] for label in labels]


def read_csv(path: Path) -> dict[str, list[str]]:
    with open(path, newline="") as file:
        names, *rows = csv.reader(file)
    assert rows
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def test_parquet_gives_every_number_back(scored: tuple[Merged, Estimates], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    merged, estimates = scored
    train, pairs = (parquet.read_table(path) for path in export(merged, estimates, "parquet", tmp_path / "own.parquet"))
    for table, columns in ((train, vars(estimates.scores)), (pairs, estimates.pairs.columns())):
        for name, values in columns.items():
            np.testing.assert_array_equal(table[name].to_numpy(), values)


def test_parquet_without_its_library_names_the_fix(
    scored: tuple[Merged, Estimates], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"needs pyarrow.*run `pip install pyarrow`, or use --format csv"):
        export(*scored, "parquet", tmp_path / "own.parquet")
    assert not list(tmp_path.glob("own*"))


def test_a_place_that_cannot_be_written_is_said(scored: tuple[Merged, Estimates], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent does not exist; create it"):
        export(*scored, "csv", tmp_path / "absent/own.csv")
    for form, name in (("fz", "own.csv"), ("csv", "own.csv.gz"), ("csv", "own"), ("parquet", "own.csv")):
        with pytest.raises(InputError, match=rf"--format {form} writes a \.\w+ file; end the name of --out so"):
            export(*scored, form, tmp_path / name)
    with pytest.raises(InputError, match="is a folder; give --out the name of a file"):
        export(*scored, "csv", tmp_path)


def test_the_command_prints_what_it_wrote(memexp: Callable[..., Any], run_copy: Run) -> None:
    done = memexp("export", run_copy.paths.root, "--out", "own.csv")  # the ending says the format
    assert done.returncode == 0, done.stderr
    assert done.stdout == "own.csv\nown-pairs.csv\n"
    unsaid = memexp("export", run_copy.paths.root, "--out", "own.h5")
    assert unsaid.returncode == 2
    assert "own.h5: end the name of --out in .npz, .csv, .parquet, or give a --format" in unsaid.stderr
    unknown = memexp("export", run_copy.paths.root, "--format", "hdf5", "--out", "own.h5")
    assert unknown.returncode == 2
    assert "'fz', 'csv', 'parquet'" in unknown.stderr
