"""Near-duplicates between training and test set, and what is left without them.

    python analysis/duplicates.py runs/NAME [--removal runs/NAME_removal] [--correlation 0.9] [--out figures]

Two images are near-duplicates if their pixels correlate at ``--correlation`` or more, also mirrored.
Test examples with such a training image are left out: how many high-influence pairs stay, and, with
``--removal`` (the run of table_high_influence.py), how much removing their training examples still
costs on the other test examples, against as many random ones.

No picking in the picture: pairs evenly spaced in correlation; above each pair its correlation, and
influence where memexp has selected it. Look at it before you believe the numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import arguments, print_table, read, read_run, save, write_csv
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.controls import ALIKE, near_duplicates
from memexp.analysis.figures import draw_images
from memexp.analysis.removal import HIGH_INFLUENCE, difference, read_conditions
from memexp.console import explained
from memexp.errors import InputError
from memexp.run import Run

SHOWN = 8


@explained
def main() -> None:
    """Find them, draw some, count what they explain."""
    options = arguments(__doc__ or "", removal=Path, correlation=ALIKE)
    run, merged, estimates = read(options.run, options)
    data = run.load_data()
    alike = near_duplicates(data.x_train, data.x_test, options.correlation)
    if not len(alike.train):
        raise InputError(f"no training and test image correlate at {options.correlation:g}; lower --correlation")
    pairs = estimates.pairs.passing()
    influences = dict(zip(zip(pairs.train, pairs.test, strict=True), pairs.influence, strict=True))
    found = [influences.get(pair) for pair in zip(alike.train, alike.test, strict=True)]
    others = ~np.isin(pairs.test, alike.tests)
    rest = np.setdiff1d(np.arange(len(data.y_test)), alike.tests)
    correct = np.concatenate([band.mean(axis=1) for _, (band,) in merged.bands("test_correct")])
    rows = [
        ("near-duplicate pairs", f"{len(alike.train):,}"),
        ("of them of one class", f"{int((data.y_train[alike.train] == data.y_test[alike.test]).sum()):,}"),
        ("test examples that have one", f"{len(alike.tests):,}"),
        ("accuracy on all test examples", f"{correct.mean():.4f}"),
        ("accuracy without these", f"{correct[rest].mean():.4f}"),
        ("high-influence pairs", f"{len(pairs):,}"),
        ("of them near-duplicates", f"{sum(value is not None for value in found):,}"),
        ("of them on other test examples", f"{int(others.sum()):,}"),
    ]
    if options.removal:
        rows += drops(options, run, rest)
    chosen = np.linspace(0, len(found) - 1, min(SHOWN, len(found))).round().astype(int)
    figure = Figure(figsize=(1.2 * len(chosen), 2.8), layout="constrained")
    grid = figure.subplots(2, len(chosen), squeeze=False)
    draw_images(
        grid[0], [data.x_train[alike.train[k]] for k in chosen], [f"{alike.correlation[k]:.3f}" for k in chosen]
    )
    titles = ["" if found[k] is None else f"influence {found[k]:.2f}" for k in chosen]
    draw_images(grid[1], [data.x_test[alike.test[k]] for k in chosen], titles)
    save(figure, options.out / "duplicates")
    head = ("train", "test", "correlation", "influence")
    listed = zip(alike.train, alike.test, alike.correlation, found, strict=True)
    table = [(i, j, f"{r:.4f}", "" if value is None else f"{value:.4f}") for i, j, r, value in listed]
    write_csv(options.out / "duplicates_pairs.csv", head, table)
    write_csv(options.out / "duplicates.csv", ("what", "value"), rows)
    print_table(rows)


def drops(options: argparse.Namespace, run: Run, rest: NDArray[np.intp]) -> list[tuple[str, str]]:
    """What leaving out the high-influence set costs, on all test examples and on those without a near-duplicate."""
    removal = read_run(options.removal, options)
    run.require_same_data(removal)
    rows = []
    for name, tests in (("all test examples", None), ("those without a near-duplicate", rest)):
        conditions = {(c.name, c.control): c for c in read_conditions(removal.spec, removal.store(), tests)}
        if (HIGH_INFLUENCE, True) not in conditions:
            raise InputError(
                f"{options.removal} has no list {HIGH_INFLUENCE!r} with a control; launch one with `control: true` "
                "and the lists that `memexp select RUN --pairs` writes"
            )
        gap, error = difference(conditions[HIGH_INFLUENCE, True], conditions[HIGH_INFLUENCE, False])
        rows.append((f"cost of the high-influence set against random, {name}", f"{gap:.4f} +/- {error:.4f}"))
    return rows


if __name__ == "__main__":
    main()
