"""Estimates equal a ten-line brute-force loop, for every size, tiling and partition of the trials."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from memexp.analysis import dense as dense_module
from memexp.analysis import merged as merged_module
from memexp.analysis import products, slabs
from memexp.analysis.counts import Counts, count_train
from memexp.analysis.estimates import Estimates, estimate, is_current, open_estimates
from memexp.analysis.intervals import difference
from memexp.analysis.merged import merge, open_merged
from memexp.analysis.pairs import Selection
from memexp.analysis.products import Tile, Trials
from memexp.analysis.search import select_pairs
from memexp.errors import Incomplete, StoreError
from memexp.runs.run import Run
from memexp.store.commit import commit
from memexp.store.layout import LEARNING, RECORDABLE, Layout
from memexp.store.manifest import Manifest
from memexp.store.paths import RunPaths
from memexp.store.trials import DONE, FAILED, MISSING, TrialStore, create_store
from tests.conftest import untrain

Arrays = dict[str, np.ndarray[Any, Any]]


def random_trials(n_trials: int, n_train: int, n_test: int, seed: int, margins: bool = False) -> Arrays:
    draws = np.random.default_rng(seed)
    trials = {
        "mask": draws.random((n_trials, n_train)) < draws.choice([0.05, 0.5, 0.95], n_train),
        "train_correct": draws.random((n_trials, n_train)) < draws.random(n_train),
        "test_correct": draws.random((n_trials, n_test)) < draws.random(n_test),
    }
    for axis in ("train", "test") if margins else ():
        correct = trials[f"{axis}_correct"]
        size = np.abs(draws.normal(0, draws.choice([0.01, 1, 30], correct.shape[1]), correct.shape))
        trials[f"{axis}_margin"] = np.where(correct, size, -size).astype(np.float16)
    return trials


def brute_force(mask: Any, correct: Any) -> np.ndarray[Any, Any]:
    """correct (T, M), mask (T, N) -> mean correct when in minus mean correct when out, (M, N)."""
    result = np.full((correct.shape[1], mask.shape[1]), np.nan)
    for j in range(correct.shape[1]):
        for i in range(mask.shape[1]):
            inside, outside = correct[mask[:, i], j], correct[~mask[:, i], j]
            if len(inside) and len(outside):
                result[j, i] = inside.mean() - outside.mean()
    return result


def make_store(
    root: Path, trials: Arrays, status: Any, block_size: int, labels: Any = None, spec_seed: int = 0
) -> RunPaths:
    n_trials, n_train = trials["mask"].shape
    n_test = trials["test_correct"].shape[1]
    paths = RunPaths(root)
    paths.make_folders()
    science = {"subsets": {"seed": spec_seed, "ratio": 0.7}}
    Manifest(science, {}, f"masks of {spec_seed}", block_size, n_train, n_test, ["a"] * 3, {}, "now").write(paths)
    recorded = {name: kinds[0] for name, kinds in {**RECORDABLE, **LEARNING}.items() if f"train_{name}" in trials}
    layout = Layout(n_trials, n_train, n_test, block_size, recorded)
    train, test = labels or (np.zeros(n_train, np.int64), np.zeros(n_test, np.int64))
    create_store(paths.trials, layout, {"train_label": train, "test_label": test})
    store = TrialStore(paths.trials, writable=True)
    for number in range(layout.n_blocks):
        rows = slice(layout.block(number).start, layout.block(number).stop)
        if (status[rows] == MISSING).all():
            continue
        content = {name: np.zeros(rows.stop - rows.start, kind) for name, (_, kind) in layout.outcome_arrays().items()}
        content |= {name: values[rows] for name, values in trials.items()} | {"status": status[rows]}
        commit(paths, store, number, content, trained=[], failures={}, seconds=0, made_by={})
    return paths


def packed(test_correct: Any, mask: Any) -> Trials:
    """bool (M, T) and (N, T) -> Trials."""
    return Trials(np.packbits(test_correct, axis=1), np.packbits(mask, axis=1), mask.shape[1])


@pytest.mark.long
@settings(max_examples=15)
@given(
    n_trials=st.integers(1, 41),
    n_train=st.integers(1, 23),
    n_test=st.integers(1, 9),
    block_size=st.integers(1, 12),
    slab=st.integers(3, 16),
    rows=st.integers(2, 9),
    tile=st.integers(2, 7),
    seed=st.integers(0, 2**32),
)
def test_estimates_equal_the_brute_force_loop_bit_for_bit(
    n_trials: int, n_train: int, n_test: int, block_size: int, slab: int, rows: int, tile: int, seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    trials = random_trials(n_trials, n_train, n_test, seed)
    draws = np.random.default_rng(seed + 1)
    status = draws.choice([DONE, DONE, DONE, FAILED], n_trials).astype(np.uint8)
    status[draws.integers(n_trials)] = DONE
    labels = draws.integers(0, 3, n_train), draws.integers(0, 3, n_test)
    paths = make_store(tmp_path_factory.mktemp("run"), trials, status, block_size, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merged_module, "_BAND_BYTES", slab * rows)
        patch.setattr(slabs, "_SLAB", slab)
        patch.setattr(slabs, "_ROWS", rows)
        patch.setattr(slabs, "_CHUNKS", 2)
        patch.setattr(products, "_WIDEST", tile)
        patch.setattr(products, "_HEIGHT", tile)
        patch.setattr(dense_module, "_WIDTH", tile)
        merged = merge(paths)
        selection = Selection(memorization=0.2, influence=0.1, most=37)
        estimates = estimate(merged, selection, dense=True, memory_gb=draws.choice([1e-6, 1e-3]))
    done = status == DONE
    mask, correct, test = (trials[name][done] for name in ("mask", "train_correct", "test_correct"))
    scores = estimates.scores
    expected = np.array([brute_force(mask[:, [i]], correct[:, [i]])[0, 0] for i in range(n_train)])
    np.testing.assert_array_equal(scores.memorization, expected.astype(np.float32))
    np.testing.assert_array_equal(scores.in_count, mask.sum(0))
    np.testing.assert_array_equal(scores.out_count, (~mask).sum(0))
    dense = brute_force(mask, test).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(zarr.open_group(paths.estimates)["influence"]), dense)
    wanted = [
        (-dense[j, i], i, j)
        for i in range(n_train)
        for j in range(n_test)
        if labels[0][i] == labels[1][j] and scores.memorization[i] >= 0.2 and dense[j, i] >= np.float32(0.1)
    ]
    found = estimates.pairs
    assert list(zip(-found.influence, found.train, found.test, strict=True)) == sorted(wanted)[:37]
    assert estimates.passed == len(wanted)
    assert (estimates.cut() is None) == (len(wanted) <= 37)
    assert_same_estimates(open_estimates(paths), estimates)


def assert_same_estimates(a: Estimates, b: Estimates) -> None:
    for part in ("scores", "pairs"):
        left, right = ({**vars(getattr(x, part))} for x in (a, b))
        assert left.pop("judged_by", None) == right.pop("judged_by", None)
        for name, values in left.items():
            assert values.dtype == right[name].dtype
            np.testing.assert_array_equal(values, right[name])
    assert a.selection == b.selection
    assert a.n_trials == b.n_trials


@pytest.mark.long
def test_tiles_side_by_side_on_threads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_WIDEST", 5)
    bits = random_trials(70, 90, 40, 5)
    trials = packed(bits["test_correct"].T, bits["mask"].T)
    memorization, labels = np.ones(90, np.float32), (np.arange(40) % 2, np.arange(90) % 2)
    selection = Selection(influence=0.05, strongest=2, all_classes=True)
    alone = select_pairs(trials, labels, memorization, selection, memory_gb=1e-5).pairs
    torch.set_num_threads(4)  # the fixture sets it back to 1 for the next test
    together = select_pairs(trials, labels, memorization, selection, memory_gb=1e-5).pairs
    assert len(alone) > 100
    for name, values in alone.columns().items():
        np.testing.assert_array_equal(values, getattr(together, name))
    assert torch.get_num_threads() == 4
    with pytest.raises(ZeroDivisionError):
        list(products.in_parallel(lambda item: 1 // item, [1, 2, 0, 4, 5, 6, 7, 8, 9]))
    assert torch.get_num_threads() == 4


@given(st.lists(st.integers(0, 30), max_size=5), st.integers(0, 2**32))
def test_counts_add_over_any_partition_of_the_trials(cuts: list[int], seed: int) -> None:
    trials = random_trials(30, 11, 3, seed)
    mask, correct = trials["mask"].T, trials["train_correct"].T
    edges = [0, *sorted(cuts), 30]
    order = np.random.default_rng(seed).permutation(30)
    parts = [order[a:b] for a, b in itertools.pairwise(edges)]
    total: Counts | None = None
    for part in parts:
        counts = count_train(mask[:, part], correct[:, part])
        total = counts if total is None else total + counts
    whole = count_train(mask, correct)
    assert total is not None
    for field in fields(Counts):
        np.testing.assert_array_equal(getattr(total, field.name), getattr(whole, field.name))
    test, everything = trials["test_correct"].T, Tile(slice(None), slice(None))
    counts_of_parts = [packed(test[:, part], mask[:, part]).in_correct(everything) for part in parts]
    np.testing.assert_array_equal(sum(counts_of_parts), test.astype(int) @ mask.T.astype(int))


def test_what_was_never_in_or_never_out_is_nan_and_never_selected() -> None:
    mask = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], bool)  # (N, T)
    correct = np.array([[1, 1, 1, 1]], bool)
    trials = packed(correct, mask)
    values = trials.influence(Tile(slice(None), slice(None)))
    assert np.isnan(values[0, :2]).all()
    assert values[0, 2] == 0
    estimate_ = difference([4, 0, 2], [4, 0, 2], [0, 4, 0], [0, 4, 2])
    assert np.isnan(estimate_.low[:2]).all()
    helped = packed(np.array([[1, 1, 0, 0]], bool), mask)
    memorization = np.array([np.nan, np.nan, 1], np.float32)
    pairs, tested, passed = select_pairs(helped, (np.zeros(1, int), np.zeros(3, int)), memorization, Selection())
    assert pairs.train.tolist() == [2]
    assert (tested, passed) == (1, 1)


def test_failed_and_missing_trials_do_not_count(tmp_path: Path) -> None:
    trials = random_trials(20, 6, 4, 0)
    status = np.full(20, DONE, np.uint8)
    status[3] = FAILED
    status[10:] = MISSING
    merged = merge(make_store(tmp_path, trials, status, 10))
    assert merged.trials_digest
    assert (merged.n_trials, merged.n_failed, merged.n_missing) == (9, 1, 10)
    np.testing.assert_array_equal(merged.packed("mask"), np.packbits(np.delete(trials["mask"][:10], 3, 0).T, axis=1))


def test_nothing_to_merge_is_said(tmp_path: Path) -> None:
    paths = make_store(tmp_path, random_trials(5, 4, 2, 0), np.zeros(5, np.uint8), 5)
    with pytest.raises(Incomplete, match="no finished trial"):
        merge(paths)


def test_a_damaged_block_stops_the_merge(run_copy: Run) -> None:
    chunk = run_copy.paths.trials / "train_correct/c/1/0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    assert merge(run_copy.paths).n_trials == 40  # what is merged already is not read again
    shutil.rmtree(run_copy.paths.merged)
    with pytest.raises(StoreError, match="memexp verify"):
        merge(run_copy.paths)
    assert not run_copy.paths.merged.exists()


@pytest.mark.long
def test_estimates_are_made_again_when_trials_arrive_or_files_break(run_copy: Run) -> None:
    merged = open_merged(run_copy.paths)
    assert is_current(run_copy.paths, merged)
    untrain(run_copy, 3)
    fewer = open_merged(run_copy.paths)
    assert fewer.n_trials == 30
    assert not is_current(run_copy.paths, fewer)
    (run_copy.paths.merged / "zarr.json").write_text("{")
    assert open_merged(run_copy.paths).n_trials == 30
    (run_copy.paths.estimates / "memorization/c/0").write_bytes(b"cut")
    with pytest.raises(StoreError, match="again with `memexp estimate"):
        open_estimates(run_copy.paths)


@pytest.mark.long
def test_what_was_selected_once_is_selected_again_until_the_user_chooses_otherwise(
    memexp: Callable[..., Any], run_copy: Run
) -> None:
    root = run_copy.paths.root
    chosen = ("--influence", 0.05, "--memorization", 0.1, "--all-classes", "--most", 30, "--dense")
    assert memexp("estimate", root, *chosen).returncode == 0
    first = open_estimates(run_copy.paths)
    assert first.selection == Selection(0.1, 0.05, 30, all_classes=True)
    group = zarr.open_group(run_copy.paths.estimates, mode="r+")
    dense = np.asarray(group["influence"])
    again = memexp("estimate", root)
    pairs = json.loads(memexp("estimate", root, "--json").stdout)["pairs"]
    assert (pairs["passing"], pairs["kept"]) == (first.passed, 30)
    assert_same_estimates(open_estimates(run_copy.paths), first)
    np.testing.assert_array_equal(np.asarray(zarr.open_group(run_copy.paths.estimates)["influence"]), dense)
    assert "selected by: all classes, memorization >= 0.1, influence >= 0.05\n" in again.stderr
    assert f"only the strongest 30 of {first.passed:,} pairs" in again.stderr
    assert first.passed > 30
    # Estimates of other trials, of another version: as `report` and the follow-up job meet them.
    zarr.open_group(run_copy.paths.estimates, mode="r+").attrs["memexp_estimates_schema"] = 1
    untrain(run_copy, 3)
    reported = memexp("report", root)
    assert f"memexp estimate --most {open_estimates(run_copy.paths).passed}" in reported.stderr
    assert "They were cut: only the strongest 30 of" in run_copy.paths.report.read_text()
    assert open_estimates(run_copy.paths).selection == first.selection
    other = memexp("estimate", root, "--one-class", "--fdr", 1, "--most", 100_000)
    assert open_estimates(run_copy.paths).selection == Selection(0.1, 0.05)
    assert "only the strongest" not in other.stderr
    assert "(test of margins), among" in other.stderr
    by_accuracy = memexp("estimate", root, "--fdr", 0.5, "--test", "accuracy")
    assert "(test of accuracy), among" in by_accuracy.stderr
    assert "false discovery rate <= 0.5, test of accuracy\n" in by_accuracy.stderr
    found = open_estimates(run_copy.paths)
    assert (found.pairs.judged_by, found.selection.test) == ("accuracy", "accuracy")
    assert (found.pairs.fdr <= 0.5).all()
    assert Selection(fdr=0.05).changed(most=None, fdr=1.0) == Selection()


def test_flipped_labels_are_the_memorized_ones(run_copy: Run) -> None:
    from sklearn.metrics import roc_auc_score

    scores = open_estimates(run_copy.paths).scores
    flipped = open_merged(run_copy.paths).examples["train_label_flipped"]
    assert roc_auc_score(flipped, scores.memorization) > 0.95
    assert (scores.memorization_low <= scores.memorization).all()
    assert (scores.memorization <= scores.memorization_high).all()
    assert (scores.in_count == 28).all()  # balanced: 7 of every 10
    assert (scores.out_count == 12).all()
