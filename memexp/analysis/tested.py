"""Test examples of several sets, one after the other on the axis of tests, each example with the name of its set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.merged import Merged
from memexp.errors import InputError

Examples = Mapping[str, NDArray[Any]]
Places = NDArray[np.intp]


def set_names(examples: Examples) -> list[str]:
    """Names of the sets, the first one first; of a single set, which has no name, nothing."""
    return list(dict.fromkeys(examples["test_set"].tolist())) if "test_set" in examples else []


def places_of(examples: Examples, name: str | None = None) -> Places:
    """Places of the test examples of a set, ascending; without a name those of the first one.

    Raises
    ------
    InputError
        If no set is called so.
    """
    names = set_names(examples)
    if not names and name in (None, "test"):
        return np.arange(len(examples["test_label"]))
    if name is not None and name not in names:
        known = f"they are called {', '.join(names)}" if names else "there is one test set only, called test"
        raise InputError(f"no test set is called {name!r}; {known}")
    return np.flatnonzero(examples["test_set"] == (name or names[0]))


def accuracy_by_set(merged: Merged) -> dict[str, NDArray[np.float64]]:
    """Of each trial on each of several sets, shape (T,); the mean score where trials gave numbers."""
    names = set_names(merged.examples)
    places = {name: places_of(merged.examples, name) for name in names}
    sums = {name: np.zeros(merged.n_trials) for name in names}
    if names:
        for rows, (right,) in merged.bands("test_score" if merged.numbers else "test_correct"):
            for name, mine in places.items():
                here = mine[(mine >= rows.start) & (mine < rows.stop)] - rows.start
                sums[name] += right[here].sum(axis=0, dtype=np.float64)
    return {name: sums[name] / len(places[name]) for name in names}


def set_columns(examples: Examples, places: NDArray[Any] | slice = slice(None)) -> dict[str, NDArray[Any]]:
    """The name of each test example's set, as a column of a table; none of a single set."""
    return {"test_set": examples["test_set"][places]} if "test_set" in examples else {}
