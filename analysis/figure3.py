"""Figure 3, and the histogram of memorization: both beside the published ones, in the same bins.

    python analysis/figure3.py runs/NAME [--published cifar100] [--out figures]

Influence is that of the selected pairs. Estimates below the paper's first bin have a bin of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from common import PUBLISHED, arguments, read, save, write_csv
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from published_values import Row, published

from memexp.cli.console import explained, out
from memexp.report.figures import BLUE, ORANGE


@explained
def main() -> None:
    """Draw both beside the published ones."""
    options = arguments(__doc__ or "", published=PUBLISHED)
    theirs = {
        quantity: published("histograms", quantity=quantity, dataset=options.published)
        for quantity in ("memorization", "influence")
    }
    _, _, estimates = read(options.run, options)
    pairs = estimates.pairs.passing()
    ours = {"memorization": estimates.scores.memorization, "influence": pairs.influence}
    figure = Figure(figsize=(8, 3), layout="constrained")
    rows = []
    for axes, quantity in zip(figure.subplots(1, 2), theirs, strict=True):
        found = beside_published(ours[quantity], theirs[quantity])
        draw_with_published(axes, found, quantity, options.published)
        bins = zip(found.edges, found.edges[1:], found.ours, found.theirs, strict=False)
        rows += [(quantity, f"{low:g}", f"{high:g}", *counts) for low, high, *counts in bins]
    save(figure, options.out / "figure3")
    write_csv(options.out / "figure3.csv", ("quantity", "from", "to", "count", "published"), rows)
    sure = pairs.rate <= 0.05
    by = f"test of {pairs.judged_by}"
    out.say(f"{len(pairs):,} pairs, {sure.sum():,} of them at a false discovery rate of 0.05 ({by})")


class Histogram(NamedTuple):
    """Counts of a run and of the paper in the same bins.

    Attributes
    ----------
    edges : shape (B + 1,)
        The paper's, and where values lie below or above these, one bin more at that end.
    ours, theirs : shape (B,)
    """

    edges: list[float]
    ours: list[int]
    theirs: list[int]


def beside_published(values: NDArray[Any], published: Sequence[Row]) -> Histogram:
    """Count values in the bins of a published histogram; NaN is left out, and nothing else."""
    known = values[~np.isnan(values)]
    edges = [float(published[0]["from"]), *(float(row["to"]) for row in published)]
    theirs = [int(row["count"]) for row in published]
    bounds = np.array(edges, known.dtype)  # in the precision of the values, so that 1 and a printed edge are inside
    if len(known) and known.min() < bounds[0]:
        edges, theirs = [float(known.min()), *edges], [0, *theirs]
    if len(known) and known.max() > bounds[-1]:
        edges, theirs = [*edges, float(known.max())], [*theirs, 0]
    return Histogram(edges, np.histogram(known, np.array(edges, known.dtype))[0].tolist(), theirs)


def draw_with_published(axes: Axes, found: Histogram, name: str, whose: str) -> Axes:
    """Both as shares of their own total, on a logarithmic axis; the legend says what the totals are."""
    for counts, style, label in (
        (found.ours, {"fill": True, "color": BLUE, "alpha": 0.7}, "this run"),
        (found.theirs, {"color": ORANGE}, f"{whose} as published"),
    ):
        total = sum(counts)
        axes.stairs(np.array(counts) / max(1, total), found.edges, label=f"{label} ({total:,})", **style)
    axes.set(yscale="log", xlabel=name, ylabel="share in a bin")
    axes.legend(frameon=False, fontsize=7)
    return axes


if __name__ == "__main__":
    main()
