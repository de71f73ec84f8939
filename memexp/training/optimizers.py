"""What moves the weights in a step: memexp's own SGD, or an optimizer of timm's; clipping, and an average of weights.

timm is imported only where one of its optimizers is asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from memexp.errors import InputError
from memexp.spec.training import Training
from memexp.training.checkpoint import State, Stateful, mapped
from memexp.training.sgd import SGD


class Optimizer(Stateful, Protocol):
    """What :class:`memexp.training.sgd.SGD` and timm's have in common here."""

    def before_backward(self) -> None:
        """Forget the gradients of the last step."""

    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient."""


class OfTimm:
    """An optimizer of ``timm.optim``, with timm's rule of weight decay: none on biases, norms and what a network names.

    Raises
    ------
    InputError
        If timm does not have it, or it does not take the arguments.
    """

    def __init__(self, model: nn.Module, recipe: Training) -> None:
        from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

        more: dict[str, Any] = dict(recipe.optimizer_arguments)
        if _require_known(recipe.optimizer).has_momentum:
            more["momentum"] = recipe.momentum
        elif recipe.momentum != Training.model_fields["momentum"].default:
            raise InputError(
                f"{recipe.optimizer} has no momentum; delete it (optimizer_arguments has betas and the like)"
            )
        try:
            self._optimizer = create_optimizer_v2(
                model, recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, **more
            )
        except Exception as error:  # each raises what it likes
            text = f"{recipe.optimizer} with {more}: {type(error).__name__}: {error}"
            raise InputError(f"{text}; correct optimizer_arguments") from error

    def before_backward(self) -> None:
        """Forget the gradients of the last step."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient; ``lr_scale`` is of timm's decay of the rate by layers."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self._optimizer.step()

    def state_dict(self) -> State:
        """What torch keeps of an optimizer."""
        state: State = self._optimizer.state_dict()
        return state

    def load_state_dict(self, state: State) -> None:
        """Go on with :meth:`state_dict`: torch brings to a device what belongs there, counters of steps not.

        A counter on a GPU would be read back for every parameter in every step.
        """
        self._optimizer.load_state_dict(mapped(state, lambda tensor: tensor.cpu()))


def _require_known(name: str) -> Any:
    from timm.optim import get_optimizer_info, list_optimizers  # type: ignore[attr-defined]

    names = [
        each for each in map(str, list_optimizers()) if each != "sgd" and not get_optimizer_info(each).second_order
    ]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        some = "sgd, adamw, lion, lamb, nadamw, muon, adafactor"
        raise InputError(
            f"{name!r} is no optimizer that memexp takes from timm.{meant} Among those it does: {some}, ..."
        )
    return get_optimizer_info(name)


def require_optimizer(recipe: Training) -> None:
    """Make the recipe's optimizer and take a step of a small network with it, as every trial will.

    Raises
    ------
    InputError
        If there is no such optimizer, or something is wrong with its arguments.
    """
    if recipe.optimizer == "sgd":
        return
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
        optimizer = OfTimm(network, recipe)
        try:
            network(torch.ones(2, 1, 4, 4)).sum().backward()
            optimizer.step(recipe.lr)
        except Exception as error:
            raise InputError(f"{recipe.optimizer} takes no step: {type(error).__name__}: {error}") from error


class Average:
    """A moving average of a model's parameters and floating-point buffers, as it was after each step.

    In step t it keeps a share of min(``decay``, (1 + t) / (10 + t)), so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._step = decay, 0
        self._live = list(_floating(model))
        self._mean = [tensor.detach().clone() for tensor in self._live]

    @torch.no_grad()
    def follow(self) -> None:
        """After a step."""
        share = min(self._decay, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(self._mean, [tensor.detach() for tensor in self._live], 1 - share)
        self._step += 1

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Make the model the average."""
        torch._foreach_copy_([tensor.detach() for tensor in self._live], self._mean)

    def state_dict(self) -> State:
        """The average and its step."""
        return {"mean": self._mean, "step": self._step}

    @torch.no_grad()
    def load_state_dict(self, state: State) -> None:
        """Go on with :meth:`state_dict`."""
        torch._foreach_copy_(self._mean, list(state["mean"]))
        self._step = state["step"]


def _floating(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from (buffer for buffer in model.buffers() if buffer.is_floating_point())


class Updates:
    """All that happens to the weights of a stack, step by step."""

    def __init__(self, stack: nn.Module, recipe: Training) -> None:
        self._clip, self._parameters = recipe.clip_norm, list(stack.parameters())
        self._optimizer: Optimizer = SGD(stack, recipe) if recipe.optimizer == "sgd" else OfTimm(_inner(stack), recipe)
        self._average = Average(stack, recipe.ema) if recipe.ema is not None else None
        self.before_backward = self._optimizer.before_backward

    @property
    def states(self) -> list[Stateful]:
        """What the next step depends on, beside the weights."""
        return [self._optimizer, *([self._average] if self._average is not None else [])]

    def step(self, rate: float) -> None:
        """Move the weights by their gradients."""
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step(rate)
        if self._average is not None:
            self._average.follow()

    def finish(self) -> None:
        """After the last step: the weights become what is evaluated."""
        if self._average is not None:
            self._average.put_in_place()


def _inner(stack: nn.Module) -> nn.Module:
    """The network of a single trial, whose names and wishes timm reads."""
    inner = stack.model
    assert isinstance(inner, nn.Module)
    return inner
