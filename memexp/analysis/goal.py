"""Whether a run's goal is reached: the standard error of its trials, measured at one of the looks fixed before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.estimates import Memorization, memorization_of
from memexp.analysis.intervals import added_variance
from memexp.analysis.merged import open_merged
from memexp.store.goal import Goal
from memexp.store.launches import note_goal
from memexp.store.paths import RunPaths


def least_of_share(errors: NDArray[np.float64], share: float) -> float:
    """The least value that this share of all examples does not exceed.

    An example whose error is undefined counts as one without any bound.
    """
    return float(np.quantile(np.nan_to_num(errors, nan=np.inf), share, method="inverted_cdf"))


def _expected(found: Memorization, goal: Goal) -> int | None:
    """The first look from here at which the error is small enough if accuracies stay what they are now."""
    for look in [goal.trials, *(look for look in goal.looks if look > goal.trials)]:
        variance = np.zeros(len(found.in_count))
        for accuracy, count in ((found.in_accuracy, found.in_count), (found.out_accuracy, found.out_count)):
            number = count * (look / goal.trials)
            variance += added_variance(number * accuracy, number)
        if least_of_share(np.sqrt(variance), goal.quantile) <= goal.se:
            return look
    return None


def judge(paths: RunPaths, goal: Goal) -> Goal:
    """Take the look and note it.

    The same trials give the same answer on every machine, since it rests on integer counts.

    Raises
    ------
    MemexpError
        If no trial is done.
    """
    merged = open_merged(paths)
    found = memorization_of(merged)
    errors = found.memorization_se.astype(np.float64)
    value = least_of_share(errors, goal.quantile)
    measured, expected = value if np.isfinite(value) else None, None if merged.numbers else _expected(found, goal)
    judged = replace(goal, judged=True, measured=measured, counted=merged.n_trials, expected=expected)
    note_goal(paths, judged)
    return judged
