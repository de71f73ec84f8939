"""Controls that critics of the method ask for, on one page of numbers.

    python analysis/controls.py runs/NAME [--null runs/RANDOM_LABELS] [--out figures]

Convergence: accuracy of the trials on their own training sets, and how many failed the spec's gate.
Fractional score: (in - out) / (in + out) beside memorization, in - out.
Null threshold: the memorization that 95 % of the examples with random labels reach, and how many
examples of the run reach it. Random labels are the flipped ones of ``--null``, a run like this one
whose spec has ``label_noise: {fraction: 0.9}`` (with ten classes: labels that tell nothing), or this
run's own flipped labels; without either, or with fewer than 20, the threshold is left out. What else
that run differs in is told: its threshold is of its own training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, print_table, read, save, settings_apart, write_csv
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from memexp.analysis.controls import LEAST_RANDOM, fractional_score, null_threshold
from memexp.analysis.estimates import Memorization
from memexp.analysis.merged import Merged
from memexp.cli.console import explained, remark
from memexp.errors import InputError
from memexp.report.figures import BLUE, GREY, ORANGE
from memexp.runs.run import Run

SHARE = 0.95
Rows = Iterator[tuple[str, Any]]


@explained
def main() -> None:
    """Draw the histograms, write the numbers."""
    options = arguments(__doc__ or "", null=(Path, "run with random labels"))
    run, merged, estimates = read(options.run, options)
    scores = estimates.scores
    null_run, null_merged, null_estimates = read(options.null, options) if options.null else (run, merged, estimates)
    run.require_same_data(null_run, ("x_train",))
    own = null_run is run
    flipped = null_merged.examples.get("train_label_flipped", np.zeros(null_run.manifest.n_train, bool))
    random_labels = null_estimates.scores.memorization[flipped]
    natural = scores.memorization[~flipped] if own else scores.memorization
    rows = [*convergence(run, merged), *fractional(scores)]
    if len(random_labels) >= LEAST_RANDOM or options.null:
        if not len(random_labels):
            raise InputError(
                f"{options.null} has no random labels; give --null a run whose spec has "
                "`label_noise: {fraction: 0.9}` in its dataset block"
            )
        threshold = null_threshold(random_labels, SHARE)
        apart = ", ".join(settings_apart(run, null_run)) or "nothing"
        rows += [("run with random labels: differs beside labels and seed in", apart)]
        rows += random_control(null_merged, random_labels, natural, threshold)
        save(histograms(natural, random_labels, threshold), options.out / "controls")
    else:
        remark(
            f"{len(random_labels)} examples of {options.run} have random labels: too few for the threshold that these "
            "reach; give --null a run whose spec has `label_noise: {fraction: 0.9}`"
        )
    write_csv(options.out / "controls.csv", ("what", "value"), rows)
    print_table(rows)


def convergence(run: Run, merged: Merged) -> Rows:
    """Whether the trials fitted what they saw."""
    inside = merged.per_trial("in_accuracy")
    yield "finished trials", merged.n_trials
    yield "failed trials (at the gate, or diverged)", merged.n_failed
    yield "the gate: min_in_accuracy", f"{run.spec.training.min_in_accuracy:g}"
    yield "accuracy on their own training examples, least", f"{inside.min():.4f}"
    yield "accuracy on their own training examples, mean", f"{inside.mean():.4f}"


def fractional(scores: Memorization) -> Rows:
    """The fractional score beside memorization: whether the same examples lead."""
    fraction = fractional_score(scores.in_accuracy, scores.out_accuracy)
    defined = ~(np.isnan(scores.memorization) | np.isnan(fraction))
    count = int((scores.memorization >= 0.25).sum())
    strongest = (
        set(np.argsort(-np.nan_to_num(each, nan=-1), kind="stable")[:count]) for each in (fraction, scores.memorization)
    )
    common = len(set.intersection(*strongest))
    ranks = spearmanr(scores.memorization[defined], fraction[defined]).statistic
    yield "examples with memorization of 0.25 or more", count
    yield "rank correlation of memorization and fractional score", f"{ranks:.4f}"
    yield "of as many examples by fractional score, the same", f"{common / max(1, count):.4f}"


def random_control(null: Merged, random_labels: NDArray[Any], natural: NDArray[Any], threshold: float) -> Rows:
    """How much random labels are memorized, and how many other examples as much."""
    inside = null.per_trial("in_accuracy").mean()
    yield "run with random labels: trials", null.n_trials
    yield "run with random labels: accuracy on their own training examples, mean", f"{inside:.4f}"
    yield "examples with random labels", len(random_labels)
    yield "their memorization, mean", f"{np.nanmean(random_labels):.4f}"
    yield f"memorization that {100 * SHARE:.0f} % of them reach", f"{threshold:.4f}"
    yield "other examples that reach it", int((natural >= threshold).sum())
    yield "other examples that reach it, share", f"{np.mean(natural[~np.isnan(natural)] >= threshold):.4f}"


def histograms(natural: NDArray[Any], random_labels: NDArray[Any], threshold: float) -> Figure:
    """Memorization of natural and of random labels, each as a density."""
    figure = Figure(figsize=(5.2, 3), layout="constrained")
    axes = figure.subplots()
    lowest = min(np.nanmin(natural, initial=0), np.nanmin(random_labels, initial=0))
    edges = np.linspace(np.floor(40 * lowest) / 40, 1, 41).tolist()
    for values, colour, name in ((natural, BLUE, "labels as they are"), (random_labels, ORANGE, "random labels")):
        known = values[~np.isnan(values)]
        axes.hist(known, edges, density=True, color=colour, alpha=0.6, label=f"{name} ({len(known):,})")
    axes.axvline(threshold, color=GREY, linestyle="--", label=f"reached by {100 * SHARE:.0f} % of the random labels")
    axes.set(xlabel="memorization", ylabel="density of examples", yscale="log")
    axes.legend(frameon=False, fontsize=7)
    return figure


if __name__ == "__main__":
    main()
