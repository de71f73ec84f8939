"""What the scripts here share: their command line, how runs are read, where pictures and numbers go."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from memexp.analysis.estimates import Estimates, chosen_selection, estimate, is_current, open_estimates
from memexp.analysis.merged import Merged, open_merged
from memexp.run import Run, open_run


def arguments(text: str, runs: Sequence[str] = ("run",), **options: Any) -> argparse.Namespace:
    """Paths of runs (a name with ``...`` takes several), ``--out`` for the results, ``--incomplete``, and more by name.

    An option whose default is a type, such as ``Path``, is None unless it is given.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for run in runs:
        parser.add_argument(run.rstrip("."), type=Path, nargs="+" if run.endswith("...") else None)
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for the results [%(default)s]")
    parser.add_argument("--incomplete", action="store_true", help="accept runs whose trials are not all trained")
    for name, default in options.items():
        kind, value = (default, None) if isinstance(default, type) else (type(default), default)
        parser.add_argument(f"--{name}", type=kind, default=value, help="[%(default)s]")
    found = parser.parse_args()
    found.out.mkdir(parents=True, exist_ok=True)
    return found


def read_run(root: Path, options: argparse.Namespace) -> Run:
    """A `remove` run; refused while trials are missing, unless ``--incomplete``."""
    run = open_run(root)
    if not options.incomplete:
        run.require_complete()
    return run


def read(root: Path, options: argparse.Namespace) -> tuple[Run, Merged, Estimates]:
    """A run on random subsets with its merged trials and its estimates, made anew where they are not up to date."""
    run = open_run(root)
    run.require_random_subsets()
    merged = open_merged(run.paths)
    if not options.incomplete:
        run.require_complete(merged.n_missing)
    current = is_current(run.paths, merged)
    estimates = open_estimates(run.paths) if current else estimate(merged, chosen_selection(run.paths))
    if cut := estimates.cut():
        print(f"{root}: {cut}", file=sys.stderr)
    return run, merged, estimates


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


def print_table(rows: Sequence[Sequence[Any]]) -> None:
    """Rows of text, the first column wide enough for all."""
    width = max(len(str(row[0])) for row in rows)
    for row in rows:
        print(f"{row[0]:<{width}}", *(f"{value:>10}" for value in row[1:]))
