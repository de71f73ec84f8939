"""attempts/*.json of tasks: where each attempt at a task ran, and how it ended.

What they say helps to choose nodes and time limits and explains failures; one that is damaged says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from memexp.errors import StoreError
from memexp.files import here, to_json, write_atomic
from memexp.store.paths import RunPaths
from memexp.store.records import read_as

_NAME = re.compile(r"(?P<launch>.+)-t(?P<task>\d{1,9})-r(?P<restarts>\d{1,9})\.json")


@dataclass
class Attempt:
    """One attempt at a task.

    Attributes
    ----------
    node, job_id
        Where Slurm started it, and as which job; empty where it did not say.
    restarts
        How often Slurm had started the job before.
    start, end
        Times; no end while it runs, and after it was killed.
    error
        Why blocks of it are missing.
    failed
        Whether that is a failure; the rest was handed back in time.
    users_fault
        Whether data, software or the recipe failed, which fail alike on every node.
    used
        Of :func:`memexp.runs.used.used`, its workers' processor time included; empty while it runs.
    seconds_per_block
        What a block takes at least, where the time limit came before the first one was finished.
    """

    node: str = ""
    job_id: str = ""
    restarts: int = 0
    start: str = ""
    end: str | None = None
    error: str | None = None
    failed: bool = False
    users_fault: bool = False
    seconds_per_block: float | None = None
    used: dict[str, float] = field(default_factory=dict)
    host: str = field(default_factory=lambda: str(here()["host"]))
    pid: int = field(default_factory=lambda: int(here()["pid"]))

    def write(self, paths: RunPaths, name: str) -> None:
        """Write, or replace, its file."""
        write_atomic(paths.attempts / f"{name}.json", to_json(asdict(self)))


def attempt_name(launch: str, task: int, restarts: int) -> str:
    """Name of an attempt's file, and the beginning of those of its workers."""
    return f"{launch}-t{task}-r{restarts}"


def read_attempts(paths: RunPaths, launch: str = "*", task: int | str = "*") -> Iterator[tuple[str, Attempt]]:
    """Attempts at one task or at all, oldest first, each with its launch; not those of workers, nor damaged ones."""
    found = {path: _NAME.fullmatch(path.name) for path in paths.attempts.glob(f"{launch}-t{task}-r*.json")}
    known = {path: (name["launch"], int(name["task"]), int(name["restarts"])) for path, name in found.items() if name}
    for path, place in sorted(known.items(), key=lambda item: item[1]):
        with suppress(StoreError, OSError):
            yield place[0], read_as(Attempt, path, "delete it")
