"""A network's answers, compiled once for all trials of a process where that is wanted: a resource, never in a spec."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from memexp.training.models import OneTrial

BACKEND: Any = "inductor"
_failed: set[Any] = set()  # back ends that this process does without from now on

Answers = Callable[[nn.Module, Tensor], Tensor]


def answers(wanted: bool) -> Answers:
    """``stack(x)``, compiled if wanted. A stack of dense layers is a few large products already, and stays as it is."""
    return _answers if wanted else _eager


def _eager(stack: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = stack(x)
    return logits


def _answers(stack: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(stack, OneTrial) or given_up():
        return _eager(stack, x)
    try:
        return _compiled(BACKEND)(stack, x)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # such as no C compiler for a GPU's kernels; what else fails, fails again below
        give_up(error)
        return _eager(stack, x)


def given_up() -> bool:
    """Whether this process does without."""
    return BACKEND in _failed


def give_up(error: Exception) -> None:
    """Compile nothing more in this process, and say why once."""
    if not given_up():
        _failed.add(BACKEND)
        reason = " ".join(f"{type(error).__name__}: {error}".split("\n")[:2])
        sys.stderr.write(f"compile: auto fails on this node, so trials train without it, a little slower: {reason}\n")


@functools.cache
def _compiled(backend: Any) -> Answers:
    """The network is an argument: torch looks at its structure, so that the next trial's needs no new code."""
    return torch.compile(_eager, dynamic=False, backend=backend)
