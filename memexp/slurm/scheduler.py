"""Ask Slurm: one ``squeue`` and at most one ``sacct`` for a whole run, never a call for each job.

Jobs are found by their names, which are unique, since a controller that lost its state gives the
same job ids again. ``squeue`` comes first: it is right about everything that is alive. ``sacct`` lags
behind by seconds, may be switched off, and is asked only about what ``squeue`` no longer knows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from memexp.errors import MemexpError
from memexp.slurm.environment import slurm_environment

# What ends an element. Every other state, also one that a later Slurm invents, counts as alive.
TERMINAL = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
}  # fmt: skip
# Ends that Slurm usually takes back, by putting the element into the queue again a little later.
_TAKEN_BACK = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}
_GRACE = timedelta(seconds=20)
_HELD_BY_ADMINISTRATOR = "JobHeldAdmin"
# Parts of the reasons for which a waiting job will not start unless somebody does something, beginning with its owner.
# Nodes that are reserved (for maintenance, for others), and partitions that are down, come back by themselves.
STUCK = (
    "DependencyNeverSatisfied", "BadConstraints", "ReqNodeNotAvail, UnavailableNodes", "NodeDown",
    "PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "PerJob",
    "PerNode", "Wall", "CPUMinutes", "GRESMinutes", "MemMinutes", "BillingMinutes", "InvalidAccount", "InvalidQOS",
    "NotAllowed", "QOSUsageThreshold", "Deadline", "ReservationDeleted", _HELD_BY_ADMINISTRATOR,
)  # fmt: skip
# Of those, what the user's own `scontrol release` ends.
_HELD = ("held", "Held", "JobHoldMaxRequeue", "launch failed")
# What every job meets while it waits for its turn. Other reasons, such as a limit of its user, are worth telling.
_ORDINARY = ("", "None", "Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit", "Prolog", "Cleaning")

_TIMEOUT_SECONDS = 60
# What every command says where neither a file nor the network names a cluster.
_NO_CLUSTER = "Could not establish a configuration source"
_CONFIGURATIONS = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")


class SchedulerError(MemexpError):
    """Slurm does not answer, or refused."""


class NoSlurm(SchedulerError):
    """Slurm's commands are not on this machine, which no patience changes."""


@dataclass(frozen=True)
class Element:
    """One element of an array (or a single job) as the scheduler sees it.

    Attributes
    ----------
    job_id
        Such as ``123_4``, or ``123`` for a job that is no array.
    name
        The job's name.
    state
        Slurm's word: PENDING, RUNNING, TIMEOUT, ...
    reason
        Why it waits; empty where Slurm does not say.
    node
        Where it runs or ran.
    ended
        Whether it is over for good.
    """

    job_id: str
    name: str
    state: str
    reason: str
    node: str
    ended: bool

    @property
    def index(self) -> int:
        """Place in its array; 0 for a single job."""
        return int(self.job_id.partition("_")[2] or 0)

    @property
    def stuck(self) -> bool:
        """Waits for something that never comes by itself."""
        return not self.ended and (self.held or any(word in self.reason for word in STUCK))

    @property
    def held(self) -> bool:
        """Waits until its owner releases it."""
        by_owner = any(word in self.reason for word in _HELD) and self.reason != _HELD_BY_ADMINISTRATOR
        return not self.ended and by_owner

    @property
    def limited(self) -> bool:
        """Waits for more than its turn, such as a limit of its user."""
        return self.state == "PENDING" and self.reason not in _ORDINARY


def is_here() -> bool:
    """Whether this machine submits to Slurm: ``sbatch`` is on the PATH.

    Where no configuration is at a usual place, its neighbour ``scontrol`` is asked: somebody's laptop may have Slurm's
    commands and no cluster.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        return False
    if "SLURM_CONF" in os.environ or any(Path(place).exists() for place in _CONFIGURATIONS):
        return True
    try:
        call(str(Path(sbatch).parent / "scontrol"), "ping")
    except SchedulerError as error:
        return _NO_CLUSTER not in str(error)
    return True


def call(*command: str, seconds: float = _TIMEOUT_SECONDS, errors_too: bool = False) -> str:
    """Run one of Slurm's commands and give its output; with ``errors_too`` also what it says on standard error.

    Raises
    ------
    NoSlurm
        If it is not on this machine.
    SchedulerError
        If it fails or does not answer in time.
    """
    environment = slurm_environment()
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=seconds, env=environment,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (FileNotFoundError, PermissionError) as error:
        raise NoSlurm(f"{name} is not here; run this on a machine that submits to Slurm") from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{name} did not answer within {seconds:.0f} s; try again later") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise SchedulerError(f"{name}: {said}")
    return done.stdout + (done.stderr if errors_too else "")


def configuration() -> dict[str, str]:
    """What ``scontrol show config`` says, by key.

    Raises
    ------
    SchedulerError
        If the controller does not answer.
    """
    text = call("scontrol", "show", "config")
    return dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))


def nodes_of(partition: str | None) -> set[str]:
    """Names of the nodes of a partition, or of several with commas between; of the default one where None.

    Raises
    ------
    SchedulerError
        If the controller does not answer.
    """
    lines = [line.split() for line in call("sinfo", "-h", "-N", "-o", "%N %P").splitlines()]
    wanted = set(partition.split(",")) if partition else None
    return {
        node for node, name in lines if (name.endswith("*") if wanted is None else name.removesuffix("*") in wanted)
    }


def elements(names: Collection[str], since: datetime, history: bool = True) -> dict[tuple[str, int], Element]:
    """All elements of the jobs with these names, by (name, index).

    Parameters
    ----------
    names
        Job names.
    since
        When the first of them was submitted.
    history
        Also ask the accounting about those that the queue has forgotten.

    Raises
    ------
    SchedulerError
        If the queue cannot be read. A missing accounting is no fault.
    """
    if not names:
        return {}
    queue = call("squeue", "-h", "-r", "-t", "all", "-n", ",".join(names), "-o", "%i|%j|%T|%r|%N|%e")
    found = {(e.name, e.index): e for e in map(_from_queue, queue.splitlines()) if e is not None}
    if not history:
        return found
    try:
        start = (since - timedelta(minutes=5)).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
        fields = "JobID,JobName,State,DerivedExitCode,NodeList"
        past = call("sacct", "-X", "-n", "-P", "-S", start, "--name", ",".join(names), "-o", fields)
    except SchedulerError:
        return found
    ended = {(e.name, e.index): e for e in map(_from_accounting, past.splitlines()) if e is not None}
    return ended | found


def _from_queue(line: str) -> Element | None:
    job_id, name, state, reason, node, end = line.split("|")
    if not re.fullmatch(r"\d+(_\d+)?", job_id):
        return None  # a range of elements cancelled with their array: their own lines count
    over = state in TERMINAL and not (state in _TAKEN_BACK and _is_recent(end))
    return Element(job_id, name, state, "" if reason == "None" else reason, node, over)


def _is_recent(end: str) -> bool:
    try:
        return datetime.now() - datetime.fromisoformat(end) < _GRACE
    except ValueError:
        return True


def _from_accounting(line: str) -> Element | None:
    job_id, name, state, derived, node = line.split("|")
    state = state.split()[0] if state else ""  # "CANCELLED by 0"
    # The accounting is asked about the past only: what it calls running the queue would know.
    if state not in TERMINAL or not re.fullmatch(r"\d+(_\d+)?", job_id):
        return None
    if state == "FAILED" and derived == "0:125":
        state = "OUT_OF_MEMORY"
    return Element(job_id, name, state, "", node, ended=True)


def cancel(job_ids: Collection[str]) -> None:
    """Cancel jobs (arrays by their plain number)."""
    if job_ids:
        call("scancel", *job_ids)


def accounted(names: Collection[str], since: datetime) -> dict[str, dict[str, str]]:
    """What the accounting says of the elements and steps of these jobs, by id such as ``123_4`` and ``123_4.batch``.

    Returns
    -------
    fields
        ElapsedRaw, TotalCPU, MaxRSS, TRESUsageInAve; empty where there is no accounting.
    """
    fields = "JobID,ElapsedRaw,TotalCPU,MaxRSS,TRESUsageInAve"
    start = (since - timedelta(minutes=5)).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    try:
        lines = call("sacct", "-n", "-P", "-S", start, "--name", ",".join(names), "-o", fields).splitlines()
    except SchedulerError:
        return {}
    rows = [dict(zip(fields.split(","), line.split("|"), strict=True)) for line in lines]
    return {row["JobID"]: row for row in rows}
