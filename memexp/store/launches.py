"""launches/: one file for each submission: backend, task -> blocks, resources, the scheduler's names."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from memexp.errors import StoreError, command
from memexp.files import here, to_record, versions, write_atomic
from memexp.store.goal import Goal
from memexp.store.paths import RunPaths
from memexp.store.records import read_as
from memexp.version import code_digest

_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Job:
    """Something that was given to the scheduler.

    Attributes
    ----------
    name
        Unique, so that the job can be found even if the answer to its submission was lost.
    first, count
        Tasks ``first .. first + count - 1`` of the launch are its elements ``0 .. count - 1``.
    job_id
        The scheduler's number; None before it has answered.
    """

    name: str
    first: int = 0
    count: int = 1
    job_id: str | None = None


@dataclass(frozen=True)
class Launch:
    """One submission.

    Attributes
    ----------
    launch_id
        Name of its file; sorts by time.
    backend
        ``local`` or ``slurm``.
    tasks
        Blocks of each task.
    resources
        Workers, threads, device of each task.
    profile
        The profile as it was used (Slurm).
    jobs
        Arrays of tasks (Slurm).
    follow_up
        The job that follows them (Slurm).
    idle_rounds
        Rounds of submission before this one, in a row, that finished no block.
    settled
        Blocks that were finished when this launch was made.
    kept
        Shares of the others that checkpoints had then, added up.
    gave_up
        Why its follow-up job submitted nothing though blocks are missing.
    followed
        Whether its follow-up job has done its work; before that, Slurm may still have some of it.
    cluster
        Name of the Slurm cluster that has the jobs; empty where an earlier memexp submitted them.
    accepted
        Whether it knowingly goes on with other software than before.
    until
        What its rounds are trained for, if they stop by a measured error; see :mod:`memexp.launch.until`.
    left_out
        Nodes that its tasks avoid, and since when (Slurm).
    versions, code, prefix
        Of Python and the libraries; digest of memexp's sources that decide outcomes (empty where an earlier memexp
        launched); Python's folder.
    """

    launch_id: str
    backend: Literal["local", "slurm"]
    tasks: list[list[int]]
    resources: dict[str, Any]
    profile: dict[str, Any] | None = None
    jobs: list[Job] = field(default_factory=list)
    follow_up: Job | None = None
    idle_rounds: int = 0
    settled: int = 0
    kept: float = 0.0
    gave_up: str = ""
    followed: bool = False
    cluster: str = ""
    accepted: bool = False
    until: Goal | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    by: dict[str, Any] = field(default_factory=here)
    versions: dict[str, str] = field(default_factory=versions)
    code: str = field(default_factory=code_digest)
    prefix: str = field(default_factory=lambda: sys.prefix)

    @property
    def when(self) -> datetime:
        """Time of creation."""
        return datetime.fromisoformat(self.created)

    def write(self, paths: RunPaths) -> None:
        """Write, or replace, its file."""
        write_atomic(paths.launches / f"{self.launch_id}.json", to_record(asdict(self)))

    def with_job_id(self, name: str, job_id: str) -> Launch:
        """The same with the scheduler's answer filled in."""
        jobs = [replace(job, job_id=job_id) if job.name == name else job for job in self.jobs]
        follow_up = self.follow_up
        if follow_up is not None and follow_up.name == name:
            follow_up = replace(follow_up, job_id=job_id)
        return replace(self, jobs=jobs, follow_up=follow_up)

    def job_of(self, task: int) -> tuple[Job, int] | None:
        """The array and the index in it of a task; None if it was never submitted."""
        for job in self.jobs:
            if job.first <= task < job.first + job.count:
                return job, task - job.first
        return None


def new_id(paths: RunPaths) -> str:
    """A name for a launch, by time; it sorts after those that there are even where this machine's clock is slow."""
    now = datetime.now(UTC)
    for last in sorted(paths.launches.glob("*.json"))[-1:]:
        with suppress(ValueError):  # a file that is none of ours
            newest = datetime.strptime(last.stem[:16], _TIME).replace(tzinfo=UTC)
            now = max(now, newest + timedelta(seconds=1))
    return f"{now:{_TIME}}-{uuid.uuid4().hex[:4]}"


def read_launch(paths: RunPaths, launch_id: str) -> Launch:
    """Read one launch.

    Raises
    ------
    StoreError
        If its file is missing or damaged.
    """
    path = paths.launches / f"{launch_id}.json"
    repair = f"move it away and run `{command('resume', paths.root)}`"
    launch = read_as(Launch, path, repair, {"code": "", "prefix": ""})
    try:
        zone = launch.when.tzinfo
    except ValueError:
        zone = None
    if launch.launch_id != launch_id or zone is None:
        raise StoreError(f"{path} is damaged (its name or its time is not that of a launch); {repair}")
    return launch


def read_launches(paths: RunPaths, backend: str | None = None) -> Sequence[Launch]:
    """All launches, oldest first."""
    found = [read_launch(paths, path.stem) for path in sorted(paths.launches.glob("*.json"))]
    return [launch for launch in found if backend in (None, launch.backend)]


def note_goal(paths: RunPaths, judged: Goal) -> None:
    """Keep what a look found in the record of the last launch, if that was for a goal."""
    last = read_launches(paths)[-1:]
    if last and last[0].until is not None:
        replace(last[0], until=judged).write(paths)
