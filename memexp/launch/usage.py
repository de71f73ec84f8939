"""What the tasks of a run used of what they asked for, and what follows for the profile; starts without torch.

Two sources: Slurm's accounting, which looks at a task from outside now and then, and the attempts' own notes, which
know every peak up to the last finished block but nothing of a process that was killed before it.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from memexp.errors import StoreError
from memexp.files import read_record
from memexp.slurm import scheduler
from memexp.slurm.limits import minutes_of
from memexp.slurm.tasks import element_of
from memexp.store.launches import Launch, read_launches
from memexp.store.paths import RunPaths

_NAME = re.compile(r"(?P<launch>[^-]+-[0-9a-f]{4})(-t(?P<task>\d+)-r(?P<restarts>\d+))?(-w(?P<worker>\d+))?\.json")
_GIB = 2**30 / 1e6  # of MB; Slurm's own GB
_SPARE = 1.2  # of the memory, and of processors beside a GPU
_SHORT = 0.5  # of the time limit: below, a shorter one is worth asking for
_GPU_FULL = 0.9


@dataclass(frozen=True)
class Asked:
    """What a task of the last launch asked for; None where that was the cluster's default, or this machine."""

    time_min: int | None = None
    mem_gb: float | None = None
    cpus: int | None = None
    gpus: int = 0
    workers: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Usage:
    """What was used, over the attempts of all launches that asked for the same.

    Attributes
    ----------
    asked
        For comparison.
    tasks
        Attempts that ended.
    longest_min, median_min
        Of their wall time, by the accounting where it knows.
    mem_gb
        Most memory of a task, by its own count: each process's own, and what they share once. GB of 2^30 bytes.
    sacct_mem_gb, sacct_cpus
        Most memory of a task, and processors busy on average, by the accounting.
    cpus
        Processors busy on average over the time of the tasks.
    gpu_gb, gpu_total_gb
        Most memory that torch held on a GPU for one worker, and all that it has.
    gpu_percent
        How busy the GPUs were on average, where the accounting knows.
    advice
        What to write into the profile, such as ``{"mem_gb": 2.5}``.
    """

    asked: Asked
    tasks: int = 0
    longest_min: float | None = None
    median_min: float | None = None
    mem_gb: float | None = None
    sacct_mem_gb: float | None = None
    cpus: float | None = None
    sacct_cpus: float | None = None
    gpu_gb: float | None = None
    gpu_total_gb: float | None = None
    gpu_percent: float | None = None
    advice: dict[str, float] = field(default_factory=dict)


@dataclass
class _Attempt:
    """A task's attempt, or a launch on this machine: its own notes and those of its workers."""

    seconds: float = 0.0
    own: dict[str, float] = field(default_factory=dict)
    workers: list[dict[str, float]] = field(default_factory=list)

    def memory_mb(self, side_by_side: int) -> float | None:
        """Its peak; of workers that replaced others only so many count as ran side by side."""
        known = [each for each in self.workers if each]
        parts = sorted((each.get("memory_mb", 0.0) for each in known), reverse=True)[: max(1, side_by_side)]
        shared = max((each.get("shared_mb", 0.0) for each in (*known, self.own)), default=0.0)
        return sum(parts) + self.own.get("memory_mb", 0.0) + shared if known else None

    @property
    def cpu_seconds(self) -> float:
        """Of all its processes."""
        return self.own.get("cpu_seconds") or sum(each.get("cpu_seconds", 0.0) for each in self.workers)


def read_usage(paths: RunPaths) -> Usage:
    """What the tasks of the last launch, and of those before that asked for the same, used."""
    launches = read_launches(paths)
    if not launches:
        return Usage(Asked())
    asked = _asked(launches[-1])
    alike = [launch for launch in launches if _asked(launch) == asked and launch.backend == launches[-1].backend]
    ended = [each for each in _attempts(paths, {launch.launch_id for launch in alike}) if each.seconds > 0]
    memory = [mb / _GIB for each in ended if (mb := each.memory_mb(asked.workers)) is not None]
    seconds = [each.seconds for each in ended]
    gpus = [worker for each in ended for worker in each.workers if "gpu_memory_mb" in worker]
    found = Usage(
        asked,
        tasks=len(ended),
        longest_min=max(seconds) / 60 if seconds else None,
        median_min=statistics.median(seconds) / 60 if seconds else None,
        mem_gb=max(memory, default=None),
        cpus=sum(each.cpu_seconds for each in ended) / sum(seconds) if seconds else None,
        gpu_gb=max((worker["gpu_memory_mb"] / _GIB for worker in gpus), default=None),
        gpu_total_gb=max((worker["gpu_total_mb"] / _GIB for worker in gpus), default=None),
    )
    if launches[-1].backend == "slurm":
        found = replace(found, **_accounted(alike))
        found = replace(found, advice=_advice(found, launches[-1]))
    return found


def _asked(launch: Launch) -> Asked:
    profile, resources = launch.profile or {}, launch.resources
    keys = {name: profile.get(name) for name in ("time_min", "mem_gb", "cpus")}
    return Asked(**keys, gpus=int(profile.get("gpus", 0)), workers=resources["workers"], threads=resources["threads"])


def _attempts(paths: RunPaths, launches: set[str]) -> list[_Attempt]:
    """One for each attempt at a task, and for each launch on this machine; files that are damaged say nothing."""
    found: dict[tuple[str, str | None, str | None], _Attempt] = defaultdict(_Attempt)
    for path in sorted(paths.attempts.glob("*.json")):
        name = _NAME.fullmatch(path.name)
        if name is None or name["launch"] not in launches:
            continue
        try:
            record = read_record(path, "delete it")
            used = {key: float(value) for key, value in dict(record.get("used") or {}).items()}
            lasted = _seconds(record)
        except (StoreError, OSError, ValueError, TypeError):
            continue
        attempt = found[name["launch"], name["task"], name["restarts"]]
        if name["worker"] is None:
            attempt.own, attempt.seconds = used, lasted
        else:
            attempt.workers.append(used)
            attempt.seconds = max(attempt.seconds, lasted) if name["task"] is None else attempt.seconds
    return list(found.values())


def _seconds(record: Mapping[str, Any]) -> float:
    """From start to end; 0 while it runs, or if it was killed."""
    if not record.get("end"):
        return 0.0
    return (datetime.fromisoformat(record["end"]) - datetime.fromisoformat(record["start"])).total_seconds()


def _accounted(launches: Sequence[Launch]) -> dict[str, Any]:
    """The fields that the accounting knows."""
    rows = scheduler.accounted([job.name for launch in launches for job in launch.jobs], launches[0].when)
    memory, percent, cpu, seconds = [], [], 0.0, []
    for launch in launches:
        for element in filter(None, (element_of(launch, number) for number in range(len(launch.tasks)))):
            whole, step = rows.get(element[1], {}), rows.get(f"{element[1]}.batch", {})
            if (minutes := minutes_of(whole.get("TotalCPU", ""))) is not None and float(whole["ElapsedRaw"]) > 0:
                cpu += 60 * minutes
                seconds.append(float(whole["ElapsedRaw"]))
            if (size := _bytes(step.get("MaxRSS", ""))) is not None:
                memory.append(size / 2**30)
            percent += [float(each) for each in re.findall(r"gres/gpuutil=(\d+)", step.get("TRESUsageInAve", ""))]
    # Slurm's time begins before the task's own, by the start of Python.
    times = {"longest_min": max(seconds) / 60, "median_min": statistics.median(seconds) / 60} if seconds else {}
    return times | {
        "sacct_mem_gb": max(memory, default=None),
        "sacct_cpus": cpu / sum(seconds) if seconds else None,
        "gpu_percent": statistics.mean(percent) if percent else None,
    }


def _bytes(text: str) -> float | None:
    """A size as Slurm writes it: 319564K, 1.5G."""
    found = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return float(found[1]) * 1024 ** " KMGT".index(found[2] or " ") if found else None


def _advice(found: Usage, last: Launch) -> dict[str, float]:
    """Keys of the profile that would fit better."""
    asked, advice = found.asked, dict[str, float]()
    memory = max(filter(None, (found.mem_gb, found.sacct_mem_gb)), default=None)
    if memory is not None:
        fitting = math.ceil(2 * _SPARE * memory) / 2
        if asked.mem_gb is None or fitting < 0.8 * asked.mem_gb or memory > 0.9 * asked.mem_gb:
            advice["mem_gb"] = fitting
    if found.longest_min is not None and asked.time_min is not None:
        fitting = math.ceil(1.25 * found.longest_min + (last.profile or {}).get("signal_s", 120) / 60 + 1)
        if fitting < _SHORT * asked.time_min:
            advice["time_min"] = fitting
    needed = asked.workers * asked.threads
    if asked.gpus and found.cpus is not None:
        needed = max(asked.workers, math.ceil(_SPARE * found.cpus))
    if asked.cpus is not None and needed < asked.cpus:
        advice["cpus"] = needed
    if found.gpu_gb and found.gpu_total_gb:
        fitting = asked.gpus * int(_GPU_FULL * found.gpu_total_gb / found.gpu_gb)
        if fitting > asked.workers:
            advice["workers"] = fitting
    return advice
