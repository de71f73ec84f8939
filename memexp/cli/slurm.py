"""What ``launch`` and ``resume`` say of a submission, and their options for Slurm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memexp.brief import counted
from memexp.cli.console import duration, out, remark, show
from memexp.errors import InputError, command

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from memexp.runs.plan import Plan
    from memexp.runs.run import Run
    from memexp.runs.software import Accept
    from memexp.slurm.profile import Profile
    from memexp.store.goal import Goal

AcceptSoftware = Annotated[
    bool, typer.Option("--accept-software", help="Go on although memexp or a library is not what it was before.")
]
TasksGone = Annotated[
    bool, typer.Option("--tasks-gone", help="Go on where Slurm cannot be asked: the run's earlier tasks are gone.")
]
Take = Annotated[
    float,
    typer.Option(min=0, max=1, help="Take over this share of the tasks that wait in the queue, such as 0.5."),
]
AllNodes = Annotated[bool, typer.Option("--all-nodes", help="Leave out no node, whatever tasks met there.")]


def profile_names(incomplete: str) -> list[str]:
    """Names of profiles that begin so, for the shell's completion."""
    from memexp.slurm.profile import profile_files

    return sorted({path.stem for path in profile_files() if path.stem.startswith(incomplete)})


def submit(
    run: Run,
    profile: Profile,
    seconds: float | None,
    accept: Accept,
    only: Collection[str] | None = None,
    until: Goal | None = None,
    take: float = 0.0,
) -> int:
    """Submit the missing blocks; the exit code: 3 where nothing was since tasks are in the queue already, else 0."""
    from memexp.launch.submission import submit as hand_over
    from memexp.slurm.packing import tasks_of_a_block

    done = hand_over(run, profile, seconds, accept, only, until, take)
    root, launch = run.paths.root, done.launch
    again = [("follow-up", f"job {job} submitted again, since the tasks had lost theirs") for job in done.follow_ups]
    if launch is None:
        queued = f"{counted(done.queued, 'task', 'is', 'are')} in the queue already"
        text = queued if done.queued else "no block is missing"
        text = str(done.until) if done.until else text
        next_step = command("status" if done.queued else "report", root)
        show([("submitted", f"nothing: {text}"), *again, ("next", next_step)])
        return 3 if done.queued else 0
    jobs = ", ".join(str(job.job_id) for job in launch.jobs)
    tasks = sum(job.count for job in launch.jobs)
    blocks = max(map(len, launch.tasks))
    handed = f"{counted(tasks, 'task')} of up to {counted(blocks, 'block')}"
    rows = [("submitted", f"{handed} as Slurm job{'s' if len(launch.jobs) > 1 else ''} {jobs}")]
    if seconds:
        workers = profile.resources.workers
        each, turns = -(-blocks // workers) * seconds, tasks_of_a_block(seconds, profile)
        if turns > 1:
            rows.append(("block", f"about {duration(seconds)}: {turns} tasks, each goes on where the last stopped"))
        else:
            rows.append(("task", f"about {duration(each)} of {profile.time_min} min ({counted(workers, 'worker')})"))
    if launch.follow_up is not None and launch.follow_up.job_id:
        rows.append(("follow-up", f"job {launch.follow_up.job_id} estimates, or submits again what is missing"))
    if launch.until is not None:
        rows.append(("until", str(launch.until)))
    if launch.left_out:
        nodes = ", ".join(sorted(launch.left_out))
        rows.append(("left out", f"{nodes}: tasks failed there again and again (--all-nodes takes them back)"))
    if done.left or done.why:
        rows.append(("left", f"{counted(done.left, 'block')}: {done.why}"))
    show([*rows, *again, ("next", command("status", root, "--watch"))])
    out.say(str(root))
    return 0


def left_to_profile(profile: Profile | None, workers: int | None, threads: int, device: str) -> None:
    """Refuse options that say how to train on this machine where a profile does."""
    given = {"--workers": workers is not None, "--threads": threads != 1, "--device": device != "auto"}
    names = [name for name, is_given in given.items() if is_given]
    if profile is not None and names:
        raise InputError(
            f"{', '.join(names)}: for training on this machine; on Slurm the profile says it (workers, threads, gpus)"
        )


def block_sizes(profile: Profile | None, runs: Path, block: int | None) -> Callable[[Plan], int | None]:
    """Trials of a run's blocks; ``block`` is what the user gives, and None stands for the usual number."""
    from memexp.launch.submission import fitting_block

    def size(plan: Plan) -> int | None:
        fitting = block if profile is None else fitting_block(plan, runs, profile, block)
        if fitting is not None and fitting != block:
            name = plan.spec.name
            remark(f"{name}: blocks of {fitting}, so that a slow GPU finishes one in a task (--block changes it)")
        return fitting

    return size


def show_scripts(scripts: list[tuple[str, str]]) -> None:
    """Title and text of batch scripts, then what Slurm would do with each."""
    if not scripts:
        show([("scripts", "none: no block is missing")])
        return
    for title, text in scripts:
        out.rule(title, style="")
        out.say(text)
    from memexp.launch.submission import try_scripts

    out.rule("sbatch --test-only", style="")
    show(try_scripts(scripts))
