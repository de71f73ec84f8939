"""A run is trained by one and the same software, or somebody knows that it is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memexp.errors import InputError, MemexpError
from memexp.files import versions
from memexp.launch.launch import launch_local
from memexp.launch.status import read_status
from memexp.runs.pool import LocalPool, Resources
from memexp.runs.run import Run
from memexp.runs.software import Accept, deciding, differences, require_same_software, software
from memexp.slurm.job import run_task
from memexp.slurm.profile import Profile
from memexp.store.launches import Job, Launch, new_id, read_launches
from memexp.store.receipts import read_receipts
from memexp.version import code_digest
from tests.conftest import ROOT

pytestmark = pytest.mark.process

ONE = Resources(workers=1)
QUICK: dict[str, Any] = {"training": {"epochs": 1}, "subsets": {"trials": 20}}


def nothing(_: object) -> None:
    pass


def edit(path: Path, **changes: Any) -> None:
    """Change a JSON file as if it had been written so; a dictionary's keys one by one, None takes a key away."""
    content = json.loads(path.read_text())
    content.pop("digest", None)
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
        if value is None:
            del content[key]
    path.write_text(json.dumps(content))


def edit_launch(run: Run, **changes: Any) -> None:
    edit(max(run.paths.launches.glob("*.json")), **changes)


def some_blocks(run: Run, *blocks: int) -> None:
    """A launch of this software, and these blocks trained by it."""
    Launch(new_id(run.paths), "local", [[block] for block in blocks], {"workers": 1}).write(run.paths)
    LocalPool(run.paths, "first", ONE).train(list(blocks), nothing)


# ------------------------------------------------------------------------------- what counts


def test_the_digest_is_of_what_a_worker_can_import(tmp_path: Path) -> None:
    package = shutil.copytree(ROOT / "memexp", tmp_path / "memexp", ignore=shutil.ignore_patterns("__pycache__"))

    def found() -> str:
        code = "from memexp.version import code_digest as d; print(d())"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True)
        return done.stdout.decode().strip()

    first = found()
    assert first == code_digest()
    for name in ("report/report.py", "cli/watch.py", "slurm/limits.py", "analysis/merged.py", "launch/status.py"):
        with open(package / name, "a") as stream:
            stream.write("\nX = 1\n")
        assert found() == first, name
    seen = {first}
    for name in (
        "training/batches.py",
        "runs/worker.py",
        "store/trials.py",
        "spec/designs.py",
        "data/sources.py",
        "seeds.py",
    ):
        with open(package / name, "a") as stream:
            stream.write("\nX = 1\n")
        assert found() not in seen, name
        seen.add(found())
    (package / "training/new.py").touch()
    assert found() not in seen


def test_the_digest_costs_little() -> None:
    code_digest.cache_clear()
    start = time.perf_counter()
    code_digest()
    assert time.perf_counter() - start < 0.2


@pytest.mark.parametrize(
    ("name", "old", "new", "arch", "differs"),
    [
        ("torch", "2.9.0+cpu", "2.9.0+cu128", "resnet18", False), ("torch", "2.9.0", "2.9.1", "resnet18", True),
        ("python", "3.11.7", "3.11.9", "resnet18", False), ("python", "3.11.7", "3.12.1", "resnet18", True),
        ("timm", "1.0.9", "1.0.20", "resnet18", True), ("timm", "1.0.9", "1.0.20", "memexp_mlp", False),
        ("numpy", "1.26.4", "2.1.0", "memexp_mlp", True), ("zarr", "3.1.3", "3.1.6", "resnet18", False),
        ("code", "aaaa", "bbbb", "memexp_mlp", True), ("code", "", "bbbb", "memexp_mlp", False),
    ],
)  # fmt: skip
def test_what_decides_outcomes(name: str, old: str, new: str, arch: str, differs: bool) -> None:
    before, now = software() | {name: old}, software() | {name: new}
    if not old:
        del before[name]
    assert bool(differences(before, now, arch)) is differs
    assert (deciding(before, arch) != deciding(now, arch)) is (differs or not old)


# ------------------------------------------------------------------------------- a launch, a resume


@pytest.mark.parametrize("changes", [{"code": "000000000000"}, {"versions": {"torch": "1.0"}}])
def test_other_software_is_refused_unless_it_is_accepted(changes: dict[str, Any], new_run: Callable[..., Run]) -> None:
    run = new_run(**QUICK)
    Launch(new_id(run.paths), "local", [[0], [1]], {"workers": 1}).write(run.paths)
    edit_launch(run, **changes)
    with pytest.raises(InputError, match=r"was launched with other software: .* was .*, is .*--accept-software"):
        launch_local(run, ONE, nothing)
    assert len(read_launches(run.paths)) == 1
    assert launch_local(run, ONE, nothing, Accept(software=True)).trained == 20
    assert read_launches(run.paths)[-1].accepted
    grown = new_run(**QUICK | {"subsets": {"trials": 30}})
    assert launch_local(grown, ONE, nothing).trained == 10  # it is not asked twice


def test_what_trained_the_blocks_counts_where_another_python_launched(new_run: Callable[..., Run]) -> None:
    run = new_run(**QUICK)
    some_blocks(run, 0)
    edit_launch(run, prefix="/elsewhere", backend="slurm")
    require_same_software(run, trains_here=True)
    edit(next(run.paths.blocks.glob("*.json")), made_by={"versions": versions() | {"torch": "1.0"}})
    with pytest.raises(InputError, match=r"torch was 1.0, is 2"):
        require_same_software(run, trains_here=True)
    edit(next(run.paths.blocks.glob("*.json")), made_by={"versions": versions() | {"torch": "1.0"}, "prefix": "/other"})
    require_same_software(run, trains_here=False)  # that Python trains elsewhere, and is asked there


def test_a_run_of_an_earlier_version_goes_on(new_run: Callable[..., Run]) -> None:
    run = new_run(**QUICK)
    some_blocks(run, 0)
    edit_launch(run, code=None, prefix=None, cluster=None, accepted=None, left_out=None)
    edit(next(run.paths.blocks.glob("*.json")), made_by={"code": ""})
    assert launch_local(run, ONE, nothing).trained == 10
    assert read_status(run.paths.root).software == {}


# ------------------------------------------------------------------------------- a task, a worker


def slurm_task(run: Run, **changes: Any) -> Launch:
    name = new_id(run.paths)
    profile = Profile(time_min=60).model_dump(mode="json")
    Launch(name, "slurm", [[0]], {"workers": 1}, profile, [Job(f"tiny.{name}.0")]).write(run.paths)
    edit_launch(run, **changes)
    return read_launches(run.paths)[-1]


@pytest.mark.parametrize(
    "changes",
    [{"code": "000000000000"}, {"versions": {"torch": "1.0"}}, {"code": "000000000000", "prefix": "/elsewhere"}],
)
def test_a_task_refuses_other_software_than_it_was_launched_with(
    changes: dict[str, Any], new_run: Callable[..., Run]
) -> None:
    run = new_run(**QUICK)
    launch = slurm_task(run, **changes)
    with pytest.raises(InputError, match=r"the software changed since this was launched: .*resume .*--accept-software"):
        run_task(str(run.paths.root), launch.launch_id, 0)
    (path,) = run.paths.attempts.glob("*.json")
    attempt = json.loads(path.read_text())
    assert (attempt["failed"], attempt["users_fault"]) == (True, True)
    assert run.store().missing_blocks() == [0, 1]


def test_a_task_of_another_python_brings_its_own_libraries(new_run: Callable[..., Run]) -> None:
    run = new_run(**QUICK)
    launch = slurm_task(run, versions={"torch": "1.0"}, prefix="/elsewhere")
    run_task(str(run.paths.root), launch.launch_id, 0)
    (receipt,) = read_receipts(run.paths)
    assert receipt.made_by["code"] == code_digest()
    assert receipt.made_by["prefix"] == sys.prefix


def test_a_worker_that_finds_an_edited_installation_trains_nothing(new_run: Callable[..., Run]) -> None:
    """As one that replaces a dead worker, hours after the launch."""
    run = new_run(**QUICK)
    pool = LocalPool(run.paths, "test", ONE)
    pool._software = pool._software | {"code": "000000000000"}
    with pytest.raises(MemexpError, match="the code of memexp was 000000000000, is ") as caught:
        pool.train([0, 1], nothing)
    assert caught.value.exit_code == 2
    assert run.store().missing_blocks() == [0, 1]


def test_status_shows_a_run_of_several_versions(new_run: Callable[..., Run]) -> None:
    run = new_run(**QUICK)
    some_blocks(run, 0, 1)
    assert read_status(run.paths.root).software == {}
    edit(min(run.paths.blocks.glob("*.json")), made_by={"code": "0123", "versions": versions() | {"torch": "1.0"}})
    torch = versions()["torch"].partition("+")[0]
    assert read_status(run.paths.root).software == {
        "code of memexp 0123, torch 1.0": 10,
        f"code of memexp {code_digest()}, torch {torch}": 10,
    }
