"""Compiled networks: once for all trials, the eager outcomes, and without a compiler no harm. No test needs one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from memexp.data import load_data
from memexp.runs.pool import Resources
from memexp.slurm.profile import Profile
from memexp.spec.designs import draw_masks
from memexp.training import compiled, evaluation
from memexp.training.batches import prepare
from memexp.training.block import Outcome, train_block
from tests.conftest import make_spec


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    compiled._failed.clear()


def outcomes(model: dict[str, Any], trials: list[int], wanted: bool) -> list[Outcome]:
    digits = {"source": "digits", "limit": {"train": 60, "test": 20}}
    spec = make_spec(dataset=digits, model=model, training={"epochs": 2, "batch_size": 14, "augment": {"flip": True}})
    data = load_data(spec.dataset)
    work = replace(prepare(spec, data, "cpu"), compiled=wanted)
    return train_block(work, draw_masks(spec.subsets, 60, trials), trials)


@pytest.mark.parametrize("model", [{"arch": "memexp_cnn", "width": 4}, {"arch": "memexp_resnet9", "width": 4}])
def test_three_trials_compile_as_often_as_one_and_end_as_without(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_EVALUATED_PIXELS", 16 * 64)  # in parts of 16, of which the last ones overlap
    backend = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(compiled, "BACKEND", backend)
    eager = outcomes(model, [0, 1, 2], wanted=False)
    assert backend.frame_count == 0
    outcomes(model, [0], wanted=True)
    assert backend.frame_count == 2, "one graph to train, one to evaluate"
    for a, b in zip(eager, outcomes(model, [0, 1, 2], wanted=True), strict=True):
        for name in ("mask", "train_correct", "test_correct"):
            np.testing.assert_array_equal(a.arrays[name], b.arrays[name])
        np.testing.assert_allclose(a.arrays["train_margin"], b.arrays["train_margin"], rtol=0.01, atol=0.01)
    assert backend.frame_count == 2


def test_without_a_compiler_trials_train_eagerly_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable\nmore")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    model = {"arch": "memexp_cnn", "width": 4}
    for a, b in zip(outcomes(model, [0, 1], False), outcomes(model, [0, 1], True), strict=True):
        np.testing.assert_array_equal(a.arrays["train_margin"], b.arrays["train_margin"])
    said = capsys.readouterr().err
    assert said.count("compile: auto fails on this node, so trials train without it") == 1
    assert "Failed to find C compiler" in said


def test_a_full_gpu_is_not_taken_for_a_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compiled, "_compiled", lambda _: full)
    with pytest.raises(torch.OutOfMemoryError):
        outcomes({"arch": "memexp_cnn", "width": 4}, [0], wanted=True)


def test_it_is_a_resource_of_the_profile_that_is_off_unless_wanted() -> None:
    assert Profile(time_min=10).resources.compile == "off"
    assert Profile(time_min=10, gpus=1, compile="auto").resources.compile == "auto"
    assert Resources(workers=1).compile == "off", "as launches of an earlier memexp have it"
