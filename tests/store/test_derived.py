"""What is derived from trials: one process at a time, whole or absent, also after kill -9 at any step."""

from __future__ import annotations

import functools
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from memexp.analysis import estimates
from memexp.analysis.merged import open_merged
from memexp.analysis.pairs import Selection
from memexp.errors import RunBusy
from memexp.runs.run import Run
from memexp.store.derived import building, derived_lock, replacing
from memexp.store.paths import RunPaths


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    (tmp_path / "run").mkdir()
    return RunPaths(tmp_path / "run")


def make(paths: RunPaths, content: str) -> None:
    with derived_lock(paths), replacing(paths.estimates) as folder:
        folder.mkdir()
        for name in "abc":
            (folder / name).write_text(content)


def contents(paths: RunPaths) -> set[str]:
    return {path.read_text() for path in paths.estimates.iterdir()}


def killed_at(paths: RunPaths, step: int) -> bool:
    """Make it in a process that is killed before its step-th change of a folder; whether it was."""
    child = os.fork()
    if not child:
        calls = iter(range(1000))
        rename, remove = Path.rename, shutil.rmtree

        def die_or(work, *arguments, **options):  # type: ignore[no-untyped-def]
            if next(calls) == step:
                os.kill(os.getpid(), 9)
            return work(*arguments, **options)

        Path.rename = lambda *each, **more: die_or(rename, *each, **more)  # type: ignore[method-assign]
        shutil.rmtree = lambda *each, **more: die_or(remove, *each, **more)  # type: ignore[assignment]
        make(paths, "new")
        os._exit(0)
    return os.waitpid(child, 0)[1] == 9


@pytest.mark.parametrize("step", range(12))
def test_a_process_killed_at_any_step_leaves_the_old_or_the_new_for_the_next(paths: RunPaths, step: int) -> None:
    make(paths, "old")
    done = not killed_at(paths, step)
    with derived_lock(paths):
        assert contents(paths) in ({"new"}, {"old"})
        assert not done or contents(paths) == {"new"}
    make(paths, "newest")
    assert contents(paths) == {"newest"}
    assert {path.name for path in paths.root.iterdir()} == {"estimates.zarr", ".derived.lock"}


@pytest.mark.parametrize("name", ["influence", "influence_soft"])
def test_an_influence_matrix_of_a_killed_process_is_kept(paths: RunPaths, name: str) -> None:
    (building(paths.estimates) / name).mkdir(parents=True)
    with derived_lock(paths):
        assert paths.matrix(name).is_dir()


def test_one_makes_results_at_a_time(paths: RunPaths) -> None:
    busy = pytest.raises(RunBusy, match=rf"estimated or reported by process {os.getpid()}")
    with derived_lock(paths), busy, derived_lock(paths, wait_seconds=0.0):
        pass


def test_two_that_replace_a_folder_again_and_again_lose_nothing(paths: RunPaths) -> None:
    """Both saw the old folder, or one put its own between the other's two renames."""
    children = []
    for content in ("first", "second"):
        children.append(os.fork())
        if not children[-1]:
            for _ in range(20):
                make(paths, content)
                with derived_lock(paths):
                    if contents(paths) not in ({"first"}, {"second"}):
                        os._exit(1)
            os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert {path.name for path in paths.root.iterdir()} == {"estimates.zarr", ".derived.lock"}


@pytest.mark.long
def test_a_matrix_in_the_making_is_not_made_a_second_time(run_copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one began while the first was at its tiles, and broke what the first had finished."""
    merged = open_merged(run_copy.paths)
    once = estimates.estimate(merged, Selection(), dense=True)
    right = influence(run_copy.paths)
    shutil.rmtree(run_copy.paths.estimates)
    monkeypatch.setattr(estimates, "derived_lock", functools.partial(derived_lock, wait_seconds=0.0))
    refused = []

    def begin_again(_: float) -> None:
        with pytest.raises(RunBusy):
            estimates.estimate(merged, Selection(), dense=True)
        refused.append(1)

    np.testing.assert_equal(asdict(estimates.estimate(merged, Selection(), dense=True, tell=begin_again)), asdict(once))
    assert refused
    np.testing.assert_array_equal(influence(run_copy.paths), right)
    assert not [path for path in run_copy.paths.root.iterdir() if path.name.startswith(".") and path.is_dir()]


def influence(paths: RunPaths) -> np.ndarray[Any, Any]:
    return np.asarray(zarr.open_group(paths.estimates, mode="r")["influence"])


@pytest.mark.parametrize(("folder", "file"), [(0o2775, 0o664), (0o755, 0o600)])
def test_a_group_that_shares_the_folder_shares_its_files(paths: RunPaths, folder: int, file: int) -> None:
    paths.root.chmod(folder)
    before = os.umask(0o077)
    try:
        make(paths, "x")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (paths.derived_lock, paths.estimates / "a")}
    assert modes == ({file & 0o660} if folder == 0o2775 else {file})
    assert os.umask(before) == before
