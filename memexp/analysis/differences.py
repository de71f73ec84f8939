"""Which examples two runs memorize differently, beyond what their trials scatter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import false_discovery_control

from memexp.analysis.counts import Counts
from memexp.analysis.sides import Outcomes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """Memorization in a first run minus that in a second one; all of shape (N,), NaN where one is not defined.

    Attributes
    ----------
    value, se, low, high
        Difference, its standard error, and a 95% interval of each example by itself.
    p_value, fdr
        Of the two-sided test of no difference, and adjusted over all examples (Benjamini and Hochberg): the false
        discovery rate at which the example would be a discovery.
    """

    value: Floats
    se: Floats
    low: Floats
    high: Floats
    p_value: Floats
    fdr: Floats

    def by_certainty(self, rate: float) -> NDArray[np.intp]:
        """The discoveries at a false discovery rate: places, the most certain first; among equals the largest."""
        order = np.lexsort((-np.abs(self.value), self.p_value))
        with np.errstate(invalid="ignore"):
            return order[self.fdr[order] <= rate]


def differences_of(first: Outcomes | None, second: Outcomes | None) -> Differences | None:
    """Compare memorization from what two sides' trials recorded; None unless both have trials, which give classes."""
    if first is None or second is None or first.numbers:
        return None
    return differences(first.counts(), second.counts())


def differences(first: Counts, second: Counts) -> Differences:
    """Compare memorization example by example, from the counts of two runs with trials of their own.

    The standard error is that of a sum of four proportions after Price and Bonett (Computational Statistics & Data
    Analysis 45, 2004): half a success and half a failure are added to each of the four, so that it is not 0 where
    all trials agree. Interval and test are Student's around the same adjusted proportions, with Satterthwaite's
    degrees of freedom: the normal tails would call chance a discovery too often where trials are few.
    """
    value, centre, variance, fourth = np.zeros((4, len(first.in_count)))
    for sign, counts in ((1, first), (-1, second)):
        for side, correct, count in (
            (sign, counts.in_correct, counts.in_count), (-sign, counts.out_correct, counts.out_count)
        ):  # fmt: skip
            share = (correct + 0.5) / (count + 1)
            part = share * (1 - share) / (count + 1)
            with np.errstate(divide="ignore", invalid="ignore"):
                value += side * correct / count
            centre += side * share
            variance += part
            fourth += part**2 / np.maximum(count, 1)
    none = np.isnan(value)
    centre[none] = variance[none] = np.nan
    se, freedom = np.sqrt(variance), variance**2 / fourth
    p_value = 2 * stdtr(freedom, -np.abs(centre) / se)
    fdr = np.full(value.shape, np.nan)
    fdr[~none] = false_discovery_control(p_value[~none]) if not none.all() else []
    half = stdtrit(freedom, 0.975) * se
    return Differences(value, se, centre - half, centre + half, p_value, fdr)
