"""A block that is interrupted anywhere and gone on with has the bits of one that never was."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from memexp.data import load_data
from memexp.errors import StoreError
from memexp.spec.designs import draw_masks
from memexp.training.batches import Work, prepare
from memexp.training.block import train_block
from memexp.training.checkpoint import BlockKeeper, Moment
from memexp.training.outcome import Outcome
from tests.conftest import make_spec

TRIALS = [0, 1, 2]
DATA = {"source": "digits", "limit": {"train": 60, "test": 20}}
LENGTH = {"epochs": 12, "batch_size": 8}
CNN = {"arch": "memexp_cnn", "width": 2}
SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64 * in_chans, 16), nn.BatchNorm1d(16), nn.Dropout())
        self.head = nn.Linear(16, num_classes)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.calls = 0

    def forward(self, x):
        self.seen += 1
        self.calls += COUNTED
        return self.head(self.body(x)) / (1 + self.seen + self.calls)
"""


def own_net(counted: int) -> dict[str, Any]:
    """A network with dropout, a buffer that no state dictionary has, and a plain counter that counts so fast."""
    return {
        "arch": "Net",
        "file": {"name": "net.py", "source": "import torch\n" + SOURCE.replace("COUNTED", str(counted))},
    }


RECIPES: dict[str, dict[str, Any]] = {
    "a stack whose gradients carry the momenta": {},
    "a stack with momenta of its own": {"training": {"weight_decay": 0.01, "nesterov": True}},
    "convolutions, crops and flips": {"model": CNN, "training": {"augment": {"crop": 1, "flip": True}}},
    "dropout and a hidden buffer": {"model": own_net(counted=0)},
}


class Interrupted(Exception):
    pass


class Interrupts(BlockKeeper):
    """Keeps at every third step, and raises before step ``last`` of this process."""

    def __init__(self, payload: bytes | None, last: int) -> None:
        self.kept, self.steps, self.last = payload, 0, last
        super().__init__(payload, self._hold, 900.0, len(TRIALS))

    def _hold(self, payload: memoryview, share: float) -> None:
        self.kept = bytes(payload)
        assert 0 < share <= 1

    def due(self) -> bool:
        self.steps += 1
        if self.steps > self.last:
            raise Interrupted
        return self.steps % 3 == 0


def work_of(**blocks: Any) -> Work:
    blocks["training"] = LENGTH | blocks.get("training", {})
    spec = make_spec(dataset=DATA, **blocks)
    return prepare(spec, load_data(spec.dataset), "cpu")


def masks(work: Work) -> Any:
    return draw_masks(work.spec.subsets, len(work.y_train), TRIALS)


def trained_on(work: Work, lasts: Iterable[int]) -> tuple[list[Outcome], Interrupts]:
    """Outcomes of trials that are interrupted before step ``last`` of each process but the final one, its keeper."""
    payload = None
    for last in lasts:
        keeper = Interrupts(payload, last)
        with pytest.raises(Interrupted):
            train_block(work, masks(work), TRIALS, keeper=keeper)
        payload = keeper.kept
    keeper = Interrupts(payload, 10**9)
    return train_block(work, masks(work), TRIALS, keeper=keeper), keeper


def bits(outcomes: Sequence[Outcome]) -> list[Any]:
    return [
        {name: np.asarray(value).tobytes() for name, value in outcome.arrays.items() if name != "seconds"}
        | {"failure": outcome.failure}
        for outcome in outcomes
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", RECIPES)
def test_ten_interruptions_change_no_bit(name: str) -> None:
    work, draws = work_of(**RECIPES[name]), random.Random(name)
    undisturbed = bits(train_block(work, masks(work), TRIALS))
    found, keeper = trained_on(work, [draws.randint(1, 9) for _ in range(10)])
    assert keeper.steps < 180, "it went on, and did not begin again"
    assert bits(found) == undisturbed


@pytest.mark.long
def test_finished_trials_of_a_block_are_not_trained_again() -> None:
    work = work_of(model=CNN)
    whole, keeper = train_block(work, masks(work), TRIALS), Interrupts(None, 63 + 63 + 30)
    with pytest.raises(Interrupted):
        train_block(work, masks(work), TRIALS, keeper=keeper)
    again = Interrupts(keeper.kept, 10**9)
    assert again.outcomes.keys() == {0, 1}
    assert again.spent > sum(float(outcome.arrays["seconds"]) for outcome in again.outcomes.values()) > 0
    assert bits(train_block(work, masks(work), TRIALS, keeper=again)) == bits(whole)
    assert again.steps <= 63 - 27 + 1


def test_a_network_that_counts_outside_of_its_buffers_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    work, keeper = work_of(model=own_net(counted=1)), Interrupts(None, 40)
    with pytest.raises(Interrupted):
        train_block(work, masks(work), TRIALS, keeper=keeper)
    assert keeper.kept is None
    said = capsys.readouterr().err
    assert said.startswith("no checkpoint of trials [0]: training changes model.calls, and only parameters")
    assert said.count("\n") == 1, "told once"


@pytest.mark.parametrize(
    "held",
    [
        torch.zeros(5000, dtype=torch.bfloat16),
        np.zeros(5000),
        torch.zeros(5000, dtype=torch.complex64),
        [0] * 5000,
    ],
    ids=lambda held: str(getattr(held, "dtype", "list")),
)
def test_a_change_in_the_middle_of_much_is_seen(held: Any) -> None:
    for wrap in (lambda held: held, lambda held: [held], lambda held: {"queue": (1, held)}):
        network, values = nn.Linear(1, 1), copy.deepcopy(held)
        network.queue = wrap(values)
        moment = Moment(network, [], torch.device("cpu"))
        before = moment.hidden()
        assert moment.hidden() == before
        values[2500] = 1
        assert moment.hidden() != before


@pytest.mark.long
def test_trials_finished_before_such_a_network_is_stopped_are_kept() -> None:
    work, keeper = work_of(model=own_net(counted=1)), Interrupts(None, 63 + 30)
    whole = train_block(work, masks(work), TRIALS)
    with pytest.raises(Interrupted):
        train_block(work, masks(work), TRIALS, keeper=keeper)
    again = Interrupts(keeper.kept, 10**9)
    assert again.outcomes.keys() == {0}
    assert bits(train_block(work, masks(work), TRIALS, keeper=again)) == bits(whole)


def test_another_order_than_was_fed_is_refused() -> None:
    work, keeper = work_of(), Interrupts(None, 10)
    with pytest.raises(Interrupted):
        train_block(work, masks(work), TRIALS, keeper=keeper)
    other = np.roll(masks(work), 1, axis=1)
    with pytest.raises(StoreError, match="were fed other examples before they were interrupted"):
        train_block(work, other, TRIALS, keeper=Interrupts(keeper.kept, 10**9))
