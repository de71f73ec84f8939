"""Medians and deviations over the trials with and without each example, any few trials left out.

Each row is sorted once; leaving out a trial then only moves the places of its medians. So every trial can be the
target of an attack by all others for about the cost of one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

_ROUNDING = 1e-13  # of a variance, beside the squares that it is the difference of


class Spread(NamedTuple):
    """One side's values of each example, shape (R,); NaN where there are none.

    Attributes
    ----------
    median, deviation
        Of the values; the deviation has the divisor n.
    number
        n.
    residual, square
        Sums of the residuals from the median and of their squares: deviations over all examples are pooled from them.
    """

    median: Floats
    deviation: Floats
    number: NDArray[np.int64]
    residual: Floats
    square: Floats


class _Side:
    """The trials with (or without) each example, sorted by value."""

    def __init__(self, values: Floats, order: NDArray[np.intp], member: Bits) -> None:
        n_rows = len(values)
        in_order = np.take_along_axis(member, order, axis=1)
        place = np.cumsum(in_order, axis=1) - 1
        self.count = place[:, -1] + 1
        self.member, self.rows = member, np.arange(n_rows)
        self.rank = np.empty(values.shape, np.int32)
        np.put_along_axis(self.rank, order, place.astype(np.int32), axis=1)
        self.ladder = np.full((n_rows, max(1, int(self.count.max(initial=0)))), np.nan)
        where = np.nonzero(in_order)
        self.ladder[where[0], place[where]] = np.take_along_axis(values, order, axis=1)[where]
        self.center = self.ladder[self.rows, np.maximum(self.count - 1, 0) // 2]
        self.centred = np.where(member, values - self.center[:, None], 0.0)
        self.sum, self.squares = self.centred.sum(axis=1), (self.centred**2).sum(axis=1)

    def without(self, left: NDArray[np.intp]) -> Spread:
        """``left``: trials left out, shape (L,), or (R, L) where they differ from example to example."""
        there = self.rows[:, None]
        places = np.broadcast_to(left, (len(self.rows), left.shape[-1]))
        gone, lost = self.member[there, places], self.centred[there, places]
        ranks = np.sort(np.where(gone, self.rank[there, places], np.iinfo(np.int32).max), axis=1)
        count = self.count - gone.sum(axis=1)
        middle = [self._at((count - 1) // 2, ranks), self._at(count // 2, ranks)]
        with np.errstate(invalid="ignore", divide="ignore"):
            median = np.where(count > 0, (middle[0] + middle[1]) / 2, np.nan)
            total, squares = self.sum - lost.sum(axis=1), self.squares - (lost**2).sum(axis=1)
            variance = squares / count - (total / count) ** 2
            sure = (variance * count > _ROUNDING * self.squares) | np.isnan(variance)
            variance = np.where(sure, variance, 0.0)
            shift = median - self.center
            residual = total - count * shift
            square = squares - 2 * shift * total + count * shift**2
        return Spread(median, np.sqrt(variance), count, residual, square)

    def _at(self, place: NDArray[np.int64], ranks: NDArray[np.int32]) -> Floats:
        """Value at a place of what is left; ``ranks`` of what is gone, ascending."""
        place = np.maximum(place, 0)
        for gone in ranks.T:
            place = place + (gone <= place)
        return self.ladder[self.rows, np.minimum(place, self.ladder.shape[1] - 1)]


class Shadows:
    """Values of some examples over all trials.

    Parameters
    ----------
    values : shape (R, T)
    mask : bool, shape (R, T)
        Which trials saw each example.
    """

    def __init__(self, values: NDArray[Any], mask: Bits) -> None:
        order = _ascending(values)
        values = values.astype(np.float64)
        self.values, self.mask = values, mask
        self._sides = _Side(values, order, mask), _Side(values, order, ~mask)

    def without(self, left: NDArray[np.intp]) -> tuple[Spread, Spread]:
        """In and out, the trials ``left`` left out: shape (L,), or (R, L)."""
        return self._sides[0].without(left), self._sides[1].without(left)


def separation(values: NDArray[Any], mask: Bits) -> tuple[Floats, Floats, Floats, Floats]:
    """How well one value tells the trials with an example from those without: AUC, error, interval, shape (R,).

    The chance that a trial with the example has the larger value (ties count half); the error by DeLong, DeLong and
    Clarke-Pearson, Biometrics 44, 1988, with one trial that beats the whole other side and one that none of it does
    added to each side: without them it would be 0 wherever few trials happen to be told apart. Ends of the interval as
    :func:`_ends` has them. NaN where a side has no trial, error and ends where it has one only.
    """
    values = values if values.dtype == np.float16 else values.astype(np.float32)  # in which ties are told
    n_in, n_out, known = mask.sum(axis=1), (~mask).sum(axis=1), ~np.isnan(values).any(axis=1)
    order = _ascending(values)
    mask = np.take_along_axis(mask, order, axis=1)
    first, last = _tied(np.take_along_axis(values, order, axis=1))

    def below(side: Bits) -> Floats:
        """Of each trial, those of a side that have smaller values, ties half."""
        up_to = np.cumsum(side, axis=1, dtype=np.int32)
        before = np.take_along_axis(up_to - side, first, axis=1)
        return np.asarray((np.take_along_axis(up_to, last, axis=1) + before) / 2.0)

    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(mask, below(~mask) / n_out[:, None], 1 - below(mask) / n_in[:, None])
        auc = np.where(mask, share, 0.0).sum(axis=1) / n_in
        plain, variance = np.zeros(len(auc)), np.zeros(len(auc))
        for side, count in ((mask, n_in), (~mask, n_out)):
            center = (np.where(side, share, 0.0).sum(axis=1) + 1) / (count + 2)
            off = np.where(side, (share - center[:, None]) ** 2, 0.0).sum(axis=1) + center**2 + (1 - center) ** 2
            variance += off / (count + 1) / (count + 2)
            plain += np.where(side, (share - auc[:, None]) ** 2, 0.0).sum(axis=1) / (count - 1.0) / count
        auc = np.where(known & (n_out > 0), auc, np.nan)
        few = np.minimum(n_in, n_out)
        low, high = _ends(auc, plain, few, np.maximum(n_in, n_out))
        alone, none = ~known | (few < 2), np.nan
        return auc, np.where(alone, none, np.sqrt(variance)), np.where(alone, none, low), np.where(alone, none, high)


def _ascending(values: NDArray[Any]) -> NDArray[np.intp]:
    """Places of each row's values from the smallest to the largest, equal ones in their order."""
    if values.dtype == np.float16 and not np.isnan(values).any():
        bits = values.view(np.uint16)  # ordered as the values once those below 0 are turned round
        values = np.where(bits & 0x8000, ~bits, bits | np.uint16(0x8000))  # sorted by digits, ten times faster
    return np.argsort(values, axis=1, kind="stable")


def _tied(ascending: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the first and of the last value that equals each one, in rows that ascend."""
    new = np.ones(ascending.shape, np.bool_)
    new[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    places = np.broadcast_to(np.arange(ascending.shape[1]), ascending.shape)
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    ends = np.ones(ascending.shape, np.bool_)
    ends[:, :-1] = new[:, 1:]
    behind = np.where(ends, places, ascending.shape[1])
    return first, np.minimum.accumulate(behind[:, ::-1], axis=1)[:, ::-1]


def _ends(auc: Floats, variance: Floats, few: NDArray[np.int64], many: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """95 % interval of an AUC from DeLong's variance and the trials of the smaller and of the larger side, shape (R,).

    The variance is 0 where no pair is ranked wrongly, and far too small near that. So it only says how many yes-or-no
    trials the AUC is worth, at most those of the larger side; of so many the interval of Clopper and Pearson (1934) is
    taken. An AUC of A ranks all pairs rightly with a chance of at most A to the power ``few``, since so many pairs have
    no trial in common: the end is exact there.
    """
    from scipy.special import betaincinv

    number = np.where(variance > 0, np.minimum(auc * (1 - auc) / variance, many), few)
    right = auc * number
    low = np.where(right > 0, betaincinv(right, number - right + 1, 0.025), 0.0)
    return low, np.where(right < number, betaincinv(right + 1, number - right, 0.975), 1.0)
