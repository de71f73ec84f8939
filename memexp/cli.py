"""The command line: a skin. Each command is one library call and what it prints.

Nothing heavy is imported at the top: ``memexp --help`` and ``memexp status`` start without torch.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from memexp import __version__
from memexp.console import duration, explained, out, progress, remark, show, stoppable

if TYPE_CHECKING:
    from memexp.analysis.estimates import Estimates
    from memexp.analysis.merged import Merged
    from memexp.analysis.pairs import Selection
    from memexp.local import Resources
    from memexp.plan import Plan
    from memexp.run import Run
    from memexp.status import Status

app = typer.Typer(
    help="Train many models on random subsets; estimate memorization and influence.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, a YAML file.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder, such as runs/digits.")]
Runs = Annotated[Path, typer.Option(help="Folder below which runs are created.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes. [default: one per processor or GPU]")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each worker.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Executor = Annotated[Literal["auto", "local"], typer.Option(help="Where trials run: on this machine.")]


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"memexp {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Exit codes: 0 done, 1 the work failed, 2 the input is wrong, 3 not complete yet."""


@app.command()
@explained
def plan(spec: SpecPath, as_json: Json = False) -> None:
    """Check a spec and show its size, cost and expected error; write nothing."""
    from memexp.pilot import seconds_per_trial
    from memexp.plan import make_plan
    from memexp.run import available_cpus
    from memexp.spec_file import read_spec

    made = make_plan(read_spec(spec))
    seconds = seconds_per_trial(made)
    rows = _describe_plan(made)
    workers = available_cpus()
    total = seconds * made.layout.n_trials
    rows += [
        ("seconds per trial", f"{seconds:.3g} on one processor of this machine (measured on a few steps)"),
        ("time", f"{duration(total / workers)} here with {workers} workers; {duration(total)} of one worker"),
    ]
    if as_json:
        numbers = asdict(made.layout) | {"blocks": made.layout.n_blocks, "steps": made.steps, "subset": made.subset}
        more = {"seconds_per_trial": seconds, "parameters": made.parameters, "megabytes": made.megabytes}
        out.print_json(json.dumps(numbers | more | {"notes": made.notes}))
        return
    show(rows)


def _describe_plan(made: Plan) -> list[tuple[str, str]]:
    from memexp.analysis.intervals import lemma_bound, worst_case_se

    layout, subsets = made.layout, made.spec.subsets
    rows = [
        ("name", made.spec.name),
        ("data", f"{layout.n_train:,} training and {layout.n_test:,} test examples, {len(made.data.classes)} classes"),
        ("model", f"{made.spec.model.arch}, {made.parameters:,} parameters"),
        ("trial", f"trains on {made.subset:,} examples for {made.steps:,} steps ({subsets.design})"),
        (
            "trials",
            f"{layout.n_trials:,} in {layout.n_blocks:,} blocks of {layout.block_size} (local tasks: one block each)",
        ),
        ("disk", f"{made.megabytes:,.1f} MB at most"),
    ]
    if subsets.ratio is not None:
        worst, bound = (rule(subsets.ratio, layout.n_trials) for rule in (worst_case_se, lemma_bound))
        rows.append(("standard error", f"{worst:.3f} at worst (bound of Lemma 2.1: {bound:.3f})"))
    return rows + [("note", note) for note in made.notes]


@app.command()
@explained
def launch(
    spec: SpecPath,
    executor: Executor = "auto",
    runs: Runs = Path("runs"),
    workers: Workers = None,
    threads: Threads = 1,
    device: Device = "auto",
    block: Annotated[int | None, typer.Option(min=1, help="Trials committed together (new runs only).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Create the run of a spec, or go on with it, and train what is missing."""
    from memexp.plan import make_plan
    from memexp.run import prepare_run
    from memexp.spec_file import read_spec

    remark(f"checking {spec}")
    made = make_plan(read_spec(spec))
    if dry_run:
        show(_describe_plan(made))
        return
    for name, value in _describe_plan(made):
        remark(f"  {name:<15} {value}")
    if not yes and sys.stdin.isatty() and not typer.confirm("Train now?", default=True, err=True):
        raise typer.Exit(3)
    run = prepare_run(made.spec, made.data, runs, block)
    _train(run, workers, threads, device)


@app.command()
@explained
def resume(run: RunPath, workers: Workers = None, threads: Threads = 1, device: Device = "auto") -> None:
    """Train what is missing of a run; its folder is enough."""
    from memexp.run import open_run

    _train(open_run(run), workers, threads, device)


def _train(run: Run, workers: int | None, threads: int, device: str) -> None:
    """Train locally, then estimate; exit with the run's state."""
    from memexp.launch import launch_local
    from memexp.local import Progress
    from memexp.status import read_status

    resources = _resources(workers, threads, device)
    block_size = run.manifest.block_size
    before = read_status(run.paths.root)
    already = before.done + before.failed
    if already:
        remark(f"{already} of {before.trials} trials are settled already")
    stopped = f"stopped; finished blocks are kept. Go on with `memexp resume {run.paths.root}`"
    with stoppable(stopped), progress("training", before.missing, "trials") as bar:

        def tell(now: Progress) -> None:
            bar(now.trained + sum(now.running.values()) * block_size)

        result = launch_local(run, resources, tell)
    for number, cause in result.given_up.items():
        remark(f"block {number} was given up: {cause}")
    after = read_status(run.paths.root)
    if after.done:
        merged, estimates = _estimates(run)
        _summarize(merged, estimates)
    _print_state(after)
    out.print(str(run.paths.root), soft_wrap=True)
    raise typer.Exit(1 if result.given_up else after.exit_code)


def _resources(workers: int | None, threads: int, device: str) -> Resources:
    from memexp.local import Resources
    from memexp.run import available_cpus

    gpus = 0
    if device != "cpu":
        import torch

        gpus = torch.cuda.device_count()
        device = "cuda" if gpus or device == "cuda" else "cpu"
    return Resources(workers or gpus or max(1, available_cpus() // threads), threads, device, gpus)


@app.command()
@explained
def status(run: RunPath, as_json: Json = False) -> None:
    """Count the trials by state; exit code 0 complete, 1 some failed, 3 not yet."""
    from memexp.status import read_status

    found = read_status(run)
    if as_json:
        out.print_json(json.dumps(asdict(found)))
    else:
        _print_state(found, to_stdout=True)
    raise typer.Exit(found.exit_code)


def _print_state(found: Status, to_stdout: bool = False) -> None:
    rows = [("trials", f"{found.done:,} done, {found.failed:,} failed, {found.missing:,} missing of {found.trials:,}")]
    if found.trials_per_hour:
        rows.append(("speed", f"{found.trials_per_hour:,.0f} trials/h, {found.worker_hours:.2g} worker hours so far"))
    if found.seconds_left is not None:
        rows.append(("time left", duration(found.seconds_left)))
    rows += [("failed", f"{count} trials: {reason}") for reason, count in found.failures.items()]
    if found.launcher is not None:
        rows.append(("training now", f"process {found.launcher.get('pid')} on {found.launcher.get('host')}"))
    elif found.missing:
        rows.append(("next", f"memexp resume {found.run}"))
    else:
        rows.append(("next", f"memexp report {found.run}"))
    if to_stdout:
        show(rows)
        return
    for name, value in rows:
        remark(f"{name:<13} {value}")


@app.command()
@explained
def merge(run: RunPath) -> None:
    """Transpose the finished trials into merged.zarr."""
    from memexp.analysis import merged
    from memexp.store.paths import RunPaths

    with progress("merging", 1, "blocks") as tell:
        result = merged.merge(RunPaths.of_run(run), tell)
    show([("merged", f"{result.n_trials:,} trials"), ("written to", str(result.paths.merged))])


@app.command()
@explained
def estimate(
    run: RunPath,
    memorization: Annotated[float, typer.Option(help="Pairs: least memorization of the training example.")] = 0.25,
    influence: Annotated[float, typer.Option(help="Pairs: least influence.")] = 0.15,
    most: Annotated[int, typer.Option(min=1, help="Pairs: keep so many of the strongest.")] = 100_000,
    dense: Annotated[bool, typer.Option("--dense", help="Also write the whole influence matrix.")] = False,
) -> None:
    """Estimate memorization and high-influence pairs into estimates.zarr."""
    from memexp.analysis.pairs import Selection
    from memexp.run import open_run

    found, estimates = _estimates(open_run(run), Selection(memorization, influence, most), dense)
    _summarize(found, estimates)
    out.print(str(found.paths.estimates), soft_wrap=True)


def _estimates(run: Run, selection: Selection | None = None, dense: bool = False) -> tuple[Merged, Estimates]:
    """Merge and estimate where the files are not up to date (or a selection is asked for)."""
    from memexp.analysis import estimates as store
    from memexp.analysis.merged import open_merged
    from memexp.analysis.pairs import Selection

    with progress("merging", 1, "blocks") as tell:
        merged = open_merged(run.paths, tell)
    if selection is None and store.is_current(run.paths, merged):
        return merged, store.open_estimates(run.paths)
    with progress("estimating", 1, "parts") as tell:
        return merged, store.estimate(merged, selection or Selection(), dense, tell)


def _summarize(merged: Merged, estimates: Estimates) -> None:
    import numpy as np

    scores = estimates.scores
    accuracies = (
        f"{name.split('_')[0]} {merged.per_trial(name).mean():.4f}"
        for name in ("in_accuracy", "out_accuracy", "test_accuracy")
    )
    remark(f"accuracy      {', '.join(accuracies)} (mean of {merged.n_trials:,} trials)")
    if np.isnan(scores.memorization).all():
        remark("memorization  undefined: no example is in for some trials and out for others")
        return
    remark(
        f"memorization  mean {np.nanmean(scores.memorization):.4f}, "
        f"{int((scores.memorization >= 0.25).sum()):,} examples at 0.25 or more, "
        f"median standard error {np.nanmedian(scores.memorization_se):.3f}"
    )
    remark(f"pairs         {len(estimates.pairs):,} of high influence")


@app.command()
@explained
def report(run: RunPath) -> None:
    """Write report/index.html: one page with figures and images, no network needed."""
    from memexp.analysis.report import Source, write_report
    from memexp.run import open_run

    opened = open_run(run)
    merged, estimates = _estimates(opened)
    images = opened.load_data()
    path = write_report(Source(opened.spec, opened.manifest, merged, estimates, images), opened.paths.report)
    out.print(str(path), soft_wrap=True)


@app.command()
@explained
def verify(
    run: RunPath,
    retrain: Annotated[int, typer.Option(min=0, help="Train at least so many trials again and compare.")] = 1,
    repair: Annotated[bool, typer.Option("--repair", help="Mark damaged blocks as missing, for resume.")] = False,
) -> None:
    """Check checksums, receipts, masks and labels; retrain some trials and compare bit by bit."""
    from memexp import verify as checks
    from memexp.run import open_run

    opened = open_run(run)
    with progress("verifying", 1, "blocks") as tell:
        verdict = checks.verify(opened, retrain, tell)
    for fault in verdict.faults.values():
        remark(fault)
    for trial, difference in verdict.differing.items():
        remark(f"trial {trial}, trained again: {difference}")
    if verdict.differing and not verdict.same_machine:
        remark("these trials were first trained with other versions or another processor, where bits may differ")
    show(
        [
            ("blocks", f"{verdict.blocks - len(verdict.faults)} sound, {len(verdict.faults)} damaged"),
            ("retrained", f"{len(verdict.retrained)} trials, {len(verdict.differing)} differ"),
        ]
    )
    if repair and verdict.faults:
        lost = checks.repair(opened, verdict)
        remark(f"{len(lost)} trials are marked missing; train them with `memexp resume {run}`")
    raise typer.Exit(1 if verdict.faults or (verdict.differing and verdict.same_machine) else 0)


@app.command()
@explained
def schema() -> None:
    """Print the JSON Schema of the spec, for editors."""
    from memexp.spec import Spec

    print(json.dumps(Spec.model_json_schema(), indent=2))  # noqa: T201


@app.command()
@explained
def doctor(
    runs: Runs = Path("runs"),
    models: Annotated[bool, typer.Option("--models", help="List the architectures that a spec may name.")] = False,
    as_json: Json = False,
) -> None:
    """Find out what this machine can do."""
    if models:
        _list_models()
        return
    from memexp.doctor import examine

    findings = examine(runs)
    if as_json:
        out.print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        show([(f"{finding.verdict:<8} {finding.what}", finding.text) for finding in findings])
    raise typer.Exit(1 if any(finding.verdict == "fault" for finding in findings) else 0)


def _list_models() -> None:
    import timm

    import memexp.models

    ours: list[Any] = [name for name in timm.list_models() if name.startswith("memexp_")]
    assert memexp.models.default_cfgs
    for name in [*ours, *(name for name in timm.list_models() if name not in ours)]:
        out.print(name, markup=False)
