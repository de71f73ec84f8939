"""A quarter of a minute of real work: an array, a GPU, accounting, a node that fails."""

from __future__ import annotations

from cluster import Cluster
from faults import node
from host import Broken, say
from processes import wait_until


def selftest(cluster: Cluster) -> None:
    """Run jobs through a running cluster; Broken where one does not end as it must."""
    _array(cluster)
    if cluster.settings.gpus:
        _gpu(cluster)
    _node_failure(cluster)


def _submit(cluster: Cluster, *options: str) -> str:
    return cluster.tool("sbatch", "--parsable", "--output=/dev/null", "--mem=50", *options).strip()


def _states(cluster: Cluster, job: str) -> dict[str, str]:
    lines = cluster.tool("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i|%T", check=False).splitlines()
    return dict(line.partition("|")[::2] for line in lines)


def _expect(what: str, true: bool) -> None:
    if not true:
        raise Broken(f"selftest: {what}: no")
    say(f"selftest: {what}: yes")


def _array(cluster: Cluster) -> None:
    job = _submit(cluster, "--array=0-7", "--wrap=sleep 0.5")
    wanted = {f"{job}_{number}": "COMPLETED" for number in range(8)}
    _expect("an array of 8 completes", wait_until(lambda: _states(cluster, job) == wanted, 30))
    if cluster.settings.accounting == "dbd":

        def recorded() -> bool:
            lines = cluster.tool("sacct", "-X", "-n", "-P", "-j", job, "-o", "JobID,State", check=False).split()
            return sorted(lines) == sorted(f"{name}|{state}" for name, state in wanted.items())

        _expect("accounting has all 8", wait_until(recorded, 20, every=0.2))


def _gpu(cluster: Cluster) -> None:
    out = cluster.tool("srun", "--gres=gpu:1", "--mem=50", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES").strip()
    _expect("a task that asks for a GPU sees one", out == "0")


def _node_failure(cluster: Cluster) -> None:
    job = _submit(cluster, f"--cpus-per-task={cluster.settings.cpus}", "--wrap=sleep 60")
    _expect("a long job starts", wait_until(lambda: _states(cluster, job) == {job: "RUNNING"}, 15))
    name = cluster.tool("squeue", "-h", "-j", job, "-o", "%N").strip()
    node(cluster, "fail", name)
    node(cluster, "start", name)

    def again() -> bool:
        record = cluster.tool("scontrol", "-o", "show", "job", job, check=False)
        return "Restarts=1" in record and "JobState=RUNNING" in record

    _expect("its node fails and it starts again", wait_until(again, 30))
    cluster.tool("scancel", job)
