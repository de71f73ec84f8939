"""The table on S_h: accuracy without the training examples of the high-influence pairs.

    memexp select runs/NAME --pairs --out removed.json     # then a run of 'design: remove', as for Figure 2
    python analysis/table_high_influence.py runs/NAME runs/NAME_removal [--out figures]

Deviations are over trials, standard errors those of a mean over trials. The paper's errors stand under
deviation: that of its drop on the influenced tests is what its two deviations give.
"""

from __future__ import annotations

import math

import numpy as np
from common import arguments, print_table, read, read_removal, removed_pairs, write_csv
from published_values import published

from memexp.analysis.removal import HIGH_INFLUENCE, NOTHING, Condition, difference
from memexp.cli.console import explained
from memexp.runs.run import open_run

HEAD = ("what", "value", "deviation", "standard error", "trials")
CONDITIONS = {
    "all examples": (NOTHING, False),
    "without the set": (HIGH_INFLUENCE, False),
    "without a random set": (HIGH_INFLUENCE, True),
}


@explained
def main() -> None:
    """Accuracies on all test examples and on the influenced ones, against a random set of the same size."""
    options = arguments(__doc__ or "", ("run", "removal"))
    run, merged, estimates = read(options.run, options)
    pairs = removed_pairs(run, estimates, open_run(options.removal))
    tests = np.unique(pairs.test)
    everything = np.arange(len(merged.examples["test_label"]))  # of all test sets, as the pairs are
    share = len(tests) / len(everything)
    rows: list[tuple[object, ...]] = [
        ("training examples in the set", len(np.unique(pairs.train)), "", "", ""),
        ("influenced tests", len(tests), "", "", ""),
    ]
    found = {}
    for which, chosen in (("all tests", everything), ("influenced tests", tests)):
        by_name = {(c.name, c.control): c for c in read_removal(options.removal, options, chosen)}
        whole, without, control = (by_name[key] for key in CONDITIONS.values())
        found[which] = whole, without
        for name, c in zip(CONDITIONS, (whole, without, control), strict=True):
            numbers = (f"{value:.4f}" for value in (c.mean, c.deviation, c.se))
            rows.append((f"accuracy, {name}, {which}", *numbers, len(c.accuracy)))
        rows.append(drop(f"drop, {which}", *difference(whole, without)))
        rows.append(drop(f"drop of the random set, {which}", *difference(whole, control)))
    gap, error = difference(*found["influenced tests"])
    rows.append(drop("drop that the influenced tests explain", share * gap, share * error))
    rows.append(drop("its share of the whole drop", *share_explained(share, *found.values())))
    theirs = published("tables", table="high influence")
    rows += [(f"published: {row['row']}", row["value"], row["error"], "", "") for row in theirs]
    write_csv(options.out / "table_high_influence.csv", HEAD, rows)
    print_table([HEAD, *rows])


def drop(name: str, value: float, error: float) -> tuple[object, ...]:
    """A row of the table."""
    return name, f"{value:.4f}", "", f"{error:.4f}", ""


def share_explained(
    share: float, everywhere: tuple[Condition, Condition], influenced: tuple[Condition, Condition]
) -> tuple[float, float]:
    """The influenced tests' part of the whole drop, and its standard error (linearized; of the same trials)."""
    whole = difference(*everywhere)[0]
    if not whole:
        return math.nan, math.nan
    ratio = share * difference(*influenced)[0] / whole
    rests = [
        Condition("", False, 0, share * part.accuracy - ratio * total.accuracy)
        for total, part in zip(everywhere, influenced, strict=True)
    ]
    return ratio, difference(rests[0], rests[1])[1] / abs(whole)


if __name__ == "__main__":
    main()
