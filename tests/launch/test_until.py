"""`--until`: rounds up to looks fixed before, a stop where the measured error says so, the same after interruption."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.until import simulate
from memexp.analysis.goal import judge
from memexp.launch.launch import launch_local
from memexp.launch.until import Aim, _as_large, first_look_is_late, in_rounds, looks, read_aim
from memexp.runs.pool import Progress, Resources
from memexp.runs.run import Run, open_run
from memexp.store.goal import Goal
from memexp.store.launches import read_launches
from tests.conftest import Done, assert_same_outcomes, changed, make_spec

HERE = Resources(workers=0)
MEDIAN = "median of memorization_se over the training examples"


def brute_force(run: Run, trials: int, quantile: float) -> float:
    """The quantile over all examples of the Agresti-Caffo standard error, of the first trials."""
    store = run.store()
    blocks = [store.read_block(number) for number in range(store.layout.n_blocks)]
    mask, right = (np.concatenate([block[name] for block in blocks])[:trials] for name in ("mask", "train_correct"))
    errors = []
    for i in range(mask.shape[1]):
        variance = 0.0
        for side in (mask[:, i], ~mask[:, i]):
            n = side.sum() + 2
            p = (right[side, i].sum() + 1) / n
            variance += p * (1 - p) / n
        errors.append(variance**0.5 if 0 < mask[:, i].sum() < trials else np.inf)
    return float(sorted(errors)[int(np.ceil(quantile * len(errors))) - 1])


def begin_again(run: Run) -> tuple[Run, Goal]:
    """As `launch --until` opens a run that is there."""
    return _as_large(run, Aim(0.1, 0.5).goal(run.spec, run.manifest.block_size))


def test_looks_are_whole_blocks_and_groups_up_to_the_specs_trials() -> None:
    assert looks(make_spec(subsets={"trials": 200}), 10) == [20, 30, 50, 80, 120, 180, 200]
    assert looks(make_spec(subsets={"trials": 100, "ratio": 0.75}), 10) == [20, 40, 60, 100]
    assert looks(make_spec(subsets={"trials": 33, "design": "uniform"}), 7) == [21, 33]
    assert looks(make_spec(subsets={"trials": 15}), 10) == [15]


@pytest.mark.parametrize("text", ["0.03", "se=", "se=0", "se=nan", "se=0.1@", "se=0.1@0", "se=0.1@2", "t=0.1"])
def test_a_goal_that_is_none_is_refused(memexp: Callable[..., Done], text: str) -> None:
    refused = memexp("launch", "absent.yaml", "--until", text)
    assert refused.returncode == 2
    assert f"--until {text}: give se=X" in refused.stderr


def test_read_aim() -> None:
    assert read_aim(None) is None
    assert read_aim("se=0.03") == Aim(0.03, 0.5)
    assert read_aim("se=0.03@0.9") == Aim(0.03, 0.9)


@pytest.mark.long
def test_it_stops_at_the_first_look_that_is_good_enough(
    memexp: Callable[..., Done], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec = write_spec(subsets={"trials": 400})
    done = memexp("launch", spec, "--until", "se=0.12", "--workers", 0)
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "runs/tiny")
    assert run.store().layout.n_trials == run.spec.subsets.trials == 80
    found = {trials: brute_force(run, trials, 0.5) for trials in (20, 30, 50, 80)}
    assert all(found[trials] > 0.12 for trials in (20, 30, 50))
    assert found[80] <= 0.12
    for trials, goes_on in ((20, 30), (30, 50), (50, 80)):
        assert f"{MEDIAN} at most 0.12: {found[trials]:.4f} with {trials} trials; goes on to {goes_on}" in done.stderr
    assert f"{found[80]:.4f} with 80 trials, reached" in done.stderr
    told = re.findall(r"goes on to \d+ \(about (\d+) in all, by these trials\)", done.stderr)
    assert len(told) == 3
    assert all(50 <= int(number) <= 120 for number in told), "what a pilot of few trials lets expect"
    assert [launch.until and launch.until.trials for launch in read_launches(run.paths)] == [20, 30, 50, 80]
    shown = memexp("status", "runs/tiny")
    assert f"until   {MEDIAN} at most 0.12: {found[80]:.4f} with 80 trials, reached" in shown.stdout
    until = json.loads(memexp("status", "runs/tiny", "--json").stdout)["until"]
    assert until["measured"] == pytest.approx(found[80], abs=1e-7)
    assert (until["ended"], until["reached"]) == (True, True)
    assert memexp("launch", spec, "--until", "se=0.12", "--workers", 0).returncode == 0
    assert open_run(run.paths.root).store().layout.n_trials == 80
    # a larger share of the examples needs more; without a goal the spec's trials are trained
    higher = memexp("launch", spec, "--until", "se=0.1@0.9", "--workers", 0)
    assert "0.9 quantile of memorization_se over the training examples at most 0.1" in higher.stderr
    whole = open_run(run.paths.root)
    size = whole.store().layout.n_trials
    assert size == next(look for look in looks(make_spec(subsets={"trials": 400}), 10)
                        if look > 80 and brute_force(whole, look, 0.9) <= 0.1)  # fmt: skip
    assert size > 80


def test_a_run_that_is_as_large_as_its_spec_is_not_said_to_stop_early(
    new_run: Callable[..., Run], run_copy: Run
) -> None:
    run = new_run(subsets={"trials": 50})
    late = first_look_is_late(*begin_again(run))
    assert (
        "all its 50 trials, so the first look comes when all are trained; under another name it comes after 20" in late
    )
    assert first_look_is_late(*begin_again(run_copy)) == ""  # all are trained


@pytest.mark.long
def test_all_trials_of_the_spec_are_the_most(memexp: Callable[..., Done], write_spec: Callable[..., Path]) -> None:
    done = memexp("launch", write_spec(subsets={"trials": 25}), "--until", "se=0.01", "--workers", 0)
    assert done.returncode == 0
    assert "with 25 trials, not reached with all trials of the spec; give it more, or accept this" in done.stderr
    shown = memexp("status", "runs/tiny")
    assert (shown.returncode, "25 done, 0 failed, 0 missing of 25" in shown.stdout) == (0, True)


@pytest.mark.long
def test_the_worst_case_of_target_se_is_the_most(
    memexp: Callable[..., Done], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec = write_spec(subsets={"trials": None, "target_se": 0.12})
    dry = memexp("launch", spec, "--until", "se=0.2", "--dry-run")
    assert "looked at with 20, 30, 50, 80, 90 trials" in dry.stdout
    assert memexp("launch", spec, "--until", "se=0.2", "--workers", 0).returncode == 0
    assert open_run(tmp_path / "runs/tiny").spec.subsets.trials == 20
    assert memexp("launch", spec, "--workers", 0).returncode == 0
    assert open_run(tmp_path / "runs/tiny").spec.subsets.trials == 90


def test_nothing_is_estimated_of_chosen_subsets(memexp: Callable[..., Done], write_spec: Callable[..., Path]) -> None:
    spec = write_spec(subsets={"design": "remove", "ratio": None, "removed": [1, 2]})
    refused = memexp("launch", spec, "--until", "se=0.1", "--workers", 0)
    assert refused.returncode == 2
    assert "--until: 'design: remove' estimates no memorization" in refused.stderr


class Stopped(Exception):
    """In place of a process that dies."""


@pytest.mark.long
@pytest.mark.parametrize("after", [1, 3, 7])
def test_interrupted_after_any_block_it_stops_at_the_same_trial_with_the_same_bits(
    memexp: Callable[..., Done], new_run: Callable[..., Run], write_spec: Callable[..., Path], after: int
) -> None:
    goal = Goal(0.12, 0.5, [20, 30, 50, 80, 120], 20)
    quiet = new_run("quiet", subsets={"trials": 20})
    seen: list[Goal] = []
    in_rounds(quiet, goal, lambda run, goal: launch_local(run, HERE, lambda _: None, until=goal) and None, seen.append)
    assert [each.trials for each in seen] == [20, 30, 50, 80]
    blocks = 0

    def die(now: Progress) -> None:
        nonlocal blocks
        blocks += not now.running
        if blocks > after:
            raise Stopped

    noisy = new_run("runs", subsets={"trials": 20})
    with pytest.raises(Stopped):
        in_rounds(noisy, goal, lambda run, goal: launch_local(run, HERE, die, until=goal) and None, lambda _: None)
    assert read_launches(noisy.paths)[-1].until != seen[-1]
    assert memexp("status", noisy.paths.root).returncode == 3
    assert memexp("resume", noisy.paths.root, "--workers", 0).returncode == 0
    again = open_run(noisy.paths.root)
    assert again.spec.subsets.trials == 80
    assert_same_outcomes(open_run(quiet.paths.root), again)
    assert (last := read_launches(again.paths)[-1].until) is not None
    assert last == seen[-1]


def test_a_look_counts_no_failed_trial_and_says_so(run_copy: Run) -> None:
    goal = Goal(0.0001, 0.5, [40, 60], 40)
    judged = judge(run_copy.paths, goal)
    assert (judged.counted, judged.next, judged.ended) == (40, 60, False)
    assert judged.measured == pytest.approx(brute_force(run_copy, 40, 0.5), abs=1e-7)
    assert (judged.expected, "(more than 60 in all, by these trials)" in str(judged)) == (None, True)
    reached = judge(
        run_copy.paths, Goal(judged.measured + 1e-6, 0.5, [40, 60], 40)
    )  # its own look, by the same numbers
    assert (reached.reached, reached.expected) == (True, 40)
    failed = Goal(0.1, 0.5, [40], 40, judged=True, measured=0.2, counted=38)
    assert "0.2000 with 38 trials (2 failed), not reached" in str(failed)


@pytest.mark.process
def test_killed_and_launched_again(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    spec = write_spec(subsets={"trials": 400}, training={"epochs": 60})

    def start(runs: str) -> subprocess.Popen[bytes]:
        words = ["launch", spec, "--until", "se=0.1", "--workers", "1", "--runs", runs]
        return subprocess.Popen(
            [sys.executable, "-m", "memexp", *map(str, words)], cwd=tmp_path, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, env=os.environ, start_new_session=True,
        )  # fmt: skip

    def receipts(runs: str) -> int:
        return len(list((tmp_path / runs / "tiny/blocks").glob("*.json")))

    for least in (1, 3):
        process = start("noisy")
        end = time.monotonic() + 100
        while receipts("noisy") < least and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert process.poll() is None, "the launch ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with contextlib.suppress(
            ProcessLookupError
        ):  # its workers may take a moment to die, and hold the run till then
            while time.monotonic() < end:
                os.killpg(process.pid, 0)
                time.sleep(0.02)
    assert start("noisy").wait(200) == 0
    assert start("quiet").wait(200) == 0
    runs: list[Any] = [open_run(tmp_path / runs / "tiny") for runs in ("noisy", "quiet")]
    assert_same_outcomes(*runs)
    assert runs[0].spec.subsets.trials == runs[1].spec.subsets.trials < 400


def test_the_rule_does_not_bias_the_estimates() -> None:
    """A part of benchmarks/until.py: goals where luck decides at which look to stop."""
    by_rule, fixed = simulate(np.random.default_rng(1), 0.09, 0.5, 30)
    assert by_rule.trials.std() > 5
    np.testing.assert_array_equal(fixed.trials, by_rule.trials)
    for found in (*by_rule[1:], *fixed[1:]):
        assert abs(found.mean()) < 4 * found.std() / 30**0.5
        assert found.std() < 0.1


@pytest.mark.long
def test_a_sweep_stops_each_of_its_runs(memexp: Callable[..., Done], tmp_path: Path) -> None:
    vary = {"seed": {"a": {"subsets": {"seed": 3}}, "b": {"subsets": {"seed": 4}}}}
    sweep = {"name": "two", "base": changed(subsets={"trials": 200}), "vary": vary}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    done = memexp("launch", "sweep.yaml", "--until", "se=0.2", "--workers", 0, "--yes")
    assert done.returncode == 0, done.stderr
    runs = [open_run(root) for root in sorted((tmp_path / "runs/two").iterdir()) if (root / "spec.yaml").exists()]
    assert len(runs) == 2
    for run in runs:
        size = run.spec.subsets.trials
        looked = [look for look in looks(make_spec(subsets={"trials": 200}), 10) if look <= size]
        assert [brute_force(run, look, 0.5) <= 0.2 for look in looked] == [False] * (len(looked) - 1) + [True]
        assert (last := read_launches(run.paths)[-1].until) is not None
        assert last.reached
