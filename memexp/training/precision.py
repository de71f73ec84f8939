"""What ``precision`` means on each device: one word, one arithmetic, as far as the device has units for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from memexp.spec.sections import UserTraining
from memexp.spec.spec import Spec

Forward = Callable[[], AbstractContextManager[None]]


def precision_of(spec: Spec) -> str:
    """The spec's precision; a user's recipe sets its own, and is evaluated in fp32."""
    return "fp32" if isinstance(spec.training, UserTraining) else spec.training.precision


def has_bf16_units(device: torch.device) -> bool:
    """Whether bf16 is computed there, and not made of float32: GPUs of compute capability 8.0, AMX, AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocasts(precision: str, device: torch.device, dense: bool) -> bool:
    """Whether tensors between products are bf16 too; ``dense``: of a stack of dense layers.

    Products of float32 tensors that oneDNN rounds on their way are bf16 with AMX alone; with AVX512-BF16 they stay
    float32. Where they are bf16, a stack of dense layers, bound by memory, gains nothing from rounded tensors.
    """
    if precision != "bf16" or not has_bf16_units(device):
        return False
    return device.type == "cuda" or not dense or not torch.cpu._is_amx_tile_supported()


def remark(spec: Spec, device: torch.device) -> str | None:
    """What to say where a GPU does not compute as the spec asks; None where it does."""
    if precision_of(spec) != "bf16" or device.type != "cuda" or has_bf16_units(device):
        return None
    name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    return (
        f"precision: bf16 is computed in fp32 here, which is slower: {name} has no units for bf16 (compute capability "
        f"{major}.{minor}; those of 8.0 and more have)"
    )


@contextmanager
def computing(precision: str, device: torch.device, dense: bool) -> Iterator[Forward]:
    """Compute in a precision; yields the context for forward passes.

    ``fp32`` is IEEE float32 everywhere, ``tf32`` the same with operands of products and convolutions rounded to 10
    bits on a GPU, which has units for it. ``bf16`` is autocast where the device has units for it (on a CPU AMX or
    AVX512-BF16): measured on one core with AMX, ``memexp_resnet9`` is 2.2 and ``memexp_cnn`` 1.5 times faster than with
    bf16 products alone. Stacks of dense layers with AMX are the exception: only their products are rounded, by oneDNN.
    A device without bf16 units computes in fp32, so that bf16 is never slower.
    """
    rounded = autocasts(precision, device, dense)
    if device.type == "cuda":
        with _allow_tf32(precision == "tf32"):
            yield lambda: torch.autocast("cuda", torch.bfloat16, enabled=rounded)
        return
    if rounded:
        yield lambda: torch.autocast("cpu", torch.bfloat16)
        return
    units: list[Any] = [getattr(torch.backends.mkldnn, name) for name in ("matmul", "conv")]
    before = [unit.fp32_precision for unit in units]
    for unit in units:
        unit.fp32_precision = "bf16" if precision == "bf16" else "ieee"
    try:
        yield nullcontext
    finally:
        for unit, value in zip(units, before, strict=True):
            unit.fp32_precision = value


@contextmanager
def _allow_tf32(allowed: bool) -> Iterator[None]:
    """Of cuDNN's convolutions, where torch's default is yes, and cuBLAS' products, where it is no."""
    units: list[Any] = [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [unit.allow_tf32 for unit in units]
    for unit in units:
        unit.allow_tf32 = allowed
    try:
        yield
    finally:
        for unit, value in zip(units, before, strict=True):
            unit.allow_tf32 = value
