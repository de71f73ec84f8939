"""A GPU is judged by a training step: of one that is pretended, and of what drivers say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from memexp.training import gpu_check, models
from memexp.training.gpu_check import RESNET9, in_words, try_gpu
from tests.training.pretended import pretend_gpu


def test_the_arithmetic_of_its_network_is_counted_rightly() -> None:
    model = models.create("memexp_resnet9", {}, (32, 32, 3), 100, 0).to("meta")
    with FlopCounterMode(display=False) as counted:
        logits = model(torch.zeros(2, 3, 32, 32, device="meta"))
        F.cross_entropy(logits, torch.zeros(2, dtype=torch.int64, device="meta")).backward()
    assert counted.get_total_flops() / 4 == pytest.approx(RESNET9, rel=1e-3)


@pytest.mark.parametrize("bf16", [True, False])
def test_every_precision_that_it_has_units_for_is_tried(bf16: bool) -> None:
    with pretend_gpu(bf16=bf16):
        facts = try_gpu(batch=2, width=4, steps=1)
    assert "error" not in facts
    assert list(facts["step_ms"]) == list(facts["teraflops"]) == ["fp32", "tf32", "bf16"][: 3 if bf16 else 2]
    assert all(ms > 0 for ms in facts["step_ms"].values())
    verdict, text = in_words(facts | {"host_ms": 0.0})
    assert verdict == ("ok" if bf16 else "warning")
    assert text.startswith("pretended GPU, 86 GB (86 free), compute capability ")
    assert ("'precision: bf16' is computed in fp32 here" in text) != bf16


def test_a_network_that_waits_for_the_processor_is_told() -> None:
    with pretend_gpu():
        facts = try_gpu(batch=2, width=4, steps=1)
    verdict, text = in_words(facts | {"host_ms": 0.8 * facts["step_ms"]["bf16"]})
    assert verdict == "warning"
    assert "give each worker a core of its own" in text


@pytest.mark.parametrize("where", ["_step_ms", "gpu_facts"])
def test_a_gpu_that_has_a_name_and_does_not_train_is_a_fault(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore lines")

    monkeypatch.setattr(gpu_check, where, fail)
    with pretend_gpu():
        verdict, text = in_words(try_gpu())
    assert verdict == "fault"
    assert (
        "does not train: RuntimeError: CUDA error: no kernel image is available for execution on the device. " in text
    )
    assert "more lines" not in text
