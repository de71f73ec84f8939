"""The command that writes a run's report, and what a `remove` run says when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memexp.cli.analysis import compared, estimates_of
from memexp.cli.console import out, remark
from memexp.cli.watch import RunPath

if TYPE_CHECKING:
    from memexp.analysis.removal import Condition
    from memexp.runs.run import Run


def report(
    run: RunPath,
    against: Annotated[Path | None, typer.Option("--compare", help="Also show how another run agrees.")] = None,
    removal: Annotated[
        Path | None, typer.Option(help="Also show a 'design: remove' run without this one's memorized examples.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the Python file of `source: python`, for the pictures.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write it into this folder instead of RUN/report.")
    ] = None,
) -> None:
    """Write report/: overview, examples, classes and what else the trials say; opens in any browser without a network.

    Nothing of the run is executed, so a run that one was given can be looked at; for --trust see docs/extending.md.
    """
    from memexp.analysis.pairs import Selection
    from memexp.launch.status import read_status
    from memexp.report.cards import Source
    from memexp.report.removal_report import removal_section, write_removal_report
    from memexp.report.report import write_report
    from memexp.runs.run import open_run

    opened = open_run(run)
    spec, manifest, path = opened.spec, opened.manifest, opened.paths.report
    if folder is not None:
        path = folder / path.name
    if spec.subsets.design == "remove":
        if against is not None or removal is not None:
            opened.require_random_subsets()
        write_removal_report(spec, manifest, _conditions(opened), read_status(run).missing, opened.paths, path)
    else:
        merged, estimates = estimates_of(opened)
        comparison = compared(run, against, Selection(), 1) if against is not None else None
        costs = None
        if removal is not None:
            without = open_run(removal)
            opened.require_same_data(without)
            note = _trained_otherwise(opened, without)
            if note:
                remark(note)
            costs = removal_section(_conditions(without), manifest.n_train, note)
        source = Source(spec, manifest, merged, estimates, opened.pictures(trust), comparison, costs)
        if source.untrusted:
            remark("no pictures: they need the data's Python file, which is run with --trust only")
        write_report(source, path)
    out.say(str(path))


def _trained_otherwise(run: Run, removal: Run) -> str:
    """That a removal was trained otherwise than the run whose examples it leaves out, or nothing."""
    usual = ("data.", "masks", "subsets.", "record")
    found = run.manifest.differences(removal.manifest)
    apart = [f"{name} ({here}, {there})" for name, here, there in found if not name.startswith(usual)]
    return f"{removal.paths.root} was trained otherwise than {run.paths.root}: {', '.join(apart)}" if apart else ""


def _conditions(run: Run) -> list[Condition]:
    from memexp.analysis.removal import read_conditions

    return read_conditions(run.spec, run.store())
