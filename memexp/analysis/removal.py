"""What removing examples costs: accuracy by condition of a `remove` run, beside random controls.

The paper's Figure 2 (memorized examples above a threshold) and its table on the high-influence set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.controls import Duplicates
from memexp.analysis.estimates import Estimates
from memexp.analysis.tested import places_of
from memexp.errors import InputError
from memexp.files import write_atomic
from memexp.spec.index_sets import LABELS, unpack
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_committed, read_states
from memexp.store.trials import DONE, TrialStore

if TYPE_CHECKING:
    from memexp.spec.spec import Spec  # its models take long to import, and estimates do without

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NOTHING = "nothing"
HIGH_INFLUENCE = "high influence"
NEAR_DUPLICATES = "near duplicates"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Condition:
    """Trials that left out the same thing.

    Attributes
    ----------
    name
        Of the index list.
    control
        Whether as many random examples were left out instead, drawn anew for each trial.
    removed
        Number of examples left out.
    accuracy : float64, shape (R,)
        Of each finished trial, on the test examples in question.
    threshold
        Least memorization of the examples of the list, where it was made by that.
    """

    name: str
    control: bool
    removed: int
    accuracy: Floats
    threshold: float | None = None

    @property
    def mean(self) -> float:
        """Mean accuracy; NaN without trials."""
        return float(self.accuracy.mean()) if len(self.accuracy) else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation over trials (of the sample); NaN with fewer than two."""
        return float(self.accuracy.std(ddof=1)) if len(self.accuracy) > 1 else math.nan

    @property
    def se(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(len(self.accuracy)) if len(self.accuracy) else math.nan


def list_name(threshold: float) -> str:
    """Name of the list of examples with at least this memorization."""
    return f"memorization >= {threshold:.12g}"


def difference(first: Condition, second: Condition) -> tuple[float, float]:
    """Difference of the mean accuracies and its standard error (independent trials, Welch)."""
    return first.mean - second.mean, math.hypot(first.se, second.se)


def read_conditions(spec: Spec, store: TrialStore, tests: NDArray[np.intp] | None = None) -> list[Condition]:
    """Accuracies of a `remove` run, condition by condition, in the order of the spec.

    Parameters
    ----------
    spec, store
        Of the run.
    tests
        Accuracy on these test examples only; None: on those of the first test set.

    Raises
    ------
    InputError
        If the run has another design.
    """
    if spec.subsets.design != "remove":
        raise InputError(
            f"{store.path} has design {spec.subsets.design}; conditions are those of 'design: remove': give such a run"
        )
    status, _ = read_states(RunPaths(store.path.parent), store)
    if tests is None and "test_set" in (examples := store.examples()):
        tests = places_of(examples)
    accuracies: Floats = np.full(len(status), np.nan)
    for number in range(store.layout.n_blocks):
        trials = store.layout.block(number)
        done = np.asarray(status[trials.start : trials.stop] == DONE)
        if done.any():
            right = read_committed(RunPaths(store.path.parent), store, number)[0]["test_correct"]
            right = right if tests is None else right[:, tests]
            accuracies[trials.start : trials.stop][done] = right[done].mean(axis=1)
    conditions = spec.subsets.conditions
    found = []
    for place, (name, control) in enumerate(conditions):
        mine = accuracies[place :: len(conditions)]
        size = len(unpack(spec.subsets.index_sets[name]))
        threshold = spec.subsets.thresholds.get(name)
        found.append(Condition(name, control, size, mine[~np.isnan(mine)], threshold))
    return found


def select_sets(
    estimates: Estimates,
    thresholds: Sequence[float] = THRESHOLDS,
    pairs: bool = False,
    duplicates: Duplicates | None = None,
    tests: NDArray[np.intp] | None = None,
) -> dict[str, list[int]]:
    """Index lists to remove, for a spec: nothing, memorization of at least each threshold, the set S_h, duplicates.

    Parameters
    ----------
    estimates
        Of the run that tells what is memorized.
    thresholds
        Ascending; equal lists are kept, empty ones left out.
    pairs
        Also the training examples of the selected high-influence pairs.
    duplicates
        Also the training examples with a near-duplicate in the test set.
    tests
        Pairs with these test examples only.

    Raises
    ------
    InputError
        If nothing is selected: no memorized example, no pair, or no near-duplicate.
    """
    sets: dict[str, list[int]] = {NOTHING: []}
    with np.errstate(invalid="ignore"):
        for threshold in thresholds:
            chosen = np.flatnonzero(estimates.scores.memorization >= threshold)
            if len(chosen):
                sets[list_name(threshold)] = chosen.tolist()
    if pairs:
        passing = estimates.pairs.passing()
        chosen = np.unique(passing.train if tests is None else passing.train[np.isin(passing.test, tests)])
        if not len(chosen):
            which = "" if tests is None else " with these test examples"
            raise InputError(f"no pair{which} passes the thresholds of the estimate; lower them with `memexp estimate`")
        sets[HIGH_INFLUENCE] = chosen.tolist()
    if duplicates is not None:
        if not len(duplicates.trains):
            raise InputError("no training example has a near-duplicate in the test set; lower --duplicates")
        sets[NEAR_DUPLICATES] = duplicates.trains.tolist()
    if len(sets) == 1:
        highest = float(np.nanmax(estimates.scores.memorization, initial=-1))
        raise InputError(
            f"no example has a memorization of {min(thresholds, default=1):g} or more (the highest is {highest:.2f}); "
            "lower --memorization"
        )
    return sets


def write_sets(sets: dict[str, list[int]], labels: str, path: Path) -> Path:
    """Write index lists as JSON, for `removed:` in a spec.

    ``labels``: digest of the training labels of the run they were selected from.
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it, or give another --out")
    write_atomic(path, (json.dumps({LABELS: labels} | sets) + "\n").encode())
    return path
