"""Probabilities: sums over blocks are those of the trials whatever the partition, through commit, growth and merge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memexp.analysis.confident import write_cleanlab
from memexp.analysis.labels import judge_labels
from memexp.analysis.merged import merge, open_merged
from memexp.analysis.votes import Votes
from memexp.errors import StoreError
from memexp.runs import plan as plans
from memexp.runs import recorded
from memexp.runs.run import Run, grow, open_run, prepare_run
from memexp.runs.verify import repair, verify
from memexp.runs.worker import Trainer
from memexp.store.receipts import Receipt
from tests.conftest import Done, untrain

RECORD = ["correct", "margin", "predicted", "probabilities", "learning"]
ARRAYS = ("train_probabilities", "test_probabilities")


def by_trial(trainer: Trainer, trials: list[int]) -> dict[str, Any]:
    """Sums over trials that are trained together again, and the trials that each training example is out of."""
    again = trainer.retrain(trials)
    found: dict[str, Any] = {name: sum(each.arrays[name].astype(np.int64) for each in again) for name in ARRAYS}
    return found | {"out": sum((~each.arrays["mask"]).astype(np.int64) for each in again)}


@pytest.fixture
def run(new_run: Callable[..., Run]) -> Run:
    """13 trials: a block of 10 and one of 3, trained."""
    made = new_run(record=RECORD, subsets={"trials": 13, "design": "uniform"})
    for block in (0, 1):
        Trainer(made, "cpu").train(block)
    return made


def larger(run: Run, trials: int) -> Run:
    spec = run.spec.model_copy(update={"subsets": run.spec.subsets.model_copy(update={"trials": trials})})
    made = prepare_run(spec, run.load_data(), run.paths.root.parent)
    grow(made)
    return open_run(run.paths.root)


@pytest.mark.long
def test_sums_over_blocks_are_those_over_trials_also_where_a_block_grows(run: Run) -> None:
    run = larger(run, 20)
    trainer = Trainer(run, "cpu")
    trainer.train(1)
    parts = [by_trial(trainer, trials) for trials in ([*range(10)], [10, 11, 12], [*range(13, 20)])]
    for name in ARRAYS:
        np.testing.assert_array_equal(run.store().read_block(0)[name][0], parts[0][name])
        np.testing.assert_array_equal(run.store().read_block(1)[name][0], parts[1][name] + parts[2][name])
    assert not verify(run, retrain=20).problems
    merged = merge(run.paths)
    out = sum(part["out"] for part in parts)
    for axis, count in (("train", out), ("test", np.full(60, 20))):
        wanted = sum(part[f"{axis}_probabilities"] for part in parts) / (65535 * np.maximum(count, 1)[:, None])
        wanted[count == 0] = np.nan
        np.testing.assert_array_equal(merged.probabilities(axis, slice(None)), wanted)


@pytest.mark.long
def test_merged_copies_count_each_trial_once(run: Run, tmp_path: Path) -> None:
    """A copy went on with the block that the run has three trials of: the larger one counts, in either order."""
    import shutil

    copy = tmp_path / "other" / "tiny"
    shutil.copytree(run.paths.root, copy)
    grown = larger(open_run(copy), 20)
    Trainer(grown, "cpu").train(1)
    alone = merge(grown.paths).probabilities("train", slice(None))
    for first, second in ((run, grown), (grown, run)):
        found = merge(first.paths, [second.paths])
        np.testing.assert_array_equal(found.probabilities("train", slice(None)), alone)
    untrain(run, 0)  # of the merged ones only the copy has the first block now
    np.testing.assert_array_equal(merge(run.paths, [grown.paths]).probabilities("train", slice(None)), alone)


@pytest.mark.long
def test_a_failed_trial_leaves_nothing_in_the_sums(new_run: Callable[..., Run]) -> None:
    run = new_run(record=RECORD, subsets={"trials": 4, "design": "uniform"}, training={"min_in_accuracy": 0.5})
    trainer = Trainer(run, "cpu")
    accuracy = sorted(each.arrays["in_accuracy"] for each in trainer.retrain([*range(4)]))
    least = float((accuracy[0] + accuracy[1]) / 2)
    run = new_run(
        "others", record=RECORD, subsets={"trials": 4, "design": "uniform"}, training={"min_in_accuracy": least}
    )
    trainer = Trainer(run, "cpu")
    assert len(trainer.train(0)["failed"]) == 1
    kept = [each for each in trainer.retrain([*range(4)]) if each.failure is None]
    for name in ARRAYS:
        total = sum(each.arrays[name].astype(np.int64) for each in kept)
        np.testing.assert_array_equal(run.store().read_block(0)[name][0], total)
    assert not verify(run, retrain=1).problems
    np.testing.assert_allclose(merge(run.paths).probabilities("test", slice(None)).sum(1), 1, atol=1e-3)


@pytest.mark.long
def test_sums_that_are_not_those_of_the_trials_are_found_and_made_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run.store().read_block(0)
    wrong = before | {"test_probabilities": before["test_probabilities"] + np.uint32(1000)}
    run.store(writable=True).write_block(0, wrong)
    assert "differs from its receipt in test_probabilities" in verify(run, retrain=0).faults[0]
    with pytest.raises(StoreError, match="test_probabilities"):
        merge(run.paths)
    monkeypatch.setattr(Receipt, "wrong_arrays", lambda *_: [])  # as if it had been committed so
    assert "does not sum to the number of trials" in verify(run, retrain=0).faults[0]
    swapped = before | {"test_probabilities": before["test_probabilities"][:, :, ::-1]}
    run.store(writable=True).write_block(0, swapped)
    assert "test_probabilities of the block" in verify(run, retrain=10).differing[0]
    monkeypatch.undo()
    assert repair(run, verify(run, retrain=0)) == [*range(10)]
    Trainer(run, "cpu").train(0)
    for name in ARRAYS:
        np.testing.assert_array_equal(run.store().read_block(0)[name], before[name])


@pytest.mark.long
def test_labels_and_cleanlab_use_them(run: Run, tmp_path: Path) -> None:
    merged = open_merged(run.paths)
    votes = Votes(merged, 10)
    said = {axis: merged.probabilities(axis, slice(None)) for axis in votes.axes}
    known = ~np.isnan(said["train"][:, 0])
    assert known.sum() > 190
    judged = judge_labels(votes).judged
    for axis in votes.axes:
        given = said[axis][np.arange(len(said[axis])), votes.labels(axis)]
        np.testing.assert_array_equal(judged[axis].confidence, given)
        threshold = np.array([np.nanmean(said[axis][votes.labels(axis) == k, k]) for k in range(10)])
        sure = np.where(said[axis] >= threshold - 1e-6, said[axis], -1)
        other = (sure.max(1) >= 0) & (sure.argmax(1) != votes.labels(axis)) & judged[axis].differs
        np.testing.assert_array_equal(judged[axis].issue, other)
    if known.all():
        write_cleanlab(votes, tmp_path / "cleanlab")
        np.testing.assert_array_equal(np.load(tmp_path / "cleanlab/pred_probs.npy"), said["train"].astype(np.float32))


def test_what_cannot_be_recorded_is_refused_together(
    write_spec: Callable[..., Path], memexp: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def train(model, images, labels, seed):\n    pass\n")
    monkeypatch.setattr(recorded, "SUMS_LARGEST", 4 * 200 * 10 - 1)
    spec = write_spec(record=RECORD)
    text = spec.read_text().replace("epochs: 3\n  batch_size: 32\n  lr: 0.05\n  standardize: true", "file: mine.py")
    spec.write_text(text)
    done = memexp("plan", "spec.yaml")
    assert done.returncode == 2, done.stdout
    assert "learning is read off the steps of memexp's own recipe" in done.stderr
    assert "probabilities of 200 examples and 10 classes would take" in done.stderr
    assert "Traceback" not in done.stderr
    assert plans.record_faults is recorded.record_faults


def test_a_run_without_sums_takes_away_those_of_the_runs_merged_before(new_run: Callable[..., Run]) -> None:
    """What trials say is of all of them, in whatever order runs were merged; sums of some would stand for all."""
    runs = [
        new_run(folder, record=RECORD[:3] + more, subsets={"trials": 2, "seed": seed}, training={"epochs": 1})
        for folder, more, seed in (("a", ["probabilities"], 1), ("b", [], 2))
    ]
    for made in runs:
        Trainer(made, "cpu").train(0)
    assert merge(runs[0].paths).has_probabilities
    both = merge(runs[0].paths, [runs[1].paths])
    assert (both.n_trials, both.has_probabilities) == (4, False)
