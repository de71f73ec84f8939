"""Values of the paper's figures and tables, to draw beside a user's own.

Figures were read off the published pictures (accuracies to about 0.0005, Jaccard indices to about
0.005) or off the project page's drawings (histograms: exact counts); tables are the paper's text.
"""

from __future__ import annotations

import csv
from importlib.resources import files

Row = dict[str, str]


def published(name: str, **wanted: str) -> list[Row]:
    """Rows of a table whose columns have the wanted values, as text.

    Parameters
    ----------
    name
        ``figure2`` (dataset, threshold, memorized, random, kept), ``histograms`` (quantity, dataset, from,
        to, count), ``figure7`` (quantity, architecture, threshold, jaccard, mean_difference) or
        ``tables`` (table, row, value, error).
    """
    text = files("memexp.analysis").joinpath("published", f"{name}.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]
