"""How many jobs Slurm takes: elements of an array, and jobs of this user in the account and QOS that they would have.

Limits of other accounts and other QOS do not count. As in Slurm, a limit of the partition's QOS goes before
that of the job's QOS, and both before that of the association.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass

from memexp.slurm.profile import Place
from memexp.slurm.scheduler import SchedulerError, call, configuration

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


def read_limits(place: Place, config: Mapping[str, str] | None = None) -> Limits:
    """The limits of jobs with this partition, account and QOS.

    Parameters
    ----------
    place
        What the jobs ask for.
    config
        Of :func:`memexp.slurm.scheduler.configuration`; asked where absent.

    Raises
    ------
    SchedulerError
        If the controller does not answer. A missing accounting is no fault: it has no limits.
    """
    config = config or configuration()
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


Found = list[tuple[int, int, str]]  # each limit: the number, how much of it is used, its name


def _submit_limits(place: Place, cluster: str) -> Found:
    """Each limit that applies. Of several partitions (``a,b``) each may be the one that takes a job, so all count."""
    user = pwd.getpwuid(os.geteuid()).pw_name  # not LOGNAME, which may be another's
    account = place.account or _table("show", "user", f"name={user}", "format=DefaultAccount")[0][0]
    asked = "format=Partition,DefaultQOS,QOS,MaxSubmit,GrpSubmit"
    rows = _table("show", "assoc", f"user={user}", f"account={account}", f"cluster={cluster}", asked)
    if not any(any(row) for row in rows):
        return []  # no association: sbatch will say so
    qualities = {row[0]: row[1:] for row in _table("show", "qos", "format=Name,MaxSubmitPU,MaxSubmitPA,GrpSubmit")}
    jobs = _Jobs(user, account)
    partitions = _partitions(place.partition)
    found: Found = []
    for name, partition_qos in partitions.items():
        own = next((row for row in rows if row[0] == name), next((row for row in rows if not row[0]), None))
        if own is None:
            continue  # only associations with other partitions
        _, default_qos, allowed, own_most, own_group = own
        qos = place.qos or default_qos or (allowed if allowed in qualities else "normal")
        found += _of_qualities(qualities, jobs, {partition_qos: (2, name), qos: (1, qos)})
        if own_most and not any(what.startswith("MaxSubmitJobsPerUser") for _, _, what in found):
            found.append((int(own_most), jobs.of_user(0, account), f"MaxSubmitJobs of account {account}"))
        if own_group:
            found.append((int(own_group), jobs.of_user(0, account), f"GrpSubmitJobs of {user} in account {account}"))
    return found + _of_accounts(account, cluster)


class _Jobs:
    """Jobs in the queue, each element of an array counted: asked once for this user, and for others where needed."""

    def __init__(self, user: str, account: str) -> None:
        self.account = account
        lines = call("squeue", "-h", "-r", "-u", user, "-o", "%a|%q|%P").splitlines()
        self._mine = [line.split("|") for line in lines]

    def of_user(self, column: int, value: str) -> int:
        """This user's in an account (column 0), a QOS (1) or a partition (2), also where it is one of several."""
        return sum(value in job[column].split(",") for job in self._mine)


def count_jobs(*where: str) -> int:
    """Jobs of all users in the queue, each element of an array counted, that these options of ``squeue`` name."""
    return len(call("squeue", "-h", "-r", *where, "-o", "%i").splitlines())


def _of_qualities(qualities: Mapping[str, list[str]], jobs: _Jobs, names: Mapping[str, tuple[int, str]]) -> Found:
    """Limits of the partition's QOS, then of the job's: where both limit the same, the first counts.

    ``names``: QOS to the column and value of the jobs that it counts.
    """
    found: Found = []
    for name, (column, value) in names.items():
        per_user, per_account, group = qualities.get(name, ["", "", ""])
        taken = {what.partition(" ")[0] for _, _, what in found}
        if per_user and "MaxSubmitJobsPerUser" not in taken:
            found.append((int(per_user), jobs.of_user(column, value), f"MaxSubmitJobsPerUser of QOS {name}"))
        counted = ("-p", value) if column == 2 else ("-q", value)
        if per_account and "MaxSubmitJobsPerAccount" not in taken:
            used = count_jobs(*counted, "-A", jobs.account)
            found.append((int(per_account), used, f"MaxSubmitJobsPerAccount of QOS {name}"))
        if group:
            found.append((int(group), count_jobs(*counted), f"GrpSubmitJobs of QOS {name}"))
    return found


def _of_accounts(account: str, cluster: str) -> Found:
    """GrpSubmitJobs of the account and of those above it, which count the jobs of all users and accounts below."""
    rows = _table("show", "assoc", "user=", f"cluster={cluster}", "format=Account,ParentName,GrpSubmit")
    above = {row[0]: row[1] for row in rows}
    found: Found = []
    for name, _, group in rows:
        if group and name in _line(account, above):
            below = [each for each in above if name in _line(each, above)]
            found.append((int(group), count_jobs("-A", ",".join(below)), f"GrpSubmitJobs of account {name}"))
    return found


def _line(account: str, above: Mapping[str, str]) -> list[str]:
    """An account and those above it."""
    line: list[str] = []
    while account and account not in line:
        line.append(account)
        account = above.get(account, "")
    return line


def _table(*what: str) -> list[list[str]]:
    """Rows of sacctmgr; one row of empty fields where it has none."""
    lines = call("sacctmgr", "-n", "-P", *what).splitlines()
    return [line.split("|") for line in lines] or [[""] * (1 + what[-1].count(","))]


def _partitions(wanted: str | None) -> dict[str, str]:
    """The partitions (or the default one) and the QOS of each; empty where it has none."""
    found = {name: keys.get("QoS", "N/A").replace("N/A", "") for name, keys in _described(wanted).items()}
    return found or {"": ""}


def _described(wanted: str | None) -> dict[str, dict[str, str]]:
    """What the controller says of the partitions, or of the default one, by name."""
    names = wanted.split(",") if wanted else None
    lines = call("scontrol", "-o", "show", "partition").splitlines()
    all_keys = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
    return {
        keys["PartitionName"]: keys
        for keys in all_keys
        if (keys["PartitionName"] in names if names else keys.get("Default") == "YES")
    }


def too_long(minutes: int, partition: str | None, qos: str | None) -> str:
    """Which limit a job of so many minutes exceeds, in words; empty if none does.

    Many clusters take such a job and leave it waiting for ever. Of several partitions one that takes it is enough.

    Raises
    ------
    SchedulerError
        If the controller does not answer. A missing accounting is no fault: it has no limits.
    """
    most = {name: minutes_of(keys.get("MaxTime", "")) for name, keys in _described(partition).items()}
    if most and all(limit is not None and minutes > limit for limit in most.values()):
        return ", ".join(f"MaxTime of partition {name} is {limit:g} min" for name, limit in most.items())
    try:
        walls = [row[0] for row in _table("show", "qos", f"name={qos}", "format=MaxWall")] if qos else []
    except SchedulerError:
        return ""
    limits = [limit for wall in walls if (limit := minutes_of(wall)) is not None and minutes > limit]
    return f"MaxWall of QOS {qos} is {limits[0]:g} min" if limits else ""


def minutes_of(text: str) -> float | None:
    """Slurm's way to write a duration, [days-]hours:minutes:seconds, in minutes; None where it names none."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){1,2}(\.\d+)?", text):
        return None
    hours, minutes, seconds = ["0", *parts] if len(parts) == 2 else parts
    return 1440 * int(days or 0) + 60 * int(hours) + int(minutes) + float(seconds) / 60
