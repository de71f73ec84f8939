"""What the scripts here share: their command line, how runs are read, where pictures and numbers go."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.estimates import Estimates, current_estimates
from memexp.analysis.merged import Merged, open_merged
from memexp.analysis.pairs import Pairs
from memexp.analysis.removal import HIGH_INFLUENCE, NOTHING, Condition, read_conditions
from memexp.cli.console import out, remark
from memexp.data import Data
from memexp.errors import InputError, MemexpError, command
from memexp.report.looks import Look, look_of
from memexp.runs.run import Run, open_run
from memexp.spec.index_sets import unpack
from memexp.spec.sweep_note import runs_of

PUBLISHED = ("cifar100", "whose published values are drawn beside: cifar100, imagenet, mnist")


def arguments(text: str, runs: Sequence[str] = ("run",), **options: tuple[Any, str]) -> argparse.Namespace:
    """Paths of runs (a name with ``...`` takes several), ``--out`` for the results, ``--incomplete``, and more by name.

    Each further option is its default and what it means; with a type as default, such as ``Path``, it is None unless
    it is given. Whole numbers count something, hence are at least 1.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for run in runs:
        name, several = run.rstrip("."), run.endswith("...")
        parser.add_argument(name, type=Path, nargs="+" if several else None, help="folder of a run" + "s" * several)
    for name, (default, meaning) in options.items():
        kind, value = (default, None) if isinstance(default, type) else (type(default), default)
        shown = "" if value is None else " [%(default)s]"
        parser.add_argument(f"--{name}", type=_at_least_1 if kind is int else kind, default=value, help=meaning + shown)
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for the results [%(default)s]")
    parser.add_argument("--incomplete", action="store_true", help="accept runs whose trials are not all trained")
    found = parser.parse_args()
    try:
        found.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {found.out}: {error.strerror}; give another --out") from error
    return found


def _at_least_1(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few; give 1 or more")
    return number


def given_runs(options: argparse.Namespace) -> list[Path]:
    """The runs that were given, those of sweeps in the place of a sweep's folder."""
    return [root for given in options.run for root in (runs_of(given) or ([given], []))[0]]


def standard_error(values: NDArray[Any]) -> float:
    """Of a mean over trials or examples; NaN with fewer than two."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


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
    estimates = current_estimates(merged)
    if cut := estimates.cut():
        remark(f"{root}: {cut}")
    return run, merged, estimates


def settings_apart(run: Run, other: Run, *expected: str) -> list[str]:
    """In words, what two runs differ in beside their data, their seeds and the ``expected`` settings."""
    found = run.manifest.differences(other.manifest)
    usual = ("data.", "masks", "subsets.seed", "record", *expected)
    return [f"{name} ({here}, {there})" for name, here, there in found if not name.startswith(usual)]


def read_images(run: Run) -> tuple[Data, Look]:
    """The run's data, and its images as they are drawn; refused where its examples are not images."""
    data = run.load_data()
    if data.x_train.shape[1:3] == (1, 1):
        raise InputError(
            f"the examples of {run.paths.root} are {data.x_train.shape[3]} features each, which cannot be drawn; "
            "give the run on the images that they were made of"
        )
    look = look_of(data)
    if look.caption:
        remark(look.caption)
    return data, look


def read_removal(root: Path, options: argparse.Namespace, tests: NDArray[np.intp] | None = None) -> list[Condition]:
    """Accuracies of a `remove` run, each condition with at least one finished trial."""
    run = read_run(root, options)
    conditions = read_conditions(run.spec, run.store(), tests)
    empty = [f"{c.name!r}{' (random control)' * c.control}" for c in conditions if not len(c.accuracy)]
    if empty:
        raise MemexpError(
            f"{root} has no finished trial of {', '.join(empty)}; `{command('status', root)}` shows why. Where "
            "trials failed the gate, launch the removal with another training under another name"
        )
    return conditions


def removed_pairs(run: Run, estimates: Estimates, removal: Run) -> Pairs:
    """The run's high-influence pairs, whose training examples ``removal`` left out, beside a random control.

    Raises
    ------
    InputError
        If it left out another set: the run was estimated anew after the lists were selected, or has grown since.
    """
    run.require_same_data(removal)
    pairs = estimates.pairs.passing()
    wanted, conditions = np.unique(pairs.train), removal.spec.subsets.conditions
    lacking = {(NOTHING, False), (HIGH_INFLUENCE, False), (HIGH_INFLUENCE, True)} - set(conditions)
    if lacking and any(name == HIGH_INFLUENCE for name, _ in conditions):
        raise InputError(
            f"{removal.paths.root} lacks the list {NOTHING!r} or the random control; launch a removal with "
            "`control: true` and the lists that `memexp select RUN --pairs` writes"
        )
    packed = removal.spec.subsets.index_sets.get(HIGH_INFLUENCE)
    if packed is None or not np.array_equal(unpack(packed), wanted):
        found = "has no list" if packed is None else f"left out {len(unpack(packed)):,} other examples as its list"
        raise InputError(
            f"{removal.paths.root} {found} {HIGH_INFLUENCE!r}, but the pairs of {run.paths.root} have {len(wanted):,} "
            "training examples. If they were estimated anew since, estimate them as they were (`memexp estimate`); "
            "else select them with `memexp select RUN --pairs --out removed.json` and launch the removal under "
            "another name"
        )
    return pairs


def save(figure: Figure, path: Path) -> None:
    """PNG and SVG."""
    for ending in (".png", ".svg"):
        figure.savefig(path.with_suffix(ending), dpi=150)
        out.say(str(path.with_suffix(ending)))


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """The numbers that a picture shows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
    out.say(str(path))


def print_table(rows: Sequence[Sequence[Any]]) -> None:
    """Rows of text, each column wide enough for all; counts with separators."""
    words = [[f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*words, strict=True)]
    for row in words:
        cells = (f"{value:>{width}}" for value, width in zip(row[1:], widths[1:], strict=True))
        out.say(" ".join([f"{row[0]:<{widths[0]}}", *cells]))
