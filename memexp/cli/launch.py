"""Commands that plan and train: plan, launch, resume."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from memexp.brief import counted, in_classes
from memexp.cli import slurm as cli_slurm
from memexp.cli import sweep as cli_sweep
from memexp.cli import watch as cli_watch
from memexp.cli.console import duration, err, out, print_json, progress, remark, show, size, spoken, stoppable
from memexp.cli.data import describe_classes, describe_images
from memexp.cli.slurm import AcceptSoftware, AllNodes, Take, TasksGone
from memexp.cli.watch import Json, RunPath
from memexp.errors import InputError, command

if TYPE_CHECKING:
    from memexp.runs.plan import Plan
    from memexp.runs.pool import Resources
    from memexp.runs.run import Run
    from memexp.runs.software import Accept
    from memexp.spec.reading import SpecFile
    from memexp.store.goal import Goal

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, or a sweep of it: a YAML file.")]
Runs = Annotated[Path, typer.Option(help="Folder below which runs are created.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes; 0: this one.", show_default="one per processor, GPU")
]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each worker.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")]
Executor = Annotated[
    Literal["auto", "local", "slurm"], typer.Option(help="On this machine, or as Slurm jobs (with a profile).")
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="Where to train on Slurm: a name in slurm/profiles/, or a YAML file.",
        autocompletion=cli_slurm.profile_names,
    ),
]


Until = Annotated[
    str | None,
    typer.Option(
        metavar="se=X[@Q]",
        help="Train in rounds, at most the spec's trials, until the standard error of memorization is X "
        "for half of the examples, or for a share Q.",
    ),
]


def plan(spec: SpecPath, device: Device = "auto", as_json: Json = False) -> None:
    """Check a spec and show its size, cost and expected error; write nothing."""
    from memexp.runs.plan import planner
    from memexp.spec.sweep import SweepFile, read_file

    given, planned = read_file(spec), planner()
    plans = [_plan(planned(file), device, as_json) for file in given.files]
    if as_json:
        print_json(plans if isinstance(given, SweepFile) else plans[0])


def _plan(made: Plan, device: str, as_json: bool) -> dict[str, Any]:
    """What a plan says as numbers, shown unless they are wanted as JSON."""
    from memexp.launch.where import local_resources
    from memexp.runs.pilot import seconds_per_trial
    from memexp.runs.pool import KEEP_EVERY_SECONDS
    from memexp.spec.identity import typed_json

    where = local_resources(device=device)
    seconds = seconds_per_trial(made, where.device)
    sample = "a few steps" if made.spec.trial is None else "the first trial"
    total, unit = seconds * made.layout.n_trials, "GPU" if where.gpus else "processor"
    workers = counted(where.workers, "worker")
    rows = [
        *_describe_plan(made),
        ("seconds per trial", f"{seconds:.3g} on one {unit} of this machine (measured on {sample})"),
        ("time", f"{duration(total / where.workers)} here with {workers}; {duration(total)} of one worker"),
    ]
    if made.spec.resumable and (block := seconds * made.layout.block_size) > KEEP_EVERY_SECONDS:
        often = duration(KEEP_EVERY_SECONDS)
        rows.append(("checkpoint", f"every {often}: a block, here {duration(block)}, may exceed a task's time limit"))
    if not as_json:
        show(rows)
    numbers = asdict(made.layout) | {"blocks": made.layout.n_blocks, "steps": made.steps, "subset": made.subset}
    more = {
        "device": where.device,
        "seconds_per_trial": seconds,
        "parameters": made.parameters,
        "megabytes": made.megabytes,
        "classes": made.class_counts,
        "training": typed_json((made.spec.trial or made.spec.training).model_dump(exclude={"file"})),
    }
    return {"name": made.spec.name} | numbers | more | {"notes": made.notes}


def _describe_plan(made: Plan, goal: Goal | None = None) -> list[tuple[str, str]]:
    from memexp.cli.recipe import recipe_rows
    from memexp.spec.sampling_error import lemma_bound, worst_case_se
    from memexp.spec.sections import UserTraining

    layout, subsets, training = made.layout, made.spec.subsets, made.spec.training
    tests, about = f"{layout.n_test:,}" if layout.n_test else "no", "about " if subsets.groups else ""
    if made.spec.trial is not None:
        length = f"by trial() of {made.spec.arch}"
    elif isinstance(training, UserTraining):
        length = f"by train() of {training.code.name}"
    else:
        length = f"for {counted(made.steps or 0, 'step')}"
    blocks = counted(layout.n_blocks, "block")
    rows = [
        ("name", made.spec.name),
        ("data", f"{layout.n_train:,} training and {tests} test examples{in_classes(len(made.data.classes))}"),
        *([("images", describe_images(made))] if made.spec.trial is None else []),
        ("classes", describe_classes(made)),
        *([("model", f"{made.spec.arch}, {made.parameters:,} parameters")] if made.spec.trial is None else []),
        ("trial", f"trains on {about}{made.subset:,} examples {length} ({subsets.design})"),
        *recipe_rows(made.spec),
        ("trials", f"{layout.n_trials:,} in {blocks} of {layout.block_size} (local tasks: one block each)"),
        ("disk", f"{size(made.megabytes)} at most"),
    ]
    if kept := min(made.spec.keep.weights, layout.n_trials):
        first = counted(kept, "trial", "is", "are")
        rows.append(("weights", f"of the first {first} kept: {size(made.weights_bytes / 1e6)} of these"))
    if subsets.ratio is not None and "score" not in made.spec.record:  # numbers may spread as they like
        worst, bound = (rule(subsets.ratio, layout.n_trials) for rule in (worst_case_se, lemma_bound))
        rows.append(("standard error", f"{worst:.3f} at worst (bound of Lemma 2.1: {bound:.3f})"))
    if subsets.target_se is not None:
        trials = counted(layout.n_trials, "trial")
        rows.append(("goal", f"standard error {subsets.target_se:g} at worst, hence {trials}"))
    if goal is not None:
        numbers = ", ".join(f"{look:,}" for look in goal.looks)
        rows.append(("until", f"{goal.what} at most {goal.se:g}; looked at with {numbers} trials"))
    return rows + [("note", note) for note in made.notes]


def launch(
    spec: SpecPath,
    executor: Executor = "auto",
    profile: ProfileName = None,
    runs: Runs = Path("runs"),
    workers: Workers = None,
    threads: Threads = 1,
    device: Device = "auto",
    block: Annotated[int | None, typer.Option(min=1, help="Trials committed together (new runs only).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show plan and batch scripts; write nothing.")] = False,
    until: Until = None,
    accept_software: AcceptSoftware = False,
    tasks_gone: TasksGone = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Create the run of a spec (or the runs of a sweep), or go on with it, and train what is missing."""
    from memexp.launch.launch import create_runs
    from memexp.launch.submission import scripts, seconds_per_block
    from memexp.launch.until import begin, first_look_is_late, read_aim
    from memexp.launch.where import choose_profile, local_resources
    from memexp.runs.plan import planner
    from memexp.runs.software import Accept
    from memexp.spec.sweep import SweepFile, read_file

    accept, aim = Accept(accept_software, tasks_gone), read_aim(until)
    remark(f"checking {spec}")
    given = read_file(spec)
    folder = runs / given.name if (sweep := isinstance(given, SweepFile)) else runs
    files, planned, where = given.files, planner(), choose_profile(executor, profile)
    planned(files[0])  # what is refused here does not import torch
    resources = local_resources(workers, threads, device) if where is None else None
    cli_slurm.left_to_profile(where, workers, threads, device)
    ask = not yes and sys.stdin.isatty()
    timed = where if not sweep or (where and where.gpus) else None  # a pilot of each run would take minutes
    size_of = cli_slurm.block_sizes(timed, folder, block)
    if sweep:  # all runs are checked, then all are created, before the first is trained
        if not _agreed(ask, f"Go on with {len(files)} runs?", map(planned, files), resources):
            return 3
        if not dry_run:
            _tell_left_out(folder, create_runs(files, planned, folder, size_of, aim))

    def launch_one(file: SpecFile) -> int:
        made = planned(file)
        _show_plan(made, aim and aim.goal(made.spec, block or made.layout.block_size), dry_run)
        if dry_run:
            if where is not None:
                cli_slurm.show_scripts(scripts(made, folder, where, size_of(made)))
            return 0
        if not _agreed(ask and not sweep, "Train now?", [made], resources):
            return 3
        run, goal = begin(made, folder, size_of(made), aim)
        if late := goal and first_look_is_late(run, goal):
            remark(late)
        if resources is not None:
            return _train(run, resources, accept, goal)
        assert where is not None
        return cli_slurm.submit(run, where, seconds_per_block(run, where, made), accept, until=goal)

    return cli_sweep.in_turn(files, launch_one)


def _show_plan(made: Plan, goal: Goal | None, alone: bool) -> None:
    """On standard output where that is all, otherwise beside what is told of the launch."""
    rows = _describe_plan(made, goal)
    show(rows if alone else [(f"  {name}", value) for name, value in rows], out if alone else err)


def _tell_left_out(folder: Path, names: list[str]) -> None:
    if names:
        remark(f"{folder} also holds {', '.join(names)}, which the sweep's file no longer names: left out from now on")


def _agreed(ask: bool, question: str, plans: Iterable[Plan], resources: Resources | None) -> bool:
    """Whether to go on, once trials, time here and disk are told. Plans come one by one, as each may hold much data."""
    sizes = [(made.layout.n_trials, made.megabytes, _seconds(made, resources) if ask else None) for made in plans]
    if not ask:
        return True
    trials, megabytes = sum(each for each, _, _ in sizes), sum(each for _, each, _ in sizes)
    rows = [("size", counted(trials, "trial") + (f" of {len(sizes)} runs" if len(sizes) > 1 else ""))]
    seconds = [each for _, _, each in sizes if each is not None]
    if resources is not None and len(seconds) == len(sizes):
        workers = max(1, resources.workers)
        about = duration(sum(seconds) / workers)
        rows.append(("time", f"about {about} with {counted(workers, 'worker')}, if nothing is done yet"))
    cli_watch.remarks([*rows, ("disk", f"{size(megabytes)} at most")])
    with spoken():
        try:
            return typer.confirm(question, default=True, err=True)
        except typer.Abort:  # Ctrl-C is a no
            return False


def _seconds(made: Plan, resources: Resources | None) -> float | None:
    """Of all trials on one worker here, by a few steps; None elsewhere, and of a user's own trial, which has none."""
    if resources is None or made.spec.trial is not None:
        return None
    from memexp.runs.pilot import seconds_per_trial

    return seconds_per_trial(made, resources.device) * made.layout.n_trials


def resume(
    run: RunPath,
    executor: Executor = "auto",
    profile: ProfileName = None,
    only: Annotated[
        str | None, typer.Option(help="Only tasks that ended so, such as timeout,oom (see `memexp status`).")
    ] = None,
    time_min: Annotated[int | None, typer.Option(min=1, help="Another time limit of the tasks, minutes.")] = None,
    mem_gb: Annotated[float | None, typer.Option(min=0, help="Another memory limit of the tasks.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    device: Device = "auto",
    all_nodes: AllNodes = False,
    take: Take = 0,
    accept_software: AcceptSoftware = False,
    tasks_gone: TasksGone = False,
) -> int:
    """Train what is missing of a run (or of all runs of a sweep); its folder is enough."""
    from memexp.launch.submission import changed_profile, seconds_per_block
    from memexp.launch.until import going_on
    from memexp.launch.where import choose_profile, local_resources
    from memexp.runs.run import open_run
    from memexp.runs.software import Accept

    accept = Accept(accept_software, tasks_gone)
    states = None if only is None else [word.strip() for word in only.split(",")]
    changes = {"time_min": time_min, "mem_gb": mem_gb, "leave_out_nodes": False if all_nodes else None}

    def resume_one(root: Path) -> int:
        opened, goal = going_on(open_run(root))
        where = choose_profile(executor, profile, opened)
        if where is None:
            if only or time_min or mem_gb or all_nodes or take:
                raise InputError(
                    "--only, --time-min, --mem-gb, --all-nodes and --take are for Slurm tasks; this run is resumed here"
                )
            return _train(opened, local_resources(workers, threads, device), accept, goal)
        cli_slurm.left_to_profile(where, workers, threads, device)
        changed = changed_profile(where, changes)
        return cli_slurm.submit(opened, changed, seconds_per_block(opened, changed), accept, states, goal, take)

    return cli_sweep.in_turn(cli_sweep.roots(run), resume_one)


def _train(run: Run, resources: Resources, accept: Accept, goal: Goal | None = None) -> int:
    """Train locally, then estimate; the exit code is that of the run's state."""
    from memexp.launch.launch import Result, launch_local, results
    from memexp.launch.status import read_status
    from memexp.launch.until import in_rounds
    from memexp.runs.pool import Progress

    given_up: dict[int, str] = {}

    def train(run: Run, goal: Goal | None) -> None:
        layout = run.store().layout
        trials = layout.n_trials
        already = trials - run.missing()
        if already and (goal is None or run.missing()):
            whole = run.spec.subsets.trials <= already
            remark(
                f"{already} of {counted(trials, 'trial', 'is', 'are')} settled already" + "; nothing to train" * whole
            )
        with progress("training", run.spec.subsets.trials - already, "trials") as bar:

            def tell(now: Progress) -> None:
                bar(now.trained + sum(share * len(layout.block(block)) for block, share in now.running.items()))

            result: Result = launch_local(run, resources, tell, accept, goal)
        given_up.update(result.given_up)

    stopped = f"stopped; finished blocks are kept. Go on with `{command('resume', run.paths.root)}`"
    with stoppable(stopped):
        in_rounds(run, goal, train, lambda judged: remark(str(judged)))
    for number, cause in given_up.items():
        remark(f"block {number} was given up: {cause}")
    after = read_status(run.paths.root)
    if after.done:
        with progress("estimating", 1, "parts") as share:
            found = results(run, share)
        show(found, err, least=12)
        after = read_status(run.paths.root)  # with the error measured just now
    cli_watch.print_state(after, cli_watch.remarks)
    out.say(str(run.paths.root))
    return 1 if given_up else after.exit_code
