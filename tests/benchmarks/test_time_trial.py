"""Where a trial's time goes: the parts are measured, the arithmetic is counted as by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.time_trial import peak_multiply_adds, time_trial
from memexp.errors import InputError
from memexp.runs.arithmetic import multiply_adds
from memexp.runs.plan import make_plan
from memexp.spec.reading import read_spec
from tests.conftest import ROOT, changed, run_script


def test_the_multiply_adds_of_an_mlp_are_those_counted_by_hand(write_spec: Callable[..., Path]) -> None:
    plan = make_plan(read_spec(write_spec(model={"arch": "memexp_mlp", "hidden": [32, 16]})))
    weights = [64 * 32, 32 * 16, 16 * 10]
    # forward, gradient of the weights, gradient of the activations but for the images'
    step = 32 * (3 * sum(weights) - weights[0])
    assert multiply_adds(plan) == plan.steps * step + (200 + 60) * sum(weights)


@pytest.mark.long
def test_longer_trials_take_longer_and_their_parts_are_all_there(write_spec: Callable[..., Path]) -> None:
    plan = make_plan(read_spec(write_spec(training={"epochs": 20, "augment": {"flip": True, "crop": 1}})))
    times = time_trial(plan)
    parts = [times.batches, times.network, times.evaluation, times.writing]
    assert min(parts) >= 0
    assert times.total == pytest.approx(sum(parts))
    assert 0 < times.limit < times.total
    assert times.batches > 0
    assert times.multiply_adds > multiply_adds(replace(plan, steps=plan.steps // 2))


def test_the_peak_is_what_a_product_takes() -> None:
    torch.set_num_threads(1)
    assert 1e8 < peak_multiply_adds("cpu", "fp32") < 1e13


@pytest.mark.long
def test_the_script_prints_every_part(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    done = run_script(ROOT / "benchmarks/time_trial.py", write_spec(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert names == ["batches", "network", "evaluation", "writing", "total", "arithmetic", "limit", "share of limit"]
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


def test_steps_of_a_recipe_of_ones_own_are_not_seen(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def train(model, images, labels, *, seed):\n    pass\n", encoding="utf-8")
    path = write_spec()
    path.write_text(yaml.safe_dump(changed() | {"training": {"file": "own.py"}}), encoding="utf-8")
    plan = make_plan(read_spec(path))
    with pytest.raises(InputError, match="memexp's own recipe"):
        time_trial(plan)
