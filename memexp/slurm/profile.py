"""The profile: where trials train on a Slurm cluster. Never part of a run's identity."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from memexp.errors import InputError
from memexp.runs.pool import Resources
from memexp.spec.yaml_file import read_yaml

PositiveInt = Annotated[StrictInt, Field(ge=1)]

# sbatch options that memexp decides itself; the rest may be given under ``sbatch``.
_OURS = (
    "array",
    "dependency",
    "error",
    "job-name",
    "nodes",
    "ntasks",
    "open-mode",
    "output",
    "requeue",
    "signal",
    "wrap",
)


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Place(_Block):
    """What a job asks the scheduler for; sbatch's options of the same names."""

    partition: str | None = Field(None, description="where the jobs go; the cluster's default where absent")
    account: str | None = Field(None, description="whom the time is charged to")
    qos: str | None = Field(None, description="quality of service")
    time_min: PositiveInt = Field(description="time limit of a task, minutes")
    mem_gb: Annotated[float, Field(gt=0)] | None = Field(
        None, description="memory of a task; the cluster's default where absent"
    )
    cpus: PositiveInt = Field(1, description="processors of a task")
    sbatch: dict[str, str | int | float | bool] = Field(
        default={}, description="further sbatch options by their long names, such as constraint: a100"
    )

    @model_validator(mode="after")
    def _leaves_ours(self) -> Place:
        taken = sorted({key.replace("_", "-") for key in self.sbatch} & set(_OURS))
        if taken:
            raise ValueError(f"sbatch must not set {', '.join(taken)}: memexp sets them itself; remove them")
        return self


class FollowUp(Place):
    """The small job after a round of tasks. Partition, account and qos are the tasks' where absent here."""

    time_min: PositiveInt = Field(60, description="time limit of the follow-up job, minutes")
    mem_gb: Annotated[float, Field(gt=0)] | None = Field(4, description="memory of the follow-up job")


class Profile(Place):
    """Where to train: the resources of one task, and how tasks are submitted."""

    gpus: Annotated[StrictInt, Field(ge=0)] = Field(0, description="GPUs of a task")
    workers: PositiveInt | None = Field(
        None, description="worker processes side by side in a task; one per GPU, or one per processor, where absent"
    )
    threads: PositiveInt = Field(1, description="processor threads of each worker")
    array_parallelism: PositiveInt = Field(256, description="tasks of an array that may run at once")
    max_tasks: PositiveInt | None = Field(None, description="submit at most so many tasks at a time")
    max_idle_rounds: PositiveInt = Field(
        3, description="give up after so many rounds of submission in a row that finished no block"
    )
    signal_s: PositiveInt = Field(120, description="seconds before the time limit at which a task is told to stop")
    seconds_per_trial: Annotated[float, Field(gt=0)] | None = Field(
        None, description="time of a trial on one worker, for planning; measured where absent"
    )
    setup: list[str] = Field(default=[], description="shell lines before Python: modules, conda, containers")
    python: str | None = Field(None, description="Python on the compute nodes; the launching one where absent")
    env: dict[str, str] = Field(default={}, description="environment variables of the tasks")
    follow_up: FollowUp = Field(default=FollowUp(), description="resources of the job that follows each round")

    @model_validator(mode="after")
    def _fits(self) -> Profile:
        if self.signal_s >= 60 * self.time_min:
            raise ValueError(
                f"signal_s ({self.signal_s}) leaves nothing of time_min ({self.time_min}); make it smaller"
            )
        if self.resources.workers * self.threads > self.cpus and not self.gpus:
            raise ValueError(
                f"{self.resources.workers} workers of {self.threads} threads need more than the {self.cpus} cpus of a "
                "task, which slows all of them; raise cpus or lower workers"
            )
        return self

    def without(self, nodes: Sequence[str]) -> Self:
        """The same, but for these nodes, which are left out beside those that are already."""
        before = str(self.sbatch.get("exclude", ""))
        excluded = ",".join(filter(None, [before, *(node for node in nodes if node not in before.split(","))]))
        return self.model_copy(update={"sbatch": self.sbatch | {"exclude": excluded}}) if excluded else self

    @property
    def resources(self) -> Resources:
        """The workers of one task."""
        workers = self.workers or self.gpus or max(1, self.cpus // self.threads)
        return Resources(workers, self.threads, "cuda" if self.gpus else "cpu", self.gpus)


def follow_up_profile(profile: Profile) -> Profile:
    """Its own small resources; the tasks' partition, account, set-up and nodes left out."""
    small = profile.follow_up
    own = {name: getattr(small, name) for name in ("time_min", "mem_gb", "cpus", "sbatch")}
    own |= {name: value for name in ("partition", "account", "qos") if (value := getattr(small, name)) is not None}
    own |= {"gpus": 0, "signal_s": 30, "array_parallelism": 1, "workers": 1}
    return profile.model_copy(update=own).without(str(profile.sbatch.get("exclude", "")).split(","))


def profile_folders() -> list[Path]:
    """Where a profile is looked for by name."""
    return [Path("slurm/profiles"), Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser() / "memexp"]


def find_profile(name: str) -> Path:
    """The file of a profile: a path, or a name in one of :func:`profile_folders`.

    Raises
    ------
    InputError
        If there is none; names those that there are.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    for folder in profile_folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted({path.stem for folder in profile_folders() for path in folder.glob("*.yaml")})
    places = " nor ".join(str(folder / f"{name}.yaml") for folder in profile_folders())
    raise InputError(
        f"no profile {name!r}: neither {places} exists. "
        + (f"There are: {', '.join(known)}" if known else "Write one")
        + "; or give the path of a YAML file with --profile"
    )


def read_profile(name: str) -> Profile:
    """Read a profile by name or path.

    Raises
    ------
    SpecError
        With every fault of the file and its line.
    """
    profile, _ = read_yaml(find_profile(name), Profile, "profile")
    return profile
