"""What ``launch`` and ``resume`` do with a profile: submit, say what was submitted, and return."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from memexp.cli.console import duration, out, remark, show
from memexp.errors import InputError, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memexp.runs.plan import Plan
    from memexp.runs.run import Run
    from memexp.slurm.profile import Profile


def seconds_per_block(run: Run, profile: Profile, plan: Plan) -> float | None:
    """From the profile, from what the run has trained, or from a few steps here; None if only the GPUs can tell."""
    from memexp.runs.pilot import seconds_per_trial
    from memexp.slurm import follow

    known = follow.seconds_per_block(run, profile)
    if known is not None or profile.gpus:
        return known
    return seconds_per_trial(plan) * run.manifest.block_size


def require_fitting_blocks(plan: Plan, runs: Path, profile: Profile, block: int | None) -> None:
    """Refuse, before the run is there, blocks that a task could never finish: their size cannot change afterwards."""
    from memexp.runs.pilot import seconds_per_trial
    from memexp.runs.run import default_block_size
    from memexp.slurm.packing import require_fitting

    if (runs / plan.spec.name).exists():
        return  # its blocks are what they are, and what it trained tells their time
    size = block or default_block_size(plan.data)
    seconds = profile.seconds_per_trial or (None if profile.gpus else seconds_per_trial(plan))
    require_fitting(seconds and seconds * size, size, profile, new=True)


def submit(run: Run, profile: Profile, seconds: float | None, wanted: Sequence[int] | None = None) -> NoReturn:
    """Submit the missing blocks; exit 3, since the trials are not trained yet, or 0 if none is missing."""
    from memexp.slurm.follow import follow
    from memexp.slurm.submit import launch_slurm

    done = launch_slurm(run, profile, seconds, follow, wanted)
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
    if done.left or done.why:
        rows.append(("left", f"{done.left} blocks: {done.why}"))
    show([*rows, *again, ("next", command("status", root, "--watch"))])
    out.say(str(root))
    raise typer.Exit(0)


def resume(run: Run, profile: Profile, only: str | None, changes: dict[str, Any]) -> NoReturn:
    """Submit what is missing again, perhaps only some of it and with other limits."""
    from memexp.slurm import follow
    from memexp.slurm.tasks import bad_nodes, read_tasks

    changed = profile.model_copy(update={key: value for key, value in changes.items() if value is not None})
    tasks = read_tasks(run.paths, set(run.store().missing_blocks()))
    nodes = bad_nodes(run.paths, tasks)
    if nodes:
        remark(f"leaving out {', '.join(nodes)}: nodes where tasks ended again and again")
    wanted = None
    if only is not None:
        states = _states(only)
        wanted = [block for task in tasks if task.state in states for block in task.missing]
        if not wanted:
            raise InputError(
                f"{run.paths.root} has no task that ended with {only}; see `{command('status', run.paths.root)}`"
            )
    changed = type(profile).model_validate(changed.without(nodes).model_dump())
    submit(run, changed, follow.seconds_per_block(run, changed), wanted)


def _states(only: str) -> set[str]:
    from memexp.slurm.tasks import ENDS

    states = {word.strip() for word in only.split(",")}
    unknown = sorted(states - set(ENDS))
    if unknown:
        raise InputError(f"--only {','.join(unknown)} is no way for a task to end; allowed: {', '.join(ENDS)}")
    return states


def show_scripts(plan: Plan, runs: Path, profile: Profile, block: int | None) -> None:
    """The batch scripts that a launch of this plan would submit now."""
    from memexp.runs.run import Run, default_block_size, describe, open_run
    from memexp.slurm.limits import read_limits
    from memexp.slurm.profile import follow_up_profile
    from memexp.slurm.submit import batch_script, prepare
    from memexp.store.paths import RunPaths

    paths = RunPaths(runs / plan.spec.name)
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
