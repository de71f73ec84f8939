"""Figure 7: how well memorization and high-influence pairs agree between runs, over thresholds.

    python analysis/figure7.py runs/REFERENCE runs/OTHER [runs/ANOTHER ...] [--out figures]

Dashed: the trials of both dealt anew, which is what runs that differ in nothing would show. Dotted
grey: the paper's curves (CIFAR-100, 2,000 trials each; ResNet-50 against itself is the uppermost).
"""

from __future__ import annotations

from common import arguments, read, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.compare import compare
from memexp.analysis.pairs import Selection
from memexp.analysis.published import published
from memexp.analysis.sides import side_of_run
from memexp.console import explained


@explained
def main() -> None:
    """Draw it."""
    options = arguments(__doc__ or "", ("reference", "others..."))
    selection = Selection()
    reference = side_of_run(read(options.reference, options)[1], selection)
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(2, 2, sharex="row")
    rows: list[tuple[object, ...]] = []
    for other in options.others:
        found = compare(reference, side_of_run(read(other, options)[1], selection))
        for line, quantity in zip(grid, ("memorization", "influence"), strict=True):
            curves = getattr(found, quantity)
            if curves is None:
                continue
            for axes, what in zip(line, ("jaccard", "mean_difference"), strict=True):
                (drawn,) = axes.plot(curves.found.threshold, getattr(curves.found, what), label=other.name)
                if curves.by_chance is not None:
                    values = getattr(curves.by_chance, what)
                    axes.plot(curves.by_chance.threshold, values, "--", color=drawn.get_color())
            for k, threshold in enumerate(curves.found.threshold):
                chance = [
                    f"{getattr(curves.by_chance, what)[k]:.4f}" if curves.by_chance is not None else ""
                    for what in ("jaccard", "mean_difference")
                ]
                found_here = (f"{curves.found.jaccard[k]:.4f}", f"{curves.found.mean_difference[k]:.4f}")
                rows.append((quantity, other.name, f"{threshold:g}", *found_here, *chance))
    for line, quantity in zip(grid, ("memorization", "influence"), strict=True):
        for axes, what, name in zip(
            line, ("jaccard", "mean_difference"), ("Jaccard index", "mean difference"), strict=True
        ):
            for network in ("ResNet50", "ResNet18", "Inception", "DenseNet100"):
                theirs = published("figure7", quantity=quantity, architecture=network)
                known = [(float(row["threshold"]), float(row[what])) for row in theirs if row[what]]
                axes.plot(*zip(*known, strict=True), ":", color="grey", linewidth=0.8)
            axes.set(xlabel=f"{quantity} at least", ylabel=name)
    grid[0, 0].legend(frameon=False, fontsize=7)
    save(figure, options.out / "figure7")
    head = ("quantity", "run", "threshold", "jaccard", "mean difference", "jaccard by chance", "difference by chance")
    write_csv(options.out / "figure7.csv", head, rows)


if __name__ == "__main__":
    main()
