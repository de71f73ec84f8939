"""What of the paper agrees and what does not, in one table: read from the numbers of the other scripts.

    python analysis/headline.py [--out paper]      # after make paper, which ends with it

A difference agrees where its sign is the expected one by more than three standard errors; it is open where the error
does not let it be told. Counts and agreement between runs have no error here, and so no verdict: they stand beside what
they are compared with.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from common import arguments, print_table, write_csv

from memexp.cli.console import explained

HEAD = ("what", "expected", "found", "standard error", "verdict")
CONTRAST = {
    "mixture": ("a mixture with a long tail", -1),
    "fashion_1000": ("1,000 images of Fashion-MNIST", -1),
    "no_tail": ("ambiguous labels and no tail", 1),
}
Row = tuple[str, str, str, str, str]


@explained
def main() -> None:
    """Print it."""
    options = arguments(__doc__ or "", runs=[])
    print_table([HEAD, *tell(options.out)])


def tell(folder: Path) -> list[Row]:
    """Rows of the table, from the CSV files of a folder, which is written there too; of those that there are."""
    rows = [*_removing(folder), *_theory(folder), *_pairs(folder), *_last_layer(folder), *_consistency(folder)]
    write_csv(folder / "headline.csv", HEAD, rows)
    return rows


def _read(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / f"{name}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def signed(what: str, sign: int, found: float, error: float, unit: str = " points") -> Row:
    """A number that should be above (1) or below (-1) zero."""
    sure = abs(found) > 3 * error
    verdict = "open" if not sure else "agrees" if found * sign > 0 else "does not agree"
    return what, "above 0" if sign > 0 else "below 0", f"{found:+.2f}{unit}", f"{error:.2f}", verdict


def _removing(folder: Path) -> list[Row]:
    rows = [
        signed(f"without memorized, minus without random: {words}", sign,
               float(row["difference"]), float(row["standard error"]))
        for row in _read(folder, "contrast") if row["run"] in CONTRAST
        for words, sign in [CONTRAST[row["run"]]]
    ]  # fmt: skip
    return rows + [
        signed(f"the same: 4,000 images of Fashion-MNIST, {row['removed']}", -1,
               100 * float(row["minus control"]), 100 * float(row["standard error"]))
        for row in _read(folder, "figure2") if row["removed"] == "memorization >= 0.1" and row["minus control"]
    ]  # fmt: skip


def _theory(folder: Path) -> list[Row]:
    runs = _read(folder, "long_tail")
    if not runs:
        return []
    least = min(runs, key=lambda row: float(row["above by"]))
    gap, error = 100 * float(least["above by"]), 100 * float(least["se"])
    return [signed(f"test error minus the theory's bound, least of {len(runs)} runs", 1, gap, error)]


def _pairs(folder: Path) -> list[Row]:
    found = {row["what"]: row for row in _read(folder, "table_high_influence")}
    rows = []
    for tests in ("all tests", "influenced tests"):
        if f"drop, {tests}" in found:
            drops = [found[f"{what}, {tests}"] for what in ("drop", "drop of the random set")]
            gap, error = (100 * float(drops[0]["value"]) - 100 * float(drops[1]["value"]),
                          100 * math.hypot(*(float(row["standard error"]) for row in drops)))  # fmt: skip
            rows.append(signed(f"cost of the high-influence set beyond a random one, {tests}", 1, gap, error))
    return rows


def _last_layer(folder: Path) -> list[Row]:
    found = {row["what"]: row["value"] for row in _read(folder, "table_last_layer")}
    if not found:
        return []
    whole, linear = (int(found[f"examples with memorization of 0.25 or more, {name}"])
                     for name in ("whole network", "linear head"))  # fmt: skip
    return [("memorized examples of a linear head on its features", f"fewer than {whole:,}", f"{linear:,}", "", "")]


def _consistency(folder: Path) -> list[Row]:
    return [
        (f"memorized in {row['run']} too (Jaccard index at 0.25)", f"chance: {row['jaccard by chance']}",
         row["jaccard"], "", "")
        for row in _read(folder, "figure7")
        if row["quantity"] == "memorization" and abs(float(row["threshold"]) - 0.25) < 1e-6
    ]  # fmt: skip


if __name__ == "__main__":
    main()
