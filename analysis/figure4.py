"""Figures 4 to 6: training examples and the test examples of their class that they influence most.

    python analysis/figure4.py runs/NAME [--rows 5] [--out figures]

No picking: pairs are sorted by influence, and evenly spaced ones are shown.
"""

from __future__ import annotations

import numpy as np
from common import arguments, read, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.figures import draw_images
from memexp.console import explained
from memexp.errors import InputError

TESTS = 4


@explained
def main() -> None:
    """Draw it; only discoveries at a false discovery rate of 0.05, because others are mostly noise."""
    options = arguments(__doc__ or "", rows=5)
    run, merged, estimates = read(options.run, options)
    pairs = estimates.pairs.passing()
    pairs = pairs.take(pairs.fdr <= 0.05)
    strongest = np.unique(pairs.train, return_index=True)[1]  # a training example's own strongest pair
    strongest = strongest[np.argsort(-pairs.influence[strongest], kind="stable")]
    if not len(strongest):
        raise InputError(f"{options.run} has no pair at a false discovery rate of 0.05; train more trials")
    chosen = strongest[np.linspace(0, len(strongest) - 1, min(options.rows, len(strongest))).round().astype(int)]
    data, rows = run.load_data(), []
    figure = Figure(figsize=(1.3 * (1 + TESTS), 1.5 * len(chosen)), layout="constrained")
    grid = np.atleast_2d(figure.subplots(len(chosen), 1 + TESTS))
    for line, place in zip(grid, chosen, strict=True):
        train = pairs.train[place]
        mine = np.flatnonzero(pairs.train == train)[:TESTS]
        gaps = [None] * (TESTS - len(mine))
        titles = [f"{pairs.influence[k]:.2f}" for k in mine]
        name = run.manifest.classes[merged.examples["train_label"][train]]
        draw_images(
            line,
            [data.x_train[train], *(data.x_test[pairs.test[k]] for k in mine), *gaps],
            [f"{name}: {estimates.scores.memorization[train]:.2f}", *titles, *[""] * len(gaps)],
        )
        rows += [(int(train), int(pairs.test[k]), f"{pairs.influence[k]:.4f}", f"{pairs.fdr[k]:.2g}") for k in mine]
    save(figure, options.out / "figure4")
    write_csv(options.out / "figure4.csv", ("train", "test", "influence", "false discovery rate"), rows)


if __name__ == "__main__":
    main()
