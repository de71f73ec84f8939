"""The profile: where trials train on a Slurm cluster. Never part of a run's identity."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from memexp.errors import InputError
from memexp.runs.pool import KEEP_EVERY_SECONDS, Resources
from memexp.spec.sections import NUMBER, Flag
from memexp.spec.subsets import Count, PositiveInt
from memexp.spec.user_paths import user_path
from memexp.spec.yaml_file import read_yaml
from memexp.spec.yaml_text import Unquoted, short

# sbatch options that memexp decides itself, or that change what sbatch says or does; the rest may be given under
# ``sbatch``. Where a key of the profile says the same, it is named.
_OURS = {
    "account": "account", "cpus-per-task": "cpus", "mem": "mem_gb", "partition": "partition", "qos": "qos",
    "time": "time_min", "chdir": "", "array": "", "dependency": "", "error": "", "job-name": "", "no-requeue": "",
    "nodes": "", "ntasks": "", "ntasks-per-node": "", "open-mode": "", "output": "", "requeue": "", "signal": "",
    "wrap": "", "help": "", "parsable": "", "quiet": "", "test-only": "", "usage": "", "version": "", "wait": "",
}  # fmt: skip
_OPTION = r"[a-z][a-z0-9]*([-_][a-z0-9]+)+|[a-z][a-z0-9]+"  # a long name


def _one_line(text: str) -> str:
    """sbatch reads its options line by line, and a line of the user's own must not become one."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must be one line, without control characters")
    return text


def _variable(name: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("must be a variable's name: letters, digits and _, no digit first")
    return name


Line = Annotated[str, AfterValidator(_one_line)]
Variable = Annotated[str, AfterValidator(_variable)]
# What the follow-up job does not take over from the tasks: it computes on one processor of any node...
_OF_TASKS = re.compile(
    r"gres.*|gpu.*|tres.*|exclusive|.*-per-.*|.*cores.*|.*sockets.*|.*threads.*|mincpus|licenses|tmp|bb|bbf"
)
# ... and, in another partition than theirs, what names their nodes.
_OF_NODES = re.compile(r"constraint|cluster-constraint|prefer|nodelist|nodefile|reservation|switches|contiguous")


def _option(value: Any) -> Any:
    value = value.switch if isinstance(value, Unquoted) and value.switch is not None else value
    if not isinstance(value, str | int | float):
        raise ValueError(f"{short(value)}: must be text, a number, true or false")
    return value


SbatchOption = Annotated[Line | int | float | bool, BeforeValidator(_option)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Place(_Block):
    """What a job asks the scheduler for; sbatch's options of the same names."""

    partition: Line | None = Field(None, description="where the jobs go; the cluster's default where absent")
    account: Line | None = Field(None, description="whom the time is charged to")
    qos: Line | None = Field(None, description="quality of service")
    time_min: PositiveInt = Field(description="time limit of a task, minutes")
    mem_gb: Annotated[float, Field(gt=0), NUMBER] | None = Field(
        None, description="memory of a task; the cluster's default where absent"
    )
    cpus: PositiveInt = Field(1, description="processors of a task")
    sbatch: dict[str, SbatchOption] = Field(
        default={},
        description="further sbatch options by their long names, such as constraint: a100; true for options without a "
        "value, false to leave one away",
    )

    @model_validator(mode="after")
    def _leaves_ours(self) -> Place:
        keys = {key: key.replace("_", "-") for key in self.sbatch}
        if "clusters" in keys.values():
            raise ValueError(
                "sbatch must not set clusters: memexp submits to, and asks, the cluster of the machine it runs on; run "
                "it on a login node of that cluster, or set SLURM_CONF to its configuration, and remove the key"
            )
        # sbatch takes any beginning of an option that is not ambiguous
        ours = {key: [name for name in _OURS if name == key or name.startswith(key)] for key in sorted(keys.values())}
        if taken := [key for key in ours if key in _OURS]:
            named = [f"{_OURS[key]} for {key}" for key in taken if _OURS[key]]
            instead = f" (in the profile: {', '.join(named)})" if named else ""
            raise ValueError(f"sbatch must not set {', '.join(taken)}: memexp sets them itself{instead}; remove them")
        if odd := [key for key, name in keys.items() if not re.fullmatch(_OPTION, name) or ours[name]]:
            raise ValueError(
                f"sbatch: {', '.join(map(repr, odd))}: options are given by their whole long names, such as constraint"
            )
        return self

    @property
    def options(self) -> dict[str, str | int | float | bool]:
        """The further options as ``sbatch`` takes them."""
        return {key.replace("_", "-"): value for key, value in self.sbatch.items() if value is not False}


class FollowUp(Place):
    """The small job after a round of tasks. Partition, account and qos are the tasks' where absent here."""

    time_min: PositiveInt = Field(60, description="time limit of the follow-up job, minutes")
    mem_gb: Annotated[float, Field(gt=0), NUMBER] | None = Field(4, description="memory of the follow-up job")


class Profile(Place):
    """Where to train: the resources of one task, and how tasks are submitted."""

    gpus: Count = Field(0, description="GPUs of a task")
    workers: PositiveInt | None = Field(
        None, description="worker processes side by side in a task; one per GPU, or one per processor, where absent"
    )
    threads: PositiveInt = Field(1, description="processor threads of each worker")
    compile: Literal["auto", "off"] = Field(
        "off",
        description="auto: each worker compiles networks on its GPU, once for all of its trials; where the node has no "
        "C compiler it trains as with off, and its log says so; not measured on a GPU yet",
    )
    array_parallelism: PositiveInt = Field(256, description="tasks of an array that may run at once")
    max_tasks: PositiveInt | None = Field(None, description="submit at most so many tasks at a time")
    max_idle_rounds: PositiveInt = Field(
        3, description="give up after so many rounds of submission in a row that finished no block"
    )
    signal_s: PositiveInt = Field(120, description="seconds before the time limit at which a task is told to stop")
    checkpoint_s: PositiveInt = Field(
        int(KEEP_EVERY_SECONDS), description="seconds between two checkpoints of a block, where it trains for longer"
    )
    seconds_per_trial: Annotated[float, Field(gt=0), NUMBER] | None = Field(
        None, description="time of a trial on one worker, for planning; measured where absent"
    )
    leave_out_nodes: Flag = Field(
        True, description="leave out nodes where tasks fail again and again while others do well elsewhere, for a day"
    )
    setup: list[str] = Field(default=[], description="shell lines before Python: modules, conda, containers")
    python: Line | None = Field(None, description="Python on the compute nodes; the launching one where absent")
    env: dict[Variable, str] = Field(default={}, description="environment variables of the tasks")
    follow_up: FollowUp = Field(default=FollowUp(), description="resources of the job that follows each round")
    keep_logs: Flag = Field(
        False, description="keep every file of logs/; where false, a task whose blocks are finished leaves one log"
    )
    on_end: Line | None = Field(
        None,
        description="shell command that the follow-up job runs when the run has ended; RUN is the run's folder, STATE "
        "complete, failed (some trials) or gave_up, REASON why it gave up",
    )

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

    def without(self, nodes: Iterable[str]) -> Self:
        """The same, but for these nodes, which are left out beside those that are already."""
        before = str(self.sbatch.get("exclude", ""))
        excluded = ",".join(filter(None, [before, *(node for node in nodes if node not in before.split(","))]))
        return self.model_copy(update={"sbatch": self.sbatch | {"exclude": excluded}}) if excluded else self

    def starts_as(self, other: Profile) -> bool:
        """Whether tasks are started in the same way, so that what failed with one would fail with the other."""

        def start(profile: Profile) -> dict[str, Any]:
            keys = profile.model_dump(exclude=_PLANNING)
            return keys | {"sbatch": {key: value for key, value in profile.options.items() if key != "exclude"}}

        return start(self) == start(other)

    @property
    def resources(self) -> Resources:
        """The workers of one task."""
        workers = self.workers or self.gpus or max(1, self.cpus // self.threads)
        device = "cuda" if self.gpus else "cpu"
        return Resources(workers, self.threads, device, self.gpus, self.checkpoint_s, self.compile)


# Keys that say how many tasks there are, and nothing of how one starts.
_PLANNING = {
    "array_parallelism", "follow_up", "keep_logs", "leave_out_nodes", "max_idle_rounds", "max_tasks", "on_end",
    "seconds_per_trial",
}  # fmt: skip


def follow_up_profile(profile: Profile) -> Profile:
    """Its own small resources; the tasks' partition, account, set-up and options.

    Options that ask for hardware are the tasks' alone, and so are those that name nodes if the follow-up job goes to
    another partition. ``follow_up.sbatch`` comes first; false there drops an option.
    """
    small = profile.follow_up
    own = {name: getattr(small, name) for name in ("time_min", "mem_gb", "cpus")}
    own |= {name: value for name in ("partition", "account", "qos") if (value := getattr(small, name)) is not None}
    own |= {"gpus": 0, "signal_s": 30, "array_parallelism": 1, "workers": 1}
    moves = small.partition is not None and small.partition != profile.partition
    taken = {
        key: value
        for key, value in profile.options.items()
        if not (_OF_TASKS.fullmatch(key) or (moves and _OF_NODES.fullmatch(key)))
    }
    given = {key.replace("_", "-"): value for key, value in small.sbatch.items()}
    return profile.model_copy(update=own | {"sbatch": taken | given})


def noted_profile(noted: Any, where: Path) -> Profile:
    """The profile that a launch was made with.

    Raises
    ------
    InputError
        If this memexp refuses it, as it may one of an earlier version.
    """
    try:
        return Profile.model_validate(noted)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise InputError(
            f"the profile noted in {where} cannot be used: {faults}. Name a mended one with --profile"
        ) from error


def profile_folders() -> list[Path]:
    """Where a profile is looked for by name."""
    return [Path("slurm/profiles"), user_path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "memexp"]


def profile_files() -> list[Path]:
    """The profiles that have a name, folder by folder."""
    return [path for folder in profile_folders() for path in sorted(folder.glob("*.yaml"))]


def find_profile(name: str) -> Path:
    """The file of a profile: a path, or a name in one of :func:`profile_folders`.

    Raises
    ------
    InputError
        If there is none; names those that there are.
    """
    path = user_path(name)
    if name.endswith((".yaml", ".yml")):
        return path
    user_path(f"{name}.yaml")
    for folder in profile_folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted({path.stem for path in profile_files()})
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
