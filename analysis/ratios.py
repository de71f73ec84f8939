"""Memorization over the share of the training set that a trial sees.

    python analysis/ratios.py runs/RATIO_A runs/RATIO_B ... [--out figures]

The definition leaves one example out of the whole training set; subsets of 70 % are cheaper, but a
smaller training set makes each example more needed. Runs that differ in the ratio only (a sweep)
show how much: mean memorization, examples above 0.25, and agreement with the largest ratio. Bars:
standard error over trials. Counts above 0.25 and agreement also move with the noise of each example's
estimate, so compare runs of like mean standard error.
"""

from __future__ import annotations

import numpy as np
from common import arguments, print_table, read, save, settings_apart, standard_error, write_csv
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from memexp.analysis.merged import Merged
from memexp.cli.console import explained
from memexp.errors import InputError
from memexp.report.figures import BLUE, ORANGE


@explained
def main() -> None:
    """Draw it."""
    options = arguments(__doc__ or "", ("runs...",))
    found = sorted((read(root, options) for root in options.runs), key=lambda each: each[0].spec.subsets.ratio)
    for run, _, _ in found[:-1]:
        run.require_same_data(found[-1][0])
        if apart := settings_apart(run, found[-1][0], "subsets.ratio"):
            raise InputError(
                f"{run.paths.root} and {found[-1][0].paths.root} differ in more than the ratio: {', '.join(apart)}; "
                "give runs of one sweep of it"
            )
    ratios = [run.spec.subsets.ratio for run, _, _ in found]
    if len(set(ratios)) < 2:
        raise InputError(f"all runs have the ratio {ratios[0]:g}; give runs of several ratios")
    last = found[-1][2].scores.memorization
    rows = []
    for (run, merged, estimates), ratio in zip(found, ratios, strict=True):
        scores = estimates.scores
        defined = ~(np.isnan(scores.memorization) | np.isnan(last))
        chosen = [np.flatnonzero(each >= 0.25) for each in (scores.memorization, last)]
        rows.append((
            run.spec.name, f"{ratio:g}", merged.n_trials, f"{np.nanmean(scores.memorization):.4f}",
            f"{error_of_mean(merged):.4f}", f"{np.nanmean(scores.memorization_se):.4f}", len(chosen[0]),
            f"{merged.per_trial('test_accuracy').mean():.4f}",
            f"{spearmanr(scores.memorization[defined], last[defined]).statistic:.4f}",
            f"{len(np.intersect1d(*chosen)) / max(1, len(np.union1d(*chosen))):.4f}",
        ))  # fmt: skip
    figure = Figure(figsize=(5.2, 3), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(
        ratios, [float(row[3]) for row in rows], [float(row[4]) for row in rows], fmt="o-", color=BLUE, capsize=2
    )
    axes.set_xlabel("share of the training set that a trial sees")
    axes.set_ylabel("mean memorization", color=BLUE)
    axes.set_ylim(0, 1.15 * max(float(row[3]) for row in rows))
    right = axes.twinx()
    right.plot(ratios, [int(row[6]) for row in rows], "s--", color=ORANGE)
    right.set_ylabel("examples at 0.25 or more", color=ORANGE)
    right.set_ylim(0, 1.3 * max(1, *(int(row[6]) for row in rows)))
    save(figure, options.out / "ratios")
    head = ("run", "ratio", "trials", "mean memorization", "its standard error", "mean error of an example",
            "at 0.25 or more", "test accuracy", "rank correlation with the largest ratio",
            "jaccard at 0.25 with it")  # fmt: skip
    write_csv(options.out / "ratios.csv", head, rows)
    print_table(list(zip(head, *rows, strict=True)))


def error_of_mean(merged: Merged) -> float:
    """Of mean memorization, over trials: each has its accuracy with examples in, and with others out."""
    each = merged.per_trial("in_accuracy") - merged.per_trial("out_accuracy")
    return standard_error(each)


if __name__ == "__main__":
    main()
