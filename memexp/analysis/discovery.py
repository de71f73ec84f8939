"""False discoveries among millions of pairs: exact p-values, and their Benjamini-Hochberg adjustment in a stream.

If a training example has no influence on a test example, the trials that get the test example right
are no more often among those that saw the training example. Given how many trials were right (c) and
how many saw it (n of T), the count of both is then hypergeometric: the distribution over all
permutations of the trials, in closed form (Fisher's exact test). It takes outcomes to be exchangeable
over all trials; those of one group of the ``balanced`` design are so only as far as other examples,
which are dealt evenly within the group, do not tie them together.

Pairs that cannot reach a small p-value whatever the outcome only dilute the others (Tarone 1990): with 95 of 100 trials
right, and 70 in, no assignment of the trials is less probable than .002. What a pair can reach depends on c, n and T
alone, not on where the right trials lie, so leaving such pairs out keeps the rate (Gilbert 2005).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Signs = NDArray[np.bool_]
Places = NDArray[np.intp]

# Only pairs at least so many standard errors from 0 are put to the exact test, which would otherwise take most
# of the time. The others count as tested and not found, which can only make the adjusted values larger,
# and only those of pairs that are no farther from 0 themselves.
SCREEN = 3.0

# A pair whose one-sided p-value cannot be this small is in no family. Fixed, so that no outcome has a say in it.
ATTAINABLE = 1e-3 * (1 + 1e-9)  # a probability of exactly 1 in 1,000 counts, however it is rounded

_BINS_PER_DECADE = 1000
_DECADES = 320


def permutation_p_values(in_correct: Integers, in_count: Integers, correct: Integers, n_trials: int) -> Floats:
    """Two-sided p-values of no influence: twice the smaller tail over all permutations of the trials.

    Parameters
    ----------
    in_correct, in_count, correct
        Trials right and in (k), in (n), right (c); of one shape (P,).
    n_trials
        T.
    """
    above = in_correct * n_trials >= in_count * correct
    # The lower tail of "right and in" is the upper tail of "wrong and in".
    hits = np.where(above, in_correct, in_count - in_correct)
    marked = np.where(above, correct, n_trials - correct)
    return np.minimum(1.0, 2 * _upper_tail(hits, in_count, marked, n_trials))


def _upper_tail(hits: Integers, drawn: Integers, marked: Integers, total: int) -> Floats:
    """P(at least ``hits`` of ``drawn`` are among the ``marked`` of ``total``), hits at or above the mean.

    The first term from logarithms of factorials, the others by their ratios, which fall from there on.
    """
    factorial = gammaln(np.arange(total + 1) + 1.0)

    def choose(n: Integers, k: Integers) -> Floats:
        return np.asarray(factorial[n] - factorial[k] - factorial[n - k])

    others = total - marked
    first = choose(marked, hits) + choose(others, drawn - hits) - choose(np.full_like(drawn, total), drawn)
    x, missed = hits.astype(np.float64), (others - drawn + hits).astype(np.float64)
    term, total_of_ratios = np.ones(hits.shape), np.ones(hits.shape)
    going = np.arange(len(hits))
    while len(going):
        at = x[going]
        ratio = (drawn[going] - at) * (marked[going] - at) / ((at + 1) * (missed[going] + 1))
        term[going] *= ratio
        total_of_ratios[going] += term[going]
        x[going] += 1
        missed[going] += 1
        going = going[term[going] > 1e-12 * total_of_ratios[going]]
    return np.minimum(1.0, np.exp(first) * total_of_ratios)


class Tally(NamedTuple):
    """What one test says of the pairs of a tile.

    Attributes
    ----------
    family : int64, shape (2,)
        Hypotheses: that influence is harmful, that it is helpful.
    p_values, positive
        Two-sided p-values and signs of those that can be discoveries, each of shape (P,).
    """

    family: Integers
    p_values: Floats
    positive: Signs


class Reach:
    """Which pairs can have a small p-value at all, those of harmful influence (row 0) and of helpful (row 1) apart.

    A training example that n of T trials saw reaches one with test examples that c trials got right, where c lies
    between two numbers: the most extreme table puts all right trials in, or as many as fit, and its probability falls
    until c is n and rises from there. Harmful influences are the same of wrong trials.

    Parameters
    ----------
    in_count
        n of each training example, shape (N,).
    correct
        c of each test example, shape (M,).
    n_trials
        T. Where trials are so few that nothing reaches ``ATTAINABLE``, all pairs of examples that were in and out
        do.
    """

    def __init__(self, in_count: Integers, correct: Integers, n_trials: int) -> None:
        self._correct = correct
        numbers, self._place = np.unique(in_count, return_inverse=True)
        self._low, self._high = np.ones((2, 2, len(numbers)), np.int64)
        self._high[:] = 0
        least = smallest_allowed(numbers, n_trials)
        for place, n in enumerate(numbers.tolist()):
            reached = np.flatnonzero(_most_extreme(n, n_trials) <= least) if 0 < n < n_trials else np.empty(0, np.intp)
            if len(reached):
                self._low[:, place] = n_trials - reached[-1], reached[0]
                self._high[:, place] = n_trials - reached[0], reached[-1]

    def family(self, tests: Places, trains: Places) -> Integers:
        """Number of these pairs that can, (2,)."""
        correct = np.sort(self._correct[tests])
        many = np.searchsorted(correct, self._high, "right") - np.searchsorted(correct, self._low, "left")
        return np.asarray(np.maximum(many, 0)[:, self._place[trains]].sum(1))

    def holds(self, train: Places, test: Places, positive: Signs) -> Signs:
        """Whether each of the given pairs can, as one of its sign; all of shape (P,)."""
        sign, place, correct = positive.astype(np.intp), self._place[train], self._correct[test]
        return np.asarray((self._low[sign, place] <= correct) & (correct <= self._high[sign, place]))


def one_permutation(in_count: ArrayLike, n_trials: ArrayLike) -> Floats:
    """One of all ways to choose the trials that saw an example: the smallest p-value that a permutation test has."""
    return np.asarray(np.exp(_log_permutation(in_count, n_trials)))


def _log_permutation(in_count: ArrayLike, n_trials: ArrayLike) -> Floats:
    n, total = np.asarray(in_count), np.asarray(n_trials)
    return np.asarray(gammaln(n + 1.0) + gammaln(total - n + 1.0) - gammaln(total + 1.0))


def smallest_allowed(in_count: Integers, n_trials: int) -> float:
    """The p-value that pairs of a family must be able to reach; any where trials are too few for ``ATTAINABLE``."""
    return ATTAINABLE if (one_permutation(in_count, n_trials) <= ATTAINABLE).any() else np.inf


def _most_extreme(n: int, n_trials: int) -> Floats:
    """Probability of the table with most right trials in, of c = 0 to T right ones, shape (T + 1,)."""
    correct = np.arange(n_trials + 1)
    factorial = gammaln(correct + 1.0)
    k = np.minimum(n, correct)
    ways_in = factorial[correct] - factorial[k] - factorial[correct - k]
    ways_out = factorial[n_trials - correct] - factorial[n - k] - factorial[n_trials - correct - n + k]
    return np.asarray(np.exp(ways_in + ways_out + _log_permutation(n, n_trials)))


class Discoveries:
    """Benjamini-Hochberg over a stream of p-values, of helpful and of harmful influences apart.

    In one list, many true influences of one sign would let the noise of the other sign pass: the rate
    of false discoveries would hold for both together and for neither alone. Each sign is a family of
    one-sided hypotheses about all pairs; the one-sided p-value is half the two-sided one.

    All that is kept is a histogram of each sign on a logarithmic axis. Bins are 1/1000 of a decade wide
    and a p-value counts as the upper end of its bin, so adjusted values are too large by 0.23 % at most
    and never too small.

    Attributes
    ----------
    family : int64, shape (2,)
        Number of hypotheses: that influence is harmful, that it is helpful.
    """

    def __init__(self) -> None:
        self.family = np.zeros(2, np.int64)
        self._counts = np.zeros((2, _DECADES * _BINS_PER_DECADE + 1), np.int64)

    def add(self, found: Tally) -> None:
        """Count the pairs of a tile."""
        self.family += found.family
        bins = _bins(_one_sided(found.p_values))
        for sign, counts in enumerate(self._counts):
            np.add.at(counts, bins[found.positive == sign], 1)

    def adjusted(self, p_values: Floats, positive: Signs, in_family: Signs) -> Floats:
        """The smallest false discovery rate at which each pair would be among the discoveries of its sign.

        1 of a pair that is not in its family.
        """
        upper_end = 10.0 ** (-np.arange(self._counts.shape[1]) / _BINS_PER_DECADE)
        at_most = self._counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        rate = np.where(at_most > 0, self.family[:, None] * upper_end / np.maximum(at_most, 1), np.inf)
        smallest = np.minimum(1.0, np.minimum.accumulate(rate, axis=1))
        return np.where(in_family, smallest[positive.astype(np.intp), _bins(_one_sided(p_values))], 1.0)


def _one_sided(p_values: Floats) -> Floats:
    """Of the sign that was found; where twice the tail was cut at 1, no less than the tail."""
    return np.where(p_values < 1, p_values / 2, 1.0)


def _bins(p_values: Floats) -> NDArray[np.intp]:
    exponent = -np.log10(np.maximum(p_values, 1e-319)) * _BINS_PER_DECADE
    return np.floor(exponent + 1e-9).astype(np.intp)
