"""How many jobs Slurm takes: elements of an array, and jobs of this user in the account and QOS that they would have.

Limits of other accounts and other QOS do not count. As in Slurm, a limit of the partition's QOS goes before
that of the job's QOS, and both before that of the association.
"""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass

from memexp.slurm.profile import Place
from memexp.slurm.scheduler import SchedulerError, call

_DEFAULT_ARRAY = 1001


@dataclass(frozen=True)
class Limits:
    """What may be submitted.

    Attributes
    ----------
    max_array
        Elements of an array.
    max_submit
        Jobs at a time, each array element counted; None if unlimited or unknown.
    used
        Jobs that count towards it and are in the queue.
    what
        The limit's name, such as ``MaxSubmitJobsPerUser of QOS long``.
    """

    max_array: int
    max_submit: int | None = None
    used: int = 0
    what: str = ""

    @property
    def room(self) -> int | None:
        """How many more tasks may be submitted, one job kept for the follow-up; None if unlimited."""
        return None if self.max_submit is None else max(0, self.max_submit - self.used - 1)


def read_limits(place: Place) -> Limits:
    """The limits of jobs with this partition, account and QOS.

    Raises
    ------
    SchedulerError
        If the controller does not answer. A missing accounting is no fault: it has no limits.
    """
    text = call("scontrol", "show", "config")
    config = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
    size = config.get("MaxArraySize", "")
    max_array = int(size) if size.isdigit() else _DEFAULT_ARRAY
    if not {"limits", "safe", "all"} & set(config.get("AccountingStorageEnforce", "").lower().split(",")):
        return Limits(max_array)
    try:
        found = _submit_limits(place, config.get("ClusterName", ""))
    except SchedulerError:
        return Limits(max_array)
    tight = min(found, key=lambda each: each[0] - each[1], default=None)
    return Limits(max_array, *tight) if tight else Limits(max_array)


def _submit_limits(place: Place, cluster: str) -> list[tuple[int, int, str]]:
    """Each limit that applies: the number, how much of it is used, and its name."""
    user = getpass.getuser()
    account = place.account or _table("show", "user", f"name={user}", "format=DefaultAccount")[0][0]
    asked = "format=Partition,DefaultQOS,QOS,MaxSubmit,GrpSubmit"
    rows = _table("show", "assoc", f"user={user}", f"account={account}", f"cluster={cluster}", asked)
    of_partition = [row for row in rows if row[0] and row[0] == place.partition]
    own = next(iter(of_partition or [row for row in rows if not row[0]]), None)
    if own is None:
        return []  # no association: sbatch will say so
    _, default_qos, allowed, own_most, own_group = own
    qualities = {row[0]: row[1:] for row in _table("show", "qos", "format=Name,MaxSubmitPU,GrpSubmit")}
    qos = place.qos or default_qos or (allowed if allowed in qualities else "normal")
    found: list[tuple[int, int, str]] = []
    jobs = [line.split("|") for line in call("squeue", "-h", "-r", "-u", user, "-o", "%a|%q|%P").splitlines()]
    in_partition, partition_qos = _partition(place.partition)
    for name, column, value in ((partition_qos, 2, in_partition), (qos, 1, qos)):
        per_user, group = qualities.get(name, ["", ""])
        if per_user and not any(what.startswith("MaxSubmit") for _, _, what in found):
            used = sum(job[column] == value for job in jobs)
            found.append((int(per_user), used, f"MaxSubmitJobsPerUser of QOS {name}"))
        if group:
            everybody = len(call("squeue", "-h", "-r", "-q", name, "-o", "%i").splitlines())
            found.append((int(group), everybody, f"GrpSubmitJobs of QOS {name}"))
    mine = sum(job[0] == account for job in jobs)
    if own_most and not any(what.startswith("MaxSubmit") for _, _, what in found):
        found.append((int(own_most), mine, f"MaxSubmitJobs of account {account}"))
    if own_group:
        found.append((int(own_group), mine, f"GrpSubmitJobs of account {account}"))
    return found


def _table(*what: str) -> list[list[str]]:
    """Rows of sacctmgr; one row of empty fields where it has none."""
    lines = call("sacctmgr", "-n", "-P", *what).splitlines()
    return [line.split("|") for line in lines] or [[""] * (1 + what[-1].count(","))]


def _partition(name: str | None) -> tuple[str, str]:
    """The partition, or the default one, and its QOS; empty where there is none."""
    for line in call("scontrol", "-o", "show", "partition").splitlines():
        keys = dict(word.partition("=")[::2] for word in line.split())
        if keys["PartitionName"] == name or (name is None and keys.get("Default") == "YES"):
            return keys["PartitionName"], keys.get("QoS", "N/A").replace("N/A", "")
    return "", ""
