"""Figure 1: examples of each class whose memorization is nearest to 0, 0.5 and 1.

    python analysis/figure1.py runs/NAME [--classes 4] [--out figures]

No picking: classes are evenly spaced among all, and within a class the nearest examples are taken,
those of equal memorization in the order of the data. The class is that of the label trained on.
"""

from __future__ import annotations

import numpy as np
from common import arguments, read, read_images, save, write_csv
from matplotlib.figure import Figure

from memexp.cli.console import explained
from memexp.report.figures import draw_images
from memexp.report.thumbnails import shown

LEVELS = (0.0, 0.5, 1.0)
PER_LEVEL = 5


@explained
def main() -> None:
    """Draw it."""
    options = arguments(__doc__ or "", classes=(4, "how many classes are shown"))
    run, merged, estimates = read(options.run, options)
    memorization, labels = estimates.scores.memorization, merged.examples["train_label"]
    _, look = read_images(run)
    present = np.unique(labels)
    classes = present[np.linspace(0, len(present) - 1, min(options.classes, len(present))).round().astype(int)]
    rows: list[tuple[object, ...]] = []
    figure = Figure(figsize=(1.1 * PER_LEVEL * len(LEVELS), 1.35 * len(classes) + 0.3), layout="constrained")
    names = [run.manifest.classes[label] for label in classes]
    for part, level in zip(figure.subfigures(1, len(LEVELS), wspace=0.03), LEVELS, strict=True):
        part.suptitle(f"memorization nearest to {level:g}", fontsize=9)
        grid = part.subplots(len(classes), PER_LEVEL, squeeze=False)
        for line, label, name in zip(grid, classes, names, strict=True):
            mine = np.flatnonzero((labels == label) & ~np.isnan(memorization))
            chosen = mine[np.argsort(np.abs(memorization[mine] - level), kind="stable")[:PER_LEVEL]]
            gaps = [None] * (PER_LEVEL - len(chosen))
            titles = [f"{memorization[i]:.2f}" for i in chosen]
            draw_images(line, [*(shown(look.x_train[i]) for i in chosen), *gaps], titles + [""] * len(gaps))
            line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center", rotation=90, fontsize=8)
            rows += [(name, f"{level:g}", int(i), f"{memorization[i]:.4f}") for i in chosen]
    save(figure, options.out / "figure1")
    write_csv(options.out / "figure1.csv", ("class", "level", "train", "memorization"), rows)


if __name__ == "__main__":
    main()
