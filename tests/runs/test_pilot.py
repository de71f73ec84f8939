"""The pilot: what a trial costs is measured on as few examples as will do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memexp.runs import pilot
from memexp.runs.plan import Plan, make_plan
from memexp.spec.reading import read_spec


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
