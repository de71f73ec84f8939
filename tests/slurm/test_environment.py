"""Every Slurm command runs without the user's options for it; what is said where there is no Slurm."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memexp.errors import RunBusy
from memexp.launch.cancel import cancel
from memexp.launch.launch import launch_local
from memexp.launch.status import read_status
from memexp.runs.pool import Resources
from memexp.runs.run import Run
from memexp.runs.software import Accept
from memexp.slurm import follow, scheduler
from memexp.slurm.environment import in_slurm_environment, slurm_environment
from memexp.slurm.profile import Profile
from memexp.slurm.scheduler import NoSlurm, SchedulerError
from memexp.store.launches import Job, Launch, new_id, read_launch

from .slurm_cluster import USERS

pytestmark = pytest.mark.process


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A folder of commands, alone on the PATH; each is a line of shell."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("SLURM_CONF", raising=False)

    def write(**lines: str) -> Path:
        for name, line in lines.items():
            (folder / name).write_text(f"#!/bin/sh\n{line}\n")
            (folder / name).chmod(0o755)
        return folder

    return write


def slurm_launch(run: Run, cluster: str = "") -> Launch:
    """A launch of all blocks whose tasks nobody knows."""
    blocks = run.store().missing_blocks() or [0, 1]
    name = new_id(run.paths)
    profile = Profile(time_min=60).model_dump(mode="json")
    jobs = [Job(f"tiny.{name}.0", 0, len(blocks), "7")]
    more: dict[str, Any] = {"created": "2026-01-01T00:00:00+00:00", "cluster": cluster}
    more["follow_up"] = Job(f"tiny.{name}.next")
    launch = Launch(name, "slurm", [[block] for block in blocks], {"workers": 1}, profile, jobs, **more)
    launch.write(run.paths)
    return launch


def test_no_option_of_the_user_reaches_a_slurm_command(
    tools: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = shlex.join([sys.executable, "-c", "import os; print(*sorted(os.environ), sep='\\n')"])
    tools(squeue=env)
    for name, value in (USERS | {"SLURM_CONF": "/here.conf", "SLURM_JWT": "token", "OTHER": "1"}).items():
        monkeypatch.setenv(name, value)
    seen = scheduler.call("squeue").split()
    assert not USERS.keys() - {"SLURM_TIME_FORMAT"} & set(seen)
    assert {"SLURM_CONF", "SLURM_JWT", "OTHER", "PATH"} <= set(seen)
    assert slurm_environment()["SLURM_TIME_FORMAT"] == "standard"
    before = dict(os.environ)
    with in_slurm_environment():
        assert not USERS.keys() & os.environ.keys()
        assert os.environ["SLURM_CONF"] == "/here.conf"
    assert dict(os.environ) == before


def test_sbatch_on_the_path_decides(tools: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever Slurm is installed; but not on a machine with its commands and no cluster."""
    assert not scheduler.is_here()
    folder = tools(sbatch="exit 0")
    assert scheduler.is_here()
    tools(scontrol="echo 'Slurmctld(primary) at host is UP'")
    assert scheduler.is_here()
    tools(scontrol="echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1")
    assert scheduler.is_here()
    tools(scontrol="echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1")
    assert not scheduler.is_here()
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    assert scheduler.is_here()


def test_where_slurm_is_not_a_run_with_slurm_tasks_says_so(
    tools: Callable[..., Path], new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(training={"epochs": 1}, subsets={"trials": 10})
    launch = slurm_launch(run)
    assert "squeue is not here" in str(read_status(run.paths.root).slurm.scheduler)
    with pytest.raises(SchedulerError, match=r"some are alive cannot be asked \(squeue is not here.*--tasks-gone"):
        launch_local(run, Resources(workers=1), lambda _: None)
    with pytest.raises(SchedulerError, match=r"Slurm cannot be asked here .*Tasks that wait will do nothing"):
        cancel(run.paths)
    assert run.paths.cancelled(launch.launch_id).exists()
    with pytest.raises(NoSlurm):
        follow.launch_slurm(run, Profile(time_min=60), 1.0, follow.follow)
    assert launch_local(run, Resources(workers=1), lambda _: None, Accept(lost_queue=True)).trained == 10


def test_a_launch_here_that_came_later_is_not_asked_again(
    tools: Callable[..., Path], new_run: Callable[..., Run]
) -> None:
    run = new_run(training={"epochs": 1}, subsets={"trials": 10})
    slurm_launch(run)
    Launch(new_id(run.paths), "local", [[0]], {"workers": 1}).write(run.paths)
    assert launch_local(run, Resources(workers=1), lambda _: None).trained == 10


def test_another_cluster_does_not_answer_for_the_one_that_has_the_tasks(
    tools: Callable[..., Path], new_run: Callable[..., Run]
) -> None:
    run = new_run()
    slurm_launch(run, cluster="there")
    tools(squeue="exit 0", sacct="exit 0", sbatch="exit 0", scancel="exit 0", scontrol="echo 'ClusterName = here'")
    said = "submitted to the cluster there, and the one that answers here is here"
    assert said in str(read_status(run.paths.root).slurm.scheduler)
    for act in (lambda: cancel(run.paths), lambda: launch_local(run, Resources(workers=1), lambda _: None)):
        with pytest.raises(SchedulerError, match=said):
            act()
    tools(scontrol="echo 'ClusterName = there'")
    assert read_status(run.paths.root).slurm.tasks == {"cancelled": 2}  # by the first cancel()
    assert cancel(run.paths).jobs == []


def test_live_tasks_keep_a_launch_here_out(tools: Callable[..., Path], new_run: Callable[..., Run]) -> None:
    run = new_run()
    launch = slurm_launch(run)
    tools(squeue=f"echo '7_0|tiny.{launch.launch_id}.0|RUNNING|None|n1|N/A'")
    with pytest.raises(RunBusy, match="1 tasks in Slurm's queue"):
        launch_local(run, Resources(workers=1), lambda _: None)


def test_held_tasks_are_to_be_released(tools: Callable[..., Path], new_run: Callable[..., Run]) -> None:
    run = new_run()
    launch = slurm_launch(run)
    name = f"tiny.{launch.launch_id}.0"
    tools(
        squeue=f"echo '7_0|{name}|PENDING|JobHeldUser||N/A'; echo '7_1|{name}|PENDING|JobHeldUser||N/A'", sacct="exit 1"
    )
    found = read_status(run.paths.root).slurm
    assert found.held == ["7"]
    assert found.tasks == {"stuck": 2}


def test_a_second_copy_that_is_held_after_everything_is_done_is_told(
    tools: Callable[..., Path], run_copy: Run, memexp: Callable[..., Any]
) -> None:
    """Its node was lost and came back: it would keep the follow-up job, and so the report, waiting for ever."""
    launch = slurm_launch(run_copy)
    name, root = f"tiny.{launch.launch_id}", run_copy.paths.root
    waits = f"echo '9|{name}.next|PENDING|Dependency||N/A'"
    tools(squeue=f"echo '7_1|{name}.0|PENDING|launch failed requeued held||N/A'; {waits}", sacct="exit 1")
    found = read_status(root)
    assert (found.missing, found.slurm.held, found.slurm.follow_up) == (0, ["7"], "pending")
    assert found.slurm.tasks == {"done": 2}
    assert not found.slurm.problems
    assert "next scontrol release 7" in " ".join(memexp("status", root).stdout.split())
    tools(squeue=waits)
    assert read_status(root).slurm.held == []
    tools(squeue="exit 1")  # a copy of the run, where there is no such cluster
    assert read_status(root).slurm.scheduler is None
    replace(launch, followed=True).write(run_copy.paths)
    asked = root / "asked"
    tools(squeue=f"/bin/touch {asked}")
    assert "memexp report" in memexp("status", root).stdout
    assert not asked.exists()  # Slurm was not asked again


def test_a_follow_up_without_slurm_gives_up_at_once(tools: Callable[..., Path], new_run: Callable[..., Run]) -> None:
    """In a container without Slurm's commands; it used to try for a quarter of an hour."""
    run = new_run()
    launch = slurm_launch(run)
    with pytest.raises(NoSlurm, match="cannot be submitted from a compute node .*must be on the PATH there"):
        follow.follow(str(run.paths.root), launch.launch_id)
    assert "must be on the PATH there" in read_launch(run.paths, launch.launch_id).gave_up
