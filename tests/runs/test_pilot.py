"""The pilot: what a trial costs is measured on as few examples as will do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memexp.runs import pilot
from memexp.runs.plan import Plan, make_plan
from memexp.spec.designs import draw_masks
from memexp.spec.reading import read_spec
from memexp.training.batches import Work
from memexp.training.block import prepare_block, train_block


@pytest.fixture
def plan(write_spec: Callable[..., Path]) -> Plan:
    return make_plan(read_spec(write_spec(training={"batch_size": 128})))


def pretend(monkeypatch: pytest.MonkeyPatch, step: float, example: float) -> list[int]:
    """Let a step take ``step`` seconds an example, and its evaluation ``example``; the batches that were tried."""
    tried: list[int] = []

    def timed(work: Any, n_trials: int, batch: int, steps: int) -> float:
        tried.append(batch)
        return steps * batch * step + 2 * len(work.y_train) * example

    monkeypatch.setattr(pilot, "_timed", timed)
    return tried


def test_a_slow_network_is_tried_on_a_few_examples(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = pretend(monkeypatch, step=1.0, example=0.3)
    pace = pilot.measure_pace(plan)
    assert set(tried) == {8}
    assert pace.per_step == pytest.approx(128)
    assert pace.per_example == pytest.approx(0.3)


def test_a_quick_network_is_tried_on_its_own_batch(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = pretend(monkeypatch, step=1e-6, example=1e-7)
    pace = pilot.measure_pace(plan)
    assert list(dict.fromkeys(tried)) == [8, 32, 128]
    assert pace.per_step == pytest.approx(128e-6)
    assert pace.per_example == pytest.approx(1e-7)


@pytest.mark.process  # not for a process that it starts, but for its seconds
@pytest.mark.parametrize(
    ("model", "precision", "together"),
    [
        ({"arch": "memexp_cnn", "width": 8}, "bf16", 1),
        ({"arch": "memexp_cnn", "width": 8}, "fp32", 1),
        ({"arch": "memexp_mlp", "hidden": [128, 128]}, "fp32", 6),
    ],
)
def test_a_real_trial_takes_the_seconds_that_the_pilot_tells(
    model: dict[str, Any], precision: str, together: int, write_spec: Callable[..., Path]
) -> None:
    """Processor time on both sides, so that other programs do not count."""
    plan = make_plan(read_spec(write_spec(
        model=model, training={"batch_size": 64, "epochs": 40, "precision": precision},
        dataset={"source": "digits", "limit": {"train": 1000, "test": 700}}, subsets={"trials": 10},
    )))  # fmt: skip
    told = pilot.seconds_per_trial(plan)
    work = prepare_block(plan.spec, plan.data, "cpu")
    start = time.process_time()
    train_block(work, draw_masks(plan.spec.subsets, plan.layout.n_train, range(together)), list(range(together)))
    took = (time.process_time() - start) / together
    assert took / 1.6 < told < took * 1.6


def test_waiting_for_other_programs_is_no_cost_of_a_trial(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    work = prepare_block(plan.spec, plan.data, "cpu")
    assert isinstance(work, Work)
    pilot._timed(work, 1, 8, 1)
    monkeypatch.setattr(pilot, "train_block", lambda *_: time.sleep(0.2))
    assert 0 < pilot._timed(work, 1, 8, 1) < 0.1
