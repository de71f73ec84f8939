"""Compiled networks: once for all trials, the eager outcomes, and without a compiler no harm. No test needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend

from memexp.data import load_data
from memexp.runs.pool import Resources
from memexp.runs.run import Run
from memexp.runs.worker import Trainer
from memexp.slurm.profile import Profile
from memexp.spec.designs import draw_masks
from memexp.store.receipts import read_receipts
from memexp.training import compiled, evaluation
from memexp.training.batches import prepare
from memexp.training.block import Outcome, train_block
from tests.conftest import make_spec
from tests.training.pretended import pretend_gpu


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    compiled._failed.clear()


def outcomes(model: dict[str, Any], trials: list[int], wanted: bool, device: str = "cpu") -> list[Outcome]:
    digits = {"source": "digits", "limit": {"train": 60, "test": 20}}
    spec = make_spec(dataset=digits, model=model, training={"epochs": 2, "batch_size": 14, "augment": {"flip": True}})
    data = load_data(spec.dataset)
    work = replace(prepare(spec, data, device), compiled=wanted)
    return train_block(work, draw_masks(spec.subsets, 60, trials), trials)


CNN = {"arch": "memexp_cnn", "width": 4}


@pytest.mark.long
@pytest.mark.parametrize("model", [CNN, {"arch": "memexp_resnet9", "width": 4}])
def test_three_trials_compile_as_often_as_one_and_end_as_without(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_EVALUATED_PIXELS", 16 * 64)  # in parts of 16, of which the last ones are filled
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


@pytest.mark.long
def test_without_a_compiler_trials_train_eagerly_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable\nmore")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    for a, b in zip(outcomes(CNN, [0, 1], False), outcomes(CNN, [0, 1], True), strict=True):
        np.testing.assert_array_equal(a.arrays["train_margin"], b.arrays["train_margin"])
    said = capsys.readouterr().err
    assert said.count("compile: auto fails on this node, so trials train without it") == 1
    assert "Failed to find C compiler" in said


@pytest.mark.long
@pytest.mark.parametrize("part", ["bw_compiler", "inference_compiler"])
def test_where_a_later_part_does_not_compile_trials_are_eager_from_their_first_step(
    part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first graph compiles, to something that trains badly: no step of a trial may be taken with it."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("ptxas fatal")

    def silent(graph: torch.fx.GraphModule, _: Any) -> Any:
        return make_boxed_func(lambda *args: [0 * x if isinstance(x, Tensor) else x for x in graph(*args)])

    compilers = {"fw_compiler": silent, "bw_compiler": silent, "inference_compiler": silent} | {part: broken}
    monkeypatch.setattr(compiled, "BACKEND", aot_autograd(**compilers))
    for a, b in zip(outcomes(CNN, [0, 1], False), outcomes(CNN, [0, 1], True), strict=True):
        for name in ("mask", "train_margin", "test_margin"):
            np.testing.assert_array_equal(a.arrays[name], b.arrays[name])
    assert capsys.readouterr().err.count("trials train without it, a little slower: ") == 1


def test_a_full_gpu_is_not_taken_for_a_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compiled, "_compiled", lambda _: full)
    with pytest.raises(torch.OutOfMemoryError):
        outcomes(CNN, [0], wanted=True)


@pytest.mark.long
@pytest.mark.parametrize("free", [80 << 30, 1000], ids=["resident", "images in the host's memory"])
@pytest.mark.parametrize("pixels", [16 * 64, 40 * 64, 1000 * 64])
def test_a_gpu_meets_one_shape_to_train_and_one_to_evaluate(
    pixels: int, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As compiled code has it: sizes, and the order in memory. Sets of 60 and 20 images in parts of 16, 40 and 60."""
    met = set()

    def noting(stack: torch.nn.Module, x: Tensor) -> Tensor:
        met.add((stack.training, torch.is_grad_enabled(), tuple(x.shape), x.stride()))
        return compiled._eager(stack, x)

    monkeypatch.setattr(compiled, "_compiled", lambda _: noting)
    monkeypatch.setattr(evaluation, "_EVALUATED_PIXELS", pixels)
    eager = outcomes(CNN, [0], wanted=False)
    with pretend_gpu(free):
        found = outcomes(CNN, [0, 1], wanted=True, device="cuda")
    assert sorted(each[:3] for each in met) == [
        (False, False, (1, min(60, pixels // 64), 1, 8, 8)),
        (True, True, (1, 14, 1, 8, 8)),
    ]
    np.testing.assert_array_equal(eager[0].arrays["test_correct"], found[0].arrays["test_correct"])
    np.testing.assert_allclose(eager[0].arrays["train_margin"], found[0].arrays["train_margin"], rtol=0.01, atol=0.01)


@pytest.mark.long
def test_a_receipt_says_whether_its_trials_were_compiled(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verify trains them again as they were trained."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler")

    for name, network in (("compiled", compiled._eager), ("eager", broken)):
        monkeypatch.setattr(compiled, "_compiled", lambda _, network=network: network)
        run = new_run(name=name, model=CNN)
        with pretend_gpu():
            Trainer(run, "cuda", compile="auto").train(0)
        (receipt,) = read_receipts(run.paths)
        assert receipt.made_by.get("compile") == ("auto" if name == "compiled" else None)


def test_it_is_a_resource_of_the_profile_that_is_off_unless_wanted() -> None:
    assert Profile(time_min=10).resources.compile == "off"
    assert Profile(time_min=10, gpus=1, compile="auto").resources.compile == "auto"
    assert Resources(workers=1).compile == "off", "as launches of an earlier memexp have it"
