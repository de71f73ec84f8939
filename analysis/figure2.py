"""Figure 2: what memorized examples are worth, against as many random ones.

    memexp select runs/NAME --out removed.json
    # a spec with `subsets: {design: remove, removed: removed.json, control: true, trials: ...}`
    memexp launch removal.yaml
    python analysis/figure2.py runs/NAME_removal [--published cifar100] [--out figures]

Error bars: standard deviation over trials, which differ in their initial weights and the order of
batches, the random controls also in what was left out. Below: share of the training set left. Dotted:
the paper's curves; accuracies shifted to end at this run's accuracy with nothing removed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from common import PUBLISHED, arguments, read_removal, save, write_csv
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from published_values import Row, published

from memexp.analysis.removal import Condition, difference
from memexp.cli.console import explained
from memexp.report.figures import BLUE, ORANGE, draw_marginal_utility
from memexp.runs.run import open_run

HEAD = ("removed", "random control", "examples", "share left", "trials", "accuracy", "deviation",
        "minus control", "standard error")  # fmt: skip


@explained
def main() -> None:
    """Draw it, and tell the difference to the control with its standard error."""
    options = arguments(__doc__ or "", published=PUBLISHED)
    theirs = published("figure2", dataset=options.published)
    conditions = read_removal(options.run, options)
    n_train = open_run(options.run).manifest.n_train
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes, kept = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_marginal_utility(axes, kept, conditions, n_train)
    draw_published(axes, kept, theirs, next((c for c in conditions if not c.removed), None))
    save(figure, options.out / "figure2")
    rows = []
    for condition in conditions:
        control = next((c for c in conditions if c.control and c.name == condition.name), None)
        gap = difference(condition, control) if control and not condition.control else (math.nan, math.nan)
        numbers = (condition.mean, condition.deviation, *gap)
        rows.append((
            condition.name, condition.control, condition.removed, f"{1 - condition.removed / n_train:.4f}",
            len(condition.accuracy), *("" if math.isnan(value) else f"{value:.5f}" for value in numbers),
        ))  # fmt: skip
    write_csv(options.out / "figure2.csv", HEAD, rows)


def draw_published(axes: Axes, kept: Axes, rows: Sequence[Row], whole: Condition | None) -> None:
    """The published curves dotted, shifted so that they end at the accuracy of the whole set."""
    x, name = [float(row["threshold"]) for row in rows], f"{rows[0]['dataset']} as published"
    kept.plot(x, [float(row["kept"]) for row in rows], ":", color=ORANGE, linewidth=1)
    if whole is None:
        return
    for key, colour, label in (("memorized", ORANGE, None), ("random", BLUE, f"{name}, shifted")):
        y = [float(row[key]) - float(rows[-1][key]) + whole.mean for row in rows]
        axes.plot(x, y, ":", color=colour, linewidth=1, label=label)
    axes.legend(frameon=False, fontsize=7)


if __name__ == "__main__":
    main()
