"""Give a run's missing blocks to Slurm, as arrays of tasks, and leave nothing running here.

submitit writes the batch scripts and starts one small function with a run's path and a task's number;
outcomes go to the store only. A follow-up job starts when all tasks have ended, however they ended.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError

from memexp.errors import InputError, command
from memexp.files import KEPT, explain_unwritable
from memexp.runs.run import Run, grow
from memexp.runs.software import NOTHING, Accept, require_same_software
from memexp.slurm import scheduler
from memexp.slurm.environment import in_slurm_environment
from memexp.slurm.job import run_task
from memexp.slurm.limits import read_limits
from memexp.slurm.nodes import bad_nodes, nodes_to_leave_out
from memexp.slurm.packing import Prepared, prepare
from memexp.slurm.profile import Profile, follow_up_profile
from memexp.slurm.scheduler import NoSlurm, SchedulerError
from memexp.slurm.tasks import Queue, Task, alive, read_queue
from memexp.store.commit import recover
from memexp.store.goal import Goal
from memexp.store.launches import Job, Launch, new_id, read_launch, read_launches
from memexp.store.lock import launch_lock
from memexp.store.trials import TrialStore

Entry = Callable[[str, str], None]
Call = tuple[Callable[..., None], list[Any]]


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
) -> Submitted:
    """Submit the missing blocks that no live task has, and the job that follows them.

    Where an earlier launch has live tasks but no follow-up job any more, that is submitted again.

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
    accept, until
        What the user accepts knowingly; what these trials are a round of.

    Raises
    ------
    InputError
        If the run was trained by other software so far, or Slurm could not write logs at its path.
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
        queued = alive(queue.tasks)
        again = _follow_again(run, queue, profile, then, after)
        blocks = _untaken(missing if wanted is None else wanted, missing, queued)
        if not blocks:
            return Submitted(None, len(queued), again)
        if not accept.software:
            require_same_software(run, trains_here=False)
        launch, limited, prepared = _planned(run, queue, profile, blocks, seconds_per_block)
        settled = store.layout.n_blocks - len(missing)
        launch = replace(launch, idle_rounds=idle_rounds, settled=settled, accepted=accept.software, until=until)
        launch.write(run.paths)  # before the first job: one that starts at once reads its blocks here
        launch, refused = _submit(run, launch, limited, then)
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


def submit_job(folder: Path, job: Job, profile: Profile, calls: Sequence[Call], dependency: str | None = None) -> str:
    """Submit one array (or a single job) and give its number.

    Raises
    ------
    SchedulerError
        If Slurm refuses it. If the answer was lost though the job exists, the job is cancelled first.
    """
    before = set(folder.glob("*.pkl")) if folder.exists() else set()
    executor = make_executor(folder, job.name, profile, dependency)
    try:
        with in_slurm_environment():
            if len(calls) == 1:
                return str(executor.submit(calls[0][0], *calls[0][1]).job_id)
            with executor.batch():
                jobs = [executor.submit(function, *arguments) for function, arguments in calls]
        return str(jobs[0].job_id).partition("_")[0]
    except (FailedSubmissionError, submitit.core.utils.FailedJobError, OSError) as error:
        for leftover in {*folder.glob("*.pkl"), *folder.glob(".submission_file_*")} - before:
            leftover.unlink(missing_ok=True)
        _cancel_by_name(job.name)
        raise SchedulerError(_explain(str(error), profile)) from error


def _cancel_by_name(name: str) -> None:
    """Cancel a job whose number is unknown: a controller that answered too late may have accepted it."""
    try:
        scheduler.call("scancel", "--name", name)
    except SchedulerError:
        return  # it refused, or is away; tasks that find no instructions end by themselves


def _explain(said: str, profile: Profile) -> str:
    lines = [line.removeprefix("sbatch: error: ").strip() for line in said.splitlines() if "sbatch" in line]
    text = "; ".join(dict.fromkeys(lines)) or said.strip()
    if "SubmitJob" in text or "submit limit" in text:
        return f"{text}. Lower max_tasks in the profile (now {profile.max_tasks or 'unlimited'})"
    return text


def make_executor(folder: Path, name: str, profile: Profile, dependency: str | None = None) -> submitit.SlurmExecutor:
    """submitit's executor for jobs of this profile.

    Without ``srun``: it costs the controller a call for each task. Python replaces the batch shell, so
    that signals sent to the batch shell (``B:``) reach it.
    """
    if shutil.which("srun") is None:  # submitit looks for it, as a sign of a cluster
        raise NoSlurm("srun is not here; run this on a machine that submits to Slurm")
    executor = submitit.SlurmExecutor(folder, python=f"exec {profile.python or shlex.quote(sys.executable)}")
    extra = {"ntasks": 1, "requeue": True, "signal": f"B:USR2@{profile.signal_s}"}
    if profile.gpus:
        extra["gpus-per-node"] = profile.gpus
    wanted = {
        "job_name": name, "time": profile.time_min, "cpus_per_task": profile.cpus,
        "mem": f"{round(1024 * profile.mem_gb)}MB" if profile.mem_gb else None,
        "partition": profile.partition, "account": profile.account, "qos": profile.qos, "dependency": dependency,
    }  # fmt: skip
    executor.update_parameters(
        **{key: value for key, value in wanted.items() if value is not None},
        setup=[*profile.setup, *(f"export {key}={shlex.quote(value)}" for key, value in profile.env.items())],
        additional_parameters=extra | profile.options,
        array_parallelism=profile.array_parallelism,
        use_srun=False,
        stderr_to_stdout=True,
        wckey=None,
    )
    return executor


def batch_script(folder: Path, name: str, profile: Profile, count: int, dependency: str | None = None) -> str:
    """The very script that a submission hands to ``sbatch``."""
    executor = make_executor(folder, name, profile, dependency)
    if count > 1:
        executor.parameters["map_count"] = count
    return str(executor._make_submission_file_text(executor._submitit_command_str, ""))
