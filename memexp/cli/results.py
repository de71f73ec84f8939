"""What the commands share that ask the trials something: where results go, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memexp.cli.analysis import merged_of
from memexp.cli.console import err

if TYPE_CHECKING:
    from memexp.analysis.merged import Merged
    from memexp.runs.run import Run

Csv = Annotated[Path | None, typer.Option(help="Write one row for each example there.")]
Drawn = Annotated[Path | None, typer.Option("--out", help="Draw it there (.svg, .png or .pdf).")]


def open_trials(run: Path, csv: Path | None, to: Path | None) -> tuple[Run, Merged]:
    """A run on random subsets and its trials, once it is sure that a table and a picture can be written."""
    from memexp.analysis.export import require_place
    from memexp.runs.run import open_run

    for path, endings in ((csv, (".csv",)), (to, (".svg", ".png", ".pdf"))):
        if path is not None:
            require_place(path, endings)
    opened = open_run(run)
    opened.require_random_subsets()
    return opened, merged_of(opened)


def write_result(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a file, and say where it is."""
    from memexp.files import explain_unwritable

    with explain_unwritable(path, "The trials are untouched."):
        write(path)
    err.say(str(path))
