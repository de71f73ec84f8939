"""The command line: a skin. Each command is one library call and what it prints.

Nothing heavy is imported at the top: ``memexp --help`` and ``memexp status`` start without torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from memexp.brief import counted
from memexp.cli import analysis, attack, attribution, data, doctor, imports, init, labels, launch, report, watch
from memexp.cli.console import explained, out, print_json, progress, remark, show
from memexp.cli.help import EXAMPLES, example, group
from memexp.cli.watch import Json, RunPath
from memexp.errors import command
from memexp.version import __version__

if TYPE_CHECKING:
    from memexp.runs.verify import Verdict

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        out.say(f"memexp {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train many models on random subsets; estimate memorization and influence.

    Exit codes: 0 done, 1 the work failed, 2 the input is wrong, 3 not complete yet.
    """
    # Where the home folder cannot be written, matplotlib says at length that it makes do.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def verify(
    run: RunPath,
    retrain: Annotated[int, typer.Option(min=0, help="Train at least so many trials again and compare.")] = 1,
    repair: Annotated[bool, typer.Option("--repair", help="Mark damaged blocks as missing, for resume.")] = False,
    as_json: Json = False,
) -> int:
    """Check seals, checksums, receipts, masks, labels and results; retrain some trials and compare bit by bit.

    This executes the Python files of the run's spec, as training did: trust a run that you were given first.
    """
    from memexp.runs import verify as checks
    from memexp.runs.run import open_run

    opened = open_run(run)
    with progress("verifying", 1, "blocks") as tell:
        verdict = checks.verify(opened, retrain, tell)
    for problem in verdict.problems:
        remark(problem)
    for trial, difference in verdict.differing.items():
        remark(f"trial {trial}, trained again: {difference}")
    if verdict.differing and not verdict.same_machine:
        remark("these trials were first trained with other versions or another processor, where bits may differ")
    if as_json:
        counts = {"blocks": verdict.blocks, "damaged": sorted(verdict.faults), "problems": verdict.problems}
        more = {"retrained": verdict.retrained, "differing": verdict.differing, "same_machine": verdict.same_machine}
        print_json(counts | more)
    else:
        again = f"{counted(len(verdict.retrained), 'trial')}, {len(verdict.differing)} differ"
        show([("blocks", _blocks(verdict)), ("retrained", again)])
    if repair and verdict.repairable:
        lost = checks.repair(opened, verdict)
        remark(f"{counted(len(lost), 'trial', 'is', 'are')} marked missing; train them with `{command('resume', run)}`")
    return 1 if verdict.problems or (verdict.differing and verdict.same_machine) else 0


def _blocks(verdict: Verdict) -> str:
    if verdict.store is not None:
        return "none read, as trials.zarr itself is damaged"
    return f"{verdict.blocks - len(verdict.faults)} sound, {len(verdict.faults)} damaged"


def schema() -> None:
    """Print the JSON Schema of the spec, for editors."""
    from memexp.spec.spec import Spec

    print_json(Spec.model_json_schema())


_COMMANDS: tuple[Callable[..., int | None], ...] = (
    init.init,
    launch.plan,
    launch.launch,
    launch.resume,
    verify,
    schema,
    doctor.doctor,
    data.prepare,
    imports.import_,
    data.features,
    analysis.merge,
    analysis.estimate,
    analysis.compare,
    analysis.select,
    analysis.export,
    attack.attack,
    attribution.lds,
    attribution.datamodel,
    labels.labels,
    labels.values,
    report.report,
    watch.status,
    watch.cancel,
    watch.logs,
)
_NAMED = {each.__name__.rstrip("_"): each for each in _COMMANDS}
for _name in EXAMPLES:  # in the order in which a user comes to them
    _command = _NAMED[_name]
    app.command(_name, rich_help_panel=group(_name), epilog=example(_name))(explained(_command))
