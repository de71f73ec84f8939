"""`--until` on a real cluster: the follow-up job looks, submits the next round, and stops where a laptop would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memexp.launch.launch import launch_local
from memexp.launch.until import in_rounds
from memexp.runs.pool import Resources
from memexp.runs.run import Run, open_run
from memexp.store.goal import Goal
from memexp.store.launches import read_launches
from tests.conftest import assert_same_outcomes

from .slurm_cluster import DevCluster, User, eventually, skip_without_slurm

pytestmark = pytest.mark.slurm


@pytest.fixture
def slurm() -> Iterator[DevCluster]:
    skip_without_slurm()
    with DevCluster(accounting="none") as cluster:
        yield cluster


@pytest.mark.timeout(280)
def test_the_follow_up_stops_at_the_same_trial(
    slurm: DevCluster, tmp_path: Path, write_spec: Callable[..., Path], new_run: Callable[..., Run]
) -> None:
    seen: list[Goal] = []
    quiet = new_run("quiet", subsets={"trials": 20})
    goal = Goal(0.15, 0.5, [20, 30, 50, 80, 120, 180, 200], 20)

    def train(run: Run, goal: Goal | None) -> None:
        launch_local(run, Resources(workers=0), lambda _: None, until=goal)

    in_rounds(quiet, goal, train, seen.append)
    user = User(slurm, tmp_path, write_spec(subsets={"trials": 200}))
    said = user.launch("--until", "se=0.15", seconds_per_trial=1)
    assert "measured at 20 trials, of at most 200" in said
    eventually(lambda: (user.root / "report/index.html").exists(), 200)
    eventually(user.idle, 60)
    assert_same_outcomes(open_run(quiet.paths.root), open_run(user.root))
    launches = [launch.until for launch in read_launches(open_run(user.root).paths)]
    assert launches == seen
    assert seen[-1].reached
    assert 20 < seen[-1].trials < 200
    found = user.status()
    assert (found["missing"], found["until"]["ended"]) == (0, True)
    assert "reached" in user.launch("--until", "se=0.15", seconds_per_trial=1)
    assert open_run(user.root).spec.subsets.trials == seen[-1].trials
