"""The long-tail theory as numbers: what not fitting rare examples costs, exactly, and in a run.

Feldman (2020), "Does Learning Require Memorization? A Short Tale about a Long Tail", Theorem 2.3: whatever the
learner, its expected error is at least that of the best one plus ``tau_l`` for every example that it does not
fit and that is one of ``l`` of its subpopulation in the training set. Only ``tau_1`` matters in practice: the
expected frequency of a subpopulation seen once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError

Floats = NDArray[np.float64]


class Cost(NamedTuple):
    """What limited memorization costs, for one list of frequencies.

    Attributes
    ----------
    tau1
        Expected frequency of a subpopulation of which the training set has one example.
    singletons
        Expected number of such subpopulations.
    opt
        Expected error of the best learner: guessing on the subpopulations that were not seen.
    cost
        Error beyond ``opt`` of the best learner that memorizes no example by more than ``gamma``.
    """

    tau1: float
    singletons: float
    opt: float
    cost: float


def cost_of_not_fitting(frequencies: Sequence[float] | Floats, n: int, classes: int, gamma: float = 0.0) -> Cost:
    """Exact quantities of Feldman's model with independent, uniform labels of the subpopulations.

    Parameters
    ----------
    frequencies : shape (N,)
        Of the subpopulations; a list pi that sums to 1.
    n
        Examples of the training set, at least 1.
    classes
        Number of labels K, at least 2.
    gamma
        Most memorization of any example, from 0 (fits no label that it could not guess) to 1 - 1/K (no limit).

    Returns
    -------
    Cost
        tau1 = sum p^2 (1-p)^(n-1) / sum p (1-p)^(n-1); singletons = sum n p (1-p)^(n-1);
        opt = (1 - 1/K) sum p (1-p)^n; cost = tau1 * singletons * (1 - 1/K - gamma).

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    p = np.asarray(frequencies, dtype=np.float64)
    if p.ndim != 1 or not p.size or not np.isfinite(p).all() or (p < 0).any() or not math.isclose(p.sum(), 1.0):
        raise InputError(
            f"frequencies: an array of shape {p.shape} and sum {p.sum():.6g}; give one list of shares from 0 to 1, "
            "of sum 1"
        )
    if n < 1 or classes < 2 or not 0 <= gamma <= 1 - 1 / classes:
        raise InputError(
            f"n = {n}, classes = {classes}, gamma = {gamma:g}: n must be at least 1, classes at least 2, and gamma "
            "from 0 to 1 - 1/classes, beyond which nothing limits the learner"
        )
    seen_once = multiplicity(p, n, 1)
    tau1 = expected_frequency(p, n, 1)
    guess = 1 - 1 / classes
    return Cost(tau1, seen_once, guess * float(p @ _binomial(p, n, 0)), tau1 * seen_once * (guess - gamma))


def multiplicity(frequencies: Floats, n: int, times: int) -> float:
    """Expected number of subpopulations of which a training set of ``n`` has exactly ``times`` examples."""
    return float(_binomial(frequencies, n, times).sum())


def expected_frequency(frequencies: Floats, n: int, times: int) -> float:
    """Expected frequency ``tau_l`` of a subpopulation seen ``times`` times among ``n``; NaN where none can be."""
    p = np.asarray(frequencies, dtype=np.float64)
    likelihood = _binomial(p, n, times)
    total = float(likelihood.sum())
    return float(p @ likelihood) / total if total else math.nan


def _binomial(p: Floats, n: int, times: int) -> Floats:
    """P(exactly ``times`` of ``n``) for each frequency, shape (N,)."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(times, n, p), dtype=np.float64)
