"""The device that a process computes on: whether it is there, and how torch uses it."""

from __future__ import annotations

import os
from typing import Any

import torch

from memexp.errors import InputError


def require_gpu() -> None:
    """Refuse ``--device cuda`` where torch finds no GPU."""
    if not torch.cuda.is_available():
        raise InputError(
            "--device cuda: torch finds no GPU here. Leave --device away to use the processors, "
            "or see `memexp doctor` and torch's installation"
        )


def set_up_torch(device: str, threads: int = 1) -> None:
    """Make torch compute in this process as it does wherever trials are trained or measured.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``cuda:1``.
    threads
        Processor threads.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn")  # the same switch as use_deterministic_algorithms, without a compiler
    # no code of ours reads memory that it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)


def gpu_facts(device: str = "cuda") -> dict[str, Any]:
    """What decides bits on a GPU, beside torch: its name, its generation, and cuDNN's version."""
    major, minor = torch.cuda.get_device_capability(device)
    cudnn = torch.backends.cudnn.version()
    return {"device": torch.cuda.get_device_name(device), "capability": f"{major}.{minor}", "cudnn": cudnn}
