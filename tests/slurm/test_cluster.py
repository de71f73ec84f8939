"""Runs on a real Slurm cluster: whatever happens to nodes, jobs and daemons, the same bits come out."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from memexp.data import load_data
from memexp.launch.launch import launch_local
from memexp.runs.pool import Resources
from memexp.runs.run import Run, open_run, prepare_run
from memexp.store.launches import read_launches
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_receipts
from tests.conftest import as_other_user, assert_same_outcomes, changed, make_spec

from .slurm_cluster import SCRIPT, DevCluster, User, eventually, skip_without_slurm

pytestmark = pytest.mark.slurm

LONG = {"subsets": {"trials": 300}, "training": {"epochs": 300}}


@pytest.fixture(scope="module")
def slurm() -> Iterator[DevCluster]:
    """Without accounting: what `sacct` would know must be found out otherwise."""
    skip_without_slurm()
    with DevCluster(accounting="none") as cluster:
        yield cluster


@pytest.fixture
def user(slurm: DevCluster, tmp_path: Path, write_spec: Callable[..., Path]) -> Iterator[User]:
    someone = User(slurm, tmp_path, write_spec())
    yield someone
    if someone.root.exists():
        someone.memexp("cancel", someone.root)
    eventually(someone.idle, 60)


def test_launch_returns_and_the_cluster_does_the_rest(user: User, new_run: Callable[..., Run]) -> None:
    launch_local(new_run("quiet"), Resources(workers=2), lambda _: None)
    said = user.launch(seconds_per_trial=60)
    assert "2 tasks of up to 1 block" in said
    assert "follow-up" in said
    eventually(lambda: (user.root / "report/index.html").exists(), 90)
    found = user.status()
    assert (found["done"], found["missing"], found["tasks"]) == (20, 0, {"done": 2})
    assert_same_outcomes(open_run(user.folder / "quiet/tiny"), open_run(user.root))
    attempts = [json.loads(path.read_text()) for path in (user.root / "attempts").glob("*-r0.json")]
    assert {attempt["node"] for attempt in attempts} <= {"n1", "n2", "n3", "n4"}
    assert all(attempt["end"] and attempt["error"] is None and "_" in attempt["job_id"] for attempt in attempts)
    writable = [path for path in user.root.rglob("*") if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)]
    assert not writable
    assert "nothing: no block is missing" in user.launch()


@pytest.fixture(scope="module")
def quiet_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What 300 trials give on one machine, without disturbance."""
    spec = make_spec(**LONG)
    run = prepare_run(spec, load_data(spec.dataset), tmp_path_factory.mktemp("quiet"))
    launch_local(run, Resources(workers=2), lambda _: None)
    return run


@pytest.mark.timeout(420)
def test_a_run_survives_everything(
    user: User, slurm: DevCluster, quiet_run: Run, write_spec: Callable[..., Path]
) -> None:
    """Killed workers and tasks, a cancelled element, a lost node, requeue, preemption, time limit, a new controller."""
    user.spec = write_spec(**LONG)
    user.launch("--block", 5, seconds_per_trial=40)

    def kill(what: str) -> None:
        victim = eventually(lambda: user.processes(what), 60)[0]
        with contextlib.suppress(ProcessLookupError):  # it ended by itself a moment ago
            os.kill(victim, signal.SIGKILL)

    disturbances: list[Callable[[], Any]] = [
        lambda: kill("memexp.runs.worker"),
        lambda: user.of_one_element("scancel", "{id}"),
        lambda: slurm.node("fail", eventually(lambda: user.running("%N"), 60)[0]),
        lambda: user.of_one_element("scontrol", "requeue", "{id}"),
        lambda: slurm.submit(
            "sleep 2", "-p", "high", "-w", eventually(lambda: user.running("%N"), 60)[0], "--exclusive"
        ),
        lambda: user.of_one_element("scontrol", "update", "JobId={id}", "EndTime=now+5"),
        lambda: slurm.daemon("restart", "slurmctld"),
        lambda: kill("submitit.core._submit"),
        lambda: [slurm.node("start", name) for name in ("n1", "n2", "n3", "n4")],
    ]
    for number, disturb in enumerate(disturbances):
        eventually(lambda least=4 + 5 * number: user.blocks() >= least and user.running(), 120)
        disturb()
    eventually(lambda: not user.status()["missing"] and user.idle(), 200)
    assert_same_outcomes(quiet_run, open_run(user.root))
    receipts = list(read_receipts(open_run(user.root).paths))
    assert sorted(trial for receipt in receipts for trial in receipt.trained) == list(range(300))
    assert len(read_launches(open_run(user.root).paths)) >= 2  # the follow-up submitted what was lost
    assert (user.root / "report/index.html").exists()


def test_cancel_then_resume_some(user: User) -> None:
    user.spec.write_text(user.spec.read_text().replace("epochs: 3", "epochs: 30000"))
    user.launch("--block", 5, seconds_per_trial=100)
    eventually(lambda: user.running() and user.processes("memexp.runs.worker"), 60)
    refused = user.memexp("resume", user.root, "--executor", "local", codes=(3,))
    assert "tasks in Slurm's queue" in refused.stderr
    assert "nothing: " in user.launch(codes=(3,), seconds_per_trial=100)
    stopped = user.memexp("cancel", user.root).stdout
    assert "2 Slurm jobs" in stopped  # the follow-up too, and first: it must not submit anything again
    eventually(user.idle, 60)
    found = user.status()
    assert found["missing"] == 20
    assert set(found["tasks"]) <= {"cancelled", "returned", "lost"}
    assert sum(problem["count"] for problem in found["problems"]) == 4
    assert "has no task that ended with oom" in user.memexp("resume", user.root, "--only", "oom", codes=(2,)).stderr
    assert "allowed: timeout" in user.memexp("resume", user.root, "--only", "tired", codes=(2,)).stderr
    again = user.memexp("resume", user.root, "--only", ",".join(found["tasks"]), "--time-min", 30, "--mem-gb", 2)
    assert "of 30 min" in again.stdout
    eventually(lambda: user.processes("memexp.runs.worker"), 60)
    assert "submitit" in user.memexp("logs", user.root, "--task", 0).stdout


def test_a_lost_follow_up_is_told_and_submitted_again(user: User, slurm: DevCluster) -> None:
    slurm.run("scontrol", "update", "PartitionName=grace", "State=DOWN")
    try:
        user.launch(seconds_per_trial=60, partition="grace")
        (launch,) = read_launches(RunPaths(user.root))
        assert launch.follow_up is not None
        slurm.run("scancel", launch.follow_up.job_id)
        eventually(lambda: user.status()["unfollowed"], 30)
        said = user.memexp("status", user.root, codes=(3,)).stdout
        assert f"cancelled: job {launch.follow_up.job_id}" in said
        assert f"next       memexp resume {user.root}" in said
        assert "submitted again" in user.memexp("resume", user.root, codes=(3,)).stdout
        assert user.status()["follow_up"] == "pending"
        assert slurm.run("squeue", "-h", "-o", "%P").stdout.split() == ["grace", "grace"]
    finally:
        slurm.run("scontrol", "update", "PartitionName=grace", "State=UP")
    eventually(lambda: (user.root / "report/index.html").exists(), 90)


def test_nothing_comes_after_a_cancellation(user: User, slurm: DevCluster) -> None:
    """The follow-up job submits the next round after the queue was read and before it is told to end."""
    tools = user.folder / "tools"
    tools.mkdir()
    wait = f"touch {tools}/submitting; while [ ! -e {tools}/told ]; do sleep 0.05; done"
    scripts = {"sbatch": f"[ -e {tools}/wait ] && {{ {wait}; }}", "scancel": f"touch {tools}/told; sleep 1"}
    for name, line in scripts.items():
        (tools / name).write_text(f'#!/bin/sh\n{line}\nexec {shutil.which(name)} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{slurm.env['PATH']}"}
    where = ["--profile", user.profile(seconds_per_trial=60, max_tasks=1), "--yes"]
    slurm.run("memexp", "launch", user.spec, *where, cwd=user.folder, env=environment)
    (tools / "wait").touch()
    eventually((tools / "submitting").exists, 60)
    slurm.run("memexp", "cancel", user.root, env=environment)
    time.sleep(3)  # KillWait is 2 s
    eventually(user.idle, 60)
    assert user.status()["missing"] == 10


def test_a_fault_of_every_task_is_reported_after_a_few_rounds(user: User, slurm: DevCluster) -> None:
    data = user.folder / "data.npz"
    draws = np.random.default_rng(0)
    x, y = draws.random((60, 8, 8), np.float32), draws.integers(0, 3, 60)
    np.savez(data, x_train=x, y_train=y, x_test=x, y_test=y)
    spec = yaml.safe_load(user.spec.read_text()) | {"dataset": {"source": "npz", "path": str(data)}}
    user.spec.write_text(yaml.safe_dump(spec))
    slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    user.launch(max_idle_rounds=2, seconds_per_trial=60, on_end=f'echo "$STATE: $REASON" >> {user.folder}/told')
    np.savez(data, x_train=1 - x, y_train=y, x_test=x, y_test=y)
    slurm.run("scontrol", "update", "PartitionName=main", "State=UP")
    eventually(user.idle, 120)
    assert len(read_launches(open_run(user.root).paths)) == 2
    found = user.status()
    assert found["missing"] == 20
    assert found["problems"][0]["state"] == "failed"
    assert "have changed since it was created" in found["problems"][0]["cause"]
    said = user.memexp("status", user.root, codes=(3,)).stdout
    assert f"memexp resume {user.root}" in said
    assert "have changed" in user.memexp("logs", user.root, "--failed").stdout
    assert "gave up: 2 blocks of" in " ".join(said.split())
    assert "after 2 rounds that finished none" in found["gave_up"]
    (told,) = (user.folder / "told").read_text().splitlines()
    assert told.startswith("gave_up: 2 blocks of")


def test_a_controller_that_does_not_answer(user: User, slurm: DevCluster) -> None:
    user.spec.write_text(user.spec.read_text().replace("epochs: 3", "epochs: 3000"))
    user.launch(seconds_per_trial=60)
    slurm.daemon("stop", "slurmctld")
    try:
        found = user.status()
        assert found["done"] + found["missing"] == 20
        assert "squeue" in found["scheduler"]
        assert "squeue" in user.memexp("resume", user.root, codes=(1,)).stderr
    finally:
        slurm.daemon("start", "slurmctld")
    eventually(lambda: not user.status()["missing"] and user.idle(), 120)


def test_a_controller_that_hangs_while_tasks_are_submitted(user: User, slurm: DevCluster) -> None:
    """sbatch gives up, and yet the array exists once the controller wakes: it must train nothing."""
    tools = user.folder / "tools"
    tools.mkdir()
    hang = shlex.join([sys.executable, str(SCRIPT), "daemon", "hang", "slurmctld", "--root", str(slurm.root)])
    (tools / "sbatch").write_text(f'#!/bin/sh\n{hang} >&2\nexec {shutil.which("sbatch")} "$@"\n')
    (tools / "sbatch").chmod(0o755)
    command = ["memexp", "launch", user.spec, "--profile", user.profile(seconds_per_trial=60), "--yes"]
    try:
        done = slurm.run(*command, check=False, cwd=user.folder, env={"PATH": f"{tools}:{slurm.env['PATH']}"})
    finally:
        slurm.daemon("wake", "slurmctld")
    assert done.returncode == 1
    assert "Socket timed out" in done.stderr
    assert "Nothing was submitted" in done.stderr
    assert not list((user.root / "launches").glob("*.json"))
    ghosts = eventually(lambda: slurm.run("squeue", "-h", "-r", "-o", "%i %j").stdout.splitlines(), 30)
    assert all(".0" in ghost for ghost in ghosts)  # tasks of the refused launch, without a follow-up job
    user.launch(seconds_per_trial=60)
    eventually(lambda: not user.status()["missing"], 120)
    receipts = list(read_receipts(open_run(user.root).paths))
    assert sorted(trial for receipt in receipts for trial in receipt.trained) == list(range(20))
    assert len(read_launches(open_run(user.root).paths)) == 1
    slurm.run("scancel", "--user=root")


@pytest.mark.timeout(300)
def test_two_copies_of_a_task_at_once(
    user: User, slurm: DevCluster, quiet_run: Run, write_spec: Callable[..., Path]
) -> None:
    """A node that Slurm gave up goes on training; its tasks start elsewhere too; each trial counts once."""
    user.spec = write_spec(**LONG)
    user.launch("--block", 5, seconds_per_trial=40)
    eventually(lambda: user.blocks() >= 1 and user.processes("memexp.runs.worker"), 60)
    node = user.running("%N")[0]
    first = user.processes("submitit.core._submit", node) + user.processes("memexp.runs.worker", node)
    for process in first:  # held until their second copies train, or they would end before Slurm gives the node up
        os.kill(process, signal.SIGSTOP)
    slurm.node("kill", node)
    try:
        eventually(lambda: list((user.root / "attempts").glob("*-r1.json")), 90)
        for process in first:
            os.kill(process, signal.SIGCONT)
        eventually(lambda: not user.status()["missing"], 200)
    finally:
        slurm.node("start", node)
    assert_same_outcomes(quiet_run, open_run(user.root))
    receipts = list(read_receipts(open_run(user.root).paths))
    assert sorted(trial for receipt in receipts for trial in receipt.trained) == list(range(300))


def test_five_times_the_array_limit(user: User, slurm: DevCluster) -> None:
    user.spec.write_text(user.spec.read_text().replace("trials: 20", "trials: 10"))
    slurm.up(max_array=2)
    slurm.daemon("restart", "slurmctld")
    try:
        said = user.launch("--block", 1, seconds_per_trial=700, array_parallelism=8)
        assert "10 tasks of up to 1 block" in said
        (launch,) = read_launches(open_run(user.root).paths)
        assert [job.count for job in launch.jobs] == [2] * 5
        eventually(lambda: not user.status()["missing"] and user.idle(), 200)
    finally:
        slurm.up(max_array=1001)
        slurm.daemon("restart", "slurmctld")


def test_two_launches_at_the_same_moment(user: User, slurm: DevCluster) -> None:
    """Nothing has to train for it: each block is in one task."""
    command = ["memexp", "launch", user.spec, "--profile", user.profile(seconds_per_trial=60), "--yes"]
    slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        both = [
            subprocess.Popen(
                [*map(str, command)], env=slurm.env, cwd=user.folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        said = [process.communicate(timeout=120) for process in both]
        assert sorted(process.returncode for process in both) == [0, 3], said
        (launch,) = read_launches(open_run(user.root).paths)
        assert launch.tasks == [[0], [1]]
        queued = slurm.run("squeue", "-h", "-r", "-o", "%j").stdout.split()
        assert sorted(queued) == sorted([launch.jobs[0].name] * 2 + [f"tiny.{launch.launch_id}.next"])
    finally:
        user.memexp("cancel", user.root)
        slurm.run("scontrol", "update", "PartitionName=main", "State=UP")


def test_four_thousand_trials_need_two_calls_of_the_scheduler(user: User, slurm: DevCluster) -> None:
    """Counted by commands of the same names that note each call and then do it."""
    tools = user.folder / "tools"
    tools.mkdir()
    for name in ("squeue", "sacct"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} >> {tools}/calls\nexec {shutil.which(name)} "$@"\n')
        (tools / name).chmod(0o755)
    user.spec.write_text(user.spec.read_text().replace("trials: 20", "trials: 4000"))
    slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        assert "400 tasks of up to 1 block" in user.launch(seconds_per_trial=60)
        environment = {"PATH": f"{tools}:{slurm.env['PATH']}"}
        done = slurm.run("memexp", "status", user.root, "--json", check=False, env=environment)
        assert json.loads(done.stdout)["tasks"] == {"pending": 400}
        assert (tools / "calls").read_text().split() == ["squeue", "sacct"]
    finally:
        user.memexp("cancel", user.root)
        slurm.run("scontrol", "update", "PartitionName=main", "State=UP")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused(user: User, slurm: DevCluster, new_run: Callable[..., Run]) -> None:
    new_run()
    everything = [user.root, *user.root.rglob("*")]
    for path in everything:
        os.chown(path, 65534, 65534)
    words = [*as_other_user(), sys.executable, "-m", "memexp", "resume", user.root, "--profile", user.profile()]
    done = slurm.run(*words, check=False)
    for path in everything:
        os.chown(path, 0, 0)
    assert done.returncode == 2, done.stderr
    assert "is not writable for you; ask its owner" in done.stderr


def test_what_waits_is_told_with_the_way_out(user: User, slurm: DevCluster) -> None:
    """A maintenance that comes: tasks wait. Then they are held: `status` names the command that releases them."""
    when = ["StartTime=now+10minutes", "Duration=60", "Users=root", "Flags=MAINT,IGNORE_JOBS", "Nodes=ALL"]
    slurm.run("scontrol", "create", "reservation", "ReservationName=repair", *when)
    try:
        user.launch(seconds_per_trial=60)
        reason = "ReqNodeNotAvail, Reserved for maintenance"
        found = eventually(lambda: (found := user.status())["problems"] and found, 30)
        assert [(each["state"], each["cause"]) for each in found["problems"]] == [("pending", reason)]
        (launch,) = read_launches(RunPaths(user.root))
        slurm.run("scontrol", "uhold", launch.jobs[0].job_id)  # root's hold would be an administrator's
    finally:
        slurm.run("scontrol", "delete", "ReservationName=repair")
    said = user.memexp("status", user.root, codes=(3,)).stdout
    assert "stuck" in said
    release = f"scontrol release {launch.jobs[0].job_id}"
    assert f"`{release}`" in said
    assert f"next {release}" in " ".join(said.split())
    slurm.run(*release.split())
    eventually(lambda: not user.status()["missing"], 90)


def test_a_copy_that_is_held_keeps_the_report_waiting_until_it_is_released(user: User, slurm: DevCluster) -> None:
    user.spec.write_text(yaml.safe_dump(changed(**LONG)))
    user.launch("--block", 100, seconds_per_trial=5, array_parallelism=2)
    (launch,) = read_launches(RunPaths(user.root))
    array = launch.jobs[0].job_id
    ended = eventually(lambda: {f"{array}_0", f"{array}_1"} - {*user.running()} if user.blocks() else None, 90).pop()
    slurm.run("scontrol", "requeuehold", ended)
    found = eventually(lambda: not (found := user.status())["missing"] and found, 90)
    assert (found["held"], found["follow_up"]) == ([array], "pending")
    assert not (user.root / "report/index.html").exists()
    slurm.run("scontrol", "release", array, check=False)  # it also tells of elements that have ended
    eventually(lambda: (user.root / "report/index.html").exists() and user.idle(), 90)
    assert user.status()["held"] == []
    assert [each.followed for each in read_launches(RunPaths(user.root))] == [True]


def test_a_mistake_of_the_profile_is_mended_and_no_node_is_blamed(user: User, slurm: DevCluster) -> None:
    user.launch("--block", 5, setup=["module load nowhere || exit 1"], seconds_per_trial=100)
    eventually(lambda: user.status()["tasks"] == {"failed": 4} and user.idle(), 60)
    assert user.status()["bad_nodes"] == []
    user.memexp("resume", user.root, "--profile", user.profile(seconds_per_trial=100))
    assert [launch.left_out for launch in read_launches(RunPaths(user.root))] == [{}, {}]
    eventually(lambda: not user.status()["missing"], 90)
