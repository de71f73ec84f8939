"""Figures 4 to 6: training examples and the four test examples of their class that they influence most.

    python analysis/figure4.py runs/NAME [--rows 5] [--out figures]

No picking: the training examples of the high-influence pairs that are discoveries at a false
discovery rate of 0.05 (others are mostly noise), evenly spaced in rank of their strongest influence.
Above the images memorization of the training example (mem) and influence (infl), which is in brackets
where the pair is no such discovery.
"""

from __future__ import annotations

import numpy as np
from common import arguments, read, read_images, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.sides import outcomes_of
from memexp.cli.console import explained
from memexp.errors import InputError
from memexp.report.figures import draw_images
from memexp.report.thumbnails import shown

TESTS = 4


@explained
def main() -> None:
    """Draw it."""
    options = arguments(__doc__ or "", rows=(5, "how many training examples are shown"))
    run, merged, estimates = read(options.run, options)
    pairs = estimates.pairs.passing()
    pairs = pairs.take(pairs.rate <= 0.05)
    found = dict(zip(zip(pairs.train.tolist(), pairs.test.tolist(), strict=True), pairs.rate, strict=True))
    ranked = list(dict.fromkeys(pairs.train.tolist()))  # pairs are sorted: strongest influence first
    if not ranked:
        raise InputError(
            f"{options.run} has no high-influence pair at a false discovery rate of 0.05 (of "
            f"{len(estimates.pairs.passing()):,} pairs); train more trials"
        )
    chosen = [ranked[k] for k in np.linspace(0, len(ranked) - 1, min(options.rows, len(ranked))).round().astype(int)]
    (_, look), trials, rows = read_images(run), outcomes_of(merged).trials(), []
    labels, test_labels = merged.examples["train_label"], merged.examples["test_label"]
    figure = Figure(figsize=(1.3 * (1 + TESTS), 1.5 * len(chosen)), layout="constrained")
    for line, train in zip(figure.subplots(len(chosen), 1 + TESTS, squeeze=False), chosen, strict=True):
        tests = np.flatnonzero(test_labels == labels[train])
        influence = trials.pair_counts(np.full(len(tests), train), tests).value()
        order = np.argsort(-influence, kind="stable")[:TESTS]
        mine = [(int(tests[k]), f"infl {influence[k]:.2f}", influence[k]) for k in order]
        gaps = TESTS - len(mine)
        name = f"{run.manifest.classes[labels[train]]}, mem {estimates.scores.memorization[train]:.2f}"
        titles = [text if (train, test) in found else f"({text})" for test, text, _ in mine]
        images = [shown(look.x_train[train]), *(shown(look.x_test[test]) for test, _, _ in mine), *[None] * gaps]
        draw_images(line, images, [name, *titles, *[""] * gaps])
        for test, _, value in mine:
            rate = found.get((train, test))
            rows.append((train, test, f"{value:.4f}", "" if rate is None else f"{rate:.2g}"))
    save(figure, options.out / "figure4")
    write_csv(options.out / "figure4.csv", ("train", "test", "influence", "false discovery rate"), rows)


if __name__ == "__main__":
    main()
