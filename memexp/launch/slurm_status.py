"""What Slurm says of a run: its tasks by state, what is wrong with them, and the job that follows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from memexp.errors import InputError
from memexp.slurm.scheduler import SchedulerError
from memexp.slurm.tasks import ALIVE, FollowUp, Queue, Task, job_log, read_queue
from memexp.store.launches import Launch, read_launches
from memexp.store.paths import RunPaths

_LOG_LINES = 3


@dataclass(frozen=True)
class Problem:
    """Tasks (or follow-up jobs) that ended, or wait, for the same cause, and one of them as an example.

    Attributes
    ----------
    state, cause
        As of a task.
    count
        How many.
    task, job_id, node
        Of the example.
    log
        The last lines of the example's log.
    """

    state: str
    cause: str
    count: int
    task: str
    job_id: str
    node: str
    log: list[str]


@dataclass(frozen=True)
class SlurmStatus:
    """Where the Slurm tasks of a run stand; all empty for a run that was trained on one machine.

    Attributes
    ----------
    tasks
        Slurm tasks by state (see :class:`memexp.slurm.tasks.Task`).
    problems
        Slurm tasks that ended without finishing, or will not start soon, by cause.
    held
        Ids of the jobs that wait until somebody releases them.
    follow_up
        State of the follow-up job: alive as of a task; otherwise nobody will submit what is missing, and
        ``unfollowed`` says why. None if there is none, or if nothing is missing and none is alive.
    unfollowed
        Follow-up jobs that are gone though tasks wait or run, or blocks are missing.
    bad_nodes
        Nodes where tasks failed again and again while others did well elsewhere.
    scheduler
        Why Slurm could not be asked; None if it answered or was not needed.
    gave_up
        Why the follow-up job of the last launch stopped submitting; None if it did not.
    gpus_per_worker
        Of the last Slurm launch: worker hours times this are GPU hours. None without GPUs.
    """

    tasks: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    follow_up: str | None = None
    unfollowed: list[Problem] = field(default_factory=list)
    bad_nodes: list[str] = field(default_factory=list)
    scheduler: str | None = None
    gave_up: str | None = None
    gpus_per_worker: float | None = None


def read_slurm_status(paths: RunPaths, missing: list[int]) -> SlurmStatus:
    """Ask Slurm about the tasks of a run; ``missing``: blocks that are not finished."""
    launches = read_launches(paths, "slurm")
    if not launches:
        return SlurmStatus()
    queue, silence = _ask(paths, missing)
    gave_up = (launches[-1].gave_up or None) if missing else None
    waiting = [each for each in queue.follow_ups if each.alive]
    follow_up = (waiting or (queue.follow_ups if missing else []))[-1:]
    return SlurmStatus(
        tasks=dict(Counter(task.state for task in queue.tasks)),
        problems=_problems(paths, queue.tasks),
        held=_held(queue),
        follow_up=follow_up[0].state if follow_up else None,
        unfollowed=[] if gave_up or not missing else _unfollowed(paths, queue),
        bad_nodes=_bad_nodes(paths, queue.tasks, launches[-1]) if missing else [],
        scheduler=silence,
        gave_up=gave_up,
        gpus_per_worker=_gpus_per_worker(launches[-1]),
    )


def _held(queue: Queue) -> list[str]:
    """Numbers of the arrays and jobs; of an array all that is held is released at once."""
    ids = [task.job_id for task in queue.tasks if task.held] + [each.job_id for each in queue.follow_ups if each.held]
    return list(dict.fromkeys(job_id.partition("_")[0] for job_id in ids))


def without_numbers(reason: str) -> str:
    """The words that group reasons: "in_accuracy 0.31 is below min_in_accuracy 0.9" and such."""
    return " ".join(word for word in reason.split() if not word.replace(".", "").isdigit())


def _ask(paths: RunPaths, missing: list[int]) -> tuple[Queue, str | None]:
    """Jobs of the run, and why Slurm could not be asked."""
    try:
        return read_queue(paths, missing, leftovers=True), None
    except SchedulerError as error:
        if not missing:  # Slurm is not needed any more
            return read_queue(paths, missing), None
        return Queue([], []), str(error)


def _bad_nodes(paths: RunPaths, tasks: Sequence[Task], last: Launch) -> list[str]:
    from memexp.slurm.nodes import bad_nodes
    from memexp.slurm.profile import noted_profile

    try:
        return sorted(bad_nodes(paths, tasks, noted_profile(last.profile, paths.launches)))
    except InputError:  # a profile of an earlier memexp
        return []


def _gpus_per_worker(last: Launch) -> float | None:
    return last.resources["gpus"] / last.resources["workers"] if last.resources.get("gpus") else None


def _problems(paths: RunPaths, tasks: Sequence[Task]) -> list[Problem]:
    groups: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        if task.state == "stuck" or task.state not in (*ALIVE, "done") or (task.state == "pending" and task.waits):
            groups.setdefault((task.state, without_numbers(task.cause)), []).append(task)
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
    if log is None or not log.is_file():
        return []
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
