"""The command line: exit codes, streams, help, and how quickly it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memexp.runs.run import Run
from memexp.store.launches import Launch
from tests.conftest import ROOT

Memexp = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = [
    "plan", "launch", "resume", "status", "cancel", "logs", "prepare", "features", "merge", "estimate", "compare",
    "export", "select", "report", "verify", "schema", "doctor",
]  # fmt: skip


@pytest.mark.long
def test_launch_to_report_on_a_tiny_spec(memexp: Memexp, write_spec: Any, tmp_path: Path) -> None:
    spec = write_spec(
        dataset={"source": "digits", "limit": {"train": 100, "test": 40}, "label_noise": {"fraction": 0.1}}
    )
    planned = memexp("plan", spec)
    assert planned.returncode == 0, planned.stderr
    assert "20 in 2 blocks of 10" in planned.stdout
    assert "bound of Lemma 2.1" in planned.stdout
    assert not (tmp_path / "runs").exists()
    dry = memexp("launch", spec, "--dry-run")
    assert dry.returncode == 0
    assert not (tmp_path / "runs").exists()

    launched = memexp("launch", spec, "--workers", 0)
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout == "runs/tiny\n"
    assert "memorization  mean" in launched.stderr
    run = tmp_path / "runs/tiny"
    for name in (
        "spec.yaml",
        "manifest.json",
        "trials.zarr",
        "launches",
        "attempts",
        "logs",
        "merged.zarr",
        "estimates.zarr",
    ):
        assert (run / name).exists(), name

    again = memexp("launch", spec, "--workers", 0)
    assert again.returncode == 0
    assert "20 of 20 trials are settled already" in again.stderr

    state = memexp("status", "runs/tiny", "--json")
    assert state.returncode == 0
    assert json.loads(state.stdout)["done"] == 20

    for command in (["merge"], ["estimate", "--dense"], ["verify"], ["report"]):
        done = memexp(*command, "runs/tiny")
        assert done.returncode == 0, done.stderr
    assert done.stdout == "runs/tiny/report/index.html\n"


@pytest.mark.long
def test_status_of_an_unfinished_run_and_resume(memexp: Memexp, new_run: Callable[..., Run]) -> None:
    new_run()
    waiting = memexp("status", "runs/tiny")
    assert waiting.returncode == 3
    assert "0 done, 0 failed, 20 missing of 20" in waiting.stdout
    assert "memexp resume runs/tiny" in waiting.stdout
    assert memexp("estimate", "runs/tiny").returncode == 3
    resumed = memexp("resume", "runs/tiny", "--device", "cpu", "--workers", "0")
    assert resumed.returncode == 0, resumed.stderr
    assert memexp("status", "runs/tiny").returncode == 0


@pytest.mark.parametrize(
    ("blocks", "line"),
    [
        ({"model": {"arch": "resnt18"}}, "model.arch: 'resnt18': timm knows no such architecture. Did you mean"),
        (
            {"subsets": {"ratio": 0.999, "design": "uniform"}},
            "subsets.ratio: 0.999 of 200 training examples leaves no example out",
        ),
        (
            {"subsets": {"ratio": 0.001, "design": "uniform"}},
            "subsets.ratio: 0.001 of 200 training examples leaves no example in",
        ),
        (
            {"subsets": {"trials": 9}},
            "subsets.trials: 9 are fewer than one balanced group of 10 trials; use at least 10",
        ),
        ({"subsets": {"ratio": 0.7071}}, "subsets.ratio: 0.7071 is no fraction with a denominator up to 100"),
        ({"training": {"batch_size": 150}}, "training.batch_size: 150 exceeds the 140 examples that a trial trains on"),
        (
            {"subsets": {"design": "remove", "ratio": None, "removed": [3, 200]}},
            "subsets.removed: index 200 is outside the 200",
        ),
        ({"dataset": {"source": "idx", "path": "absent"}}, "no such file or folder"),
        ({"training": {"lr": -1}}, "training.lr: -1: must be greater than 0"),
    ],
)
def test_bad_specs_exit_with_2_name_the_line_and_leave_nothing(
    blocks: dict[str, Any], line: str, memexp: Memexp, write_spec: Any, tmp_path: Path
) -> None:
    done = memexp("launch", write_spec(**blocks))
    assert done.returncode == 2
    assert line in done.stderr
    assert ": line " in done.stderr.replace("  line", ": line")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_faults_of_data_model_and_subsets_come_together(memexp: Memexp, write_spec: Any) -> None:
    done = memexp("plan", write_spec(model={"arch": "resnt18"}, subsets={"trials": 9}, training={"batch_size": 150}))
    assert done.returncode == 2
    assert "3 faults" in done.stderr


def test_a_run_of_another_spec_is_refused(memexp: Memexp, new_run: Callable[..., Run], write_spec: Any) -> None:
    new_run()
    done = memexp("launch", write_spec(training={"lr": 0.3}))
    assert done.returncode == 2
    assert "training.lr: 0.05 there, 0.3 in this spec" in done.stderr


@pytest.mark.parametrize("command", ["status", "resume", "merge", "estimate", "compare", "report", "verify"])
def test_what_is_no_run_is_refused(command: str, memexp: Memexp, tmp_path: Path) -> None:
    absent = memexp(command, tmp_path / "absent")
    assert absent.returncode == 2
    assert "does not exist; give the folder that `memexp launch` made" in absent.stderr
    other = memexp(command, tmp_path)
    assert other.returncode == 2
    assert "is not a run directory" in other.stderr


def test_the_runs_that_may_have_been_meant_are_named(memexp: Memexp, new_run: Any, tmp_path: Path) -> None:
    for name in ("digits", "fashion"):
        new_run(name=name)
    (tmp_path / "digits.yaml").write_text("")
    for given, meant in (
        ("runs/digit", "runs/digits, runs/fashion"),
        ("runs/fashoin", "runs/fashion, runs/digits"),
        ("digits.yaml", "runs/digits, runs/fashion"),
    ):
        refused = memexp("status", given)
        assert refused.returncode == 2
        assert refused.stderr.endswith(f"such as {meant}\n")
    assert "give the folder that `memexp launch` made, such as runs/" in memexp("status", "runs").stderr
    launched = memexp("launch", "runs/digits")
    assert launched.returncode == 2
    assert "it is a run, which goes on with `memexp resume runs/digits`" in launched.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["launch", "SPEC", "--executor", "local", "--profile", "gpu"],
            "without --profile gpu; leave one of them away",
        ),
        (["launch", "SPEC", "--profile", "p.yaml", "--workers", 3], "--workers: for training on this machine"),
        (["resume", "copy", "--profile", "p.yaml", "--threads", 2, "--device", "cpu"], "--threads, --device: for"),
        (["estimate", "copy", "--memorization", 25], "--memorization"),
        (["compare", "copy", "--influence", "-2"], "--influence"),
    ],
)
def test_options_that_contradict_are_refused(
    arguments: list[Any], words: str, memexp: Memexp, write_spec: Any, run_copy: Run, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text("time_min: 10\n")
    refused = memexp(*(write_spec() if each == "SPEC" else each for each in arguments))
    assert refused.returncode == 2
    assert words in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_after_a_complete_run_there_is_nothing_to_resume(memexp: Memexp, run_copy: Run) -> None:
    assert "next     memexp report copy\n" in memexp("cancel", "copy").stdout
    assert "logs  none\n" in memexp("logs", "copy").stdout
    (run_copy.paths.logs / "launch-w0.log").touch()
    logs = memexp("logs", "copy")
    assert logs.returncode == 0
    assert "1, all empty: nothing was reported" in logs.stdout


@pytest.mark.long
def test_help_names_every_command_and_every_command_has_help(memexp: Memexp) -> None:
    top = memexp("--help")
    assert top.returncode == 0
    for command in COMMANDS:
        assert command in top.stdout
        assert memexp(command, "--help").returncode == 0
    assert memexp("--version").stdout.startswith("memexp 0.")
    assert memexp("schema").stdout.startswith("{")
    assert memexp("nonsense").returncode == 2


def test_doctor_finds_a_folder_that_cannot_be_used(memexp: Memexp, tmp_path: Path) -> None:
    fine = memexp("doctor", "--json")
    assert fine.returncode == 0
    findings = {finding["what"]: finding["verdict"] for finding in json.loads(fine.stdout)}
    assert findings["atomic commit"] == "ok"
    names = memexp("doctor", "--models").stdout.split()
    assert "memexp_resnet9" in names
    assert "resnet50" in names


LIGHT = ["--help", "status"]


def modules_after(arguments: list[str]) -> set[str]:
    program = (
        "import sys\nfrom memexp.cli.app import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit:\n    pass\nprint('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split("MODULES")[1].split())


@pytest.mark.process
def test_help_and_status_start_without_torch(trained_run: Path) -> None:
    heavy = {"torch", "timm", "sklearn", "matplotlib", "scipy", "submitit"}
    assert not heavy & modules_after(["--help"])
    assert not heavy & modules_after(["status", str(trained_run)])
    assert "zarr" not in modules_after(["--help"])
    assert "torch" in modules_after(["plan", str(ROOT / "specs/digits.yaml")])  # the check can fail


def test_status_counts_gpu_hours_where_gpus_trained(run_copy: Run, memexp: Memexp) -> None:
    """Two workers side by side on one GPU: their hours are counted once."""
    assert "worker hours" in memexp("status", run_copy.paths.root).stdout
    used = json.loads(memexp("status", run_copy.paths.root, "--json").stdout)["worker_hours"]
    resources = {"workers": 2, "threads": 1, "device": "cuda", "gpus": 1}
    Launch("20260101T000000Z-0000", "slurm", [[0]], resources).write(run_copy.paths)
    assert f"GPU hours {used / 2:.2g} used" in memexp("status", run_copy.paths.root).stdout
