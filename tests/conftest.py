"""Fixtures: a tiny but real experiment, and the command line as a user runs it."""

from __future__ import annotations

import copy
import fcntl
import functools
import io
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import settings

from memexp.runs.run import Run, open_run, prepare_run
from memexp.spec.reading import read_spec
from memexp.spec.spec import Spec

settings.register_profile("memexp", deadline=None)  # of a wall clock, which a busy machine would miss
settings.load_profile("memexp")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
FASHION = Path("/usr/share/datasets/fashion-mnist")

Done = subprocess.CompletedProcess[str]

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"source": "digits", "limit": {"train": 200, "test": 60}},
    "model": {"arch": "memexp_mlp", "hidden": [16]},
    "training": {"epochs": 3, "batch_size": 32, "lr": 0.05, "standardize": True},
    "subsets": {"design": "balanced", "ratio": 0.7, "trials": 20, "seed": 3},
}

FLIPPED = {"source": "digits", "limit": {"train": 300, "test": 100}, "label_noise": {"fraction": 0.05, "seed": 1}}


def changed(**blocks: Any) -> dict[str, Any]:
    """The tiny spec with keys of its blocks replaced: changed(training={"epochs": 1}, name="other").

    A dataset, and a model with its arch, replace the whole block.
    """
    value = copy.deepcopy(TINY)
    for block, keys in blocks.items():
        whole = not isinstance(keys, dict) or block == "dataset" or "arch" in keys
        value[block] = keys if whole else value.get(block, {}) | keys
    return value


def make_spec(**blocks: Any) -> Spec:
    return Spec.model_validate(changed(**blocks))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a browser is marked so."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(autouse=True)
def _only_marked_tests_start_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process costs seconds: the fast tests start none, or say that they do."""
    if not {mark.name for mark in request.node.iter_markers()} & {"process", "browser", "slurm"}:
        started = subprocess.Popen.__init__

        def refuse(self: Any, arguments: Any, *more: Any, **options: Any) -> None:
            first = arguments if isinstance(arguments, str) else str(arguments[0])
            if Path(first).name in ("ldconfig", "lscpu"):  # older libraries look at the machine by these
                return started(self, arguments, *more, **options)
            pytest.fail(f"starts {arguments}; mark the test with @pytest.mark.process, or call the library in process")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setenv("PATH", "")  # a Slurm of this machine is not asked either
        monkeypatch.setattr(os, "fsync", lambda _: None)  # no test outlives the machine


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # training switches it on, for the whole process


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., Path]:
    def write(**blocks: Any) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(changed(**blocks), sort_keys=False))
        return path

    return write


def _captured(program: Callable[[], object], words: list[str], folder: Path, env: Mapping[str, str]) -> Done:
    """Call a program in a folder, with an empty standard input, and give what it printed and its exit code."""
    printed = {name: io.StringIO() for name in ("stdout", "stderr")}
    code: Any = 0
    with pytest.MonkeyPatch.context() as patch, open(os.devnull, encoding="utf-8") as nothing:
        patch.chdir(folder)
        for name, value in env.items():
            patch.setenv(name, value)
        for name, stream in {**printed, "stdin": nothing}.items():
            patch.setattr(sys, name, stream)
        patch.setattr(sys, "argv", words)
        try:
            program()
        except SystemExit as end:
            code = end.code or 0
    if isinstance(code, str):  # what `sys.exit("...")` does
        printed["stderr"].write(f"{code}\n")
        code = 1
    return Done(words, code, *(stream.getvalue() for stream in printed.values()))


@functools.cache
def command_line() -> Callable[..., object]:
    """What `memexp` calls, with its options read once: a process that lives for one command has no use for that."""
    import typer.main

    from memexp.cli.app import app

    return typer.main.get_command(app)


def in_process(*arguments: Any, folder: Path, env: Mapping[str, str] | None = None) -> Done:
    """Run the command line in this process, in a folder."""
    words = ["memexp", *map(str, arguments)]
    return _captured(lambda: command_line()(words[1:]), words, folder, {"COLUMNS": "100", **(env or {})})


def run_script(script: Path, *arguments: Any, folder: Path) -> Done:
    """Run a script of the repository in this process, in a folder."""
    words = [str(script), *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(script.parent))  # as python does for a script
        return _captured(lambda: runpy.run_path(str(script), run_name="__main__"), words, folder, {})


@pytest.fixture
def memexp(tmp_path: Path) -> Callable[..., Done]:
    """Run the command line in this process, in the test's folder; where a process is meant, `memexp_process`."""
    return functools.partial(in_process, folder=tmp_path)


@pytest.fixture
def memexp_process(tmp_path: Path) -> Callable[..., Done]:
    """Run the command line in a process of its own, in the test's folder: seconds slower than `memexp`."""

    def run(*arguments: Any, **options: Any) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "memexp", *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=280,
            env=os.environ | {"COLUMNS": "100"} | options.pop("env", {}), **options,
        )  # fmt: skip

    return run


@pytest.fixture
def new_run(tmp_path: Path, write_spec: Callable[..., Path]) -> Callable[..., Run]:
    """Create a run (nothing trained yet) from the tiny spec with changes."""

    def create(runs: str = "runs", **blocks: Any) -> Run:
        from memexp.data import load_data

        spec = read_spec(write_spec(**blocks)).spec
        return prepare_run(spec, load_data(spec.dataset), tmp_path / runs)

    return create


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run see, for what is made once."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, filled by ``make`` in the first process of the test run that asks for it."""
    with open(folder.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            building = folder.with_suffix(".new")
            shutil.rmtree(building, ignore_errors=True)  # of a process that failed, which has told why
            building.mkdir()
            make(building)
            building.rename(folder)
    return folder


def _launched_once(folder: Path, spec: dict[str, Any], *options: Any) -> Path:
    """The run of a spec, trained by the first process of the test run that asks for it."""

    def train(folder: Path) -> None:
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        done = in_process("launch", "spec.yaml", "--workers", 0, *options, folder=folder)
        assert done.returncode == 0, done.stderr

    return made_once(folder, train) / "runs" / spec["name"]


@pytest.fixture(scope="session")
def trained_run(shared_folder: Path) -> Path:
    """A finished run with flipped labels, margins and predictions; copy it before changing it."""
    spec = changed(
        dataset=FLIPPED,
        training={"epochs": 30},
        model={"hidden": [64]},
        record=["correct", "margin", "predicted"],
        subsets={"trials": 40},
    )
    return _launched_once(shared_folder / "trained", spec)


@pytest.fixture(scope="session")
def recording_run(shared_folder: Path) -> Path:
    """A finished run that records and keeps all that can be."""
    spec = changed(
        dataset=FLIPPED,
        record=["correct", "margin", "predicted", "probabilities", "learning"],
        keep={"weights": 1},
        subsets={"trials": 24, "ratio": 0.5},
    )
    return _launched_once(shared_folder / "recording", spec, "--block", 8)


@pytest.fixture
def run_copy(trained_run: Path, tmp_path: Path) -> Run:
    """A finished run that a test may damage."""
    shutil.copytree(trained_run, tmp_path / "copy")
    return open_run(tmp_path / "copy")


def as_other_user() -> list[str]:
    """What turns a command of root's into one for which other users' files are closed, as for everybody else.

    It stays root, whose clone may lie where nobody else can enter; it only loses root's right to pass over permissions.
    """
    rights = "-dac_override,-dac_read_search,-fowner"
    words = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    reads = [sys.executable, "-c", "import memexp.cli.app"]
    if not shutil.which("setpriv") or subprocess.run([*words, *reads], capture_output=True).returncode:
        pytest.skip("this installation cannot be read without root's rights")
    return words


def untrain(run: Run, block: int) -> None:
    """Make a block as one that was never trained."""
    run.store(writable=True).forget_block(block)
    for path in run.paths.blocks.glob(f"{block * run.manifest.block_size:06d}-*.json"):
        path.unlink()


def outcomes(run: Run) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of a run's store but the measured times."""
    store = run.store()
    blocks = [store.read_block(number) for number in range(store.layout.n_blocks)]
    return {
        name: np.concatenate([block[name] for block in blocks]) for name in blocks[0] if name != "seconds"
    } | store.examples()


def assert_same_outcomes(a: Run, b: Run) -> None:
    first, second = outcomes(a), outcomes(b)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
