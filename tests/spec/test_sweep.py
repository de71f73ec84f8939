"""A sweep: one file, several runs, launched, watched and compared together."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from memexp.data import load_examples
from memexp.errors import SpecError
from memexp.runs.plan import planner
from memexp.runs.run import open_run
from memexp.spec.reading import SpecFile, read_spec
from memexp.spec.sweep import read_file
from memexp.store.lock import launch_lock
from memexp.store.trials import extend_store
from tests.conftest import TINY, assert_same_outcomes, changed

Memexp = Callable[..., subprocess.CompletedProcess[str]]
WIDE = {"model": {"arch": "memexp_mlp", "hidden": [32]}, "training": {"lr": 0.1}}
VARY: dict[str, Any] = {"subsets.ratio": [0.5, 0.7], "network": {"mlp": {}, "wide": WIDE}, "subsets.trials": [10]}


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    def write(vary: dict[str, Any] = VARY, **more: Any) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({"name": "both", "base": changed(), "vary": vary} | more, sort_keys=False))
        return path

    return write


def test_every_combination_is_a_run(write_sweep: Callable[..., Path], write_spec: Callable[..., Path]) -> None:
    files = read_file(write_sweep()).files
    found = {file.spec.name: file.spec for file in files}
    assert list(found) == ["ratio0.5-mlp", "ratio0.5-wide", "ratio0.7-mlp", "ratio0.7-wide"]
    expected = read_spec(write_spec(name="ratio0.5-wide", subsets={"ratio": 0.5, "trials": 10}, **WIDE)).spec
    assert found["ratio0.5-wide"] == expected
    assert found["ratio0.7-mlp"].training.lr == 0.05  # what one run changes does not reach the others
    assert isinstance(read_file(write_spec()), SpecFile)


def test_the_base_may_be_a_file_whose_paths_are_its_own(tmp_path: Path, write_sweep: Callable[..., Path]) -> None:
    (tmp_path / "specs").mkdir()
    base = changed(dataset={"source": "npz", "path": "data.npz"})
    (tmp_path / "specs/base.yaml").write_text(yaml.safe_dump(base))
    files = read_file(write_sweep(base="specs/base.yaml")).files
    assert files[0].spec.dataset.path == str(tmp_path / "specs/data.npz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vary": {}}, "vary"),
        ({"vary": {"subsets.ratio": []}}, "vary.subsets.ratio"),
        ({"vary": {"subsets.ratioo": [0.5, 0.7]}}, "run ratioo0.5: subsets.ratioo: unknown key. Did you mean 'ratio'?"),
        ({"vary": {"subsets.ratio": [0.5, 1.7]}}, "run ratio1.7: subsets.ratio: 1.7"),
        ({"vary": {"model.hidden": [[8], [16]], "training.lr": [0.1, 0.1]}}, "is the name of two runs"),
        (
            {"vary": {"x": {"a": {"name": "b"}, "b": {}}}},
            "run a: name: a run of a sweep is named after its values, here a",
        ),
        ({"base": "nowhere.yaml"}, "cannot read the spec"),
        ({"nmae": "x"}, "nmae: unknown key. Did you mean 'name'?"),
    ],
)
def test_faults_name_the_run(change: dict[str, Any], said: str, write_sweep: Callable[..., Path]) -> None:
    with pytest.raises(SpecError) as error:
        read_file(write_sweep(**change))
    assert said in str(error.value)


def test_a_fault_of_one_run_stops_the_launch_before_anything_is_trained(
    write_sweep: Callable[..., Path], memexp: Memexp, tmp_path: Path
) -> None:
    refused = memexp("launch", write_sweep({"training.batch_size": [32, 500]}), "--executor", "local", "--yes")
    assert refused.returncode == 2
    assert "run batch_size500: 1 fault" in refused.stderr
    assert "500 exceeds the 140 examples" in refused.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_a_sweep_is_launched_watched_and_compared_together(
    write_sweep: Callable[..., Path], memexp: Memexp, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    path = write_sweep()
    plan = memexp("plan", path)
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.count("standard error") == 4
    assert [each["name"] for each in json.loads(memexp("plan", path, "--json").stdout)][2] == "ratio0.7-mlp"
    assert not (tmp_path / "runs").exists()
    launch = ("launch", path, "--executor", "local", "--workers", 0, "--yes")
    done = memexp(*launch)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs/both"
    names = ["ratio0.5-mlp", "ratio0.5-wide", "ratio0.7-mlp", "ratio0.7-wide"]
    assert done.stdout.split() == [f"runs/both/{name}" for name in names]
    alone = memexp("launch", write_spec(name="alone", subsets={"ratio": 0.5, "trials": 10}), *launch[2:])
    assert alone.returncode == 0
    assert_same_outcomes(open_run(folder / "ratio0.5-mlp"), open_run(tmp_path / "runs/alone"))

    status = memexp("status", folder)
    assert status.returncode == 0
    assert [line.split()[:4] for line in status.stdout.splitlines()[1:]] == [[name, "10", "0", "0"] for name in names]
    compared = memexp("compare", folder, "--deals", "1")
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.count("against") == 3
    assert memexp("compare", folder, tmp_path / "runs/alone").returncode == 2
    named = memexp("report", folder)
    assert named.returncode == 2
    assert "is the folder of a sweep; name one of its runs" in named.stderr
    states = json.loads(memexp("status", folder, "--json").stdout)
    assert [state["done"] for state in states] == [10] * 4


@pytest.mark.long
def test_runs_that_are_not_trained_yet_are_seen_and_resumed(
    write_sweep: Callable[..., Path], memexp: Memexp, tmp_path: Path
) -> None:
    """All runs exist before the first is trained: a sweep that was stopped is not complete."""
    path = write_sweep({"training.lr": {"good": {}, "bad": {"training": {"lr": 1e30}}}})
    done = memexp("launch", path, "--executor", "local", "--workers", 0, "--yes")
    assert done.returncode == 1, "the trials of one run failed"
    folder = tmp_path / "runs/both"
    status = memexp("status", folder)
    assert status.returncode == 1
    assert [line.split()[:4] for line in status.stdout.splitlines()[1:]] == [
        ["good", "20", "0", "0"],
        ["bad", "0", "20", "0"],
    ]
    paths = open_run(folder / "good").paths
    extend_store(paths.trials, 30)
    spec = yaml.safe_load(paths.spec.read_text())
    paths.spec.write_text(yaml.safe_dump(spec | {"subsets": spec["subsets"] | {"trials": 30}}))
    assert memexp("status", folder).returncode == 3
    assert "no Slurm job" in memexp("cancel", folder).stdout
    with launch_lock(open_run(folder / "bad").paths):  # a fault of one run is told, and the other is resumed
        resumed = memexp("resume", folder, "--executor", "local", "--workers", 0)
    assert resumed.returncode == 3
    assert "bad is being trained by process" in resumed.stderr
    assert [state["done"] for state in json.loads(memexp("status", folder, "--json").stdout)] == [30, 0]


@pytest.mark.long
def test_a_run_that_is_absent_is_told_and_the_sweep_not_complete(
    write_sweep: Callable[..., Path], memexp: Memexp, tmp_path: Path
) -> None:
    vary: dict[str, Any] = {"subsets.seed": [1, 2], "subsets.trials": [10], "training.epochs": [1]}
    launch = ("launch", write_sweep(vary), "--executor", "local", "--workers", 0, "--yes")
    assert memexp(*launch).returncode == 0
    folder = tmp_path / "runs/both"
    (folder / "seed2").rename(tmp_path / "away")
    status = memexp("status", folder)
    assert status.returncode == 3
    assert f"{folder}: seed2 not created yet, or deleted; launch the sweep's file again" in status.stderr
    (tmp_path / "away").rename(folder / "seed2")
    fewer = memexp("launch", write_sweep(vary | {"subsets.seed": [1]}), *launch[2:])
    assert fewer.returncode == 0, fewer.stderr
    assert "also holds seed2" in fewer.stderr
    assert memexp("status", folder).returncode == 0


@pytest.mark.long
def test_another_sweep_of_the_same_name_leaves_the_first_as_it_is(
    write_sweep: Callable[..., Path], memexp: Memexp, tmp_path: Path
) -> None:
    few: dict[str, Any] = {"subsets.trials": [10], "training.epochs": [1]}
    launch = ("launch", write_sweep({"subsets.seed": [1, 2]} | few), "--executor", "local", "--workers", 0, "--yes")
    assert memexp(*launch).returncode == 0
    note = tmp_path / "runs/both/sweep.yaml"
    before = note.read_text()
    other = write_sweep({"subsets.seed": [5, 1]} | few, base=changed(model={"hidden": [8]}))
    refused = memexp("launch", other, *launch[2:])
    assert refused.returncode == 2
    assert "model.hidden: [16] there, [8] in this spec" in refused.stderr
    assert note.read_text() == before
    assert not (tmp_path / "runs/both/seed5").exists()


def test_data_that_runs_share_are_read_once(write_sweep: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr("memexp.runs.plan.load_examples", lambda spec: reads.append(spec) or load_examples(spec))
    noise = {"dataset": TINY["dataset"] | {"label_noise": {"fraction": 0.1, "seed": 1}}}
    planned = planner()
    files = read_file(write_sweep({"labels": {"clean": {}, "noisy": noise}, "subsets.ratio": [0.5, 0.7]})).files
    plans = [planned(file) for file in files]
    assert len(reads) == 2
    assert [plan.data.flipped is None for plan in plans] == [True, True, False, False]
