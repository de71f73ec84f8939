"""What the scripts here share: their command line, and where pictures and numbers go."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from memexp.analysis.estimates import Estimates, estimate, is_current, open_estimates
from memexp.analysis.merged import Merged, open_merged
from memexp.analysis.pairs import Selection
from memexp.run import Run, open_run


def arguments(text: str, runs: Sequence[str] = ("run",), **options: Any) -> argparse.Namespace:
    """Paths of runs, ``--out`` for the folder of the results, and numbers by name."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for run in runs:
        parser.add_argument(run, type=Path)
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for the results [%(default)s]")
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help="[%(default)s]")
    found = parser.parse_args()
    found.out.mkdir(parents=True, exist_ok=True)
    return found


def read(root: Path) -> tuple[Run, Merged, Estimates]:
    """A run with its merged trials and its estimates, made anew where they are not up to date."""
    run = open_run(root)
    merged = open_merged(run.paths)
    return run, merged, open_estimates(run.paths) if is_current(run.paths, merged) else estimate(merged, Selection())


def save(figure: Figure, path: Path) -> None:
    """PNG and SVG."""
    for ending in (".png", ".svg"):
        figure.savefig(path.with_suffix(ending), dpi=150)
        print(path.with_suffix(ending))


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """The numbers that a picture shows."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
    print(path)
