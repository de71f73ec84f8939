"""What ``launch`` and ``resume`` do with a profile: submit, say what was submitted, and return."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from memexp.cli.console import duration, out, show
from memexp.errors import InputError, command

AcceptSoftware = Annotated[
    bool, typer.Option("--accept-software", help="Go on although memexp or a library is not what it was before.")
]
TasksGone = Annotated[
    bool, typer.Option("--tasks-gone", help="Go on where Slurm cannot be asked: the run's earlier tasks are gone.")
]
AllNodes = Annotated[bool, typer.Option("--all-nodes", help="Leave out no node, whatever tasks met there.")]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memexp.runs.plan import Plan
    from memexp.runs.run import Run
    from memexp.runs.software import Accept
    from memexp.slurm.profile import Profile


def accepting(software: bool, tasks_gone: bool) -> Accept:
    """What the user accepts knowingly, by the options."""
    from memexp.runs.software import Accept

    return Accept(software, tasks_gone)


def seconds_per_block(run: Run, profile: Profile, plan: Plan) -> float | None:
    """From the profile, from what the run has trained, or from a few steps here; None if only the GPUs can tell."""
    from memexp.runs.pilot import seconds_per_trial
    from memexp.slurm import follow

    known = follow.seconds_per_block(run, profile)
    if known is not None or profile.gpus:
        return known
    return seconds_per_trial(plan) * run.manifest.block_size


def require_fitting_blocks(plan: Plan, runs: Path, profile: Profile, block: int | None) -> None:
    """Refuse, before the run is there, what cannot change afterwards: its path, and blocks that no task can finish."""
    from memexp.runs.pilot import seconds_per_trial
    from memexp.runs.run import default_block_size
    from memexp.slurm.packing import require_fitting
    from memexp.slurm.submit import require_plain_path

    require_plain_path(runs / plan.spec.name)
    if (runs / plan.spec.name).exists():
        return  # its blocks are what they are, and what it trained tells their time
    size = block or default_block_size(plan.data)
    seconds = profile.seconds_per_trial or (None if profile.gpus else seconds_per_trial(plan))
    require_fitting(seconds and seconds * size, size, profile, new=True)


def submit(
    run: Run, profile: Profile, seconds: float | None, accept: Accept, wanted: Sequence[int] | None = None
) -> NoReturn:
    """Submit the missing blocks; exit 3, since the trials are not trained yet, or 0 if none is missing."""
    from memexp.slurm.follow import follow
    from memexp.slurm.submit import launch_slurm

    done = launch_slurm(run, profile, seconds, follow, wanted, accept=accept)
    root, launch = run.paths.root, done.launch
    again = [("follow-up", f"job {job} submitted again, since the tasks had lost theirs") for job in done.follow_ups]
    if launch is None:
        text = f"{done.queued} tasks are in the queue already" if done.queued else "no block is missing"
        next_step = command("status" if done.queued else "report", root)
        show([("submitted", f"nothing: {text}"), *again, ("next", next_step)])
        raise typer.Exit(3 if done.queued else 0)
    jobs = ", ".join(str(job.job_id) for job in launch.jobs)
    tasks = sum(job.count for job in launch.jobs)
    blocks = max(map(len, launch.tasks))
    rows = [("submitted", f"{tasks} tasks of up to {blocks} blocks as Slurm jobs {jobs}")]
    if seconds:
        workers = profile.resources.workers
        each = -(-blocks // workers) * seconds
        rows.append(("task", f"about {duration(each)} of {profile.time_min} min ({workers} workers)"))
    if launch.follow_up is not None and launch.follow_up.job_id:
        rows.append(("follow-up", f"job {launch.follow_up.job_id} estimates, or submits again what is missing"))
    if launch.left_out:
        nodes = ", ".join(sorted(launch.left_out))
        rows.append(("left out", f"{nodes}: tasks failed there again and again (--all-nodes takes them back)"))
    if done.left or done.why:
        rows.append(("left", f"{done.left} blocks: {done.why}"))
    show([*rows, *again, ("next", command("status", root, "--watch"))])
    out.say(str(root))
    raise typer.Exit(0)


def resume(run: Run, profile: Profile, only: str | None, changes: dict[str, Any], accept: Accept) -> NoReturn:
    """Submit what is missing again, perhaps only some of it and with other limits."""
    from memexp.slurm import follow
    from memexp.slurm.tasks import read_tasks

    changed = profile.model_copy(update={key: value for key, value in changes.items() if value is not None})
    wanted = None
    if only is not None:
        tasks = read_tasks(run.paths, set(run.store().missing_blocks()))
        states = _states(only)
        wanted = [block for task in tasks if task.state in states for block in task.missing]
        if not wanted:
            raise InputError(
                f"{run.paths.root} has no task that ended with {only}; see `{command('status', run.paths.root)}`"
            )
    changed = type(profile).model_validate(changed.model_dump())
    submit(run, changed, follow.seconds_per_block(run, changed), accept, wanted)


def _states(only: str) -> set[str]:
    from memexp.slurm.tasks import ENDS

    states = {word.strip() for word in only.split(",")}
    unknown = sorted(states - set(ENDS))
    if unknown:
        raise InputError(f"--only {','.join(unknown)} is no way for a task to end; allowed: {', '.join(ENDS)}")
    return states


def chosen_profile(executor: str, name: str | None, run: Run | None = None) -> Profile | None:
    """The profile to submit with, or None for training on this machine."""
    from memexp.slurm import scheduler
    from memexp.slurm.profile import noted_profile, read_profile
    from memexp.store.launches import read_launches

    if executor == "local":
        if name is not None:
            raise InputError(
                f"--executor local trains on this machine, without --profile {name}; leave one of them away"
            )
        return None
    if name is not None:
        return read_profile(name)
    last = read_launches(run.paths)[-1:] if run is not None else []
    if run is not None and last and last[0].backend == "slurm" and (executor == "slurm" or scheduler.is_here()):
        return noted_profile(last[0].profile, run.paths.launches / f"{last[0].launch_id}.json")
    if executor == "slurm" or (scheduler.is_here() and "SLURM_JOB_ID" not in os.environ):
        raise InputError(
            "this machine submits to Slurm: name a profile with --profile (`memexp doctor --profiles` lists them), "
            "or train right here with --executor local"
        )
    return None


def left_to_profile(profile: Profile | None, workers: int | None, threads: int, device: str) -> None:
    """Refuse options that say how to train on this machine where a profile does."""
    given = {"--workers": workers is not None, "--threads": threads != 1, "--device": device != "auto"}
    names = [name for name, is_given in given.items() if is_given]
    if profile is not None and names:
        raise InputError(
            f"{', '.join(names)}: for training on this machine; on Slurm the profile says it (workers, threads, gpus)"
        )


def show_scripts(plan: Plan, runs: Path, profile: Profile, block: int | None) -> None:
    """The batch scripts that a launch of this plan would submit now."""
    from memexp.runs.run import Run, default_block_size, describe, open_run
    from memexp.slurm.limits import read_limits
    from memexp.slurm.packing import prepare
    from memexp.slurm.profile import follow_up_profile
    from memexp.slurm.submit import batch_script, require_plain_path
    from memexp.store.paths import RunPaths

    paths = RunPaths(runs / plan.spec.name)
    require_plain_path(paths.root)
    if paths.manifest.is_file():
        run = open_run(paths.root)
        blocks = run.store().missing_blocks()
    else:
        run = Run(paths, plan.spec, describe(plan.spec, plan.data, block or default_block_size(plan.data)))
        blocks = list(range(plan.layout.n_blocks))
    if not blocks:
        show([("scripts", "none: no block is missing")])
        return
    seconds = seconds_per_block(run, profile, plan)
    prepared = prepare(run, "LAUNCH", profile, blocks, seconds, read_limits(profile))
    for job in prepared.jobs:
        out.rule(f"{job.name}: {job.count} tasks", style="")
        out.say(batch_script(paths.logs / job.name, job.name, profile, job.count))
    name = f"{plan.spec.name}.LAUNCH.next"
    out.rule(f"{name}: follow-up", style="")
    text = batch_script(paths.logs / name, name, follow_up_profile(profile), 1, "afterany:JOBS")
    out.say(text)
