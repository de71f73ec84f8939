"""A trial that is longer than every task of it finishes on a real cluster, with the bits of an undisturbed one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memexp.runs.run import Run, open_run
from memexp.runs.worker import Trainer
from memexp.slurm.attempts import read_attempts
from memexp.store.checkpoints import checkpoint_shares
from memexp.store.launches import read_launches
from tests.conftest import assert_same_outcomes

from .slurm_cluster import DevCluster, User, eventually, skip_without_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

ONE_TRIAL: dict[str, Any] = {
    "model": {"arch": "memexp_cnn", "width": 16},
    "training": {"epochs": 3000, "augment": {"crop": 1, "flip": True}},
    "subsets": {"design": "uniform", "trials": 1},
}
LIMIT = 0.18  # of a trial, after which every task is stopped: the trial is five times longer
STOPS: dict[str, list[str]] = {
    "the time limit is announced": ["scancel", "--batch", "--signal=USR2", "{id}"],
    "preemption": ["scontrol", "requeue", "{id}"],
    "kill -9 of all its processes": ["scancel", "--full", "--signal=KILL", "{id}"],
}


@pytest.fixture(scope="module")
def slurm() -> Iterator[DevCluster]:
    skip_without_slurm()
    with DevCluster(accounting="none") as cluster:
        yield cluster


def test_a_trial_five_times_longer_than_any_task_finishes(
    slurm: DevCluster, tmp_path: Path, new_run: Callable[..., Run], write_spec: Callable[..., Path]
) -> None:
    quiet = new_run("quiet", **ONE_TRIAL)
    Trainer(quiet, "cpu").train(0)
    user = User(slurm, tmp_path, write_spec(**ONE_TRIAL))
    said = user.launch("--block", 1, checkpoint_s=1, seconds_per_trial=3000, time_min=20, max_idle_rounds=2, signal_s=5)
    assert "3 tasks, each goes on where the last stopped" in said
    paths, shares = open_run(user.root).paths, [0.0]

    def trained() -> float:
        return 1.0 if user.blocks() else checkpoint_shares(paths, [0]).get(0, 0.0)

    for number in range(4):
        eventually(lambda: trained() > shares[-1] + LIMIT and (user.blocks() or user.running()), 600)
        shares.append(trained())
        if shares[-1] < 1.0:
            workers = user.processes("memexp.runs.worker")
            user.of_one_element(*list(STOPS.values())[number % len(STOPS)])
            eventually(lambda gone=workers: not set(gone) & set(user.processes("memexp.runs.worker")), 60)
    assert len(shares) == 5
    assert shares[-1] < 1.0, "every task was stopped before the trial was over"
    eventually(lambda: not user.status()["missing"] and user.idle(), 600)
    assert_same_outcomes(quiet, open_run(user.root))
    assert len(list(read_attempts(paths))) == 5
    assert all(launch.idle_rounds == 0 for launch in read_launches(paths)), (
        "a round that moved a checkpoint is not idle"
    )
    assert not list(paths.partial.iterdir())
