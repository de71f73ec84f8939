"""Whether a run's goal is reached: the standard error of its trials, measured at one of the looks fixed before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from memexp.analysis.estimates import memorization_of
from memexp.analysis.merged import open_merged
from memexp.store.goal import Goal
from memexp.store.launches import note_goal
from memexp.store.paths import RunPaths


def judge(paths: RunPaths, goal: Goal) -> Goal:
    """Take the look and note it.

    The same trials give the same answer on every machine, since it rests on integer counts.

    The quantile is the least value that this share of all examples does not exceed; an example whose error is
    undefined counts as one without any bound.

    Raises
    ------
    MemexpError
        If no trial is done.
    """
    merged = open_merged(paths)
    errors = memorization_of(merged).memorization_se.astype(np.float64)
    value = float(np.quantile(np.nan_to_num(errors, nan=np.inf), goal.quantile, method="inverted_cdf"))
    judged = replace(goal, judged=True, measured=value if np.isfinite(value) else None, counted=merged.n_trials)
    note_goal(paths, judged)
    return judged
