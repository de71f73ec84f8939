"""The store: one writer per chunk, whole blocks or none, damage never read as data."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from memexp.errors import NewerSchema, RunMismatch, StoreError
from memexp.runs.run import Run, grow, open_run
from memexp.store import commit as commit_module
from memexp.store.commit import commit, recover
from memexp.store.layout import Layout
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_committed, read_receipts
from memexp.store.trials import DONE, FAILED, MISSING, TrialStore, create_store, extend_store

LAYOUT = Layout(n_trials=23, n_train=17, n_test=5, block_size=10, recorded={"correct": "bool", "margin": "float16"})


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path / "run")
    paths.make_folders()
    create_store(paths.trials, LAYOUT, {"train_label": np.arange(17), "test_label": np.arange(5)})
    return paths


def some_content(rows: int, seed: int = 0, layout: Layout = LAYOUT) -> dict[str, np.ndarray[Any, Any]]:
    draws = np.random.default_rng(seed)
    width = {"train": (layout.n_train,), "test": (layout.n_test,), "": ()}
    content: dict[str, np.ndarray[Any, Any]] = {}
    for name, (axis, dtype) in layout.outcome_arrays().items():
        values = draws.random((rows, *width[axis]))
        content[name] = values < 0.5 if dtype == np.bool_ else values.astype(dtype)
    content["status"] = np.full(rows, DONE, np.uint8)
    return content


def put(paths: RunPaths, block: int, content: dict[str, Any]) -> bool:
    store = TrialStore(paths.trials, writable=True)
    trained = list(store.layout.block(block))
    return commit(paths, store, block, content, trained=trained, failures={}, seconds=1.0, made_by={})


def test_blocks_are_read_back_as_they_were_written(paths: RunPaths) -> None:
    assert put(paths, 0, some_content(10))
    assert put(paths, 2, some_content(3, seed=2))
    store = TrialStore(paths.trials)
    assert store.layout == LAYOUT
    assert store.status().tolist() == [DONE] * 10 + [MISSING] * 10 + [DONE] * 3
    for number, content in ((0, some_content(10)), (2, some_content(3, seed=2))):
        read, receipt = read_committed(paths, store, number)
        assert receipt.block == number
        for name, values in content.items():
            np.testing.assert_array_equal(read[name], values)
    assert not list(paths.blocks.glob("*.npz"))


def test_all_false_rows_are_stored_and_not_taken_for_missing(paths: RunPaths) -> None:
    content = {name: np.zeros_like(values) for name, values in some_content(10).items()}
    content["status"][:] = DONE
    put(paths, 1, content)
    assert (paths.trials / "mask/c/1/0").is_file()
    read, _ = read_committed(paths, TrialStore(paths.trials), 1)
    assert not read["mask"].any()
    with pytest.raises(StoreError, match="its file is missing"):
        TrialStore(paths.trials).read_block(0)


def test_the_second_attempt_at_a_block_does_not_count(paths: RunPaths) -> None:
    assert put(paths, 0, some_content(10, seed=1))
    assert not put(paths, 0, some_content(10, seed=2))
    read, _ = read_committed(paths, TrialStore(paths.trials), 0)
    np.testing.assert_array_equal(read["train_correct"], some_content(10, seed=1)["train_correct"])


def _race(paths: RunPaths, seed: int, barrier: Any) -> None:
    barrier.wait()
    for block in (0, 1):
        put(paths, block, some_content(10, seed=seed))


@pytest.mark.long
def test_attempts_at_the_same_moment_never_mix(paths: RunPaths) -> None:
    """Six processes commit different outcomes of the same two blocks; each block is one of them, whole."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(6)
    writers = [context.Process(target=_race, args=(paths, seed, barrier)) for seed in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = TrialStore(paths.trials)
    for block in (0, 1):
        read, _ = read_committed(paths, store, block)
        same = [
            seed
            for seed in range(6)
            if all(np.array_equal(values, read[name]) for name, values in some_content(10, seed=seed).items())
        ]
        assert len(same) == 1
    assert len(list(read_receipts(paths))) == 2
    assert not list(paths.blocks.glob("*.npz"))


def _die_at(paths: RunPaths, step: str) -> None:
    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if step == "in the middle of publishing":
        original = TrialStore._flush
        TrialStore._flush = lambda self, names, block: (original(self, names[:1], block), die())  # type: ignore[method-assign]
    elif step == "before the claim":
        commit_module.write_once = die  # type: ignore[assignment]
    else:
        commit_module._publish = die
    put(paths, 0, some_content(10))


@pytest.mark.long
@pytest.mark.parametrize(
    ("step", "kept"), [("before the claim", False), ("after the claim", True), ("in the middle of publishing", True)]
)
def test_kill_9_at_each_step_loses_at_most_the_block_and_mixes_nothing(step: str, kept: bool, paths: RunPaths) -> None:
    context = multiprocessing.get_context("spawn")
    victim = context.Process(target=_die_at, args=(paths, step))
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    store = TrialStore(paths.trials, writable=True)
    assert (store.status() == MISSING).all()
    recover(paths, store)
    if kept:
        read, _ = read_committed(paths, store, 0)
        np.testing.assert_array_equal(read["mask"], some_content(10)["mask"])
        assert (store.status()[:10] == DONE).all()
    else:
        assert (store.status() == MISSING).all()
        assert put(paths, 0, some_content(10, seed=9))  # the block is free for another attempt


@pytest.mark.parametrize("lost", ["mask/c/0/0", "test_margin/c/0/0", "seconds/c/0"])
def test_a_claim_whose_outcomes_are_gone_is_set_aside(lost: str, paths: RunPaths) -> None:
    """A machine that loses its power can lose files that it had flushed."""
    put(paths, 0, some_content(10))
    store = TrialStore(paths.trials, writable=True)
    (paths.trials / "status/c/0").unlink()
    (paths.trials / lost).unlink()
    recover(paths, store)
    assert [path.name for path in paths.blocks.iterdir()] == ["000000-000009.lost"]
    assert put(paths, 0, some_content(10, seed=4))


@pytest.mark.parametrize("how", ["gone", "zeros"])
def test_states_alone_that_are_gone_are_those_of_the_receipts(how: str, paths: RunPaths) -> None:
    content = some_content(10)
    content["status"][[2, 7]] = FAILED
    store = TrialStore(paths.trials, writable=True)
    reasons = {2: "why", 7: "why"}
    commit(paths, store, 0, content, trained=[*range(10)], failures=reasons, seconds=1.0, made_by={})
    extend_store(paths.trials, 40)
    put(paths, 1, some_content(10, seed=1))
    (paths.trials / "status/c/0").unlink() if how == "gone" else store.forget_block(0)
    store = TrialStore(paths.trials, writable=True)
    assert store.missing_blocks() == [0, 2, 3]
    recover(paths, store)
    assert store.missing_blocks() == [2, 3]
    read, _ = read_committed(paths, store, 0)
    np.testing.assert_array_equal(read["status"], content["status"])


def test_recovery_reads_the_states_once_however_many_blocks(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    store, reads = TrialStore(paths.trials, writable=True), []
    for number in range(store.layout.n_blocks):
        assert put(paths, number, some_content(len(store.layout.block(number))))
    status = store.status
    monkeypatch.setattr(store, "status", lambda: reads.append(1) or status())
    recover(paths, store)
    assert len(reads) == 1
    assert len(list(read_receipts(paths))) == store.layout.n_blocks


def test_growth_keeps_rows_and_completes_the_last_block(paths: RunPaths) -> None:
    put(paths, 2, some_content(3, seed=2))
    extend_store(paths.trials, 40)
    store = TrialStore(paths.trials, writable=True)
    assert store.status().tolist() == [MISSING] * 20 + [DONE] * 3 + [MISSING] * 17
    read, receipt = read_committed(paths, store, 2)
    assert receipt.last == 22
    grown = {name: np.concatenate([read[name][:3], values[3:]]) for name, values in some_content(10, seed=5).items()}
    assert put(paths, 2, grown)
    read, receipt = read_committed(paths, TrialStore(paths.trials), 2)
    assert receipt.last == 29
    for name, values in grown.items():
        np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize("array", ["mask", "train_correct", "test_correct", "in_accuracy"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "swap"])
def test_damage_is_found_and_named(array: str, damage: str, paths: RunPaths) -> None:
    put(paths, 0, some_content(10, seed=0))
    put(paths, 1, some_content(10, seed=1))
    chunk, other = (paths.trials / array / "c" / f"{n}{'' if array == 'in_accuracy' else '/0'}" for n in (0, 1))
    content = chunk.read_bytes()
    middle = len(content) // 2
    if damage == "gone":
        chunk.unlink()
    else:
        chunk.write_bytes(
            {
                "cut": content[:middle],
                "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "empty": b"",
                "swap": other.read_bytes(),
            }[damage]
        )
    with pytest.raises(StoreError, match=r"memexp verify .* --repair.*memexp resume") as caught:
        read_committed(paths, TrialStore(paths.trials), 0)
    assert array in str(caught.value)
    read_committed(paths, TrialStore(paths.trials), 1)


def test_a_newer_schema_is_refused(run_copy: Run) -> None:
    zarr.open_group(run_copy.paths.trials, mode="r+").attrs["memexp_schema"] = 99
    with pytest.raises(NewerSchema, match=r"has schema 99; .*newer memexp"):
        TrialStore(run_copy.paths.trials)
    text = run_copy.paths.manifest.read_text()
    run_copy.paths.manifest.write_text(text.replace('"schema_version": 2', '"schema_version": 99'))
    with pytest.raises(NewerSchema, match="written with schema 99"):
        open_run(run_copy.paths.root)


def test_an_edited_manifest_is_refused(run_copy: Run) -> None:
    text = run_copy.paths.manifest.read_text()
    run_copy.paths.manifest.write_text(text.replace('"seed": 3', '"seed": 4'))
    with pytest.raises(StoreError, match="was edited"):
        open_run(run_copy.paths.root)
    run_copy.paths.manifest.write_text(text[:-40])
    with pytest.raises(StoreError, match="is damaged"):
        open_run(run_copy.paths.root)


def test_xarray_opens_every_store_without_a_warning(run_copy: Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trials = xarray.open_zarr(run_copy.paths.trials, consolidated=False, chunks=None)
        merged = xarray.open_zarr(run_copy.paths.merged)
        estimates = xarray.open_zarr(run_copy.paths.estimates)
        pairs = xarray.open_zarr(run_copy.paths.estimates, group="pairs")
    assert trials.mask.dims == ("trial", "train")
    assert trials.mask.dtype == bool
    assert trials.test_margin.dtype == np.float16
    assert trials.train_label_flipped.dtype == bool
    assert merged.test_correct.dims == ("test", "trial")
    assert estimates.memorization.dims == ("train",)
    assert estimates.in_count.dtype == np.int32
    assert pairs.train.dtype == np.int64
    assert FAILED not in trials.status


def test_a_store_takes_no_more_of_the_disk_than_its_plan_says(run_copy: Run) -> None:
    """As the file system counts: whole blocks of 4 kB, folders too."""
    root, layout = run_copy.paths.root, run_copy.store().layout
    places = [path for part in ("trials.zarr", "blocks") for path in [root / part, *(root / part).rglob("*")]]
    taken = sum(512 * path.stat().st_blocks for path in places)
    assert taken <= layout.bytes_at_most() <= 3 * max(taken, 4096 * len(places))


def test_a_run_goes_on_recording_what_it_began_with(new_run: Callable[..., Run]) -> None:
    """The default changed after the run of a spec that does not say what to record; to say it is another matter."""
    assert new_run(runs="now").store().layout.recorded == {
        "correct": "bool", "margin": "float16", "predicted": "uint8"
    }  # fmt: skip
    new_run(record=["correct"])
    for trials in (20, 40):
        run = new_run(subsets={"trials": trials})
        assert run.spec.record == ["correct"]
        assert run.spec.subsets.trials == trials
        assert grow(run).layout.recorded == {"correct": "bool"}
        assert open_run(run.paths.root).spec.record == ["correct"]
    with pytest.raises(RunMismatch, match=r"record: \['correct'\] there, \['correct', 'margin'\] in this spec"):
        new_run(record=["correct", "margin"])
