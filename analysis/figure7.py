"""Figure 7: how well memorization and high-influence pairs agree between runs, over thresholds.

    python analysis/figure7.py runs/REFERENCE runs/OTHER [runs/ANOTHER ...] [--out figures]

Dashed: the trials of both dealt anew, which is what runs that differ in nothing would show: the level
of sampling noise. Dotted grey: the paper's curves (CIFAR-100, 2,000 trials each, against ResNet-50).
In the legend, as in the paper: number of high-influence pairs, test accuracy; and trials.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, read, save, write_csv
from matplotlib.figure import Figure
from published_values import published

from memexp.analysis.compare import Curves, compare
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Selection
from memexp.analysis.sides import Side, side_of_run
from memexp.cli.console import explained, remark
from memexp.errors import InputError
from memexp.report.figures import COLOURS

MEASURES = {"jaccard": "Jaccard index", "mean_difference": "mean difference"}
NETWORKS = {"ResNet50": "ResNet-50 again", "ResNet18": "ResNet-18", "Inception": "Inception",
            "DenseNet100": "DenseNet-100"}  # fmt: skip
HEAD = ("quantity", "run", "threshold", "jaccard", "mean difference", "jaccard by chance", "difference by chance")


@explained
def main() -> None:
    """Draw it."""
    options = arguments(__doc__ or "", ("reference", "others..."))
    if options.reference.resolve() in {other.resolve() for other in options.others}:
        raise InputError(f"{options.reference} is among the others, and agrees with itself; name each run once")
    selection = Selection()
    _, merged, _ = read(options.reference, options)
    reference = side_of_run(merged, selection)
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    grid = figure.subplots(2, 2, sharex="row")
    rows: list[tuple[object, ...]] = []
    for number, other in enumerate(options.others):
        _, merged, _ = read(other, options)
        side = side_of_run(merged, selection)
        found = compare(reference, side)
        if found.note:
            remark(f"{other}: {found.note}")
        for line, quantity in zip(grid, ("memorization", "influence"), strict=True):
            curves = getattr(found, quantity)
            if curves is None:
                remark(f"neither {options.reference} nor {other} has a high-influence pair to draw")
            else:
                draw(line, curves, COLOURS[number % len(COLOURS)], describe(other, side, merged))
                rows += table(quantity, other.name, curves)
    for line, quantity in zip(grid, ("memorization", "influence"), strict=True):
        draw_published(line, quantity)
    for style, colour, label in (("--", "black", "the trials of both dealt anew"), (":", "grey", "as published")):
        grid[0, 0].plot([], [], style, color=colour, label=label)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncol=2
    )
    save(figure, options.out / "figure7")
    write_csv(options.out / "figure7.csv", HEAD, rows)


def describe(root: Path, side: Side, merged: Merged) -> str:
    """A run in the legend."""
    accuracy = merged.per_trial("test_accuracy").mean()
    return f"{root.name} ({len(side.pairs[0]):,} pairs, {accuracy:.1%} right, {merged.n_trials:,} trials)"


def draw(line: Any, curves: Curves, colour: str, label: str) -> None:
    """The curves of one quantity, and what chance gives."""
    for axes, measure in zip(line, MEASURES, strict=True):
        axes.plot(curves.found.threshold, getattr(curves.found, measure), ".-", color=colour, label=label)
        if curves.by_chance is not None:
            axes.plot(curves.by_chance.threshold, getattr(curves.by_chance, measure), "--", color=colour)


def table(quantity: str, name: str, curves: Curves) -> list[tuple[object, ...]]:
    """The numbers of one quantity; what is not defined stays empty."""
    found = [getattr(curves.found, measure) for measure in MEASURES]
    chance = [np.full(len(found[0]), np.nan) if curves.by_chance is None else getattr(curves.by_chance, measure)
              for measure in MEASURES]  # fmt: skip
    numbers = zip(*found, *chance, strict=True)
    return [
        (quantity, name, f"{threshold:g}", *("" if np.isnan(value) else f"{value:.4f}" for value in values))
        for threshold, values in zip(curves.found.threshold, numbers, strict=True)
    ]


def draw_published(line: Any, quantity: str) -> None:
    """The paper's curves with their names, and the axes' names."""
    for axes, (measure, name) in zip(line, MEASURES.items(), strict=True):
        for network, label in NETWORKS.items():
            theirs = published("figure7", quantity=quantity, architecture=network)
            known = [(float(row["threshold"]), float(row[measure])) for row in theirs if row[measure]]
            axes.plot(*zip(*known, strict=True), ":", marker=".", markersize=2, color="grey", linewidth=0.8)
            place, shift = (known[-1], (4, -2)) if measure == "jaccard" or len(known) == 1 else (known[0], (0, -8))
            axes.annotate(label, place, shift, textcoords="offset points", fontsize=6, color="grey")
        axes.set(xlabel=f"{quantity} at least", ylabel=name)


if __name__ == "__main__":
    main()
