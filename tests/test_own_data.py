"""docs/data.md: each of its lines on real files, and its notebook from arrays to a report without a shell."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import memexp as package
from memexp.errors import DataError, RunMismatch, SpecError
from memexp.runs.run import open_run
from tests.conftest import ROOT, TINY, Done, assert_same_outcomes, made_once

PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| .* \| `(dataset: .*)` \|$", PAGE, re.MULTILINE)
SPEC: dict[str, Any] = {
    "name": "own",
    "model": TINY["model"],
    "training": TINY["training"] | {"batch_size": 16},
    "subsets": {"ratio": 0.7, "trials": 10},
}


def write_files(folder: Path) -> None:
    """All that the page's lines name."""
    import datasets
    from pyarrow import parquet, table
    from sklearn.datasets import load_wine

    draws = np.random.default_rng(0)
    pictures: dict[str, list[Any]] = {"file": [], "animal": [], "content": [], "picture": []}
    for k in range(60):
        name, animal = f"{k:02d}.png", ("cat", "dog")[k % 2]
        picture = Image.fromarray(draws.integers(0, 256, (8, 8, 3), np.uint8))
        for place in (folder / "pets" / animal, folder / "parted" / ("test" if k % 5 == 4 else "train") / animal):
            place.mkdir(parents=True, exist_ok=True)
            picture.save(place / name)
        pictures["file"].append(f"pets/{animal}/{name}")
        pictures["animal"].append(animal)
        pictures["picture"].append(picture)
        pictures["content"].append((folder / "pets" / animal / name).read_bytes())
    rows = zip(pictures["file"], pictures["animal"], strict=True)
    (folder / "pets.csv").write_text("file,animal\n" + "".join(f"{file},{animal}\n" for file, animal in rows))
    parquet.write_table(table({"image": pictures["content"], "label": pictures["animal"]}), folder / "pets.parquet")
    wine = load_wine(as_frame=True)
    named = wine.frame.assign(kind=wine.target_names[wine.target], wine=[f"wine {k}" for k in range(178)])
    named.drop(columns="target").to_csv(folder / "wines_named.csv", index=False)
    named.drop(columns=["target", "wine"]).to_csv(folder / "wines.csv", index=False)
    types = datasets.Features({"picture": datasets.Image(), "what": datasets.ClassLabel(names=["cat", "dog"])})
    labels = [int(animal == "dog") for animal in pictures["animal"]]
    whole = datasets.Dataset.from_dict({"picture": pictures["picture"], "what": labels}, features=types)
    datasets.DatasetDict({"train": whole.select(range(48)), "test": whole.select(range(48, 60))}).save_to_disk(
        folder / "saved"
    )
    kinds = wine.target_names[wine.target]
    x = wine.data.to_numpy()
    features = {"x_train": x[::2], "y_train": kinds[::2], "x_test": x[1::2], "y_test": kinds[1::2]}
    np.savez(folder / "features.npz", **features)
    sound = draws.normal(-40, 20, (40, 8, 8))
    y = np.arange(40) % 2
    np.savez(folder / "spectrograms.npz", x_train=sound, y_train=y, x_test=sound[:8], y_test=y[:8])
    np.savez(folder / "alone.npz", x_train=wine.data, y_train=wine.target)
    (folder / "sets.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n"
        "def load():\n    x = torch.arange(50. * 64).reshape(50, 1, 8, 8) / 3200\n    y = torch.arange(50) % 2\n"
        "    return TensorDataset(x[:40], y[:40]), TensorDataset(x[40:], y[40:])\n"
    )


@pytest.fixture(scope="module")
def files(shared_folder: Path) -> Path:
    return made_once(shared_folder / "own_data", write_files)


def test_the_page_has_a_line_for_each_source_of_ones_own() -> None:
    assert len(LINES) == 12
    assert {yaml.safe_load(line)["dataset"]["source"] for line in LINES} == {
        "folder", "table", "huggingface", "npz", "python",
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("line", LINES)
def test_each_line_trains(line: str, files: Path, tmp_path: Path, memexp: Callable[..., Done]) -> None:
    dataset = yaml.safe_load(line)["dataset"]
    if "id" in dataset:
        shutil.copy(files / "wines_named.csv", tmp_path / "wines.csv")
        dataset["path"] = str(tmp_path / "wines.csv")
    else:
        dataset["path"] = str(files / dataset["path"])
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC | {"dataset": dataset}), encoding="utf-8")
    done = memexp("launch", "spec.yaml", "--workers", 0)
    assert done.returncode == 0, done.stderr
    run = package.open_run(tmp_path / "runs/own")
    assert run.status.done == 10
    assert np.isfinite(run.memorization).any()
    assert (run.run.manifest.n_test == 0) == ("alone" in line or ("table" in line and "test:" not in line))


@pytest.mark.long
def test_the_notebook_of_the_page_goes_from_arrays_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        exec(compile(block, f"data.md, block {number}", "exec"), names)
    assert names["scores"].memorization.shape == (89,)
    assert (tmp_path / "runs/wine/report/index.html").is_file()
    page = (tmp_path / "runs/wine/report/labels.html").read_text("utf-8")
    assert "The examples are rows of 13 features." in page
    assert re.search(r"<br>memorization .*<br>feature \d+ [\d.e+]+ \([+-][\d.]+\u00a0sd\)<br>", page), (
        "what is unusual of a suspect"
    )
    assert names["run"].run.manifest.classes == ["class_0", "class_1", "class_2"]


@pytest.mark.long
def test_a_run_on_arrays_is_that_of_the_same_arrays_in_a_file(
    files: Path, tmp_path: Path, memexp: Callable[..., Done]
) -> None:
    arrays = dict(np.load(files / "features.npz"))
    data = tuple(arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    run = package.launch(SPEC, data=data, runs=tmp_path / "here", workers=0)
    spec = SPEC | {"dataset": {"source": "npz", "path": str(files / "features.npz")}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert memexp("launch", "spec.yaml", "--workers", 0).returncode == 0
    assert_same_outcomes(run.run, open_run(tmp_path / "runs/own"))
    assert memexp("status", "here/own").returncode == 0
    assert memexp("resume", "here/own", "--workers", 0).returncode == 0, "nothing is missing, and the data are found"
    assert memexp("verify", "here/own").returncode == 0
    again = package.launch(SPEC, data=data, runs=tmp_path / "here", workers=0)
    assert again.status.done == 10
    with pytest.raises(RunMismatch, match="x_train"):
        package.launch(SPEC, data=(data[0] + 1, *data[1:]), runs=tmp_path / "here", workers=0)
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["own"], "no rest of saving"


@pytest.mark.parametrize("form", ["tensors", "frame", "two frames", "data sets", "hugging face", "dict"])
def test_every_form_of_data_in_memory(form: str, files: Path, tmp_path: Path) -> None:
    import datasets
    import pandas
    import torch
    from torch.utils.data import TensorDataset

    wine = pandas.read_csv(files / "wines.csv")
    x, y = wine.drop(columns="kind").to_numpy(np.float32), np.unique(wine["kind"], return_inverse=True)[1]
    tensors = torch.tensor(x), torch.tensor(y)
    columns, split = {"label": "kind", "features": "rest"}, {"test": {"fraction": 0.2}}
    data, section, names = {
        "tensors": (tensors, split, ()),
        "frame": (wine, columns | split, tuple(wine.columns[:-1])),
        "two frames": ((wine, wine.head(36)), columns, tuple(wine.columns[:-1])),
        "data sets": ((TensorDataset(*tensors), TensorDataset(tensors[0][:36], tensors[1][:36])), {}, ()),
        "hugging face": (datasets.Dataset.from_pandas(wine), columns | split, tuple(wine.columns[:-1])),
        "dict": ({"x_train": x, "y_train": y, "id_train": [f"w{k}" for k in range(178)]}, split, ()),
    }[form]  # fmt: skip
    run = package.launch(SPEC | {"dataset": section}, data=data, runs=tmp_path, workers=0)
    assert (run.status.done, run.run.manifest.n_test) == (10, 36)
    assert run.data.features == names
    assert run.run.manifest.n_train == (178 if "two" in form or form == "data sets" else 142)
    if form == "dict":
        assert run.to_pandas()["id"].str.fullmatch(r"w\d+").all()
    if form == "frame":
        tested = run.data.x_test[:, 0, 0]
        np.testing.assert_allclose(tested, x[run.data.test_index], rtol=1e-6)


@pytest.mark.long
def test_a_page_compares_runs_that_have_no_test_set(tmp_path: Path, memexp: Callable[..., Done]) -> None:
    x, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 2
    for seed, place in enumerate(("a", "b")):
        spec = SPEC | {"subsets": SPEC["subsets"] | {"seed": seed}}
        package.launch(spec, data=(x, y), runs=tmp_path / place, workers=0)
    done = memexp("report", "a/own", "--compare", "b/own")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"\d+ of 60 examples (is a discovery|are discoveries)", (tmp_path / "a/own/report/index.html").read_text()
    )


def test_faults_of_a_spec_in_memory_are_named(tmp_path: Path) -> None:
    x, y = np.zeros((20, 2)), np.arange(20) % 2
    with pytest.raises(SpecError, match="the data are given, so dataset names no source or path"):
        package.launch(SPEC | {"dataset": {"source": "npz"}}, data=(x, y), runs=tmp_path)
    # No line: there is no file.
    with pytest.raises(SpecError, match=r"spec: 4 faults\n  training.batch_size: .*\n  training.epoch: "):
        package.launch(SPEC | {"training": {"epoch": 3}}, data=(x, y), runs=tmp_path)
    with pytest.raises(SpecError, match="all training examples have one label"):
        package.launch(SPEC, data=(x, y * 0), runs=tmp_path)
    with pytest.raises(DataError, match="^data: y_train is float64; labels must be integers"):
        package.launch(SPEC, data=(x, y * 1.0), runs=tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_rows_and_columns_that_pandas_calls_otherwise_are_refused(tmp_path: Path) -> None:
    """They would be taken in their order: test examples of exchanged features, labels of other rows."""
    import pandas
    import pyarrow

    x = pandas.DataFrame({"a": np.arange(40.0), "b": 1.0}, index=range(100, 140))
    y = pandas.Series(np.arange(40) % 2, index=x.index)
    mixed, arrow = y.sample(frac=1, random_state=0), pyarrow.Table.from_pandas(x, preserve_index=False)
    for data, said in (
        ((x, y, x[["b", "a"]], y), r"column 0 of x_test is 'b', of x_train 'a'; .* x_test\[x_train.columns\]"),
        ((arrow, y, arrow.select(["b", "a"]), y), "column 0 of x_test is 'b', of x_train 'a'"),
        ((x, y, x.assign(c=1.0), y), "column 2 of x_test is 'c', of x_train nothing"),
        ((x, mixed), r"the index of y_train is not that of x_train, .*y_train.loc\[x_train.index\]"),
        ((x, y, x, mixed), "the index of y_test"),
        ((x.reset_index(drop=True), mixed.reset_index(drop=True).iloc[::-1]), "the index of y_train"),
    ):
        with pytest.raises(DataError, match=said):
            package.launch(SPEC, data=data, runs=tmp_path)
    assert package.launch(SPEC, data=(arrow, y, arrow, y), runs=tmp_path, workers=0).data.features == ("a", "b")
    shutil.rmtree(tmp_path / "own")
    for labels in (y, y.to_numpy(), y.reset_index(drop=True), mixed.to_numpy()):
        assert package.launch(SPEC, data=(x, labels, x, labels), runs=tmp_path, workers=0).run.manifest.n_test == 40
        shutil.rmtree(tmp_path / "own")


@pytest.mark.process
def test_processes_train_while_a_notebook_goes_on(files: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(files / "features.npz"))
    run = package.launch(SPEC, data=arrays, runs=tmp_path, workers=1)
    assert run.wait().status.done == 10
    assert run.estimate().n_trials == 10
