"""Figure 1: examples of each class whose memorization is nearest to 0, 0.5 and 1.

    python analysis/figure1.py runs/NAME [--classes 4] [--out figures]

No picking: classes are evenly spaced among all, and within a class the nearest examples are taken.
"""

from __future__ import annotations

import numpy as np
from common import arguments, read, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.figures import draw_images
from memexp.console import explained

LEVELS = (0.0, 0.5, 1.0)
PER_LEVEL = 5


@explained
def main() -> None:
    """Draw it."""
    options = arguments(__doc__ or "", classes=4)
    run, merged, estimates = read(options.run, options)
    memorization, labels = estimates.scores.memorization, merged.examples["train_label"]
    images = run.load_data().x_train
    present = np.unique(labels)
    classes = present[np.linspace(0, len(present) - 1, min(options.classes, len(present))).round().astype(int)]
    rows: list[tuple[object, ...]] = []
    figure = Figure(figsize=(1.1 * PER_LEVEL * len(LEVELS), 1.35 * len(classes)), layout="constrained")
    grid = np.atleast_2d(figure.subplots(len(classes), PER_LEVEL * len(LEVELS)))
    for line, label in zip(grid, classes, strict=True):
        mine = np.flatnonzero((labels == label) & ~np.isnan(memorization))
        for level, part in zip(LEVELS, np.split(line, len(LEVELS)), strict=True):
            chosen = mine[np.argsort(np.abs(memorization[mine] - level), kind="stable")[:PER_LEVEL]]
            gaps = [None] * (PER_LEVEL - len(chosen))
            titles = [f"{memorization[i]:.2f}" for i in chosen]
            draw_images(part, [*(images[i] for i in chosen), *gaps], titles + [""] * len(gaps))
            rows += [(run.manifest.classes[label], level, int(i), f"{memorization[i]:.4f}") for i in chosen]
        line[0].text(-0.1, 0.5, run.manifest.classes[label], transform=line[0].transAxes, ha="right", va="center")
    save(figure, options.out / "figure1")
    write_csv(options.out / "figure1.csv", ("class", "level", "train", "memorization"), rows)


if __name__ == "__main__":
    main()
