"""A GPU is judged by one real training step, not by its name."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from memexp.training import models
from memexp.training.devices import gpu_facts
from memexp.training.precision import computing, has_bf16_units

_STEPS = 10
# Multiply-adds of memexp_resnet9 for one image of 32 pixels, forward and backward; tests/training/test_gpu_check.py.
RESNET9 = 1.136e9
PRECISIONS = ("fp32", "tf32", "bf16")


def try_gpu(device: str = "cuda", batch: int = 512, width: int = 64, steps: int = _STEPS) -> dict[str, Any]:
    """Train a ResNet-9 for a few steps in each precision that the GPU has units for.

    A GPU that torch was not built for, whose driver is too old, that is full or another's alone has a name too.

    Returns
    -------
    facts
        ``device``, ``capability``, ``cudnn``, ``cuda``, ``memory_gb`` (whole), ``free_gb``, ``bf16`` (units for it);
        ``step_ms``: of a step by precision; ``host_ms``: of launching a bf16 or fp32 one; ``teraflops``: reached by
        precision, two for a multiply-add. With ``error``, a line, where it failed.
    """
    facts: dict[str, Any] = {"device": "GPU"}
    try:
        facts = gpu_facts(device)
        free, whole = torch.cuda.mem_get_info(device)
        facts |= {"cuda": torch.version.cuda, "memory_gb": whole / 1e9, "free_gb": free / 1e9}
        facts |= {"bf16": has_bf16_units(torch.device(device)), "step_ms": {}, "teraflops": {}}
        for precision in PRECISIONS[: 3 if facts["bf16"] else 2]:
            whole_ms, facts["host_ms"] = _step_ms(torch.device(device), precision, batch, width, steps)
            facts["step_ms"][precision] = whole_ms
            facts["teraflops"][precision] = 2 * RESNET9 * (width / 64) ** 2 * batch / whole_ms / 1e9
    except Exception as error:  # drivers raise what they like
        facts["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return facts


def _step_ms(device: torch.device, precision: str, batch: int, width: int, steps: int) -> tuple[float, float]:
    """Milliseconds of a step, and of launching it."""
    model = models.create("memexp_resnet9", {"width": width}, (32, 32, 3), 100, 0)
    model = model.to(device).to(memory_format=torch.channels_last).train()
    x = torch.zeros(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.zeros(batch, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    few, found = max(1, steps // 3), []
    with computing(precision, device, dense=False) as forward:
        for count in (few, few, steps):  # the first ones choose kernels, and are not counted
            torch.cuda.synchronize(device)
            start = time.perf_counter()
            for _ in range(count):
                optimizer.zero_grad()
                with forward():
                    logits = model(x)
                F.cross_entropy(logits.float(), y).backward()
                optimizer.step()
            launched = time.perf_counter() - start
            torch.cuda.synchronize(device)
            found.append(1000 * np.array([time.perf_counter() - start, launched]) / count)
    # A GPU lets the host be about a thousand kernels ahead, then it waits: a few steps tell what launching takes.
    return float(found[2][0]), float(found[1][1])


def in_words(facts: dict[str, Any]) -> tuple[str, str]:
    """Verdict (``ok``, ``warning`` or ``fault``) and text of what :func:`try_gpu` found."""
    if "error" in facts:
        return "fault", (
            f"{facts['device']} does not train: {facts['error']}. Is its driver recent enough for CUDA "
            f"{torch.version.cuda}, is this torch built for it ({' '.join(torch.cuda.get_arch_list())}), and is its "
            "memory free?"
        )
    steps = ", ".join(f"{ms:.1f} ms in {name}" for name, ms in facts["step_ms"].items())
    text = (
        f"{facts['device']}, {facts['memory_gb']:.0f} GB ({facts['free_gb']:.0f} free), compute capability "
        f"{facts['capability']}, CUDA {facts['cuda']}, cuDNN {facts['cudnn']}; a step of ResNet-9 with 512 images "
        f"takes {steps}"
    )
    if not facts["bf16"]:
        return "warning", f"{text}; no units for bf16: 'precision: bf16' is computed in fp32 here"
    if facts["host_ms"] > 0.7 * facts["step_ms"]["bf16"]:
        return "warning", (
            f"{text}; launching it takes the processor {facts['host_ms']:.1f} ms, so small networks wait for the "
            "processor: give each worker a core of its own"
        )
    return "ok", text
