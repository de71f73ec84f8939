"""Numbers of test examples in trials as small integers, and the exact differences that training examples make to them.

A margin is recorded as float16, and of it are made the probability of the label, in steps of
1/16,383, and for the rank test its rank among the trials. Integers add up exactly and in any order,
and the product over trials is that of 0/1 outcomes, once for each digit of base 128.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from memexp.analysis.products import Index, Tile, Trials, strips

if TYPE_CHECKING:
    from torch import Tensor

Values = NDArray[np.uint16]
Margins = NDArray[np.float16]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

STEPS = 2**14 - 1  # of a probability: no coarser than what float16 leaves of a margin
RANKS = 127  # the largest rank of the test: one digit, one product

_BAND = 1024


@lru_cache(maxsize=1)
def _probability_of_margin() -> Values:
    """Of each of the 65,536 numbers that float16 has, its sigmoid in steps."""
    margins = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return np.asarray(np.rint(STEPS * expit(np.nan_to_num(margins.astype(np.float64)))), np.uint16)


def probabilities(margin: Margins) -> Values:
    """Probability of the label, sigmoid(margin), in steps of 1/16,383; of the margins' shape."""
    return np.asarray(_probability_of_margin()[np.ascontiguousarray(margin).view(np.uint16)])


def ranks(margin: Margins) -> Values:
    """Each trial's rank among all, of each example by itself: 0 to T - 1, from T = 129 on in 128 steps; (M, T).

    Trials of the same margin share the mean of their ranks, rounded.
    """
    n_trials = margin.shape[1]
    scale = min(1.0, RANKS / max(1, n_trials - 1))
    found = np.empty(margin.shape, np.uint16)
    place = np.arange(n_trials)
    for top in range(0, len(margin), _BAND):
        band = margin[top : top + _BAND].astype(np.float32)  # sorts faster than float16
        order = np.argsort(band, axis=1)
        ordered = np.take_along_axis(band, order, axis=1)
        new = np.ones((len(band), n_trials + 1), np.bool_)
        new[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
        first = np.maximum.accumulate(np.where(new[:, :-1], place, 0), axis=1)
        last = np.minimum.accumulate(np.where(new[:, 1:], place, n_trials)[:, ::-1], axis=1)[:, ::-1]
        rank = np.rint((first + last) / 2 * scale).astype(np.uint16)
        np.put_along_axis(found[top : top + _BAND], order, rank, axis=1)
    return found


class Levels:
    """Integers of each test example in each trial, and their sums over the trials that saw a training example.

    Parameters
    ----------
    trials
        Whose masks are used.
    values
        From 0 to 16,383, shape (M, T).
    unit
        What counts as 1 in differences.

    Attributes
    ----------
    totals : int64, shape (M,)
        Sums over all trials.
    squares : int64, shape (M,)
        Sums of their squares.
    """

    def __init__(self, trials: Trials, values: Values, unit: int = 1) -> None:
        self.trials, self.values, self._unit = trials, values, unit
        self.totals: Integers = values.sum(1, dtype=np.int64)
        self.squares: Integers = np.array([int((row.astype(np.int64) ** 2).sum()) for row in values], np.int64)
        self._n_digits = 1 if not values.size or values.max() <= RANKS else 2
        self._lock = Lock()
        self._kept: tuple[Index | None, list[Tensor]] = (None, [])

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        return self.trials.shape

    @property
    def bytes_per_row(self) -> int:
        """What the operands of the digits take for each example."""
        return self._n_digits * self.trials.bytes_per_row

    def sums(self, tile: Tile) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Sums over the trials that saw the training example: integers, in strips of the tile's tests."""
        digits, trains = self._digits(tile.tests), self.trials.masks(tile.trains)
        for rows in strips(len(digits[0])):
            yield rows, self._product([digit[rows] for digit in digits], trains).cpu().numpy()

    def pair_sums(self, train: NDArray[np.int64], test: NDArray[np.int64], power: int = 1) -> Integers:
        """The same of the given pairs, or of the values' squares, shape (P,)."""
        sums = np.empty(len(train), np.int64)
        for top in range(0, len(train), _BAND):
            part = slice(top, top + _BAND)
            values = self.values[test[part]].astype(np.int64) ** power
            sums[part] = (values * self.trials.saw(train[part])).sum(1)
        return sums

    def pair_difference(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Of the given pairs the difference and its standard error, in units, each of shape (P,).

        The error is Welch's, from the variances with and without the training example; NaN where either has
        fewer than two trials.
        """
        n_trials, n_in = self.trials.n_trials, self.trials.in_count[train]
        totals = self.totals[test], self.squares[test]
        inside = self.pair_sums(train, test), self.pair_sums(train, test, 2)
        sides = [(*inside, n_in), (*(t - s for t, s in zip(totals, inside, strict=True)), n_trials - n_in)]
        with np.errstate(divide="ignore", invalid="ignore"):
            variances = [(square - total * (total / n)) / (n - 1) / n for total, square, n in sides]
            quotient = (n_trials * inside[0] - n_in * totals[0]) / (self._unit * n_in * (n_trials - n_in))
            error = np.sqrt(np.maximum(variances[0] + variances[1], 0)) / self._unit
        few = np.minimum(n_in, n_trials - n_in)
        return np.where(few > 0, quotient, np.nan), np.where(few > 1, error, np.nan)

    def difference(self, tile: Tile) -> NDArray[np.float32]:
        """Mean with the training example minus mean without, in the values' unit, shape (tests, trains).

        A sum of S of a total of C is of the n of T trials with the example: S/n - (C-S)/(T-n) is
        (T S - n C) / (n (T - n)), a quotient of integers that float64 holds. NaN where a training example was
        never in or never out.
        """
        import torch

        n_trials = self.trials.n_trials
        device = self.trials.device
        total, count = (
            torch.as_tensor(a).to(device, torch.float64)
            for a in (self.totals[tile.tests], self.trials.in_count[tile.trains])
        )
        divisor = self._unit * count * (n_trials - count)
        divisor[divisor == 0] = torch.nan
        digits, trains = self._digits(tile.tests), self.trials.masks(tile.trains)
        value = torch.empty((len(total), len(trains)), dtype=torch.float32)
        for rows in strips(len(total)):
            part = self._product([digit[rows] for digit in digits], trains)
            value[rows] = part.addr_(total[rows], count, beta=n_trials, alpha=-1).div_(divisor)
        return value.numpy()

    def _product(self, digits: list[Tensor], trains: Tensor) -> Tensor:
        import torch

        sums = self.trials.multiply(digits[0], trains).to(torch.float64)
        for digit in digits[1:]:
            sums.mul_(RANKS + 1).add_(self.trials.multiply(digit, trains))
        return sums

    def _digits(self, tests: Index) -> list[Tensor]:
        """Operands of the digits, the highest first; kept, since callers go through the training examples next."""
        with self._lock:
            kept, digits = self._kept
            if kept is not tests:
                values = self.values[tests]
                parts = [values] if self._n_digits == 1 else [values >> 7, values & RANKS]
                digits = [self.trials.operand(part.astype(np.int8)) for part in parts]
                self._kept = tests, digits
        return digits
