"""Verify finds damage, wrong masks, wrong labels and trials that do not come out the same."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from memexp.analysis.merged import merge
from memexp.errors import StoreError
from memexp.launch.launch import launch_local
from memexp.launch.status import read_status
from memexp.runs import worker
from memexp.runs.pool import Resources
from memexp.runs.run import Run
from memexp.runs.verify import repair, verify
from memexp.store.commit import commit
from tests.conftest import outcomes

from .test_software import edit


def rewrite(run: Run, block: int, **changes: Any) -> None:
    """Commit a block again with other content, receipt and all, as a faulty program would have."""
    store = run.store(writable=True)
    content = store.read_block(block) | changes
    store.forget_block(block)
    for path in run.paths.blocks.glob(f"{block * 10:06d}-*.json"):
        path.unlink()
    trained = list(store.layout.block(block))
    made_by = {"device": "cpu (?)", "threads": 1, "versions": {}}
    commit(run.paths, store, block, content, trained=trained, failures={}, seconds=1, made_by=made_by)


@pytest.mark.long
def test_a_sound_run_is_sound_and_retrains_to_the_same_bits(run_copy: Run) -> None:
    verdict = verify(run_copy, retrain=11)
    assert verdict.blocks == 4
    assert not verdict.faults
    assert len(verdict.retrained) == 20  # whole stacks
    assert not verdict.differing
    assert verdict.same_machine


@pytest.mark.process
def test_damage_is_repaired_without_losing_anything_else(run_copy: Run) -> None:
    before = outcomes(run_copy)
    chunk = run_copy.paths.trials / "test_correct/c/2/0"
    chunk.write_bytes(b"")
    (run_copy.paths.trials / "status/c/1").write_bytes(b"x")
    (run_copy.paths.trials / "status/c/3").unlink()
    verdict = verify(run_copy, retrain=0)
    assert list(verdict.faults) == [1, 2, 3]
    assert "status is damaged" in verdict.faults[1]
    assert "test_correct" in verdict.faults[2]
    assert repair(run_copy, verdict) == list(range(20, 30))
    launch_local(run_copy, Resources(workers=1), lambda _: None)
    after = outcomes(run_copy)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
    assert not verify(run_copy, retrain=0).faults


def test_masks_that_the_seed_does_not_give_are_found(run_copy: Run) -> None:
    mask = run_copy.store().read_block(1)["mask"]
    mask[3, 7] ^= True
    rewrite(run_copy, 1, mask=mask)
    verdict = verify(run_copy, retrain=0)
    assert list(verdict.faults) == [1]
    assert "trial 13: the stored mask is not the one" in verdict.faults[1]


@pytest.mark.long
def test_outcomes_that_do_not_come_out_again_are_found(run_copy: Run) -> None:
    label = run_copy.store().examples()["test_label"]
    predicted = run_copy.store().read_block(0)["test_predicted"]
    predicted[4, 50] = (predicted[4, 50] + 1) % 10 if predicted[4, 50] == label[50] else label[50]
    rewrite(run_copy, 0, test_predicted=predicted, test_correct=predicted == label)
    verdict = verify(run_copy, retrain=40)
    assert not verdict.faults
    assert verdict.differing == {4: "test_correct differs in 1 of 100 values"}
    assert not verdict.same_machine


@pytest.mark.long
@pytest.mark.parametrize("name", ["train_predicted", "test_correct"])
def test_correct_is_predicted_equal_to_the_label(name: str, run_copy: Run) -> None:
    values = run_copy.store().read_block(2)[name]
    values[7, 5] = not values[7, 5] if name == "test_correct" else (values[7, 5] + 1) % 10
    if name == "train_predicted":  # another wrong class says nothing of correct
        label = run_copy.store().examples()["train_label"]
        values[7, 6] = next(c for c in range(10) if c not in (values[7, 6], label[6]))
        right = run_copy.store().read_block(2)["train_correct"]
        assert right[7, 5]
        assert right[7, 6]
    rewrite(run_copy, 2, **{name: values})
    axis, count = name.split("_")[0], 2 if name == "train_predicted" else 1
    fault = verify(run_copy, retrain=0).faults[2]
    assert f"trial 27: {axis}_correct and {axis}_predicted disagree on {count} examples; run `memexp verify" in fault


@pytest.mark.long
def test_labels_of_other_data_are_found(run_copy: Run) -> None:
    import zarr

    right = run_copy.store().examples()
    labels = zarr.open_group(run_copy.paths.trials, mode="r+")["train_label"]
    assert isinstance(labels, zarr.Array)
    labels[5] = (int(np.asarray(labels[5])) + 1) % 10
    verdict = verify(run_copy, retrain=0)
    assert "train_label is not what was written" in str(verdict.store)
    assert repair(run_copy, verdict) == []
    np.testing.assert_array_equal(run_copy.store().examples()["train_label"], right["train_label"])
    assert not verify(run_copy, retrain=0).problems


@pytest.mark.long
@pytest.mark.parametrize("name", ["zarr.json", "mask/zarr.json", "status/zarr.json", "train_index/zarr.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"shape": [7]}', b"\x1b[31m"])
def test_damaged_metadata_are_named_and_made_again(name: str, content: bytes | None, run_copy: Run) -> None:
    before = outcomes(run_copy)
    path = run_copy.paths.trials / name
    path.unlink() if content is None else path.write_bytes(content)
    if name != "train_index/zarr.json":  # which no count needs
        with pytest.raises(StoreError, match="memexp verify .* --repair"):
            read_status(run_copy.paths.root)
    shutil.rmtree(run_copy.paths.merged)
    with pytest.raises(StoreError, match="memexp verify .* --repair"):
        merge(run_copy.paths)
    verdict = verify(run_copy, retrain=0)
    assert verdict.store is not None
    assert repair(run_copy, verdict) == []
    for array, values in outcomes(run_copy).items():
        np.testing.assert_array_equal(values, before[array])
    assert merge(run_copy.paths).n_trials == 40
    assert not verify(run_copy, retrain=0).problems


@pytest.mark.long
def test_trials_are_trained_again_compiled_as_they_were(run_copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, how in zip(sorted(run_copy.paths.blocks.glob("*.json")), ("auto", "off", None, "auto"), strict=True):
        edit(path, made_by={} if how is None else {"compile": how})
    asked = []

    class Watched(worker.Trainer):
        def __init__(self, *given: Any, **named: Any) -> None:
            asked.append(named["compile"])
            super().__init__(*given, **named)

    monkeypatch.setattr(worker, "Trainer", Watched)
    assert not verify(run_copy, retrain=40).problems
    assert sorted(asked) == ["auto", "off"]
