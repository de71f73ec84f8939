"""Near-duplicates between training and test set, and what is left without them.

    python analysis/duplicates.py runs/NAME [--removal runs/NAME_removal] [--correlation 0.9] [--out figures]

Two images are near-duplicates if their pixels correlate at ``--correlation`` or more, also mirrored.
Test examples with such a training image are left out: how many high-influence pairs stay, and, with
``--removal`` (the run of table_high_influence.py), how much removing their training examples still
costs on the other test examples, against as many random ones; the same for near-duplicates, where the
removal left these out (`memexp select RUN --pairs --duplicates 0.9`).

No picking in the picture: pairs evenly spaced in rank of correlation, the training images above. Look
at it before you believe the numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import arguments, print_table, read, read_images, read_removal, removed_pairs, save, write_csv
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.controls import ALIKE, near_duplicates
from memexp.analysis.removal import HIGH_INFLUENCE, NEAR_DUPLICATES, difference
from memexp.cli.console import explained
from memexp.errors import InputError
from memexp.report.figures import draw_images
from memexp.report.thumbnails import shown
from memexp.runs.run import open_run

SHOWN = 8


@explained
def main() -> None:
    """Find them, draw some, count what they explain."""
    options = arguments(
        __doc__ or "",
        removal=(Path, "`remove` run without the high-influence set"),
        correlation=(ALIKE, "least correlation of near-duplicates"),
    )
    run, merged, estimates = read(options.run, options)
    data, look = read_images(run)
    if options.removal:
        removed_pairs(run, estimates, open_run(options.removal))
    alike = near_duplicates(data.x_train, data.x_test, options.correlation)
    if not len(alike.train):
        raise InputError(f"no training and test image correlate at {options.correlation:g}; lower --correlation")
    pairs = estimates.pairs.passing()
    influences = dict(zip(zip(pairs.train, pairs.test, strict=True), pairs.influence, strict=True))
    found = [influences.get(pair) for pair in zip(alike.train, alike.test, strict=True)]
    others = ~np.isin(pairs.test, alike.tests)
    rest = np.setdiff1d(np.arange(len(data.y_test)), alike.tests)
    if not len(rest):
        raise InputError(
            f"every test image has a training image like it at {options.correlation:g}; raise --correlation"
        )
    correct = np.concatenate([band.mean(axis=1) for _, (band,) in merged.bands("test_correct")])
    rows = [
        ("near-duplicate pairs", len(alike.train), ""),
        ("of them of one class", int((data.y_train[alike.train] == data.y_test[alike.test]).sum()), ""),
        ("test examples that have one", len(alike.tests), ""),
        ("accuracy on all test examples", f"{correct.mean():.4f}", ""),
        ("accuracy without these", f"{correct[rest].mean():.4f}", ""),
        ("high-influence pairs", len(pairs), ""),
        ("of them near-duplicates", sum(value is not None for value in found), ""),
        ("of them on other test examples", int(others.sum()), ""),
    ]
    if options.removal:
        rows += drops(options, rest, len(data.y_test))
    chosen = np.linspace(0, len(found) - 1, min(SHOWN, len(found))).round().astype(int)
    figure = Figure(figsize=(1.2 * len(chosen), 2.8), layout="constrained")
    grid = figure.subplots(2, len(chosen), squeeze=False)
    titles = [f"train, r = {alike.correlation[k]:.3f}" for k in chosen]
    draw_images(grid[0], [shown(look.x_train[alike.train[k]]) for k in chosen], titles)
    titles = ["test" if found[k] is None else f"test, influence {found[k]:.2f}" for k in chosen]
    draw_images(grid[1], [shown(look.x_test[alike.test[k]]) for k in chosen], titles)
    save(figure, options.out / "duplicates")
    head = ("train", "test", "correlation", "influence")
    listed = zip(alike.train, alike.test, alike.correlation, found, strict=True)
    table = [(i, j, f"{r:.4f}", "" if value is None else f"{value:.4f}") for i, j, r, value in listed]
    write_csv(options.out / "duplicates_pairs.csv", head, table)
    write_csv(options.out / "duplicates.csv", ("what", "value", "standard error"), rows)
    print_table(rows)


def drops(options: argparse.Namespace, rest: NDArray[np.intp], n_test: int) -> list[tuple[str, str, str]]:
    """What leaving out a set costs, on all test examples and on those without a near-duplicate."""
    rows = []
    for which, tests in (("all test examples", np.arange(n_test)), ("those without a near-duplicate", rest)):
        conditions = {(c.name, c.control): c for c in read_removal(options.removal, options, tests)}
        for name in (HIGH_INFLUENCE, NEAR_DUPLICATES):
            if (name, True) in conditions:
                without = conditions[name, False]
                gap, error = difference(conditions[name, True], without)
                what = f"cost of {without.removed:,} examples ({name}) against random ones, {which}"
                rows.append((what, f"{gap:.4f}", f"{error:.4f}"))
    return rows


if __name__ == "__main__":
    main()
