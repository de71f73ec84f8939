"""Figures 3 and 1's sheets: histograms of memorization and of the influence of the selected pairs.

python analysis/figure3.py runs/NAME [--published cifar100] [--out figures]
"""

from __future__ import annotations

import numpy as np
from common import arguments, read, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.figures import draw_with_published
from memexp.analysis.published import published
from memexp.console import explained


@explained
def main() -> None:
    """Draw both beside the published ones."""
    options = arguments(__doc__ or "", published="cifar100")
    _, _, estimates = read(options.run, options)
    pairs = estimates.pairs.passing()
    figure = Figure(figsize=(8, 3), layout="constrained")
    rows = []
    for axes, quantity, values in zip(
        figure.subplots(1, 2),
        ("memorization", "influence"),
        (estimates.scores.memorization, pairs.influence),
        strict=True,
    ):
        theirs = published("histograms", quantity=quantity, dataset=options.published)
        draw_with_published(axes, values, theirs, quantity)
        for row in theirs:
            low, high = float(row["from"]), float(row["to"])
            rows.append((quantity, low, high, int(((values >= low) & (values < high)).sum()), row["count"]))
    save(figure, options.out / "figure3")
    write_csv(options.out / "figure3.csv", ("quantity", "from", "to", "count", "published"), rows)
    sure = pairs.fdr <= 0.05
    print(f"{len(pairs):,} pairs, {np.sum(sure):,} of them at a false discovery rate of 0.05")


if __name__ == "__main__":
    main()
