"""Give a run's missing blocks to Slurm, as arrays of tasks, and leave nothing running here.

submitit writes the batch scripts and starts one small function with a run's path and a task's number;
outcomes go to the store only. A follow-up job starts when all tasks have ended, however they ended.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError

from memexp.errors import command
from memexp.files import KEPT, explain_full_disk
from memexp.runs.run import Run
from memexp.slurm import scheduler
from memexp.slurm.job import run_task
from memexp.slurm.limits import Limits, read_limits
from memexp.slurm.packing import pack, require_fitting, split
from memexp.slurm.profile import Profile, follow_up_profile
from memexp.slurm.scheduler import SchedulerError
from memexp.slurm.tasks import Queue, alive, read_queue
from memexp.store.commit import recover
from memexp.store.launches import Job, Launch, new_id, read_launch, read_launches
from memexp.store.lock import launch_lock

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
        Blocks that were not submitted, and ``why``.
    """

    launch: Launch | None
    queued: int = 0
    follow_ups: tuple[str, ...] = ()
    left: int = 0
    why: str = ""


@dataclass(frozen=True)
class Prepared:
    """Tasks and jobs before they are submitted; ``left``: blocks in no job, and ``why``."""

    tasks: list[list[int]]
    jobs: list[Job]
    left: int
    why: str


def launch_slurm(
    run: Run,
    profile: Profile,
    seconds_per_block: float | None,
    then: Entry,
    wanted: Sequence[int] | None = None,
    idle_rounds: int = 0,
    after: str | None = None,
) -> Submitted:
    """Submit the missing blocks that no live task has, and the job that follows them.

    Where an earlier launch has live tasks but no follow-up job any more, that is submitted again.

    Parameters
    ----------
    seconds_per_block
        For :func:`memexp.slurm.packing.pack`.
    then
        What the follow-up job runs, with the run's path and the launch's id: :func:`memexp.slurm.follow.follow`.
    wanted
        Only these blocks.
    idle_rounds
        Rounds before this one that finished no block.
    after
        The launch whose follow-up job asks, if one does; nothing is submitted once that was cancelled.

    Raises
    ------
    RunBusy
        If another process launches the run now.
    SchedulerError
        If Slurm does not answer, or refuses all of it.
    """
    with launch_lock(run.paths), explain_full_disk(run.paths.root, KEPT):
        store = run.store(writable=True)
        recover(run.paths, store)
        if after is not None and run.paths.cancelled(after).exists():
            return Submitted(None)
        missing = store.missing_blocks()
        _settle(run)
        queue = read_queue(run.paths, missing, history=False)
        queued = alive(queue.tasks)
        again = _follow_again(run, queue, profile, then, after)
        taken = {block for each in queued for block in each.missing}
        chosen = set(missing if wanted is None else wanted) - taken
        blocks = [block for block in missing if block in chosen]
        if not blocks:
            return Submitted(None, len(queued), again)
        launch_id = new_id(run.paths)
        prepared = prepare(run, launch_id, profile, blocks, seconds_per_block, read_limits(profile))
        launch = Launch(
            launch_id, "slurm", prepared.tasks, asdict(profile.resources), profile.model_dump(mode="json"),
            prepared.jobs, Job(f"{run.spec.name}.{launch_id}.next"), idle_rounds, store.layout.n_blocks - len(missing),
        )  # fmt: skip
        launch.write(run.paths)
        launch, refused = _submit(run, launch, profile, then)
        left = prepared.left + sum(len(tasks) for tasks in launch.tasks) - _submitted_blocks(launch)
        return Submitted(launch, len(queued), again, left, refused or prepared.why)


def _submitted_blocks(launch: Launch) -> int:
    return sum(len(blocks) for number, blocks in enumerate(launch.tasks) if launch.job_of(number))


def prepare(
    run: Run,
    launch_id: str,
    profile: Profile,
    blocks: Sequence[int],
    seconds_per_block: float | None,
    limits: Limits,
) -> Prepared:
    """Tasks and arrays of a launch, as many as the limits allow."""
    require_fitting(seconds_per_block, run.manifest.block_size, profile, new=False)
    tasks = pack(blocks, seconds_per_block, profile)
    why = "" if seconds_per_block else "the first tasks measure the time of a trial; the follow-up submits the rest"
    most = min(number for number in (limits.room, profile.max_tasks, len(tasks)) if number is not None)
    if most < len(tasks):
        limit = "max_tasks of the profile" if most == profile.max_tasks else limits.what
        why = f"the limit of {most} more jobs is reached ({limit}); the follow-up job submits the rest"
        tasks = tasks[:most]
        if not tasks:
            raise SchedulerError(
                f"Slurm's limit of submitted jobs ({limits.what}: {limits.max_submit}, with one for the follow-up) is "
                f"reached by the {limits.used} jobs that are in the queue; run "
                f"`{command('resume', run.paths.root)}` when some of them have ended, or name a profile "
                "with another qos or account"
            )
    jobs = [
        Job(f"{run.spec.name}.{launch_id}.{number}", part.start, len(part))
        for number, part in enumerate(split(len(tasks), limits.max_array))
    ]
    return Prepared(tasks, jobs, len(blocks) - sum(map(len, tasks)), why)


# ---------------------------------------------------------------------------------------- submission


def _submit(run: Run, launch: Launch, profile: Profile, then: Entry) -> tuple[Launch, str]:
    """Submit array after array, each noted in the launch's file at once; why it stopped early, if it did."""
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
    """Mend the notes of launches whose process was killed in between: we hold the lock, so it is gone."""
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
        with _outside_any_job():
            if len(calls) == 1:
                function, arguments = calls[0]
                return str(executor.submit(function, *arguments).job_id)
            with executor.batch():
                jobs = [executor.submit(function, *arguments) for function, arguments in calls]
        return str(jobs[0].job_id).partition("_")[0]
    except (FailedSubmissionError, submitit.core.utils.FailedJobError, OSError) as error:
        for leftover in {*folder.glob("*.pkl"), *folder.glob(".submission_file_*")} - before:
            leftover.unlink(missing_ok=True)
        _cancel_by_name(job.name)
        raise SchedulerError(_explain(str(error), profile)) from error


@contextmanager
def _outside_any_job() -> Iterator[None]:
    """Without the variables of a job that we may run in, which sbatch would take as options."""
    cluster = os.environ.get("SLURM_CONF")
    with submitit.helpers.clean_env():
        if cluster is not None:
            os.environ["SLURM_CONF"] = cluster
        yield


def _cancel_by_name(name: str) -> None:
    """A controller that answers too late has accepted the job nevertheless."""
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
        additional_parameters=extra | {key.replace("_", "-"): value for key, value in profile.sbatch.items()},
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
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text
