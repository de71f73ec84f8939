"""A test of no influence by the ranks of the margins: the rank sum, over all permutations of the trials.

If a training example has no influence on a test example, the trials that saw it are as good as a
random choice of all trials (as in :mod:`memexp.analysis.discovery`). The sum of the ranks that the
margins of the test example have in them (Wilcoxon 1945) then has a distribution whose first four
moments are known (Pitman 1937); the p-value is the tail of the symmetric distribution of Pearson's
family with these moments, with a correction for continuity, and no smaller than one permutation
of all. tests/analysis/test_rank_test.py compares it with exact ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from memexp.analysis.discovery import SCREEN, Tally, one_permutation, smallest_allowed
from memexp.analysis.levels import RANKS, Levels, Values
from memexp.analysis.products import Tile, Trials

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

FEWEST = 4  # trials, for a fourth moment

_BAND = 1024


class RankTest:
    """The test of all pairs.

    Parameters
    ----------
    trials
        Whose masks are used.
    ranked : uint16, shape (M, T)
        Of each test example's margins among the trials, from :func:`memexp.analysis.levels.ranks`.
    """

    def __init__(self, trials: Trials, ranked: Values) -> None:
        self.levels = Levels(trials, ranked)
        self._deviation, self._shape, self._step = _moments(ranked)
        self._of_masks = _k_ratio_of_masks(trials.in_count, trials.n_trials)
        n, total = trials.in_count, trials.n_trials
        enough = (n > 0) & (n < total) & (total >= FEWEST)
        self._can = enough & (one_permutation(n, total) <= smallest_allowed(n, total))

    def family(self, tests: Places, trains: Places) -> NDArray[np.int64]:
        """Pairs that can reach a small p-value: the same number for either sign, (2,).

        That the margins of the test example differ between trials, and how many trials saw the training example,
        are all that it depends on.
        """
        return np.full(2, int((self._deviation[tests] > 0).sum()) * int(self._can[trains].sum()))

    def in_family(self, train: Places, test: Places) -> NDArray[np.bool_]:
        """The same, of given pairs; (P,)."""
        return np.asarray(self._can[train] & (self._deviation[test] > 0))

    def tested(self, tile: Tile, tests: Places, trains: Places) -> Tally:
        """What the test says of a tile, whose places are ``tests`` and ``trains``."""
        train, test, sums = self.look_at(tile, tests, trains)
        can = self.in_family(train, test)
        return Tally(self.family(tests, trains), *self.p_values(train[can], test[can], sums[can]))

    def look_at(self, tile: Tile, tests: Places, trains: Places) -> tuple[Places, Places, Floats]:
        """Pairs that are at least ``SCREEN`` standard errors from no influence: train, test, sum of ranks."""
        found = []
        expected, error = self._null(trains)
        for rows, sums in self.levels.sums(tile):
            mean, deviation = self.levels.totals[tests[rows]], self._deviation[tests[rows]]
            gap = np.abs(sums - mean[:, None] * expected)
            place = np.nonzero((gap >= SCREEN * deviation[:, None] * error) & (gap > 0))
            found.append((trains[place[1]], tests[rows][place[0]], sums[place]))
        train, test, sums = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return train, test, sums

    def p_values(self, train: Places, test: Places, sums: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Two-sided p-values, twice the smaller tail, and whether the margins are larger with the example; (P,).

        1 where nothing can be told: margins that are all the same, an example that is never in or never out.
        """
        total = self.levels.trials.n_trials
        expected, error = self._null(train)
        gap = sums - self.levels.totals[test] * expected
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.maximum(np.abs(gap) - self._step[test] / 2, 0) / (self._deviation[test] * error)
        known = np.isfinite(distance) & (total >= FEWEST)
        tail = np.full(len(distance), 0.5)
        kurtosis = _kurtosis(self._shape[test], self._of_masks[train], total)
        tail[known] = _tail(distance[known], kurtosis[known])
        smallest = one_permutation(self.levels.trials.in_count[train], total)
        return np.minimum(1.0, 2 * np.maximum(tail, smallest)), gap > 0

    def _null(self, train: Places) -> tuple[Floats, Floats]:
        """Without influence: the share of the total that a sum has, and its error for ranks of deviation 1."""
        n, total = self.levels.trials.in_count[train].astype(np.float64), self.levels.trials.n_trials
        return n / total, np.sqrt(n * (total - n) / total)


def _moments(ranked: Values) -> tuple[Floats, Floats, Floats]:
    """Of each test example's ranks the standard deviation, k4 / k2^2, and what all differences are multiples of; (M,).

    From how often each rank occurs, so that sums of powers are exact.
    """
    total, rank = ranked.shape[1], np.arange(RANKS + 1)
    powers, step = np.empty((4, len(ranked))), np.empty(len(ranked))
    for top in range(0, len(ranked), _BAND):
        band = ranked[top : top + _BAND]
        places = np.arange(len(band))[:, None] * (RANKS + 1) + band
        often = np.bincount(places.ravel(), minlength=len(band) * (RANKS + 1)).reshape(len(band), -1)
        powers[:, top : top + _BAND] = (often @ rank[:, None] ** np.arange(1, 5)).T
        first = (often > 0).argmax(axis=1)[:, None]
        step[top : top + _BAND] = np.gcd.reduce(np.where(often > 0, rank - first, 0), axis=1)
    first_moment, second, third, fourth = powers / total
    spread = np.where(step > 0, second - first_moment**2, 0.0)
    quartic = fourth - 4 * first_moment * third + 6 * first_moment**2 * second - 3 * first_moment**4
    return np.sqrt(spread * total / max(1, total - 1)), _k_ratio(spread, quartic, total), step


def _k_ratio_of_masks(n_in: NDArray[np.int64], total: int) -> Floats:
    share = n_in / total
    spread = share * (1 - share)
    return _k_ratio(spread, spread * ((1 - share) ** 3 + share**3), total)


def _k_ratio(spread: Floats, quartic: Floats, total: int) -> Floats:
    """Fisher's k4 / k2^2 from the second and fourth central moments of ``total`` numbers; 0 where there is none."""
    if total < FEWEST:
        return np.zeros(len(spread))
    with np.errstate(divide="ignore", invalid="ignore"):
        k2 = total / (total - 1) * spread
        k4 = total**2 * ((total + 1) * quartic - 3 * (total - 1) * spread**2)
        ratio = k4 / ((total - 1) * (total - 2) * (total - 3)) / k2**2
    return np.asarray(np.where(spread > 0, ratio, 0.0))


def _kurtosis(of_ranks: Floats, of_masks: Floats, total: int) -> Floats:
    """Excess kurtosis of the correlation of ranks and mask over all permutations (Pitman 1937)."""
    if total < FEWEST:
        return np.zeros(len(of_ranks))
    bend = (total - 2) * (total - 3) / (3 * total * (total - 1) ** 2) * of_ranks * of_masks
    return np.asarray(3 * (total - 1) / (total + 1) * (1 + bend) - 3)


def _tail(distance: Floats, kurtosis: Floats) -> Floats:
    """Upper tail at ``distance`` standard deviations of the symmetric distribution of this excess kurtosis.

    Below 0 that of Pearson's type II, a Beta distribution, whose variable is a t of as many degrees of freedom;
    above 0 of type VII, a t itself.
    """
    flat = kurtosis < 0
    curved = np.where(np.abs(kurtosis) < 1e-9, -1e-9, kurtosis)
    freedom = np.where(flat, np.maximum(-6 / curved - 3, 1e-3), 4 + 6 / np.abs(curved))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.minimum(distance**2 / (freedom + 1), 1.0)
        of_beta = np.sqrt(share * freedom / (1 - share))
        of_t = distance * np.sqrt(freedom / (freedom - 2))
    return np.asarray(stdtr(freedom, -np.where(flat, of_beta, of_t)))
