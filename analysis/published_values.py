"""Values of the paper's figures and tables, to draw beside a user's own.

Figures were read off the published pictures (accuracies to about 0.0005, Jaccard indices to about
0.005) or off the project page's drawings (histograms: exact counts); tables are the paper's text.
"""

from __future__ import annotations

import csv
from pathlib import Path

from memexp.errors import InputError

Row = dict[str, str]


def published(name: str, **wanted: str) -> list[Row]:
    """Rows of a table whose columns have the wanted values, as text.

    Parameters
    ----------
    name
        ``figure2`` (dataset, threshold, memorized, random, kept), ``histograms`` (quantity, dataset, from,
        to, count), ``figure7`` (quantity, architecture, threshold, jaccard, mean_difference) or
        ``tables`` (table, row, value, error).

    Raises
    ------
    InputError
        If there is no such row.
    """
    text = (Path(__file__).parent / "published" / f"{name}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    for key, value in wanted.items():
        known = dict.fromkeys(row[key] for row in rows)
        if value not in known:
            what = ", ".join(f"{name} {each}" for name, each in wanted.items())
            raise InputError(f"nothing is published for {what}; the {key} can be {', '.join(known)}")
        rows = [row for row in rows if row[key] == value]
    return rows
