"""Status: counts from the store and receipts, then what Slurm says of its tasks; starts without torch."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from memexp.slurm.scheduler import SchedulerError
from memexp.slurm.tasks import ALIVE, FollowUp, Queue, Task, bad_nodes, job_log, read_queue
from memexp.spec.sampling_error import trials_for, worst_case_se
from memexp.store.launches import Launch, read_launches
from memexp.store.lock import lock_holder
from memexp.store.manifest import Manifest, read_manifest
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_receipts
from memexp.store.trials import DONE, FAILED, MISSING, TrialStore

_RECENT_SECONDS = 600.0
_LOG_LINES = 3


@dataclass(frozen=True)
class Problem:
    """Tasks (or follow-up jobs) that ended, or wait, for the same cause, and one of them as an example.

    ``log``: the last lines of the example's log.
    """

    state: str
    cause: str
    count: int
    task: str
    job_id: str
    node: str
    log: list[str]


@dataclass(frozen=True)
class StandardError:
    """Of memorization: see :func:`memexp.spec.sampling_error.worst_case_se`.

    Attributes
    ----------
    now, end
        At worst, with the trials done and with all of the spec's; None without trials.
    goal
        What the spec asks for, or None.
    measured, measured_trials
        Median over the examples when estimates were last made, and from how many trials; None before.
    trials_left
        To the goal, or None.
    """

    now: float | None
    end: float | None
    goal: float | None
    measured: float | None
    measured_trials: int | None
    trials_left: int | None


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes
    ----------
    done, failed, missing
        Trials by state.
    trials_per_hour
        Speed over the last finished blocks; None before the first.
    seconds_left
        At that speed; None if unknown.
    worker_hours
        Time that workers spent on committed blocks.
    launcher
        Host and process that trains the run now, or None.
    failures
        Number of failed trials by reason.
    worker_hours_left
        What the missing trials will need at the median time of those trained; None if unknown.
    tasks
        Slurm tasks by state (see :class:`memexp.slurm.tasks.Task`); empty for a run trained locally.
    problems
        Slurm tasks that ended without finishing, or will not start soon, by cause.
    follow_up
        State of the follow-up job: alive as of a task; otherwise nobody will submit what is missing, and
        ``unfollowed`` says why. None if there is none, or if nothing is missing.
    unfollowed
        Follow-up jobs that are gone though tasks wait or run, or blocks are missing.
    bad_nodes
        Nodes where tasks failed again and again while others did well elsewhere.
    scheduler
        Why Slurm could not be asked; None if it answered or was not needed.
    gave_up
        Why the follow-up job of the last launch stopped submitting; None if it did not.
    standard_error
        Now, at the end, and to the goal; None for a design without a ratio.
    gpus_per_worker
        Of the last Slurm launch: worker hours times this are GPU hours. None without GPUs.
    """

    run: str
    done: int
    failed: int
    missing: int
    trials_per_hour: float | None
    seconds_left: float | None
    worker_hours: float
    launcher: dict[str, object] | None
    failures: dict[str, int]
    worker_hours_left: float | None = None
    tasks: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    follow_up: str | None = None
    unfollowed: list[Problem] = field(default_factory=list)
    bad_nodes: list[str] = field(default_factory=list)
    scheduler: str | None = None
    gave_up: str | None = None
    standard_error: StandardError | None = None
    gpus_per_worker: float | None = None

    @property
    def trials(self) -> int:
        """All trials of the spec."""
        return self.done + self.failed + self.missing

    @property
    def exit_code(self) -> int:
        """0 all done, 1 settled but some failed, 3 some are missing."""
        return 3 if self.missing else 1 if self.failed else 0


def read_status(root: Path) -> Status:
    """Count the trials of a run."""
    paths = RunPaths.of_run(root)
    manifest = read_manifest(paths)  # refuses what this version cannot read
    store = TrialStore(paths.trials)
    states = store.status()
    counts = {state: int((states == state).sum()) for state in (DONE, FAILED, MISSING)}
    receipts = sorted(read_receipts(paths), key=lambda receipt: receipt.finished)
    speed = None
    if receipts:
        newest = receipts[-1].finished
        recent = [r for r in receipts if newest - r.finished < _RECENT_SECONDS]
        began = min(r.finished - r.seconds for r in recent)
        speed = 3600 * sum(len(r.trained) for r in recent) / max(newest - began, 1e-3)
    # Reasons differ in their numbers; the words before the first number group them.
    reasons = Counter(_without_numbers(reason) for r in receipts for reason in r.failures.values())
    per_trial = statistics.median(r.seconds / len(r.trained) for r in receipts if r.trained) if receipts else None
    missing = store.missing_blocks()
    launches = read_launches(paths, "slurm")
    queue, silence = _ask_slurm(paths, missing) if launches else (Queue([], []), None)
    tasks = queue.tasks
    gave_up = (launches[-1].gave_up or None) if launches and missing else None
    waiting = [each for each in queue.follow_ups if each.alive]
    return Status(
        run=str(root),
        done=counts[DONE],
        failed=counts[FAILED],
        missing=counts[MISSING],
        trials_per_hour=speed,
        seconds_left=counts[MISSING] / speed * 3600 if speed and counts[MISSING] else None,
        worker_hours=sum(r.seconds for r in receipts) / 3600,
        launcher=lock_holder(paths),
        failures=dict(reasons),
        worker_hours_left=per_trial * counts[MISSING] / 3600 if per_trial is not None else None,
        tasks=dict(Counter(task.state for task in tasks)),
        problems=_problems(paths, tasks),
        follow_up=(waiting or queue.follow_ups)[-1].state if queue.follow_ups else None,
        unfollowed=[] if gave_up else _unfollowed(paths, queue),
        bad_nodes=bad_nodes(paths, tasks),
        scheduler=silence,
        gave_up=gave_up,
        standard_error=_standard_error(paths, manifest, counts),
        gpus_per_worker=_gpus_per_worker(launches),
    )


def _gpus_per_worker(launches: Sequence[Launch]) -> float | None:
    resources = launches[-1].resources if launches else {}
    return resources["gpus"] / resources["workers"] if resources.get("gpus") else None


def _standard_error(paths: RunPaths, manifest: Manifest, counts: dict[int, int]) -> StandardError | None:
    ratio = manifest.science["subsets"].get("ratio")
    if ratio is None:
        return None
    done, missing = counts[DONE], counts[MISSING]
    try:
        goal = yaml.safe_load(paths.spec.read_text(encoding="utf-8"))["subsets"].get("target_se")
    except (OSError, yaml.YAMLError):
        goal = None
    try:
        estimates = json.loads((paths.estimates / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError):  # absent, or being replaced
        estimates = {}
    return StandardError(
        now=worst_case_se(ratio, done) if done else None,
        end=worst_case_se(ratio, done + missing) if done + missing else None,
        goal=goal,
        measured=estimates.get("median_se"),
        measured_trials=estimates.get("trials"),
        trials_left=max(0, trials_for(ratio, goal) - done) if goal is not None else None,
    )


def _ask_slurm(paths: RunPaths, missing: list[int]) -> tuple[Queue, str | None]:
    """Jobs of the run, and why Slurm could not be asked."""
    try:
        return read_queue(paths, missing), None
    except SchedulerError as error:
        return Queue([], []), str(error)


def _problems(paths: RunPaths, tasks: list[Task]) -> list[Problem]:
    groups: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        if task.state == "stuck" or task.state not in (*ALIVE, "done") or (task.state == "pending" and task.waits):
            groups.setdefault((task.state, _without_numbers(task.cause)), []).append(task)
    found = []
    for (state, _), alike in groups.items():
        last = alike[-1]
        lines = _last_lines(paths, last)
        name = f"{last.launch} task {last.number}"
        found.append(Problem(state, last.cause, len(alike), name, last.job_id, last.node, lines))
    return sorted(found, key=lambda problem: -problem.count)


def _unfollowed(paths: RunPaths, queue: Queue) -> list[Problem]:
    return [
        Problem(each.state, each.cause, 1, f"{each.launch} follow-up", each.job_id, "", _last_lines(paths, each))
        for each in queue.unfollowed
        if not paths.cancelled(each.launch).exists()  # then that is what the user wanted
    ]


def _last_lines(paths: RunPaths, job: Task | FollowUp) -> list[str]:
    log = job_log(paths, job)
    return log.read_text(errors="replace", encoding="utf-8").splitlines()[-_LOG_LINES:] if log and log.is_file() else []


def _without_numbers(reason: str) -> str:
    """ "in_accuracy 0.31 is below min_in_accuracy 0.9" -> "in_accuracy is below min_in_accuracy"."""
    return " ".join(word for word in reason.split() if not word.replace(".", "").isdigit())
