"""Commands that look at a run and its tasks: status, cancel, logs. They start without torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memexp.brief import counted
from memexp.cli import sweep as cli_sweep
from memexp.cli.console import duration, err, out, print_json, show
from memexp.errors import InputError, command

if TYPE_CHECKING:
    from memexp.launch.status import Status

_LOG_LINES = 40
Rows = list[tuple[str, str]]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder, such as runs/digits.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(
    run: RunPath,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again until the run is complete.")] = False,
    every: Annotated[float, typer.Option(min=2, help="Seconds between two looks.")] = 30,
    usage: Annotated[
        bool,
        typer.Option("--usage", help="What the tasks used of what the profile asked for."),
    ] = False,
) -> int:
    """Count the trials by state, of a run or of all runs of a sweep; exit code 0 complete, 1 some failed, 3 not yet."""
    from memexp.launch.status import read_status

    runs, whole = cli_sweep.found(run)
    if usage:
        from memexp.cli.usage import show_usage

        return show_usage(runs, as_json)
    if runs != [run]:
        return cli_sweep.show_states(runs, whole, as_json, watch, every)
    while True:
        found = read_status(run)
        if as_json:
            print_json(found.as_json())
        else:
            print_state(found, show)
        if not watch or found.exit_code != 3:
            return found.exit_code
        out.print()
        time.sleep(every)


def print_state(found: Status, write: Callable[[Rows], None]) -> None:
    """Where a run stands, and what to do next."""
    rows = [("trials", f"{found.done:,} done, {found.failed:,} failed, {found.missing:,} missing of {found.trials:,}")]
    if found.trials_per_hour:
        kind, per = ("worker", 1.0) if found.slurm.gpus_per_worker is None else ("GPU", found.slurm.gpus_per_worker)
        left = f", {per * found.worker_hours_left:.2g} left" if found.worker_hours_left else ""
        rows.append(
            ("speed", f"{found.trials_per_hour:,.0f} trials/h; {kind} hours {per * found.worker_hours:.2g} used{left}")
        )
    if found.seconds_left is not None:
        rows.append(("time left", f"{duration(found.seconds_left)} at that speed"))
    rows += [("software", f"{counted(count, 'trial')} by {made}") for made, count in found.software.items()]
    rows += [("failed", f"{counted(count, 'trial')}: {reason}") for reason, count in found.failures.items()]
    rows += _precision(found)
    if found.slurm.tasks:
        rows.append(("tasks", ", ".join(f"{count} {state}" for state, count in sorted(found.slurm.tasks.items()))))
    if found.slurm.scheduler is not None:
        rows.append(("Slurm", f"cannot be asked: {found.slurm.scheduler}"))
    if found.slurm.gave_up is not None:
        rows.append(("follow-up", f"gave up: {found.slurm.gave_up}"))
    for lost in found.slurm.unfollowed:
        name = f"job {lost.job_id}" if lost.job_id else f"that of launch {lost.task.split()[0]}"
        rows.append(("follow-up", f"{lost.state}: {name} ({lost.cause}); nothing submits what these tasks leave over"))
        rows += [("", f"  {line}") for line in lost.log]
    for problem in found.slurm.problems:
        where = f" on {problem.node}" if problem.node else ""
        rows.append(
            (problem.state, f"{counted(problem.count, 'task')}, such as {problem.task}{where}: {problem.cause}")
        )
        rows += [("", f"  {line}") for line in problem.log]
    if found.slurm.held:
        rows.append(("held", f"wait until somebody says `scontrol release {','.join(found.slurm.held)}`"))
    if found.slurm.bad_nodes:
        text = f"{', '.join(found.slurm.bad_nodes)}: tasks fail there again and again; left out next time"
        rows.append(("nodes", text))
    if found.launcher is not None:
        rows.append(("training now", f"process {found.launcher.get('pid')} on {found.launcher.get('host')}"))
    rows.append(("next", _next(found)))
    write(rows)


def _precision(found: Status) -> Rows:
    """Standard error of memorization now and at the end, and what is left to the goal."""
    error = found.standard_error
    until = [("until", str(found.until))] if found.until is not None else []
    if error is None or error.end is None:
        return until
    now = f"{error.now:.3f} at worst now, " if error.now and found.missing else ""
    measured = (
        f"; measured {error.measured:.3f} (median of the examples, {counted(error.measured_trials, 'trial')})"
        if error.measured is not None and error.measured_trials is not None
        else ""
    )
    rows = [("error", f"{now}{error.end:.3f} at {'the end' if found.missing else 'worst'}{measured}")]
    if error.goal is not None:
        left = f"{counted(error.trials_left, 'trial')} left" if error.trials_left else "reached"
        if error.trials_left and found.seconds_left is not None:
            left += f", {duration(found.seconds_left)} at that speed"
        if error.trials_left and error.trials_left > found.missing:
            left += f"; {error.trials_left - found.missing:,} more than the spec will give, as some failed"
        rows.append(("goal", f"{error.goal:g} at worst: {left}"))
    return rows + until


def _next(found: Status) -> str:
    if not found.missing and not found.done:
        return "change the spec, give it another name, and launch it"
    if found.missing and found.slurm.unfollowed:
        return command("resume", found.run)
    if found.slurm.held:
        return f"scontrol release {','.join(found.slurm.held)}"
    if not found.missing and not found.between_rounds:
        return command("report", found.run)
    states = {*found.slurm.tasks, found.slurm.follow_up}
    if found.launcher is not None or states & {"pending", "running"}:
        return command("status", found.run, "--watch")
    if "stuck" in states:
        cancel, resume = command("cancel", found.run), command("resume", found.run)
        return f"mend the cause, or {cancel}, then {resume}"
    return command("resume", found.run)


def remarks(rows: Rows) -> None:
    """The rows on standard error."""
    show(rows, err, least=12)


def cancel(run: RunPath) -> None:
    """Stop a run's (or a sweep's) Slurm jobs, or its launch on this machine; finished blocks are kept."""
    from memexp.launch.cancel import cancel as stop
    from memexp.store.paths import RunPaths
    from memexp.store.trials import TrialStore

    for root in cli_sweep.roots(run):
        paths = RunPaths.of_run(root)
        done = stop(paths)
        jobs = f"{len(done.jobs)} Slurm jobs ({', '.join(done.jobs)})" if done.jobs else "no Slurm job"
        process = f"process {done.process} on this machine" if done.process else done.elsewhere or "no process here"
        then = "resume" if TrialStore(paths.trials).missing_blocks() else "report"
        show([("stopped", f"{jobs}; {process}"), ("next", command(then, root))])


def logs(
    run: RunPath,
    task: Annotated[int | None, typer.Option(min=0, help="Only this task of the last launch.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only tasks that ended without finishing.")] = False,
    lines: Annotated[int, typer.Option(min=1, help="Last lines of each log.")] = _LOG_LINES,
) -> None:
    """Print the logs of a run: of Slurm tasks and of workers."""
    from memexp.store.paths import RunPaths

    paths = RunPaths.of_run(run)
    found = _log_files(run, task, failed) if task is not None or failed else sorted(paths.logs.rglob("*.[lo][ou][gt]"))
    written = [path for path in found if path.is_file() and path.stat().st_size]
    if not written:
        if found or task is None:
            none = "none of a task that ended without finishing" if failed else "none"
            text = f"{len(found)}, all empty: nothing was reported" if found else none
            show([("logs", text), ("next", command("status", run))])
            return
        raise InputError(f"{run} has no such log; `{command('status', run)}` shows its tasks")
    for path in written:
        out.rule(str(path), align="left", style="")
        tail = path.read_text(errors="replace", encoding="utf-8").splitlines()[-lines:]
        out.say("\n".join(tail))


def _log_files(run: Path, number: int | None, failed: bool) -> list[Path]:
    from memexp.slurm.tasks import ALIVE, job_log, read_tasks
    from memexp.store.paths import RunPaths
    from memexp.store.trials import TrialStore

    paths = RunPaths.of_run(run)
    tasks = read_tasks(paths, set(TrialStore(paths.trials).missing_blocks()))
    if failed:
        tasks = [task for task in tasks if task.state not in (*ALIVE, "done")]
    if number is not None:
        last = max((task.launch for task in tasks), default="")
        tasks = [task for task in tasks if task.number == number and task.launch == last]
    found = []
    for task in tasks:
        log = job_log(paths, task)
        found += [log] if log else []
        found += sorted(paths.logs.glob(f"{task.launch}-t{task.number}-r*.log"))
    return found
