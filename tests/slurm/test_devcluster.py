"""slurm/devcluster: a real cluster starts, works, breaks in the promised ways, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .slurm_cluster import SCRIPT, DevCluster, devcluster, eventually, skip_without_slurm

pytestmark = pytest.mark.slurm

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def small() -> Iterator[DevCluster]:
    """A cluster without accounting, which starts in a moment."""
    skip_without_slurm()
    with DevCluster(nodes=3, accounting="none") as cluster:
        yield cluster


@pytest.fixture
def slurm(small: DevCluster) -> Iterator[DevCluster]:
    """The small cluster, emptied after the test; every test leaves all its nodes usable."""
    yield small
    small.run("scancel", "--user=root", check=False)


def started(slurm: DevCluster, job: str) -> str:
    """Wait until a job runs; its node."""
    eventually(lambda: slurm.states(job) == {job: "RUNNING"})
    return slurm.record(job)["NodeList"]


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


# -- where it cannot run


def test_another_user_is_told_so(tmp_path: Path) -> None:
    pretend = f"""import os, runpy, sys
os.geteuid = lambda: 1000
sys.argv = ["devcluster.py", "up", "--root", {str(tmp_path / "cluster")!r}]
sys.path.insert(0, {str(SCRIPT.parent)!r})
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")"""
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "devcluster: Slurm's daemons must be started by root, and this is another user\n"


@as_root
@pytest.mark.parametrize("options", [[], ["--installed"]])
def test_missing_packages_are_named(options: list[str], tmp_path: Path) -> None:
    done = devcluster("check", *options, env={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.startswith("devcluster: Slurm is not installed here")
    assert "slurm-client" in done.stderr
    assert done.stderr.count("\n") == 1


@as_root
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["node", "kill", "n1"], "there is no cluster in"),
        (["up", "--requeue-delay", "3"], "--requeue-delay is 3, and must be at least 5"),
        (["up", "--nodes", "61"], "--nodes is 61, and must be 1 to 60"),
    ],
)
def test_impossible_requests_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = devcluster(*arguments, "--root", str(tmp_path / "cluster"))
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "cluster").exists()


# -- where it can


def test_an_array_completes(slurm: DevCluster) -> None:
    job = slurm.submit("sleep 0.5", "--array=0-11")
    eventually(lambda: slurm.states(job) == {f"{job}_{number}": "COMPLETED" for number in range(12)})


def test_a_task_sees_its_gpus(slurm: DevCluster) -> None:
    done = slurm.run("srun", "--gres=gpu:2", "--mem=50", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert done.stdout == "0,1\n"


def test_arrays_over_the_limit_are_refused(slurm: DevCluster) -> None:
    slurm.up(max_array=11)
    done = slurm.run("sbatch", "--array=0-11", "--wrap=true", check=False)
    assert "Invalid job array specification" in done.stderr
    slurm.submit("true", "--array=0-10")


def test_a_failed_node_requeues_its_job(slurm: DevCluster) -> None:
    job = slurm.submit("sleep 4321", "--cpus-per-task=8")
    node = started(slurm, job)
    (task,) = eventually(lambda: [pid for pid in slurm.processes() if command_line(pid) == ["sleep", "4321"]])
    slurm.node("fail", node)
    assert task not in slurm.processes()
    eventually(lambda: slurm.record(job)["Restarts"] == "1")
    assert started(slurm, job) != node
    slurm.node("start", node)


def test_high_preempts_main(slurm: DevCluster) -> None:
    job = slurm.submit("sleep 60", "--exclusive", "-w", "n1")
    started(slurm, job)
    high = slurm.submit("sleep 1", "-p", "high", "--exclusive", "-w", "n1")
    eventually(lambda: slurm.states(high)[high] in ("RUNNING", "COMPLETED"))
    eventually(lambda: slurm.record(job)["Restarts"] == "1")


def test_a_hanging_controller_times_out(slurm: DevCluster) -> None:
    slurm.daemon("hang", "slurmctld")
    done = slurm.run("squeue", check=False)
    slurm.daemon("wake", "slurmctld")
    assert "Socket timed out" in done.stderr
    assert slurm.run("scontrol", "ping").stdout.strip().endswith("UP")


def test_everything_killed_and_up_again(slurm: DevCluster) -> None:
    job = slurm.submit("sleep 60")
    started(slurm, job)
    time.sleep(6)  # the controller writes its state down every 5 s
    for pid in slurm.processes():
        os.kill(pid, signal.SIGKILL)
    slurm.up()
    eventually(lambda: slurm.states(job) == {job: "RUNNING"})


def test_accounting_can_be_switched_on_later(slurm: DevCluster) -> None:
    assert "accounting storage is disabled" in slurm.run("sacct", check=False).stderr
    slurm.up(accounting="dbd")
    job = slurm.submit("exit 3")

    def recorded() -> str:
        return slurm.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode").stdout

    eventually(lambda: recorded() == "FAILED|3:0\n")
    slurm.up(accounting="none")
    assert "accounting storage is disabled" in slurm.run("sacct", check=False).stderr


def test_clusters_side_by_side_leave_nothing_behind() -> None:
    skip_without_slurm()
    first, second = DevCluster(nodes=1, accounting="none"), DevCluster(nodes=2, gpus=0, accounting="none")
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(DevCluster.up, (first, second)))
        jobs = [cluster.submit("sleep 60", "--array=0-3") for cluster in (first, second)]
        assert jobs == ["1", "1"]
        for cluster in (first, second):
            eventually(lambda cluster=cluster: set(cluster.states("1").values()) == {"RUNNING"})
        first.node("kill", "n1")
        first.down()
        assert first.processes() == []
        assert set(second.states("1").values()) == {"RUNNING"}
    finally:
        first.down(wipe=True)
        second.down(wipe=True)
    assert second.processes() == []
    assert not first.root.exists()
    assert not second.root.exists()
