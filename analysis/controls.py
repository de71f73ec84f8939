"""Controls that critics of the method ask for, on one page of numbers.

    python analysis/controls.py runs/NAME [--null runs/RANDOM_LABELS] [--out figures]

Convergence: accuracy of the trials on their own training sets, and how many failed the spec's gate.
Fractional score: (in - out) / (in + out) beside memorization, in - out.
Null threshold: the memorization that 95 % of the examples with random labels reach, and how many
examples of the run reach it. Random labels are the flipped ones of ``--null``, a run like this one
whose spec has ``label_noise: {fraction: 0.9}`` (with ten classes: labels that tell nothing), or this
run's own flipped labels. What else that run differs in is told: its threshold is of its own training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import arguments, print_table, read, save, settings_apart, write_csv
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from memexp.analysis.controls import fractional_score, null_threshold
from memexp.cli.console import explained
from memexp.errors import InputError
from memexp.report.figures import BLUE, GREY, ORANGE
from memexp.store.trials import FAILED

SHARE = 0.95


@explained
def main() -> None:
    """Draw the histograms, write the numbers."""
    options = arguments(__doc__ or "", null=(Path, "run with random labels"))
    run, merged, estimates = read(options.run, options)
    scores = estimates.scores
    null_run, null_merged, null_estimates = read(options.null, options) if options.null else (run, merged, estimates)
    run.require_same_data(null_run, ("x_train",))
    flipped = null_merged.examples.get("train_label_flipped")
    if flipped is None:
        raise InputError(
            f"{null_run.paths.root} has no random labels; give --null a run whose spec has "
            "`label_noise: {fraction: 0.9}` in its dataset block"
        )
    random_labels = null_estimates.scores.memorization[flipped]
    threshold = null_threshold(random_labels, SHARE)
    own = null_run is run
    natural = scores.memorization[~flipped] if own else scores.memorization
    fraction = fractional_score(scores.in_accuracy, scores.out_accuracy)
    defined = ~(np.isnan(scores.memorization) | np.isnan(fraction))
    count = int((scores.memorization >= 0.25).sum())
    strongest = (
        set(np.argsort(-np.nan_to_num(each, nan=-1), kind="stable")[:count]) for each in (fraction, scores.memorization)
    )
    common = len(set.intersection(*strongest))
    inside = merged.per_trial("in_accuracy")
    apart = ", ".join(settings_apart(run, null_run)) or "nothing"
    rows = [
        ("finished trials", merged.n_trials),
        ("failed trials (at the gate, or diverged)", int((run.store().status() == FAILED).sum())),
        ("the gate: min_in_accuracy", f"{run.spec.training.min_in_accuracy:g}"),
        ("accuracy on their own training examples, least", f"{inside.min():.4f}"),
        ("accuracy on their own training examples, mean", f"{inside.mean():.4f}"),
        ("examples with memorization of 0.25 or more", count),
        ("rank correlation of memorization and fractional score",
         f"{spearmanr(scores.memorization[defined], fraction[defined]).statistic:.4f}"),
        ("of as many examples by fractional score, the same", f"{common / max(1, count):.4f}"),
        ("run with random labels: differs beside labels and seed in", apart),
        ("run with random labels: trials", null_merged.n_trials),
        ("run with random labels: accuracy on their own training examples, mean",
         f"{null_merged.per_trial('in_accuracy').mean():.4f}"),
        ("examples with random labels", len(random_labels)),
        ("their memorization, mean", f"{np.nanmean(random_labels):.4f}"),
        (f"memorization that {100 * SHARE:.0f} % of them reach", f"{threshold:.4f}"),
        ("other examples that reach it", int((natural >= threshold).sum())),
        ("other examples that reach it, share", f"{np.mean(natural >= threshold):.4f}"),
    ]  # fmt: skip
    figure = Figure(figsize=(5.2, 3), layout="constrained")
    axes = figure.subplots()
    lowest = min(np.nanmin(natural, initial=0), np.nanmin(random_labels, initial=0))
    edges = np.linspace(np.floor(40 * lowest) / 40, 1, 41).tolist()
    for values, colour, name in ((natural, BLUE, "labels as they are"), (random_labels, ORANGE, "random labels")):
        axes.hist(
            values[~np.isnan(values)],
            edges,
            density=True,
            color=colour,
            alpha=0.6,
            label=f"{name} ({np.sum(~np.isnan(values)):,})",
        )
    axes.axvline(threshold, color=GREY, linestyle="--", label=f"reached by {100 * SHARE:.0f} % of the random labels")
    axes.set(xlabel="memorization", ylabel="density of examples", yscale="log")
    axes.legend(frameon=False, fontsize=7)
    save(figure, options.out / "controls")
    write_csv(options.out / "controls.csv", ("what", "value"), rows)
    print_table(rows)


if __name__ == "__main__":
    main()
