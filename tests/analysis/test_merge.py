"""Merging: any partition over runs and moments gives the same trials; strangers are refused; only news is read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from memexp.analysis import arrivals, slabs
from memexp.analysis import merged as merged_module
from memexp.analysis.merged import MERGED_SCHEMA, Merged, merge, open_merged
from memexp.analysis.trial_table import table_of_merged
from memexp.analysis.values import data_values
from memexp.errors import InputError, RunMismatch
from memexp.spec.subsets import Subsets
from memexp.store.manifest import Manifest, read_manifest
from memexp.store.paths import RunPaths
from memexp.store.trials import DONE, FAILED, MISSING
from tests.analysis.test_estimates import make_store, random_trials


def content(merged: Merged) -> dict[tuple[int, int], bytes]:
    """Bits of every merged trial, by (seed, number)."""
    names = zip(np.asarray(merged.group["seed"]).tolist(), np.asarray(merged.group["trial"]).tolist(), strict=True)
    columns = [np.asarray(merged.group[name]) for name in merged.matrices]
    return {name: b"".join(part[:, k].tobytes() for part in columns) for k, name in enumerate(names)}


MATRICES = ("mask", "train_correct", "test_correct")
WITH_MARGINS = (*MATRICES, "train_margin", "test_margin")


def expected(
    trials: dict[int, Any], names: set[tuple[int, int]], matrices: tuple[str, ...] = MATRICES
) -> dict[tuple[int, int], bytes]:
    return {(seed, k): b"".join(trials[seed][name][k].tobytes() for name in matrices) for seed, k in names}


@pytest.mark.long
@settings(max_examples=6)
@given(
    first=st.sets(st.integers(0, 3)), second=st.sets(st.integers(0, 3)), third=st.sets(st.integers(0, 3)),
    late=st.integers(0, 3), slab=st.integers(2, 9), margins=st.booleans(),
)  # fmt: skip
def test_any_partition_over_clusters_seeds_and_moments_gives_the_same_trials(
    first: set[int], second: set[int], third: set[int], late: int, slab: int, margins: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Two clusters share one seed (some blocks trained on both), a third has its own; one block arrives later."""
    root = tmp_path_factory.mktemp("merge")
    trials = {seed: random_trials(12, 11, 5, seed, margins) for seed in (0, 1)}
    parts = {"a": (0, first | {late}), "b": (0, second), "c": (1, third)}

    def write(name: str, without: set[int]) -> RunPaths:
        seed, blocks = parts[name]
        status = np.full(12, MISSING, np.uint8)
        for block in blocks - without:
            status[3 * block : 3 * block + 3] = DONE
        return make_store(root / name, trials[seed], status, 3, spec_seed=seed)

    paths = [write(name, {late} if name == "a" else set()) for name in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "_SLAB", slab)
        patch.setattr(merged_module, "_BAND_BYTES", 8 * slab)
        if first - {late} or second or third:
            merge(paths[0], paths[1:])
        kept = root / "a/merged.zarr"
        if kept.exists():
            kept.rename(root / "kept.zarr")
        shutil.rmtree(root / "a")
        write("a", set())
        if (root / "kept.zarr").exists():
            (root / "kept.zarr").rename(kept)
        found = content(merge(paths[0], paths[1:]))
    names = {(seed, 3 * block + k) for seed, blocks in parts.values() for block in blocks for k in range(3)}
    assert found == expected(trials, names, WITH_MARGINS if margins else MATRICES)


@pytest.mark.long
def test_a_slab_of_many_margins_has_fewer_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven and five examples: 27 bits and 16 margins of two bytes each, 283 bits a trial."""
    monkeypatch.setattr(slabs, "_SLAB_BYTES", 283)
    trials = random_trials(20, 11, 5, 0, margins=True)
    merged = merge(make_store(tmp_path / "a", trials, np.full(20, DONE, np.uint8), 7))
    assert merged.group["test_margin"].chunks[1] == 8  # type: ignore[union-attr]
    assert content(merged) == expected({0: trials}, {(0, k) for k in range(20)}, WITH_MARGINS)


@pytest.mark.long
def test_merged_is_what_all_of_the_runs_record(tmp_path: Path) -> None:
    """Of runs with and without margins those of none; of the runs with margins alone, all of them again."""
    done = np.full(10, DONE, np.uint8)
    trials = {seed: random_trials(10, 6, 4, seed, margins=seed != 1) for seed in (0, 1, 2)}
    ours, without, theirs = (
        make_store(tmp_path / str(seed), trials[seed], done, 5, spec_seed=seed) for seed in (0, 1, 2)
    )
    names = [(seed, k) for seed in (0, 1, 2) for k in range(10)]
    assert content(merge(ours)) == expected(trials, set(names[:10]), WITH_MARGINS)
    assert content(merge(ours, [without])) == expected(trials, set(names[:20]))
    assert content(merge(ours, [theirs])) == expected(trials, set(names[:10] + names[20:]), WITH_MARGINS)
    assert content(merge(without, [theirs])) == expected(trials, set(names[10:]))


@pytest.mark.long
def test_damaged_margins_are_noticed_and_made_again(tmp_path: Path) -> None:
    trials = random_trials(10, 6, 4, 0, margins=True)
    paths = make_store(tmp_path / "a", trials, np.full(10, DONE, np.uint8), 5)
    merge(paths)
    file = paths.merged / "test_margin/c/0/0"
    written = file.read_bytes()
    for damaged in (written[:40] + bytes([written[40] ^ 1]) + written[41:], (paths.merged / "mask/c/0/0").read_bytes()):
        file.write_bytes(damaged)
        assert content(merge(paths)) == expected({0: trials}, {(0, k) for k in range(10)}, WITH_MARGINS)
        assert file.read_bytes() == written


@pytest.mark.long
@pytest.mark.parametrize("order", ["abc", "acb", "bac", "bca", "cab", "cba"])
def test_a_trial_counts_by_its_best_state_whatever_the_order_of_the_runs(order: str, tmp_path: Path) -> None:
    """Two clusters share a seed, one with more trials; a third run has another seed."""
    states = {
        "a": (0, [FAILED, FAILED, DONE, MISSING, MISSING, FAILED]),
        "b": (0, [DONE, MISSING, FAILED, DONE, MISSING, FAILED, FAILED, MISSING]),
        "c": (1, [FAILED, DONE]),
    }
    trials = {seed: random_trials(8, 6, 4, seed) for seed in (0, 1)}
    paths = [
        make_store(
            tmp_path / name,
            {key: values[: len(states[name][1])] for key, values in trials[states[name][0]].items()},
            np.array(states[name][1], np.uint8), 2, spec_seed=states[name][0],
        )
        for name in order
    ]  # fmt: skip
    merged = merge(paths[0], paths[1:])
    assert content(merged) == expected(trials, {(0, 0), (0, 2), (0, 3), (1, 1)})
    assert (merged.n_trials, merged.n_failed, merged.n_missing) == (4, 4, 2)


@pytest.mark.long
def test_a_damaged_store_is_made_again_from_all_the_runs_it_was_made_from(tmp_path: Path) -> None:
    done = np.full(10, DONE, np.uint8)
    ours, theirs = (
        make_store(tmp_path / name, random_trials(10, 6, 4, seed), done, 5, spec_seed=seed)
        for seed, name in enumerate(("ours", "theirs"))
    )
    merge(ours, [theirs])
    zarr.open_group(ours.merged, mode="r+").attrs["memexp_merged_schema"] = MERGED_SCHEMA - 1
    assert open_merged(ours).n_trials == 20
    shutil.rmtree(ours.merged / "trial")
    assert open_merged(ours).n_trials == 20


@pytest.mark.long
def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = random_trials(40, 6, 4, 0)
    status = np.full(40, DONE, np.uint8)
    status[30:] = MISSING
    paths = make_store(tmp_path / "a", trials, status, 10)
    read: list[tuple[str, int]] = []
    real = arrivals.read_committed

    def noted(where: RunPaths, store: Any, number: int) -> Any:
        read.append((where.root.name, number))
        return real(where, store, number)

    monkeypatch.setattr(arrivals, "read_committed", noted)
    merge(paths)
    assert read == [("a", 0), ("a", 1), ("a", 2)]
    read.clear()
    merge(paths)
    open_merged(paths)
    assert not read
    other = make_store(tmp_path / "b", trials, np.full(40, DONE, np.uint8), 10)
    merged = merge(paths, [other])
    assert read == [("b", 3)]
    assert merged.n_trials == 40


@pytest.mark.long
def test_strangers_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    trials = random_trials(10, 6, 4, 0)
    done = np.full(10, DONE, np.uint8)
    ours = make_store(tmp_path / "ours", trials, done, 5)
    before = content(merge(ours))

    def stranger(**changes: Any) -> RunPaths:
        shutil.rmtree(tmp_path / "theirs", ignore_errors=True)
        paths = make_store(tmp_path / "theirs", trials, done, 5, spec_seed=changes.pop("seed", 1))
        written = json.loads(paths.manifest.read_text())
        del written["identity"], written["digest"]
        Manifest(**(written | changes)).write(paths)
        return paths

    for changes, words in (
        ({"science": {"subsets": {"seed": 1, "ratio": 0.5}}}, "subsets.ratio: 0.7 there, 0.5 in this spec"),
        ({"data": {"x_train": "other"}}, "data.x_train: \\(absent\\) there, other"),
        ({"seed": 0, "masks": "drawn otherwise"}, "same seed 0 but drew other masks"),
    ):
        with pytest.raises(RunMismatch, match=words):
            merge(ours, [stranger(**changes)])
        assert content(Merged(ours)) == before
    with pytest.raises(RunMismatch, match=r"compare the two with `memexp compare .*ours .*theirs`"):
        merge(ours, [stranger(data={"x_train": "other"})])
    assert merge(ours, [stranger()]).n_trials == 20
    assert read_manifest(ours).science["subsets"]["seed"] == 0


@pytest.mark.long
def test_a_run_that_was_merged_and_is_gone_is_named(tmp_path: Path) -> None:
    done = np.full(10, DONE, np.uint8)
    ours, theirs = (
        make_store(tmp_path / name, random_trials(10, 6, 4, seed), done, 5, spec_seed=seed)
        for seed, name in enumerate(("ours", "theirs"))
    )
    assert merge(ours, [theirs]).n_trials == 20
    assert open_merged(ours).n_trials == 20
    shutil.rmtree(theirs.root)
    with pytest.raises(InputError, match="theirs too, which is not there any more. .* `memexp merge"):
        open_merged(ours)
    assert merge(ours).n_trials == 10


@pytest.mark.long
def test_the_command_merges_seeds_and_explains_strangers(memexp: Callable[..., Any], tmp_path: Path) -> None:
    done = np.full(10, DONE, np.uint8)
    for seed, name in enumerate(("ours", "theirs")):
        make_store(tmp_path / name, random_trials(10, 6, 4, seed), done, 5, spec_seed=seed)
    merged = memexp("merge", "ours", "theirs")
    assert merged.returncode == 0, merged.stderr
    assert "20 trials" in merged.stdout
    written = json.loads((tmp_path / "theirs/manifest.json").read_text())
    del written["identity"], written["digest"]
    Manifest(**(written | {"data": {"x": "other"}})).write(RunPaths(tmp_path / "theirs"))
    refused = memexp("merge", "ours", "theirs")
    assert refused.returncode == 2
    assert "different experiments and cannot be merged" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.process
def test_a_store_that_grew_is_opened_by_xarray_as_it_is_now(tmp_path: Path) -> None:
    """In a process where every warning is an error: what xarray reads in one look must not be yesterday's."""
    trials = random_trials(20, 6, 4, 0)
    status = np.full(20, DONE, np.uint8)
    status[10:] = MISSING
    paths = make_store(tmp_path / "a", trials, status, 5)
    merge(paths)
    merge(paths, [make_store(tmp_path / "b", trials, np.full(20, DONE, np.uint8), 5)])
    program = (
        "import sys, xarray; store = xarray.open_zarr(sys.argv[1]); "
        "print(sorted(store.sizes.items()), int(store.mask.sum()), set(store.trial.values.tolist()) == set(range(20)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, paths.merged], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"[('test', 4), ('train', 6), ('trial', 20)] {trials['mask'].sum()} True\n"


def test_outcomes_that_an_import_lacks_are_not_read_as_wrong(tmp_path: Path) -> None:
    """An earlier version imported labels of test examples without outcomes, and stored all of these as wrong."""
    paths = make_store(tmp_path / "a", random_trials(6, 5, 4, 0), np.full(6, DONE, np.uint8), 3)
    merged = merge(paths)
    merged.examples["test_unknown"] = np.ones(4, np.bool_)
    for read in (
        lambda: merged.packed("test_correct"),
        lambda: data_values(merged, Subsets(design="uniform", ratio=0.7, trials=6)),
    ):
        with pytest.raises(InputError, match="without outcomes on them, so there is no influence; import it again"):
            read()
    assert table_of_merged(merged, Subsets(design="uniform", ratio=0.7, trials=6)).recorded == {"train_correct"}
