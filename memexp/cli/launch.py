"""Commands that plan and train: plan, launch, resume."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from memexp.cli import analysis as cli_analysis
from memexp.cli import report as cli_report
from memexp.cli import slurm as cli_slurm
from memexp.cli import sweep as cli_sweep
from memexp.cli import watch as cli_watch
from memexp.cli.console import duration, err, out, print_json, progress, remark, show, size, stoppable
from memexp.cli.data import describe_classes, describe_images
from memexp.cli.slurm import AcceptSoftware, AllNodes, TasksGone
from memexp.cli.watch import Json, RunPath
from memexp.errors import InputError, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from memexp.runs.plan import Plan
    from memexp.runs.pool import Resources
    from memexp.runs.run import Run
    from memexp.runs.software import Accept
    from memexp.spec.reading import SpecFile

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, or a sweep of it: a YAML file.")]
Runs = Annotated[Path, typer.Option(help="Folder below which runs are created.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes; 0: this one. [default: one per processor, GPU]")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each worker.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")]
Executor = Annotated[
    Literal["auto", "local", "slurm"], typer.Option(help="On this machine, or as Slurm jobs (with a profile).")
]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="Where to train on Slurm: a name in slurm/profiles/, or a YAML file.")
]
TimeTrial = Annotated[bool, typer.Option("--time-trial", help="Show where a trial's time goes; write nothing.")]


def plan(spec: SpecPath, device: Device = "auto", as_json: Json = False) -> None:
    """Check a spec and show its size, cost and expected error; write nothing."""
    from memexp.runs.plan import planner

    files, folder = _specs(spec, Path())
    where = _resources(None, 1, device)
    planned = planner()
    plans = [_plan(planned(file), where, as_json) for file in files]
    if as_json:
        print_json(plans if folder != Path() else plans[0])


def _plan(made: Plan, where: Resources, as_json: bool) -> dict[str, Any]:
    """What a plan says as numbers, shown unless they are wanted as JSON."""
    from memexp.runs.pilot import seconds_per_trial
    from memexp.spec.identity import typed_json

    seconds = seconds_per_trial(made, where.device)
    total, unit = seconds * made.layout.n_trials, "GPU" if where.gpus else "processor"
    rows = [
        *_describe_plan(made),
        ("seconds per trial", f"{seconds:.3g} on one {unit} of this machine (measured on a few steps)"),
        (
            "time",
            f"{duration(total / where.workers)} here with {where.workers} workers; {duration(total)} of one worker",
        ),
    ]
    if not as_json:
        show(rows)
    numbers = asdict(made.layout) | {"blocks": made.layout.n_blocks, "steps": made.steps, "subset": made.subset}
    more = {
        "device": where.device,
        "seconds_per_trial": seconds,
        "parameters": made.parameters,
        "megabytes": made.megabytes,
        "classes": made.class_counts,
        "training": typed_json(made.spec.training.model_dump(exclude={"file"})),
    }
    return {"name": made.spec.name} | numbers | more | {"notes": made.notes}


def _specs(path: Path, runs: Path) -> tuple[list[SpecFile], Path]:
    """The spec, or those of a sweep, and the folder of their runs."""
    from memexp.spec.reading import read_spec
    from memexp.spec.sweep import is_sweep, read_sweep

    if not is_sweep(path):
        return [read_spec(path)], runs
    sweep, files = read_sweep(path)
    return files, runs / sweep.name


def _describe_plan(made: Plan) -> list[tuple[str, str]]:
    from memexp.cli.recipe import recipe_rows
    from memexp.spec.sampling_error import lemma_bound, worst_case_se
    from memexp.spec.sections import UserTraining

    layout, subsets, training = made.layout, made.spec.subsets, made.spec.training
    if isinstance(training, UserTraining):
        length = f"by train() of {training.code.name}"
    else:
        length = f"for {made.steps:,} steps"
    rows = [
        ("name", made.spec.name),
        ("data", f"{layout.n_train:,} training and {layout.n_test:,} test examples, {len(made.data.classes)} classes"),
        ("images", describe_images(made)),
        ("classes", describe_classes(made)),
        ("model", f"{made.spec.model.arch}, {made.parameters:,} parameters"),
        ("trial", f"trains on {made.subset:,} examples {length} ({subsets.design})"),
        *recipe_rows(made.spec),
        (
            "trials",
            f"{layout.n_trials:,} in {layout.n_blocks:,} blocks of {layout.block_size} (local tasks: one block each)",
        ),
        ("disk", f"{size(made.megabytes)} at most"),
    ]
    if subsets.ratio is not None:
        worst, bound = (rule(subsets.ratio, layout.n_trials) for rule in (worst_case_se, lemma_bound))
        rows.append(("standard error", f"{worst:.3f} at worst (bound of Lemma 2.1: {bound:.3f})"))
    if subsets.target_se is not None:
        rows.append(("goal", f"standard error {subsets.target_se:g} at worst, hence {layout.n_trials:,} trials"))
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
    time_trial: TimeTrial = False,
    accept_software: AcceptSoftware = False,
    tasks_gone: TasksGone = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Create the run of a spec (or the runs of a sweep), or go on with it, and train what is missing."""
    from memexp.runs.plan import planner
    from memexp.runs.run import prepare_run

    accept = cli_slurm.accepting(accept_software, tasks_gone)
    remark(f"checking {spec}")
    files, folder = _specs(spec, runs)
    planned = planner()
    where = None if time_trial else cli_slurm.chosen_profile(executor, profile)
    resources = _resources(workers, threads, device) if where is None else None
    cli_slurm.left_to_profile(where, workers, threads, device)
    ask = not yes and sys.stdin.isatty()
    if folder != runs:  # a sweep: all runs are checked, then all are created, before the first is trained
        for file in files:
            planned(file)
        _confirm(ask, f"Go on with {len(files)} runs?")
        ask = False
        if not (dry_run or time_trial):
            _create_all(files, planned, folder, block)

    def launch_one(file: SpecFile) -> None:
        made = planned(file)
        if time_trial:
            _show_times(made, device)
        elif dry_run:
            show(_describe_plan(made))
            if where is not None:
                cli_slurm.show_scripts(made, folder, where, block)
        else:
            show([(f"  {name}", value) for name, value in _describe_plan(made)], err)
            _confirm(ask, "Train now?")
            if where is not None:
                cli_slurm.require_fitting_blocks(made, folder, where, block)
            run = prepare_run(made.spec, made.data, folder, block)
            if resources is not None:
                _train(run, resources, accept)
            assert where is not None
            cli_slurm.submit(run, where, cli_slurm.seconds_per_block(run, where, made), accept)

    raise typer.Exit(cli_sweep.in_turn(files, launch_one))


def _confirm(ask: bool, question: str) -> None:
    if ask and not typer.confirm(question, default=True, err=True):
        raise typer.Exit(3)


def _create_all(files: list[SpecFile], planned: Callable[[SpecFile], Plan], folder: Path, block: int | None) -> None:
    """Create the runs of a sweep; those in its folder are opened first, so that another sweep's change nothing."""
    from memexp.runs.run import prepare_run
    from memexp.spec.sweep import write_order

    for file in [file for file in files if (folder / file.spec.name).exists()]:
        prepare_run(file.spec, planned(file).data, folder, block)
    if left := write_order(folder, files):
        remark(f"{folder} also holds {', '.join(left)}, which the sweep's file no longer names: left out from now on")
    for file in files:
        prepare_run(file.spec, planned(file).data, folder, block)


def _show_times(made: Plan, device: str) -> None:
    from memexp.runs.time_trial import time_trial

    where = _resources(1, 1, device).device
    times = time_trial(made, where)
    rows = [
        (name, f"{value:9.3f} s  {100 * value / times.total:5.1f} %")
        for name, value in (
            ("making batches", times.batches), ("network", times.network), ("evaluation", times.evaluation),
            ("writing", times.writing), ("one trial", times.total),
        )
    ]  # fmt: skip
    show(
        [
            *rows,
            ("arithmetic", f"{times.multiply_adds:.3g} multiply-adds"),
            ("limit", f"{times.limit:9.3f} s at {times.peak:.3g} a second ({where}, {made.spec.sgd.precision})"),
            ("share of limit", f"{100 * times.limit / times.total:.0f} %"),
        ]
    )


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
    accept_software: AcceptSoftware = False,
    tasks_gone: TasksGone = False,
) -> None:
    """Train what is missing of a run (or of all runs of a sweep); its folder is enough."""
    from memexp.runs.run import open_run

    accept = cli_slurm.accepting(accept_software, tasks_gone)
    changes = {"time_min": time_min, "mem_gb": mem_gb, "leave_out_nodes": False if all_nodes else None}

    def resume_one(root: Path) -> None:
        opened = open_run(root)
        where = cli_slurm.chosen_profile(executor, profile, opened)
        if where is None:
            if only or time_min or mem_gb or all_nodes:
                raise InputError(
                    "--only, --time-min, --mem-gb and --all-nodes are for Slurm tasks; this run is resumed here"
                )
            _train(opened, _resources(workers, threads, device), accept)
        cli_slurm.left_to_profile(where, workers, threads, device)
        cli_slurm.resume(opened, where, only, changes, accept)

    raise typer.Exit(cli_sweep.in_turn(cli_sweep.roots(run), resume_one))


def _train(run: Run, resources: Resources, accept: Accept) -> NoReturn:
    """Train locally, then estimate; exit with the run's state."""
    from memexp.launch.launch import launch_local
    from memexp.launch.status import read_status
    from memexp.runs.pool import Progress

    block_size = run.manifest.block_size
    before = read_status(run.paths.root)
    already = before.done + before.failed
    if already:
        remark(f"{already} of {before.trials} trials are settled already")
    stopped = f"stopped; finished blocks are kept. Go on with `{command('resume', run.paths.root)}`"
    with stoppable(stopped), progress("training", run.spec.subsets.trials - already, "trials") as bar:

        def tell(now: Progress) -> None:
            bar(now.trained + sum(now.running.values()) * block_size)

        result = launch_local(run, resources, tell, accept)
    for number, cause in result.given_up.items():
        remark(f"block {number} was given up: {cause}")
    after = read_status(run.paths.root)
    if after.done and run.spec.subsets.design == "remove":
        cli_report.summarize_removal(run)
    elif after.done:
        cli_analysis.summarize(*cli_analysis.estimates_of(run))
        after = read_status(run.paths.root)  # with the error measured just now
    cli_watch.print_state(after, cli_watch.remarks)
    out.say(str(run.paths.root))
    raise typer.Exit(1 if result.given_up else after.exit_code)


def _resources(workers: int | None, threads: int, device: str) -> Resources:
    from memexp.runs.pool import Resources
    from memexp.runs.run import available_cpus

    gpus = 0
    if device != "cpu":
        import torch

        gpus = torch.cuda.device_count()
        if device == "cuda":
            from memexp.training.devices import require_gpu

            require_gpu()
        device = "cuda" if gpus else "cpu"
    default = gpus or max(1, available_cpus() // threads)
    return Resources(default if workers is None else workers, threads, device, gpus)
