"""Stores of an earlier memexp, without a seal: what is absent is zeros, or damage, and the difference is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memexp.errors import StoreError
from memexp.runs.run import Run, open_run
from memexp.runs.verify import repair, verify
from memexp.store.sealed import SEAL

ARRAYS = ("train_label", "test_label", "train_index", "test_index", "train_label_original", "train_label_flipped")


@pytest.fixture
def old(run_copy: Run) -> Run:
    """The run as the earlier memexp would have left it: schema 1, no seal, no chunk of zeros."""
    root = run_copy.paths.trials / "zarr.json"
    content = json.loads(root.read_bytes())
    del content["attributes"][SEAL]
    content["attributes"]["memexp_schema"] = 1
    root.write_text(json.dumps(content))
    examples = run_copy.store().examples()
    assert {*examples} == {*ARRAYS}
    for name, values in examples.items():
        if not values.any():
            (run_copy.paths.trials / name / "c/0").unlink()
    return open_run(run_copy.paths.root)


def chunk(run: Run, name: str) -> Path:
    return run.paths.trials / name / "c/0"


def test_what_was_left_out_because_it_is_zero_is_read_as_zeros(old: Run, trained_run: Path) -> None:
    for name, values in open_run(trained_run).store().examples().items():
        np.testing.assert_array_equal(old.store().examples()[name], values)
    labels = old.store().examples()["train_label_original"]
    assert not verify(old, retrain=0).problems
    assert labels.any()


@pytest.mark.long
@pytest.mark.parametrize("name", ARRAYS)
def test_a_chunk_that_is_gone_and_was_not_zeros_is_damage(name: str, old: Run) -> None:
    right = old.store().examples()
    assert right[name].any()
    chunk(old, name).unlink()
    with pytest.raises(StoreError, match=rf"trials.zarr/(train_label_flipped|{name}) is damaged; run `memexp verify"):
        old.store().examples()
    verdict = verify(old, retrain=0)
    assert verdict.store is not None
    assert repair(old, verdict) == []
    for each, values in old.store().examples().items():
        np.testing.assert_array_equal(values, right[each])
    assert not verify(old, retrain=0).problems


@pytest.mark.parametrize(
    ("name", "others"),
    [("train_index", "train_label"), ("train_label", "train_index"), ("train_label_original", "train_label"),
     ("train_index", "train_label_original"), ("train_label", "train_label_original")],
)  # fmt: skip
def test_a_chunk_that_is_anothers_is_damage(name: str, others: str, old: Run) -> None:
    if chunk(old, name).read_bytes() == chunk(old, others).read_bytes():
        pytest.fail("they are the same")
    chunk(old, name).write_bytes(chunk(old, others).read_bytes())
    with pytest.raises(StoreError, match="is damaged"):
        old.store().examples()
