"""Tables of trials that a test makes up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.trial_table import Ints, TrialTable


def table_of_arrays(arrays: Mapping[str, NDArray[Any]], group: Ints | None = None) -> TrialTable:
    """A table of matrices in memory, each (examples, T); without ``group`` every trial is drawn by itself."""
    n_trials = arrays["mask"].shape[1]
    number = np.arange(n_trials)
    n_test = next((len(values) for name, values in arrays.items() if name.startswith("test_")), 0)
    recorded = frozenset(name for name in arrays if "_" in name)
    return TrialTable(
        np.zeros(n_trials, np.int64), number, number if group is None else group, len(arrays["mask"]), n_test, recorded,
        lambda name, rows: arrays[name][rows],
    )  # fmt: skip
