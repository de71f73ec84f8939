"""A plan, or what is missing of a run, submitted to Slurm: what is known before ``sbatch`` is called."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from memexp.errors import InputError, command
from memexp.launch.until import next_round
from memexp.runs.plan import Plan
from memexp.runs.run import Run, default_block_size, describe, open_run
from memexp.runs.software import NOTHING, Accept
from memexp.slurm import follow
from memexp.slurm.limits import read_limits
from memexp.slurm.packing import largest_block, prepare, require_fitting
from memexp.slurm.profile import Profile, follow_up_profile
from memexp.slurm.rates import known_rate
from memexp.slurm.sbatch import batch_script, test_only
from memexp.slurm.scheduler import SchedulerError
from memexp.slurm.submit import Submitted, launch_slurm, require_plain_path
from memexp.slurm.tasks import ENDS, read_tasks
from memexp.store.goal import Goal
from memexp.store.paths import RunPaths

_measured: WeakKeyDictionary[Plan, float] = WeakKeyDictionary()  # seconds of a trial on a processor here


def seconds_per_block(run: Run, profile: Profile, plan: Plan | None = None) -> float | None:
    """From the profile, what the run has trained, a probe of its GPUs, or a few steps here; None if unknown."""
    known = follow.seconds_per_block(run, profile)
    if known is not None or plan is None:
        return known
    if not profile.gpus:
        return _seconds_per_trial(plan) * run.manifest.block_size
    rate = known_rate(run.paths.root.parent, profile)
    seconds = rate and _seconds_on_gpu(plan, rate)
    # What is only reckoned refuses nothing: too long, the first tasks find out.
    return seconds * run.manifest.block_size if seconds and seconds < 60 * profile.time_min / 2 else None


def _seconds_on_gpu(plan: Plan, rate: dict[str, float] | None) -> float | None:
    from memexp.runs.arithmetic import seconds_on_gpu  # torch

    return seconds_on_gpu(plan, rate)


def _seconds_per_trial(plan: Plan) -> float:
    """By a few steps here, taken once for a plan: its blocks are fitted and its tasks are packed by the same time."""
    if plan not in _measured:
        from memexp.runs.pilot import seconds_per_trial  # torch, where nothing else tells

        _measured[plan] = seconds_per_trial(plan)
    return _measured[plan]


def fitting_block(plan: Plan, runs: Path, profile: Profile, block: int | None) -> int | None:
    """Trials of a block for a new run, None for the usual number: its blocks cannot change afterwards.

    Blocks that no task can finish are refused where the time of a trial is known. Of GPUs it is not: unless the user
    gives a number, blocks hold what the arithmetic of a trial lets a task finish even on a slow GPU.

    Raises
    ------
    InputError
        With what to change: of blocks, or of the run's path.
    """
    require_plain_path(runs / plan.spec.name)
    if (runs / plan.spec.name).exists():
        return block  # its blocks are what they are, and what it trained tells their time
    size = block or default_block_size(plan.data)
    seconds = profile.seconds_per_trial or (None if profile.gpus else _seconds_per_trial(plan))
    require_fitting(seconds and seconds * size, size, profile, True, plan.spec.resumable)
    if seconds is None and block is None:
        seconds = _seconds_on_gpu(plan, known_rate(runs, profile))
        fitting = size if seconds is None else largest_block(seconds, profile)
        return fitting if fitting < size else None
    return block


def submit(
    run: Run,
    profile: Profile,
    seconds: float | None,
    accept: Accept = NOTHING,
    only: Collection[str] | None = None,
    until: Goal | None = None,
    take: float = 0.0,
) -> Submitted:
    """Submit the missing blocks that no live task has.

    Parameters
    ----------
    seconds
        Of a block on one worker, see :func:`seconds_per_block`.
    accept
        What the user accepts knowingly.
    only
        Only blocks of tasks that ended so, such as ``timeout``.
    until
        What is trained for: a round that is finished is judged first, and the next one submitted.
    take
        Share of the tasks that wait in the queue whose blocks this profile takes over.

    Raises
    ------
    InputError
        If no task ended so, or there is no such way to end.
    """
    wanted = None
    if only is not None:
        if unknown := sorted(set(only) - set(ENDS)):
            raise InputError(f"--only {','.join(unknown)} is no way for a task to end; allowed: {', '.join(ENDS)}")
        tasks = read_tasks(run.paths, set(run.store().missing_blocks()))
        wanted = [block for task in tasks if task.state in only for block in task.missing]
        if not wanted:
            root = run.paths.root
            raise InputError(f"{root} has no task that ended with {','.join(only)}; see `{command('status', root)}`")
    size = run.store().layout.n_trials
    if until is not None and size >= until.trials and not run.missing():
        run, until = next_round(run, until)
        if until.ended:
            return Submitted(None, until=until)
    return launch_slurm(run, profile, seconds, follow.follow, wanted, accept=accept, until=until, take=take)


def changed_profile(profile: Profile, changes: dict[str, Any]) -> Profile:
    """The profile with other values; None changes nothing."""
    changed = profile.model_copy(update={key: value for key, value in changes.items() if value is not None})
    return type(profile).model_validate(changed.model_dump())


def scripts(plan: Plan, runs: Path, profile: Profile, block: int | None) -> list[tuple[str, str]]:
    """Title and text of each batch script that a launch of this plan would submit now; none if no block is missing."""
    paths = RunPaths(runs / plan.spec.name)
    require_plain_path(paths.root)
    if paths.manifest.is_file():
        run = open_run(paths.root)
        blocks = run.store().missing_blocks()
    else:
        run = Run(paths, plan.spec, describe(plan.spec, plan.data, block or default_block_size(plan.data)))
        blocks = list(range(plan.layout.n_blocks))
    if not blocks:
        return []
    prepared = prepare(run, "LAUNCH", profile, blocks, seconds_per_block(run, profile, plan), read_limits(profile))
    made = [
        (f"{job.name}: {job.count} tasks", batch_script(paths.logs / job.name, job.name, profile, job.count))
        for job in prepared.jobs
    ]
    name = f"{plan.spec.name}.LAUNCH.next"
    text = batch_script(paths.logs / name, name, follow_up_profile(profile), 1, "afterany:JOBS")
    return [*made, (f"{name}: follow-up", text)]


def try_scripts(made: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Ask Slurm what it would do with each of these scripts; nothing is submitted.

    Returns
    -------
    answers
        Name of the job, and when and where it would start.

    Raises
    ------
    InputError
        With every script that Slurm would refuse, and why.
    """
    answers, refused = [], []
    for title, text in made:
        name = title.partition(":")[0]
        try:
            answers.append((name, test_only(text)))
        except SchedulerError as error:
            refused.append(f"{name}: {error}")
    if refused:
        faults = "".join(f"\n  {fault}" for fault in refused)
        raise InputError(
            f"Slurm would refuse {len(refused)} of {len(made)} batch scripts; mend the profile (`sinfo` lists "
            f"partitions and their time limits, `sacctmgr show assoc user=$USER` your accounts):{faults}"
        )
    return answers
