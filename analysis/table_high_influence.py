"""The table on S_h: accuracy without the training examples of the high-influence pairs.

memexp select runs/NAME --pairs --out removed.json     # then a run of 'design: remove', as for Figure 2
python analysis/table_high_influence.py runs/NAME runs/NAME_removal [--out figures]
"""

from __future__ import annotations

import math

import numpy as np
from common import arguments, read, write_csv

from memexp.analysis.published import published
from memexp.analysis.removal import HIGH_INFLUENCE, NOTHING, difference, read_conditions
from memexp.run import open_run


def main() -> None:
    """Accuracies on all test examples and on the influenced ones, against a random set of the same size."""
    options = arguments(__doc__ or "", ("run", "removal"))
    _, merged, estimates = read(options.run)
    tests = np.unique(estimates.pairs.passing().test)
    n_test = len(merged.examples["test_label"])
    removal = open_run(options.removal)
    rows: list[tuple[str, str, str]] = []
    drops: dict[str, tuple[float, float]] = {}
    for which, chosen in (("all tests", None), ("influenced tests", tests)):
        found = {(c.name, c.control): c for c in read_conditions(removal.spec, removal.store(), chosen)}
        whole, without, control = (
            found[key] for key in ((NOTHING, False), (HIGH_INFLUENCE, False), (HIGH_INFLUENCE, True))
        )
        for name, condition in (
            ("all examples", whole),
            ("without the set", without),
            ("without a random set", control),
        ):
            rows.append((f"accuracy, {name}, {which}", f"{condition.mean:.4f}", f"{condition.deviation:.4f}"))
        drops[which] = difference(whole, without)
        rows.append((f"drop, {which} (standard error)", *(f"{value:.4f}" for value in drops[which])))
        rows.append((f"drop of the random set, {which}", *(f"{value:.4f}" for value in difference(whole, control))))
    share = len(tests) / n_test
    explained = [share * value for value in drops["influenced tests"]]
    rows.append(("drop that the influenced tests explain", f"{explained[0]:.4f}", f"{explained[1]:.4f}"))
    total = drops["all tests"][0]
    rows.append(("its share of the whole drop", f"{explained[0] / total if total else math.nan:.2f}", ""))
    rows += [
        (f"published: {row['row']}", row["value"], row["error"]) for row in published("tables", table="high influence")
    ]
    write_csv(options.out / "table_high_influence.csv", ("what", "value", "deviation or error"), rows)
    for row in rows:
        print(f"{row[0]:<55} {row[1]:>8} {row[2]:>8}")


if __name__ == "__main__":
    main()
