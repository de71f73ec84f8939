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
from scipy.special import gammaln
from scipy.stats import t as student

from memexp.analysis.discovery import SCREEN
from memexp.analysis.levels import Levels, Margins, ranks
from memexp.analysis.products import Tile, Trials

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

FEWEST = 4  # trials, for a fourth moment


class RankTest:
    """The test of all pairs.

    Parameters
    ----------
    trials
        Whose masks are used.
    margin : float16, shape (M, T)
        Of the test examples.
    """

    def __init__(self, trials: Trials, margin: Margins) -> None:
        self.levels = Levels(trials, ranks(margin))
        self._deviation, self._shape = _moments(self.levels)
        self._step = np.array([np.gcd.reduce(row - row.min()) for row in self.levels.values], np.float64)
        self._of_masks = _k_ratio_of_masks(trials.in_count, trials.n_trials)

    def testable(self, train: Places, least: float) -> NDArray[np.bool_]:
        """Which training examples can have a one-sided p-value of ``least`` at all: a matter of their masks."""
        n, total = self.levels.trials.in_count[train], self.levels.trials.n_trials
        return (n > 0) & (n < total) & (total >= FEWEST) & (_one_permutation(n, total) <= least)

    def varies(self, test: Places) -> NDArray[np.bool_]:
        """Which test examples have margins that differ between trials."""
        return np.asarray(self._deviation[test] > 0)

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
        smallest = _one_permutation(self.levels.trials.in_count[train], total)
        return np.minimum(1.0, 2 * np.maximum(tail, smallest)), gap > 0

    def _null(self, train: Places) -> tuple[Floats, Floats]:
        """Without influence: the share of the total that a sum has, and its error for ranks of deviation 1."""
        n, total = self.levels.trials.in_count[train].astype(np.float64), self.levels.trials.n_trials
        return n / total, np.sqrt(n * (total - n) / total)


def _moments(levels: Levels) -> tuple[Floats, Floats]:
    """Of each test example's ranks the standard deviation and k4 / k2^2, from exact sums of powers; each (M,)."""
    total = levels.trials.n_trials
    sums = np.array([[(row.astype(np.int64) ** k).sum() for k in (1, 2, 3, 4)] for row in levels.values], np.float64)
    first, second, third, fourth = sums.reshape(-1, 4).T / total
    spread = np.where(np.ptp(levels.values, axis=1) > 0, second - first**2, 0.0)
    quartic = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return np.sqrt(spread * total / max(1, total - 1)), _k_ratio(spread, quartic, total)


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
    return np.asarray(student.sf(np.where(flat, of_beta, of_t), freedom))


def _one_permutation(n_in: NDArray[np.int64], total: int) -> Floats:
    """One of all ways to choose the trials that saw the example."""
    return np.asarray(np.exp(gammaln(n_in + 1.0) + gammaln(total - n_in + 1.0) - gammaln(total + 1.0)))
