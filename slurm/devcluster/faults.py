"""Breaking and mending: nodes that die in several ways, daemons that stop, hang or are killed."""

from __future__ import annotations

import shutil
import signal
import time

from cluster import Cluster
from host import CannotRun
from processes import descendants, processes, send, wait_until
from settings import nodes

NODE_ACTIONS = {
    "kill": "slurmd alone dies; its tasks run on unseen, and beside their own second copies once they are requeued",
    "crash": "slurmd and all its tasks die; Slurm finds out after about 15 s",
    "fail": "like crash, and Slurm is told at once: jobs end with NODE_FAIL and are requeued",
    "stop": "slurmd stops politely; its tasks go on",
    "start": "slurmd starts (again); returns when the node takes jobs",
}
DAEMON_ACTIONS = {
    "stop": "stop it politely",
    "kill": "kill -9",
    "start": "start it if it does not run",
    "restart": "stop, start",
    "hang": "it keeps its connections and answers nothing",
    "wake": "end of hang",
}
DAEMONS = ("slurmctld", "slurmdbd", "mariadbd")


def node(cluster: Cluster, action: str, name: str, *, keep_spool: bool = False) -> None:
    """Break or mend one node.

    Parameters
    ----------
    action
        One of NODE_ACTIONS.
    keep_spool
        After crash and fail, leave the job folders as a node with a disk does: a job that is requeued to
        it then fails to launch, and is held with the reason "launch failed requeued held".
    """
    if name not in nodes(cluster.settings):
        raise CannotRun(f"there is no node {name}: this cluster has {' '.join(nodes(cluster.settings))}")
    daemon = f"slurmd.{name}"
    if action == "start":
        cluster.start(daemon)
        cluster.wait_for_nodes([name])
    elif action == "stop":
        cluster.stop(daemon)
    else:
        kill_daemon(cluster, daemon)
        if action in ("crash", "fail"):
            _kill_steps(cluster, name)
            _empty_spool(cluster, name, keep_jobs=keep_spool)
        if action == "fail":
            cluster.tool("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=devcluster")


def daemon(cluster: Cluster, action: str, name: str) -> None:
    """Break or mend one of the daemons that all nodes share; `action` is one of DAEMON_ACTIONS."""
    if name not in cluster.daemons:
        raise CannotRun(f"this cluster has no {name}: its accounting is off")
    if action in ("stop", "restart"):
        cluster.stop(name)
    if action == "kill":
        kill_daemon(cluster, name)
    if action in ("hang", "wake") and (pid := cluster.pid(name)):
        send([pid], signal.SIGSTOP if action == "hang" else signal.SIGCONT)
    if action in ("start", "restart"):
        cluster.start(name)


def kill_daemon(cluster: Cluster, name: str) -> None:
    """Kill one daemon as a crash would, and wait until it is gone."""
    if pid := cluster.pid(name):
        send([pid], signal.SIGKILL)
        wait_until(lambda: cluster.pid(name) is None, 5)
    cluster.layout.run(f"{name}.pid").unlink(missing_ok=True)


def _kill_steps(cluster: Cluster, name: str) -> None:
    """Kill all that runs on a node: the steps first, which must not report the death of their tasks."""

    log = cluster.layout.log(f"slurmd.{name}")
    for _ in range(20):  # a task that forks at this moment is met in the next round
        everything = processes()
        mine = [one for one in everything if cluster.owns(one)]
        steps = {one.pid for one in mine if one.name.startswith("slurm") and one.has_open(log)}
        tasks = {one.pid for one in mine if one.environment().get("SLURMD_NODENAME") == name}
        tasks |= descendants(steps, everything) - steps
        if not steps and not tasks:
            return
        send(steps, signal.SIGSTOP)
        send(steps | tasks, signal.SIGKILL)
        time.sleep(0.05)


def _empty_spool(cluster: Cluster, name: str, *, keep_jobs: bool) -> None:
    """Leave a node's folder as after a reboot: no sockets of steps and, if it has no disk, no jobs."""
    for entry in cluster.layout.spool(name).iterdir():
        if entry.is_socket():
            entry.unlink()
        elif entry.is_dir() and not keep_jobs:
            shutil.rmtree(entry)
