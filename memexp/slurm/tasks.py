"""What became of the jobs that were given to Slurm: the store first, then the queue, then the accounting."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memexp.errors import RunBusy, command
from memexp.slurm import scheduler
from memexp.slurm.attempts import read_attempts
from memexp.slurm.scheduler import Element, SchedulerError
from memexp.store.launches import Launch, read_launch, read_launches
from memexp.store.paths import RunPaths

ALIVE = ("pending", "running", "stuck")
# Ends by Slurm's word; a task whose blocks are all finished is done whatever Slurm says.
_ENDS = {
    "TIMEOUT": "timeout", "DEADLINE": "timeout", "OUT_OF_MEMORY": "oom", "CANCELLED": "cancelled",
    "NODE_FAIL": "node_fail", "BOOT_FAIL": "node_fail", "PREEMPTED": "preempted", "FAILED": "failed",
    "COMPLETED": "returned",
}  # fmt: skip
ENDS = tuple(dict.fromkeys([*_ENDS.values(), "lost"]))
# After a submission the queue may not show a job for a moment.
_NEW = timedelta(seconds=60)
LOST_QUEUE = "--tasks-gone"


@dataclass(frozen=True)
class Task:
    """One array element and what became of it.

    Attributes
    ----------
    launch, number
        Which task.
    missing
        Its blocks that are not finished yet.
    state
        ``done``; alive: ``pending``, ``running``, ``stuck`` (will not start by itself); ended with
        blocks missing: ``timeout``, ``oom``, ``failed``, ``cancelled``, ``node_fail``, ``preempted``,
        ``returned`` (it stopped in time and handed the rest back) or ``lost`` (Slurm does not know it).
    job_id, node
        Empty where unknown.
    cause
        What is known of why it ended or waits.
    waits
        Whether it waits for more than its turn, such as a limit of its user.
    held
        Whether it waits until somebody releases it.
    """

    launch: str
    number: int
    missing: list[int]
    state: str
    job_id: str = ""
    node: str = ""
    cause: str = ""
    waits: bool = False
    held: bool = False


@dataclass(frozen=True)
class FollowUp:
    """The job that follows the tasks of a launch, and what became of it.

    Attributes
    ----------
    launch
        Which launch's.
    name
        The job's name; empty where there never was one.
    state
        As of a task; ``returned``: it ran to its end. ``refused``: Slurm did not take it.
    job_id
        Empty where unknown.
    cause
        Why it waits, or how it ended.
    held
        Whether it waits until somebody releases it.
    """

    launch: str
    name: str
    state: str
    job_id: str = ""
    cause: str = ""
    held: bool = False

    @property
    def alive(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ALIVE


@dataclass(frozen=True)
class Queue:
    """What Slurm has of a run.

    Attributes
    ----------
    tasks
        The newest Slurm task of every block.
    follow_ups
        Of the launches that have missing blocks, or that were asked about because nothing is missing; oldest first.
    """

    tasks: list[Task]
    follow_ups: list[FollowUp]

    @property
    def unfollowed(self) -> list[FollowUp]:
        """Those that no longer wait though there is something to follow: nobody would submit what is left."""
        busy = {task.launch for task in alive(self.tasks)}
        if busy:
            return [each for each in self.follow_ups if each.launch in busy and not each.alive]
        return [] if any(each.alive for each in self.follow_ups) else self.follow_ups[-1:]


def read_queue(
    paths: RunPaths,
    missing: Collection[int],
    history: bool = True,
    elsewhere_is_gone: bool = False,
    leftovers: bool = False,
) -> Queue:
    """The newest Slurm task of every block, and the follow-up jobs; at most two calls of the scheduler.

    Parameters
    ----------
    paths
        The run.
    missing
        Blocks that are not finished, from the store.
    history
        Also ask the accounting how tasks ended.
    elsewhere_is_gone
        Take tasks that were given to another cluster for lost.
    leftovers
        If nothing is missing, ask for what Slurm still has: second copies of tasks, which may be held, and the
        follow-up jobs that wait for them.

    Raises
    ------
    SchedulerError
        If the scheduler does not answer, or is not the one that has the tasks.
    """
    missing = set(missing)
    launches = read_launches(paths, "slurm")
    open_launches = [
        launch for launch in launches if _open(launch, missing) or (leftovers and not missing and _ahead(paths, launch))
    ]
    names = [job.name for launch in open_launches for job in (*launch.jobs, launch.follow_up) if job]
    found = scheduler.elements(names, open_launches[0].when, history and bool(missing)) if names else {}
    if not elsewhere_is_gone:
        require_cluster_of(open_launches, found)
    tasks: list[Task] = []
    claimed: set[int] = set()
    for launch in reversed(launches):  # a block belongs to the newest task that has it
        for number, blocks in enumerate(launch.tasks):
            mine = [block for block in blocks if block in missing and block not in claimed]
            tasks.append(_state(paths, launch, number, mine, found))
            claimed |= {block for block in mine if tasks[-1].state != "unsubmitted"}
    submitted = [task for task in reversed(tasks) if task.state != "unsubmitted"]
    return Queue(submitted, [_follow_up(paths, launch, found) for launch in open_launches])


def read_tasks(paths: RunPaths, missing: Collection[int], history: bool = True) -> list[Task]:
    """The tasks of :func:`read_queue`."""
    return read_queue(paths, missing, history).tasks


def require_cluster_of(launches: Sequence[Launch], found: Mapping[tuple[str, int], Element]) -> None:
    """Refuse to take tasks for lost that another cluster has; asks the scheduler only if some are unknown to it.

    Raises
    ------
    SchedulerError
        If launches without any known job were submitted to another cluster than the one that answers here.
    """
    known = {name for name, _ in found}
    unknown = {launch.cluster for launch in launches if not known & {job.name for job in launch.jobs}} - {""}
    here = scheduler.configuration().get("ClusterName", "") if unknown else ""
    if elsewhere := sorted(unknown - {here}):
        raise SchedulerError(
            f"tasks were submitted to the cluster {', '.join(elsewhere)}, and the one that answers here is {here}: run "
            "this on a machine that submits to the former"
        )


def _ahead(paths: RunPaths, launch: Launch) -> bool:
    """Whether the follow-up job of a launch is still to come."""
    return not (launch.followed or launch.gave_up or paths.cancelled(launch.launch_id).exists())


def _open(launch: Launch, missing: Collection[int]) -> bool:
    return any(block in missing for blocks in launch.tasks for block in blocks)


def _state(
    paths: RunPaths, launch: Launch, number: int, missing: list[int], found: Mapping[tuple[str, int], Element]
) -> Task:
    task = Task(launch.launch_id, number, missing, "done")
    place = launch.job_of(number)
    if place is None:
        return replace(task, state="unsubmitted")
    job, index = place
    element = found.get((job.name, index))
    if not missing:  # a copy that is held keeps the follow-up job waiting
        return replace(task, held=True, job_id=element.job_id) if element is not None and element.held else task
    state, cause = _of_element(paths, launch, element)
    if state not in ALIVE:
        cause = last_error(paths, task) or cause
    if element is None:
        return replace(task, state=state, cause=cause)
    task = replace(task, waits=element.limited, held=element.held)
    return replace(task, state=state, cause=cause, job_id=element.job_id, node=element.node)


def _follow_up(paths: RunPaths, launch: Launch, found: Mapping[tuple[str, int], Element]) -> FollowUp:
    job = launch.follow_up
    if job is None:
        return FollowUp(launch.launch_id, "", "refused")
    element = found.get((job.name, 0))
    state, cause = _of_element(paths, launch, element)
    if element is None and job.job_id is None and state != "cancelled":
        state, cause = "refused", "Slurm did not take it"
    job_id, held = (element.job_id, element.held) if element else (job.job_id or "", False)
    return FollowUp(launch.launch_id, job.name, state, job_id, cause, held)


def _of_element(paths: RunPaths, launch: Launch, element: Element | None) -> tuple[str, str]:
    """State and cause of a launch's job by what Slurm says of it."""
    if element is None:
        if paths.cancelled(launch.launch_id).exists():
            return "cancelled", "stopped by `memexp cancel`"
        new = datetime.now(UTC) - launch.when < _NEW
        return "pending" if new else "lost", "unknown to Slurm"
    if element.stuck:
        return "stuck", f"waits: {element.reason}"
    if not element.ended:
        return "running" if element.state == "RUNNING" else "pending", element.reason
    return _ENDS[element.state], f"Slurm says {element.state}"


def job_log(paths: RunPaths, task: Task | FollowUp) -> Path | None:
    """What the job's batch script printed; None if it never started."""
    if isinstance(task, FollowUp):
        return paths.logs / task.name / f"{task.job_id}_0_log.out" if task.job_id else None
    launch = read_launch(paths, task.launch)
    element = element_of(launch, task.number)
    return paths.logs / element[0] / f"{element[1]}_0_log.out" if element else None


def element_of(launch: Launch, number: int) -> tuple[str, str] | None:
    """Name of the job, which is the folder of its files below logs/, and id of a task; None if it has no job."""
    place = launch.job_of(number)
    if place is None or place[0].job_id is None:
        return None
    job, index = place
    return job.name, f"{job.job_id}" if job.count == 1 else f"{job.job_id}_{index}"


def last_error(paths: RunPaths, task: Task) -> str:
    """Why the last attempt ended, in its own words; empty if it was killed without a word."""
    attempts = [attempt for _, attempt in read_attempts(paths, task.launch, task.number)]
    return (attempts[-1].error or "") if attempts else ""


def seconds_of_unfinished(paths: RunPaths) -> float | None:
    """Seconds that a block would have taken, by tasks that met their time limit before they finished one."""
    return max(filter(None, (attempt.seconds_per_block for _, attempt in read_attempts(paths))), default=None)


def alive(tasks: Sequence[Task]) -> list[Task]:
    """Tasks that wait or run."""
    return [task for task in tasks if task.state in ALIVE]


def refuse_if_queued(paths: RunPaths, missing: Collection[int]) -> None:
    """Raise if Slurm will train, or is training, some of the missing blocks, or cannot say whether it does.

    Raises
    ------
    RunBusy
        If tasks wait or run.
    SchedulerError
        If Slurm cannot be asked about tasks that may be alive. A launch on this machine that is newer than they has
        asked already.
    """
    launches = read_launches(paths)
    newest = [launch for launch in launches[::-1] if _open(launch, set(missing))][:1]
    try:
        tasks = alive(read_tasks(paths, missing, history=False))
    except SchedulerError as error:
        if newest and newest[0].backend == "slurm":
            raise SchedulerError(
                f"{paths.root} has tasks that were given to Slurm, and whether some are alive cannot be asked "
                f"({error}). Go on where Slurm answers; if they are gone for sure, as in a copy of a run: {LOST_QUEUE}"
            ) from error
        return
    if tasks:
        raise RunBusy(
            f"{paths.root} has {len(tasks)} tasks in Slurm's queue. Watch them with "
            f"`{command('status', paths.root)}`, or stop them first with `{command('cancel', paths.root)}`"
        )
