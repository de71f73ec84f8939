"""Blocks for GPUs that nobody has timed: as long as the arithmetic of a trial lets a task finish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memexp.launch import submission
from memexp.launch.submission import fitting_block, scripts, seconds_per_block
from memexp.runs import pilot
from memexp.runs.arithmetic import CAUTIOUS_TERAFLOPS, multiply_adds, seconds_on_gpu
from memexp.runs.plan import Plan, make_plan
from memexp.runs.run import prepare_run
from memexp.slurm.limits import Limits
from memexp.slurm.packing import largest_block
from memexp.slurm.profile import Profile
from memexp.slurm.rates import known_rate, note_rate
from memexp.spec.reading import read_spec

Write = Callable[..., Path]
GPU = Profile(time_min=240, gpus=1)


@pytest.fixture
def plan(write_spec: Write) -> Plan:
    return make_plan(read_spec(write_spec()))


def test_a_gpu_is_taken_for_slow_or_for_half_of_what_a_probe_reached(plan: Plan) -> None:
    flops = 2 * multiply_adds(plan)
    assert seconds_on_gpu(plan) == pytest.approx(flops / (1e12 * CAUTIOUS_TERAFLOPS["fp32"]))
    assert seconds_on_gpu(plan, {"fp32": 10.0, "bf16": 90.0}) == pytest.approx(flops / 5e12)


def test_a_users_recipe_is_not_reckoned(plan: Plan) -> None:
    assert seconds_on_gpu(SimpleNamespace(steps=None, spec=plan.spec)) is None  # type: ignore[arg-type]


def test_blocks_of_unknown_gpus_are_bounded_by_arithmetic(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def block(seconds: float | None, given: int | None = None, **profile: Any) -> int | None:
        monkeypatch.setattr(submission, "_seconds_on_gpu", lambda *_: seconds)
        return fitting_block(plan, tmp_path, GPU.model_copy(update=profile), given)

    assert block(1.0) is None, "ten of them fit"
    assert block(2190.0) == 5, "the paper's ResNet-50 in tf32: 43.8e15 operations at 20e12 a second"
    assert block(1e6) == 1
    assert block(2190.0, given=10) == 10, "what the user gives stands"
    assert block(None) is None
    assert block(2190.0, seconds_per_trial=60.0) is None, "what is known comes first"
    room = 240 * 60 - 120 - 20
    assert largest_block(2190.0, GPU) == int(0.8 * room / 2190)


def test_what_a_probe_found_is_kept_for_the_same_gpus(tmp_path: Path) -> None:
    fast = {"device": "A", "teraflops": {"fp32": 20.0, "tf32": 50.0}}
    slow = {"device": "A", "teraflops": {"fp32": 15.0, "tf32": 60.0, "bf16": 1.0}}
    other = GPU.model_copy(update={"sbatch": {"constraint": "h100"}})
    assert known_rate(tmp_path, GPU) is None
    note_rate(tmp_path, GPU, [{"device": "A", "error": "full"}])
    assert known_rate(tmp_path, GPU) is None
    note_rate(tmp_path, GPU, [fast, slow])
    note_rate(tmp_path, other, [slow])
    assert known_rate(tmp_path, GPU) == {"fp32": 15.0, "tf32": 50.0}
    assert known_rate(tmp_path, other) == slow["teraflops"]
    assert known_rate(tmp_path, GPU.model_copy(update={"time_min": 5, "cpus": 3})) == {"fp32": 15.0, "tf32": 50.0}
    (tmp_path / ".gpu-rates.json").write_text("{")
    assert known_rate(tmp_path, GPU) is None


def test_a_launch_on_processors_measures_a_trial_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block is fitted by it, and the tasks are packed by it."""
    measured = []

    def measure(piloted: Plan, *_: Any) -> float:
        measured.append(piloted)
        return 2.0

    monkeypatch.setattr(pilot, "seconds_per_trial", measure)
    monkeypatch.setattr(submission, "read_limits", lambda _: Limits(1000))
    monkeypatch.setattr(submission, "batch_script", lambda *_: "#!/bin/bash")
    profile = Profile(time_min=60)
    size = fitting_block(plan, tmp_path, profile, None)
    assert scripts(plan, tmp_path, profile, size)
    run = prepare_run(plan.spec, plan.data, tmp_path, size)
    assert seconds_per_block(run, profile, plan) == 2.0 * run.manifest.block_size
    assert measured == [plan]
