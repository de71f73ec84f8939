"""Figure 3, and the histogram of memorization: both beside the published ones, in the same bins.

    python analysis/figure3.py runs/NAME [--published cifar100] [--out figures]

Influence is that of the selected pairs. Estimates below the paper's first bin have a bin of their own.
"""

from __future__ import annotations

from common import PUBLISHED, arguments, read, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.published import published
from memexp.cli.console import explained, out
from memexp.report.figures import beside_published, draw_with_published


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
    sure = pairs.fdr <= 0.05
    out.say(f"{len(pairs):,} pairs, {sure.sum():,} of them at a false discovery rate of 0.05")


if __name__ == "__main__":
    main()
