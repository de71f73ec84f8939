"""Give a run's missing blocks to Slurm, as arrays of tasks, and leave nothing running here.

submitit writes the batch scripts and starts one small function with a run's path and a task's number;
outcomes go to the store only. A follow-up job starts when all tasks have ended, however they ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from memexp.errors import InputError, command
from memexp.files import KEPT, explain_unwritable
from memexp.runs.run import Run, grow
from memexp.runs.software import NOTHING, Accept, require_same_software
from memexp.slurm import scheduler
from memexp.slurm.job import run_task
from memexp.slurm.limits import read_limits
from memexp.slurm.nodes import bad_nodes, nodes_to_leave_out
from memexp.slurm.packing import Prepared, prepare
from memexp.slurm.profile import Profile, follow_up_profile
from memexp.slurm.sbatch import Call, submit_job
from memexp.slurm.scheduler import SchedulerError
from memexp.slurm.tasks import Queue, Task, alive, read_queue
from memexp.store.checkpoints import checkpoint_shares
from memexp.store.commit import recover
from memexp.store.goal import Goal
from memexp.store.launches import Job, Launch, new_id, read_launch, read_launches
from memexp.store.lock import launch_lock
from memexp.store.trials import TrialStore

Entry = Callable[[str, str], None]


@dataclass(frozen=True)
class Submitted:
    """What :func:`launch_slurm` did.

    Attributes
    ----------
    launch
        The submission; None if there was nothing to submit.
    queued
        Tasks of earlier launches that are still alive.
    follow_ups
        Follow-up jobs submitted again for earlier launches, which had lost theirs.
    left
        Blocks that were not submitted, and ``why``; ``until``: the goal, where that is why nothing was.
    """

    launch: Launch | None
    queued: int = 0
    follow_ups: tuple[str, ...] = ()
    left: int = 0
    why: str = ""
    until: Goal | None = None


def launch_slurm(
    run: Run,
    profile: Profile,
    seconds_per_block: float | None,
    then: Entry,
    wanted: Sequence[int] | None = None,
    idle_rounds: int = 0,
    after: str | None = None,
    accept: Accept = NOTHING,
    until: Goal | None = None,
    take: float = 0.0,
) -> Submitted:
    """Submit the missing blocks that no live task has, and the job that follows them, also one that live tasks lost.

    Parameters
    ----------
    seconds_per_block
        For :func:`memexp.slurm.packing.pack`.
    then
        What the follow-up job runs, with the run's path and the launch's id: :func:`memexp.slurm.follow.follow`.
    wanted, idle_rounds
        Only these blocks; rounds before this one that finished no block.
    after
        The launch whose follow-up job asks, if one does; nothing is submitted once that was cancelled.
    accept, until, take
        What the user accepts knowingly; what these trials are a round of; the share of waiting tasks to take over.

    Raises
    ------
    InputError
        If other software trained the run so far, Slurm could not write logs at its path, or no task waits.
    RunBusy
        If another process launches the run now.
    SchedulerError
        If Slurm does not answer, or refuses all of it.
    """
    require_plain_path(run.paths.root)
    with launch_lock(run.paths), explain_unwritable(run.paths.root, KEPT):
        store = run.store(writable=True)
        recover(run.paths, store)
        if after is not None and run.paths.cancelled(after).exists():
            return Submitted(None)
        _settle(run)
        queue = read_queue(run.paths, store.missing_blocks(), elsewhere_is_gone=accept.lost_queue)
        missing = (store := _grown(run, store, accept)).missing_blocks()
        queued, taken = _shared(run, alive(queue.tasks), take)
        again = _follow_again(run, queue, profile, then, after)
        blocks = _untaken(missing if wanted is None else wanted, missing, queued)
        if not blocks:
            return Submitted(None, len(queued), again)
        if not accept.software:
            require_same_software(run, trains_here=False)
        launch, limited, prepared = _planned(run, queue, profile, blocks, seconds_per_block)
        launch = replace(launch, idle_rounds=idle_rounds, settled=store.layout.n_blocks - len(missing))
        kept = sum(checkpoint_shares(run.paths, missing).values())
        launch = replace(launch, kept=kept, accepted=accept.software, until=until)
        launch.write(run.paths)  # before the first job: one that starts at once reads its blocks here
        launch, refused = _submit(run, launch, limited, then)
        _cancel_taken(taken, launch)
        return Submitted(launch, len(queued), again, prepared.left + _refused(launch), refused or prepared.why)


def _grown(run: Run, store: TrialStore, accept: Accept) -> TrialStore:
    """The store with room for all trials of the spec; one that would be refused has not grown."""
    if not accept.software and run.spec.subsets.trials > store.layout.n_trials:
        require_same_software(run, trains_here=False)
    return grow(run)


def _untaken(wanted: Sequence[int], missing: Sequence[int], queued: Sequence[Task]) -> list[int]:
    """The wanted ones of the missing blocks that no live task has."""
    chosen = set(wanted) - {block for each in queued for block in each.missing}
    return [block for block in missing if block in chosen]


def _shared(run: Run, queued: Sequence[Task], share: float) -> tuple[list[Task], list[Task]]:
    """Tasks that stay as they are, and the share of those that wait, which would start last, to be taken over."""
    waiting = [task for task in queued if task.state in ("pending", "stuck") and task.job_id and task.missing]
    if share and not waiting:
        root = run.paths.root
        raise InputError(f"{root} has no task that waits, so there is none to take; see `{command('status', root)}`")
    waiting.sort(key=lambda task: (task.launch, task.number))
    taken = waiting[len(waiting) - math.ceil(share * len(waiting)) :]
    return [task for task in queued if task not in taken], taken


def _cancel_taken(taken: Sequence[Task], launch: Launch) -> None:
    """Cancel the tasks whose blocks a new launch has; one that starts meanwhile trains what that then leaves out."""
    places = [range(job.first, job.first + job.count) for job in launch.jobs]
    submitted = {block for place in places for number in place for block in launch.tasks[number]}
    scheduler.cancel([task.job_id for task in taken if submitted.issuperset(task.missing)])


def _planned(
    run: Run, queue: Queue, profile: Profile, blocks: Sequence[int], seconds_per_block: float | None
) -> tuple[Launch, Profile, Prepared]:
    """The launch before its submission; the profile without bad nodes, which only this submission has; its jobs."""
    cluster = scheduler.configuration()
    left_out = nodes_to_leave_out(bad_nodes(run.paths, queue.tasks, profile), profile)
    limited, launch_id = profile.without(left_out), new_id(run.paths)
    prepared = prepare(run, launch_id, limited, blocks, seconds_per_block, read_limits(profile, cluster))
    launch = Launch(
        launch_id, "slurm", prepared.tasks, asdict(profile.resources), profile.model_dump(mode="json"), prepared.jobs,
        Job(f"{run.spec.name}.{launch_id}.next"), cluster=cluster.get("ClusterName", ""), left_out=left_out,
    )  # fmt: skip
    return launch, limited, prepared


def require_plain_path(root: Path) -> None:
    """Refuse a path that ``sbatch`` would read otherwise than it stands there.

    Raises
    ------
    InputError
        If the run's path has a character with a meaning in paths of logs.
    """
    path = str(root.resolve())
    found = sorted({character for character in path if character in "%\\" or not character.isprintable()})
    if found:
        raise InputError(
            f"the path {path!r} has {', '.join(map(repr, found))}, which Slurm replaces in the paths of logs and "
            "tasks; choose another --runs, or another name of the spec"
        )


def _refused(launch: Launch) -> int:
    """Blocks of its tasks that are in no job."""
    return sum(len(blocks) for number, blocks in enumerate(launch.tasks) if not launch.job_of(number))


# ---------------------------------------------------------------------------------------- submission


def _submit(run: Run, launch: Launch, profile: Profile, then: Entry) -> tuple[Launch, str]:
    """Submit one array after the other, each noted at once; the launch, and why it stopped early, if it did."""
    refused = ""
    for job in launch.jobs:
        calls: list[Call] = [
            (run_task, [str(run.paths.root.resolve()), launch.launch_id, number])
            for number in range(job.first, job.first + job.count)
        ]
        try:
            job_id = submit_job(run.paths.logs / job.name, job, profile, calls)
        except SchedulerError as error:
            refused = str(error)
            break
        launch = launch.with_job_id(job.name, job_id)
        launch.write(run.paths)
    # Tasks without a job stay in the launch's file as missing: the next round submits their blocks.
    launch = replace(launch, jobs=[job for job in launch.jobs if job.job_id])
    if not launch.jobs:
        (run.paths.launches / f"{launch.launch_id}.json").unlink()
        raise SchedulerError(f"Slurm refused the tasks of {run.paths.root}: {refused}. Nothing was submitted")
    launch.write(run.paths)
    assert launch.follow_up is not None
    try:
        launch = _submit_follow_up(
            run, launch, profile, then, launch.follow_up.name, [str(job.job_id) for job in launch.jobs]
        )
    except SchedulerError as error:
        refused = f"the follow-up job was refused ({error}); run `{command('resume', run.paths.root)}` later yourself"
    return launch, refused


def _submit_follow_up(
    run: Run, launch: Launch, profile: Profile, then: Entry, name: str, jobs: Iterable[str]
) -> Launch:
    """Submit the job that starts when these have ended, and note it in the launch's file."""
    call: Call = (then, [str(run.paths.root.resolve()), launch.launch_id])
    small = follow_up_profile(profile)
    job_id = submit_job(run.paths.logs / name, Job(name), small, [call], "afterany:" + ":".join(jobs))
    launch = replace(launch, follow_up=Job(name, job_id=job_id), gave_up="")
    launch.write(run.paths)
    return launch


def _follow_again(run: Run, queue: Queue, profile: Profile, then: Entry, after: str | None) -> tuple[str, ...]:
    """Submit a follow-up job for live tasks that have none any more; the one that asks is about to end."""
    busy: dict[str, set[str]] = {}
    for task in alive(queue.tasks):
        busy.setdefault(task.launch, set()).add(task.job_id.partition("_")[0])
    submitted = []
    for each in queue.follow_ups:
        jobs = sorted(busy.get(each.launch, set()) - {""})
        if jobs and (not each.alive or each.launch == after):
            stem, _, number = each.name.rpartition(".next")
            name = f"{stem}.next{int(number or 1) + 1}"
            launch = _submit_follow_up(run, read_launch(run.paths, each.launch), profile, then, name, jobs)
            submitted.append(str(launch.follow_up and launch.follow_up.job_id))
    return tuple(submitted)


def _settle(run: Run) -> None:
    """Mend the notes of launches whose process was killed (we hold the lock): jobs are found by their names."""
    for launch in read_launches(run.paths, "slurm"):
        names = [job.name for job in (*launch.jobs, launch.follow_up) if job and job.job_id is None]
        for element in scheduler.elements(names, launch.when, history=False).values():
            launch = launch.with_job_id(element.name, element.job_id.partition("_")[0])
        if any(job.job_id is None for job in launch.jobs):
            launch = replace(launch, jobs=[job for job in launch.jobs if job.job_id])
        if names:
            launch.write(run.paths)
