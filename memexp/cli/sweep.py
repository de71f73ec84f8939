"""What the commands do with a sweep: the same for each of its runs, then one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.table import Table

from memexp.cli.console import duration, out, print_json, remark
from memexp.errors import MemexpError

if TYPE_CHECKING:
    from memexp.launch.status import Status

T = TypeVar("T")


def roots(folder: Path) -> list[Path]:
    """The runs of a sweep's folder that exist, those that do not being told; or the run itself."""
    return found(folder)[0]


def found(folder: Path) -> tuple[list[Path], bool]:
    """The runs of a sweep's folder that exist, or the run itself; and whether these are all."""
    from memexp.spec.sweep_note import runs_of

    runs, absent = runs_of(folder) or ([folder], [])
    if absent:
        remark(f"{folder}: {', '.join(absent)} not created yet, or deleted; launch the sweep's file again")
    return runs, not absent


def in_turn(things: Sequence[T], work: Callable[[T], int]) -> int:
    """Do it for each; a fault of one of several is told and does not keep the others from it.

    Returns the exit code for all: the gravest of 1 (failed), 2 (wrong input), 3 (not complete), 0.
    """
    codes = {0}
    for thing in things:
        try:
            codes.add(work(thing))
        except MemexpError as error:
            if len(things) == 1:
                raise
            remark(f"memexp: {error}")
            codes.add(error.exit_code)
    return next(code for code in (1, 2, 3, 0) if code in codes)


def show_states(runs: list[Path], whole: bool, as_json: bool, watch: bool, every: float) -> int:
    """Where each run of a sweep stands; the exit code for all: 3 also where the runs are not the ``whole`` sweep."""
    from memexp.launch.status import read_status

    while True:
        found = [read_status(root) for root in runs]
        if as_json:
            print_json([each.as_json() for each in found])
        else:
            out.print(_table(runs, found))
        codes = {each.exit_code for each in found}
        if not watch or 3 not in codes:
            return 3 if 3 in codes or not whole else max(codes)
        time.sleep(every)


def _table(runs: list[Path], found: list[Status]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("run", "done", "failed", "missing", "trials/h", "time left"):
        table.add_column(name, justify="left" if name == "run" else "right", overflow="fold")
    for root, each in zip(runs, found, strict=True):
        speed = f"{each.trials_per_hour:,.0f}" if each.trials_per_hour else ""
        left = duration(each.seconds_left) if each.seconds_left is not None else ""
        table.add_row(root.name, f"{each.done:,}", f"{each.failed:,}", f"{each.missing:,}", speed, left)
    return table
