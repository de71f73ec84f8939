"""How well two estimates of the same quantity agree, and how well they would if only chance differed.

The curves of the paper's Figure 7: over a threshold, the Jaccard index of the two selected sets and the
mean absolute difference of the estimates on what either selects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """Agreement at each threshold, shape (thresholds,); NaN where nothing is selected.

    Attributes
    ----------
    threshold
        A value is selected if it is at least this.
    jaccard
        Selected by both, as a share of those selected by either.
    mean_difference
        Mean absolute difference, over those selected by either whose values are both known.
    first, second
        How many each selects.
    rank_correlation
        Spearman's, of all whose values are both known, whatever the threshold.
    known
        How many these are.
    """

    threshold: Floats
    jaccard: Floats
    mean_difference: Floats
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    rank_correlation: float
    known: int


def agree(first: Floats, second: Floats, thresholds: Floats, able: tuple[Bits, Bits] | None = None) -> Agreement:
    """Compare two estimates of the same things, each of shape (P,).

    ``able`` is what each may select, if not everything: other things than these values may count too.
    What is NaN in one of them is left out; -inf says that the value is below every threshold and not
    otherwise known. They are compared as float32, the precision in which estimates are stored.
    """
    defined = ~(np.isnan(first) | np.isnan(second))
    a, b = first[defined].astype(np.float32), second[defined].astype(np.float32)
    able_a, able_b = (each[defined] for each in able) if able else (np.True_, np.True_)
    known = np.isfinite(a) & np.isfinite(b)
    apart = np.abs(np.where(known, a, 0) - np.where(known, b, 0))
    rows = []
    for threshold in thresholds:
        in_a, in_b = able_a & (a >= np.float32(threshold)), able_b & (b >= np.float32(threshold))
        either = in_a | in_b
        jaccard = (in_a & in_b).sum() / either.sum() if either.any() else np.nan
        mean = apart[either & known].mean(dtype=np.float64) if (either & known).any() else np.nan
        rows.append((jaccard, mean, in_a.sum(), in_b.sum()))
    jaccards, means, n_first, n_second = (np.array(column) for column in zip(*rows, strict=True))
    counts = n_first.astype(np.int64), n_second.astype(np.int64)
    ranks = rank_correlation(a[known], b[known])
    return Agreement(np.asarray(thresholds), jaccards, means, *counts, ranks, int(known.sum()))


def mean_agreement(found: list[Agreement]) -> Agreement:
    """The mean of several at the same thresholds; NaN where one of them selects nothing."""
    return Agreement(
        found[0].threshold,
        np.mean([one.jaccard for one in found], axis=0),
        np.mean([one.mean_difference for one in found], axis=0),
        np.rint(np.mean([one.first for one in found], axis=0)).astype(np.int64),
        np.rint(np.mean([one.second for one in found], axis=0)).astype(np.int64),
        float(np.mean([one.rank_correlation for one in found])),
        round(np.mean([one.known for one in found])),
    )


def rank_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Spearman's: the correlation of the ranks, ties sharing their mean rank; NaN where it has none.

    Of float32, in which differences of the same fractions are equal.
    """
    from scipy.stats import spearmanr

    if len(first) < 2 or first.min() == first.max() or second.min() == second.max():
        return np.nan
    return float(spearmanr(first, second).statistic)
