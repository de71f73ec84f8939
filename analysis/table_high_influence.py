"""The table on S_h: accuracy without the training examples of the high-influence pairs.

memexp select runs/NAME --pairs --out removed.json     # then a run of 'design: remove', as for Figure 2
python analysis/table_high_influence.py runs/NAME runs/NAME_removal [--out figures]
"""

from __future__ import annotations

import math

import numpy as np
from common import arguments, print_table, read, read_run, write_csv
from numpy.typing import NDArray

from memexp.analysis.published import published
from memexp.analysis.removal import HIGH_INFLUENCE, NOTHING, difference, read_conditions
from memexp.console import explained
from memexp.errors import InputError
from memexp.index_sets import unpack
from memexp.run import Run


def require_this_set(removal: Run, wanted: NDArray[np.int64]) -> None:
    """Refuse a run that left out another set than the training examples of the pairs, or had no control."""
    conditions = removal.spec.subsets.conditions
    lacking = {(NOTHING, False), (HIGH_INFLUENCE, False), (HIGH_INFLUENCE, True)} - set(conditions)
    if lacking and any(name == HIGH_INFLUENCE for name, _ in conditions):
        raise InputError(
            f"{removal.paths.root} lacks the list {NOTHING!r} or the random control; launch a removal with "
            "`control: true` and the lists that `memexp select RUN --pairs` writes"
        )
    removed = removal.spec.subsets.index_sets.get(HIGH_INFLUENCE)
    if removed is None or not np.array_equal(unpack(removed), wanted):
        found = "has no list" if removed is None else f"left out {len(unpack(removed)):,} other examples as its list"
        raise InputError(
            f"{removal.paths.root} {found} {HIGH_INFLUENCE!r}, but the pairs have {len(wanted):,} training examples; "
            "select them with `memexp select RUN --pairs --out removed.json` and launch the removal under another name"
        )


@explained
def main() -> None:
    """Accuracies on all test examples and on the influenced ones, against a random set of the same size."""
    options = arguments(__doc__ or "", ("run", "removal"))
    run, merged, estimates = read(options.run, options)
    pairs = estimates.pairs.passing()
    tests = np.unique(pairs.test)
    n_test = len(merged.examples["test_label"])
    removal = read_run(options.removal, options)
    run.require_same_data(removal)
    require_this_set(removal, np.unique(pairs.train))
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
    print_table(rows)


if __name__ == "__main__":
    main()
