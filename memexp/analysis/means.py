"""Memorization and influence of numbers: differences of means, Welch's intervals and t tests.

What trials of the user's own give may be any number, such as an accuracy per token. Sums are of float64; those
of float32 scores within a few orders of magnitude are exact, whatever their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from memexp.analysis.discovery import one_permutation
from memexp.analysis.intervals import Difference
from memexp.analysis.products import Packed, Tile, row_sums

if TYPE_CHECKING:
    from memexp.analysis.merged import Merged

Floats = NDArray[np.float64]
Scores = NDArray[np.float32]

_PAIRS = 1 << 24  # trials of pairs that are held at once


class Moments(NamedTuple):
    """Trials of one side, and mean and variance of their scores; all of one shape, NaN where there are too few."""

    number: Floats
    mean: Floats
    variance: Floats

    @classmethod
    def of(cls, count: ArrayLike, total: ArrayLike, squares: ArrayLike) -> Moments:
        """From sums of the scores and of their squares, best of scores whose mean is near 0."""
        n, first, second = (np.asarray(each, np.float64) for each in (count, total, squares))
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.maximum(second - first**2 / n, 0.0)
            # what rounding leaves of scores that are all the same is no spread
            spread = np.where(spread <= 1e-12 * second, 0.0, spread)
            return cls(n, first / n, spread / np.where(n > 1, n - 1, np.nan))


class Welch(NamedTuple):
    """Difference of two means, its standard error and degrees of freedom; all of one shape."""

    value: Floats
    se: Floats
    freedom: Floats


def welch(inside: Moments, outside: Moments) -> Welch:
    """Mean in minus mean out (Welch 1947). The error is NaN where a side has fewer than two trials."""
    parts = [side.variance / np.where(side.number > 0, side.number, np.nan) for side in (inside, outside)]
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = sum(parts) ** 2 / sum(
            part**2 / (side.number - 1) for part, side in zip(parts, (inside, outside), strict=True)
        )
        return Welch(inside.mean - outside.mean, np.sqrt(sum(parts)), np.asarray(freedom))


def difference(found: Welch) -> Difference:
    """With the 95% interval; NaN where all scores of each side are equal, so that nothing tells their spread."""
    half = stdtrit(found.freedom, 0.975) * found.se
    half = np.where(found.se > 0, half, np.nan)
    return Difference(found.value, found.se, found.value - half, found.value + half)


def p_values(found: Welch, n_in: ArrayLike, n_out: ArrayLike) -> Floats:
    """Two-sided p-values of no difference.

    Where each side's scores are all equal there is no t: two sides that differ are then as far apart as any
    permutation of the trials can bring them, whose share is the p-value.
    """
    a, b = np.broadcast_arrays(np.asarray(n_in, np.float64), np.asarray(n_out, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        tested = 2 * stdtr(found.freedom, -np.abs(found.value / found.se))
        apart = 2 * one_permutation(a, a + b)
    apart = np.where(found.value == 0, 1.0, apart)
    chosen = np.where(found.se == 0, apart, tested)
    return np.asarray(np.minimum(1.0, np.where(np.isnan(chosen), 1.0, chosen)))


@dataclass(frozen=True)
class TrainScores:
    """Sides of all training examples, each of shape (N,)."""

    inside: Moments
    outside: Moments

    @classmethod
    def of(cls, mask: NDArray[np.bool_], score: Scores) -> TrainScores:
        """From masks and scores, both (N, T)."""
        centre = score.mean(axis=1, dtype=np.float64)
        centred = score - centre[:, None]
        n_in = mask.sum(1)
        exact = [np.where(side, score, 0).sum(1, dtype=np.float64) for side in (mask, ~mask)]
        sides = []
        for side, count, total in zip((mask, ~mask), (n_in, mask.shape[1] - n_in), exact, strict=True):
            spread = Moments.of(count, np.where(side, centred, 0).sum(1), np.where(side, centred**2, 0).sum(1))
            with np.errstate(invalid="ignore"):
                sides.append(spread._replace(mean=total / spread.number))
        return cls(*sides)

    @classmethod
    def of_run(cls, merged: Merged) -> TrainScores:
        """Of all training examples of a run, band by band."""
        bands = [cls.of(mask, score) for _, (mask, score) in merged.bands("mask", "train_score")]
        sides = ([getattr(band, name) for band in bands] for name in ("inside", "outside"))
        return cls(*(Moments(*(np.concatenate(parts) for parts in zip(*side, strict=True))) for side in sides))


class ScoreTrials:
    """Scores of all trials on the test examples, and their means over the trials that saw a training example.

    The counterpart of :class:`memexp.analysis.products.Trials` for numbers.

    Parameters
    ----------
    test_score : float32, shape (M, T)
    mask : uint8, shape (N, ceil(T / 8))
        Eight trials to a byte.

    Attributes
    ----------
    in_count : int64, shape (N,)
        Trials that saw each training example.
    """

    def __init__(self, test_score: Scores, mask: Packed, n_trials: int) -> None:
        self.n_trials = n_trials
        self.in_count = row_sums(mask)
        self._centre = test_score.mean(axis=1, dtype=np.float64) if n_trials else np.zeros(len(test_score))
        self._score, self._mask = test_score, mask

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        return len(self._score), len(self._mask)

    @property
    def bytes_per_row(self) -> int:
        """What an operand takes for each example: its scores, their squares, and both as a product's."""
        return 32 * self.n_trials

    def influence(self, tile: Tile) -> Scores:
        """Mean in minus mean out, shape (tests, trains); NaN where a training example was never in or never out."""
        return self.welch(tile).value.astype(np.float32)

    def welch(self, tile: Tile) -> Welch:
        """The same with its error."""
        saw = np.unpackbits(self._mask[tile.trains], axis=1, count=self.n_trials).astype(np.float64)
        score = self._score[tile.tests] - self._centre[tile.tests][:, None]
        inside, squares = score @ saw.T, score**2 @ saw.T
        sums = (score.sum(1)[:, None] - inside, (score**2).sum(1)[:, None] - squares)
        count = self.in_count[tile.trains]
        return welch(Moments.of(count, inside, squares), Moments.of(self.n_trials - count, *sums))

    def of_pairs(self, train: NDArray[np.intp], test: NDArray[np.intp]) -> Welch:
        """Of the given pairs, each of shape (P,)."""
        step = max(1, _PAIRS // max(1, self.n_trials))
        parts = [self._of_few(train[top : top + step], test[top : top + step]) for top in range(0, len(train), step)]
        return Welch(
            *(np.concatenate([np.empty(0), *each]) for each in (zip(*parts, strict=True) if parts else [()] * 3))
        )

    def _of_few(self, train: NDArray[np.intp], test: NDArray[np.intp]) -> Welch:
        saw = np.unpackbits(self._mask[train], axis=1, count=self.n_trials).view(np.bool_)
        score = self._score[test] - self._centre[test][:, None]
        count = self.in_count[train]
        sums = [(np.where(side, score, 0).sum(1), np.where(side, score**2, 0).sum(1)) for side in (saw, ~saw)]
        return welch(Moments.of(count, *sums[0]), Moments.of(self.n_trials - count, *sums[1]))
