"""Nodes that fail task after task are left out of the next submissions, for a while.

What counts is the node's fault only. All tasks of a launch have the same profile and code, so a mistake in those
fails everywhere: a failed task speaks against its node only where other tasks of the same launch did well elsewhere.
Data or software that changed are the user's matter. A node is forgiven once a task ends well there, once the profile
was changed, and after a day.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from memexp.slurm import scheduler
from memexp.slurm.attempts import read_attempts
from memexp.slurm.profile import Profile
from memexp.slurm.scheduler import SchedulerError
from memexp.slurm.tasks import Task
from memexp.store.launches import read_launches
from memexp.store.paths import RunPaths

FAILURES = 2  # on a node in one launch, before it is left out
MOST = 0.5  # of a partition's nodes that are left out at a time
FORGIVEN_AFTER = timedelta(hours=24)


@dataclass
class _Record:
    """How tasks of one launch ended on the nodes."""

    well: set[str] = field(default_factory=set)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def bad(self) -> set[str]:
        """Nodes where tasks failed again and again and none ended well, while some did elsewhere."""
        return {node for node, count in self.failed.items() if count >= FAILURES and self.well} - self.well


def bad_nodes(paths: RunPaths, tasks: Sequence[Task], profile: Profile) -> dict[str, str]:
    """Nodes that the next submission with this profile should leave out, and since when.

    Parameters
    ----------
    paths
        The run.
    tasks
        Of :func:`memexp.slurm.tasks.read_queue`, which say how those without a word of their own ended.
    profile
        To submit with. Launches with another one tell nothing about it.
    """
    if not profile.leave_out_nodes:
        return {}
    now = datetime.now(UTC)
    launches = [
        launch
        for launch in read_launches(paths, "slurm")
        if now - launch.when < FORGIVEN_AFTER and _same(launch.profile, profile)
    ]
    records = _records(paths, tasks, {launch.launch_id for launch in launches})
    bad: dict[str, str] = {}
    for launch in launches:  # oldest first: what a node did last counts
        record = records[launch.launch_id]
        bad |= {node: since for node, since in launch.left_out.items() if node not in bad}
        bad |= dict.fromkeys(record.bad - bad.keys(), launch.created)
        bad = {node: since for node, since in bad.items() if node not in record.well}
    return {node: since for node, since in bad.items() if now - datetime.fromisoformat(since) < FORGIVEN_AFTER}


def nodes_to_leave_out(bad: Mapping[str, str], profile: Profile) -> dict[str, str]:
    """Those of the bad nodes that can be spared: half of the partition's nodes always stay."""
    if not bad:
        return {}
    try:
        everything = scheduler.nodes_of(profile.partition)
    except SchedulerError:
        return {}  # better a bad node than none
    spared = int(MOST * len(everything)) - len(everything & set(str(profile.sbatch.get("exclude", "")).split(",")))
    newest = sorted(everything & bad.keys(), key=lambda node: bad[node], reverse=True)
    return {node: bad[node] for node in newest[: max(0, spared)]}


def _same(noted: Mapping[str, Any] | None, profile: Profile) -> bool:
    """Whether tasks of a launch were started as this profile starts them."""
    try:
        return Profile.model_validate(noted).starts_as(profile)
    except ValidationError:  # one of an earlier memexp
        return False


def _records(paths: RunPaths, tasks: Iterable[Task], launches: set[str]) -> dict[str, _Record]:
    records: dict[str, _Record] = defaultdict(_Record)
    blamed: set[str] = set()  # job ids whose failure has its own words
    for launch, attempt in read_attempts(paths):
        if launch not in launches or not attempt.node or not attempt.end:
            continue
        if not attempt.error:
            records[launch].well.add(attempt.node)
        elif attempt.failed:
            blamed.add(attempt.job_id)
            if not attempt.users_fault:
                records[launch].failed[attempt.node] += 1
    for task in tasks:
        ended = task.launch in launches and task.node and task.state in ("failed", "node_fail")
        if ended and task.job_id not in blamed:
            records[task.launch].failed[task.node] += 1
    return records
