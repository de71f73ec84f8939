"""Where memorized examples are needed, and where not: what removing them costs, setting by setting.

    memexp launch specs/laptop/mixture.yaml
    memexp select runs/mixture --memorization 0.25 --out removed.json
    # a spec `name: mixture_removal` with `subsets: {design: remove, removed: removed.json, control: true, trials: ...}`
    memexp launch mixture_removal.yaml
    python analysis/contrast.py runs/mixture runs/mixture_removal [RUN REMOVAL ...] [--out figures]

For each run and the removal of its memorized examples: test accuracy without them, minus that without as many
random ones. Beside it what the run's trials alone predict, before anything is removed: the slope of their test
accuracy on the number of memorized examples that each trained on. Error bars: two standard errors over trials.
"""

from __future__ import annotations

import numpy as np
from common import arguments, print_table, read, read_removal, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.removal import NOTHING, difference
from memexp.analysis.worth import worth_of_memorized
from memexp.cli.console import explained
from memexp.errors import InputError
from memexp.report.figures import BLUE, ORANGE
from memexp.runs.run import open_run

HEAD = ("run", "memorized", "of", "removed", "trials", "without them", "without random", "difference",
        "standard error", "predicted", "its error")  # fmt: skip


@explained
def main() -> None:
    """Draw it, and print the numbers, all in points of accuracy."""
    options = arguments(__doc__ or "", runs=["run..."])
    if len(options.run) % 2:
        raise InputError(
            f"{len(options.run)} folders: give pairs, each a run and the removal of its memorized examples"
        )
    rows, bars = [], []
    for root, removed in zip(options.run[::2], options.run[1::2], strict=True):
        run, merged, estimates = read(root, options)
        run.require_same_data(open_run(removed))
        conditions = read_removal(removed, options)
        names = [condition.name for condition in conditions if condition.control and condition.name != NOTHING]
        if len(names) != 1:
            raise InputError(
                f"{removed} has {len(names)} lists with a random control; give a removal of one list: `memexp select "
                f"{root} --memorization 0.25 --out removed.json` and `control: true`"
            )
        without, random = (next(c for c in conditions if (c.name, c.control) == (names[0], k)) for k in (False, True))
        threshold = 0.25 if without.threshold is None else without.threshold
        gap, se = (100 * value for value in difference(without, random))
        worth = worth_of_memorized(merged, threshold)
        memorized = int((estimates.scores.memorization >= threshold).sum())
        predicted, error = -100 * worth.cost, 100 * worth.cost_se
        bars.append((root.resolve().name, gap, se, predicted, error))
        rows.append((
            bars[-1][0], memorized, run.manifest.n_train, without.removed, len(without.accuracy),
            f"{100 * without.mean:.2f}", f"{100 * random.mean:.2f}", f"{gap:.2f}", f"{se:.2f}",
            f"{predicted:.1f}", f"{error:.1f}",
        ))  # fmt: skip
    print_table([HEAD, *rows])
    save(_draw(bars), options.out / "contrast")
    write_csv(options.out / "contrast.csv", HEAD, rows)


def _draw(bars: list[tuple[str, float, float, float, float]]) -> Figure:
    figure = Figure(figsize=(7, 1.2 + 0.7 * len(bars)), layout="constrained")
    axes = figure.subplots()
    y = np.arange(len(bars))[::-1]
    for offset, color, label, first in ((0.12, BLUE, "measured by removing them", 1),
                                        (-0.12, ORANGE, "predicted by the trials", 3)):  # fmt: skip
        values = np.array([bar[first] for bar in bars])
        errors = np.array([2 * bar[first + 1] for bar in bars])
        known = ~np.isnan(values) & ~np.isnan(errors)
        axes.errorbar(values[known], (y + offset)[known], xerr=errors[known], fmt="o", color=color, label=label)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_yticks(y, [bar[0] for bar in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set(xlabel="points of accuracy without memorized examples, beyond as many random ones")
    axes.legend(fontsize=8, loc="best")
    return figure


if __name__ == "__main__":
    main()
