"""Going on inside a block: what is kept of one that trains for long, and how it is taken up again.

A checkpoint has the outcomes of the block's finished trials and, of those that train now, everything that the
next step depends on: weights and buffers, the optimizer's state, torch's generators, and what was fed. The order of
the examples and the moves of the images are not in it: they are drawn again from their seeds, and what they feed is
compared with what was fed.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memexp.errors import StoreError
from memexp.training.outcome import Outcome

State = dict[str, Any]  # tensors, numbers, text, None, and lists and dictionaries of them

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset, np.ndarray)
_OF_EVERY_MODULE = vars(nn.Module()).keys()


class Stateful(Protocol):
    """Something that a trial's next step depends on, beside the model: the optimizer, an average of the weights."""

    def state_dict(self) -> State:
        """Everything, as tensors and plain values."""

    def load_state_dict(self, state: State) -> None:
        """Become what gave this state."""


@dataclass(frozen=True)
class Moment:
    """What changes while S trials train together. The generator of dropout is torch's own."""

    stack: nn.Module
    others: Sequence[Stateful]
    device: torch.device

    def state(self) -> State:
        """All that the next step depends on, in the host's memory; shared with the trials where it is there already."""
        found = {
            "tensors": dict(_tensors(self.stack)),
            "others": [each.state_dict() for each in self.others],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }
        kept: State = mapped(found, lambda tensor: tensor.detach().cpu())
        return kept

    @torch.no_grad()
    def take_up(self, state: State) -> None:
        """Become what gave this state. The model must be of the same spec."""
        tensors = dict(_tensors(self.stack))
        assert tensors.keys() == state["tensors"].keys(), "the key of a checkpoint has the spec's digest"
        for name, tensor in tensors.items():
            tensor.copy_(state["tensors"][name])
        for each, kept in zip(self.others, state["others"], strict=True):
            each.load_state_dict(mapped(kept, lambda tensor: tensor.to(self.device)))
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self.device)

    def hidden(self) -> State:
        """Values that modules hold outside of parameters and buffers, such as counters of calls, by place and name.

        A checkpoint does not have them: of a network where they change nothing is kept.
        """
        found: State = {}
        for place, module in self.stack.named_modules():
            for name, value in vars(module).items():
                own = isinstance(value, _CONTAINERS) and name not in _OF_EVERY_MODULE
                if own or isinstance(value, (Tensor, *_PLAIN)):
                    found[f"{place}.{name}"] = _comparable(value)
        return found


def _tensors(stack: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and all buffers, those too that a state dictionary would leave out."""
    return [*stack.named_parameters(), *stack.named_buffers()]


def _comparable(value: Any) -> Any:
    """A value as ``==`` compares it: numbers of tensors and arrays by their bits, of which a repr shows a few."""
    if isinstance(value, Tensor):
        return value.shape, value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: _comparable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(inner) for inner in value]
    return value if isinstance(value, _PLAIN) else repr(value)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A state whose tensors are changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(inner, change) for inner in value]
    return value


class Keeper:
    """Keeps how far one block has come; this one keeps nothing, for trials that are not recorded.

    Attributes
    ----------
    outcomes
        Of the block's finished trials, by number.
    """

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}

    def due(self) -> bool:
        """Whether something should be kept now; asked before every step."""
        return False

    def begin(self, trials: Sequence[int], moment: Moment) -> tuple[int, float]:
        """The step to go on with (``moment`` has become what it was then), and seconds that were spent before."""
        return 0, 0.0

    def keep(self, moment: Moment, step: int, fed: NDArray[np.bool_], share: float) -> None:
        """Keep the trials that train now as they are before this step."""

    def require_same(self, fed: NDArray[np.bool_]) -> None:
        """Raise :class:`StoreError` unless the order that was drawn again feeds what was fed before."""

    def finish(self, outcomes: Mapping[int, Outcome]) -> None:
        """Trials are finished."""
        self.outcomes |= outcomes


class BlockKeeper(Keeper):
    """Keeps a block by means of two functions, one for each direction.

    Parameters
    ----------
    payload
        What was kept before, if there is anything.
    save
        Takes a payload and the share of the block that is trained; it must not raise.
    every
        Seconds between two checkpoints, and before the first one.
    n_trials
        Of the block.
    """

    def __init__(
        self, payload: bytes | None, save: Callable[[memoryview, float], None], every: float, n_trials: int
    ) -> None:
        super().__init__()
        self._save, self._every, self._n_trials = save, every, n_trials
        self._next, self._asked = time.monotonic() + every, False
        self._began, self._spent = time.monotonic(), 0.0
        self._trials: list[int] = []
        self._state: State | None = None
        self._plain: State = {}
        self._told = False
        self._fed: NDArray[np.bool_] | None = None
        if payload is not None:
            kept = torch.load(io.BytesIO(payload), weights_only=True)
            self.outcomes = {trial: _as_outcome(each) for trial, each in kept["outcomes"].items()}
            self._trials, self._state = kept["trials"], kept["state"]

    @property
    def spent(self) -> float:
        """Seconds that were spent on the block before, as far as they are not lost."""
        before = sum(float(outcome.arrays["seconds"]) for outcome in self.outcomes.values())
        return before + (self._state["seconds"] if self._state is not None else 0.0)

    def ask(self) -> None:
        """Keep something before the next step, whatever the time; called by another thread."""
        self._asked = True

    def due(self) -> bool:
        """See :meth:`Keeper.due`."""
        return self._asked or time.monotonic() >= self._next

    def begin(self, trials: Sequence[int], moment: Moment) -> tuple[int, float]:
        """See :meth:`Keeper.begin`."""
        self._plain, self._fed = moment.hidden(), None
        self._began, self._spent = time.monotonic(), 0.0
        state, self._state = self._state, None
        if state is None or self._trials != list(trials):
            self._trials = list(trials)
            return 0, 0.0
        moment.take_up(state["moment"])
        self._fed, self._spent = state["fed"].numpy(), state["seconds"]
        return state["step"], self._spent

    def require_same(self, fed: NDArray[np.bool_]) -> None:
        """See :meth:`Keeper.require_same`."""
        before, self._fed = self._fed, None
        if before is not None and not np.array_equal(before, fed):
            raise StoreError(
                f"trials {self._trials} were fed other examples before they were interrupted; nothing of them was "
                "recorded. Delete the folder partial of the run, and they begin again"
            )

    def keep(self, moment: Moment, step: int, fed: NDArray[np.bool_], share: float) -> None:
        """See :meth:`Keeper.keep`; where a checkpoint would not have all of the network, finished trials alone."""
        hidden = moment.hidden()
        if hidden == self._plain:
            seconds = self._spent + time.monotonic() - self._began
            state = {"moment": moment.state(), "step": step, "fed": torch.from_numpy(fed), "seconds": seconds}
            self._write(state, share)
        else:
            self._tell_why(hidden)
            if self.outcomes:
                self._write(None, 0.0)
        self._settle()

    def _tell_why(self, hidden: State) -> None:
        """Say once for a block which values a checkpoint would not have."""
        names = sorted(name for name in hidden.keys() | self._plain.keys() if hidden.get(name) != self._plain.get(name))
        if names and not self._told:
            self._told = True
            sys.stderr.write(
                f"no checkpoint of trials {self._trials}: training changes {', '.join(names[:3])}, and only parameters "
                "and buffers are kept. Interrupted, these trials begin again; register_buffer keeps such a value\n"
            )

    def finish(self, outcomes: Mapping[int, Outcome]) -> None:
        """See :meth:`Keeper.finish`."""
        super().finish(outcomes)
        if self.due():
            self._write(None, 0.0)
            self._settle()

    def _write(self, state: State | None, share: float) -> None:
        content = io.BytesIO()
        outcomes = {trial: _as_tensors(each) for trial, each in self.outcomes.items()}
        torch.save({"outcomes": outcomes, "trials": self._trials, "state": state}, content)
        done = len(outcomes) + (share * len(self._trials) if state is not None else 0.0)
        self._save(content.getbuffer(), done / self._n_trials)

    def _settle(self) -> None:
        self._next, self._asked = time.monotonic() + self._every, False


def _as_tensors(outcome: Outcome) -> State:
    arrays = {name: torch.from_numpy(np.array(value)) for name, value in outcome.arrays.items()}
    weights = None if outcome.weights is None else torch.frombuffer(bytearray(outcome.weights), dtype=torch.uint8)
    return {"arrays": arrays, "failure": outcome.failure, "weights": weights}


def _as_outcome(kept: State) -> Outcome:
    weights = None if kept["weights"] is None else kept["weights"].numpy().tobytes()
    return Outcome({name: tensor.numpy() for name, tensor in kept["arrays"].items()}, kept["failure"], weights)
