"""False discoveries among millions of pairs: exact p-values, and their Benjamini-Hochberg adjustment in a stream.

If a training example has no influence on a test example, the trials that get the test example right
are no more often among those that saw the training example. Given how many trials were right (c) and
how many saw it (n of T), the count of both is then hypergeometric: the distribution over all
permutations of the trials, in closed form (Fisher's exact test). It takes outcomes to be exchangeable
over all trials; those of one group of the ``balanced`` design are so only as far as other examples,
which are dealt evenly within the group, do not tie them together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Signs = NDArray[np.bool_]

# Only pairs at least so many standard errors from 0 are put to the exact test, which would otherwise take most
# of the time. The others count as tested and not found, which can only make the adjusted values larger,
# and only those of pairs that are no farther from 0 themselves.
SCREEN = 3.0

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
    tested
        Number of pairs: of hypotheses of each sign.
    """

    def __init__(self) -> None:
        self.tested = 0
        self._counts = np.zeros((2, _DECADES * _BINS_PER_DECADE + 1), np.int64)

    def add(self, tested: int, p_values: Floats, positive: Signs) -> None:
        """Count ``tested`` pairs, of which those with a small two-sided p-value are given, with their signs."""
        self.tested += tested
        for sign, counts in enumerate(self._counts):
            counts += np.bincount(_bins(_one_sided(p_values[positive == sign])), minlength=len(counts))

    def adjusted(self, p_values: Floats, positive: Signs) -> Floats:
        """The smallest false discovery rate at which each pair would be among the discoveries of its sign."""
        upper_end = 10.0 ** (-np.arange(self._counts.shape[1]) / _BINS_PER_DECADE)
        at_most = self._counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        rate = np.where(at_most > 0, self.tested * upper_end / np.maximum(at_most, 1), np.inf)
        smallest = np.minimum(1.0, np.minimum.accumulate(rate, axis=1))
        return np.asarray(smallest[positive.astype(np.intp), _bins(_one_sided(p_values))])


def _one_sided(p_values: Floats) -> Floats:
    """Of the sign that was found; where twice the tail was cut at 1, no less than the tail."""
    return np.where(p_values < 1, p_values / 2, 1.0)


def _bins(p_values: Floats) -> NDArray[np.intp]:
    exponent = -np.log10(np.maximum(p_values, 1e-319)) * _BINS_PER_DECADE
    return np.floor(exponent + 1e-9).astype(np.intp)
