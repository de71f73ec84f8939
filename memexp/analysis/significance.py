"""How sure an influence is: exactly, from counts of right trials, or by t tests, from numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from memexp.analysis.counts import Counts
from memexp.analysis.discovery import SCREEN, Reach, permutation_p_values
from memexp.analysis.intervals import Difference, closed_bounds
from memexp.analysis.means import ScoreTrials, difference, p_values
from memexp.analysis.products import Tile, Trials
from memexp.analysis.strongest import Candidates

Floats = NDArray[np.float64]
Values = NDArray[np.float32]
Places = NDArray[np.intp]


class Significance(Protocol):
    """Tests of no influence, of whatever the trials recorded."""

    def far(self, value: Values, tests: Places, trains: Places) -> NDArray[np.bool_]:
        """Which influences (tests, trains) are so far from 0 that their p-values matter."""
        ...

    def family(self, tests: Places, trains: Places) -> NDArray[np.int64]:
        """How many of these pairs are tested for harmful, and for helpful influence, shape (2,)."""
        ...

    def in_family(self, pairs: Candidates) -> NDArray[np.bool_]:
        """Which of the given pairs are tested for influence of their sign, shape (P,)."""
        ...

    def p_values(self, pairs: Candidates) -> NDArray[np.float64]:
        """Two-sided, shape (P,)."""
        ...

    def errors(self, pairs: Candidates) -> tuple[Counts, Difference]:
        """Counts of the pairs, and their influence with standard error and interval; each of shape (P,)."""
        ...

    def bounds(self, pairs: Candidates, tail: float) -> tuple[Floats, Floats]:
        """Ends of intervals of which so large a share misses the truth at either end, each of shape (P,)."""
        ...


@dataclass(frozen=True)
class CountSignificance:
    """Permutation tests of counts."""

    trials: Trials

    @cached_property
    def _reach(self) -> Reach:
        return Reach(self.trials.in_count, self.trials.correct, self.trials.n_trials)

    def family(self, tests: Places, trains: Places) -> NDArray[np.int64]:
        """Pairs that can reach a small p-value."""
        return self._reach.family(tests, trains)

    def in_family(self, pairs: Candidates) -> NDArray[np.bool_]:
        """The same, of given pairs."""
        return self._reach.holds(pairs.train, pairs.test, pairs.value > 0)

    def far(self, value: Values, tests: Places, trains: Places) -> NDArray[np.bool_]:
        """At least ``SCREEN`` standard errors of no influence."""
        correct, count, total = self.trials.correct[tests], self.trials.in_count[trains], self.trials.n_trials
        with np.errstate(divide="ignore", invalid="ignore"):
            se_test = np.sqrt(correct * (total - correct) / max(1, total - 1)).astype(np.float32)
            se_train = (1 / np.sqrt(count * (total - count))).astype(np.float32)
            return np.asarray(np.abs(value) >= SCREEN * se_test[:, None] * se_train)

    def p_values(self, pairs: Candidates) -> NDArray[np.float64]:
        """Fisher's exact test."""
        count, correct = self.trials.in_count[pairs.train], self.trials.correct[pairs.test]
        return permutation_p_values(self._in_correct(pairs), count, correct, self.trials.n_trials)

    def errors(self, pairs: Candidates) -> tuple[Counts, Difference]:
        """Intervals of differences of proportions."""
        in_correct, in_count = self._in_correct(pairs), self.trials.in_count[pairs.train]
        out_correct = self.trials.correct[pairs.test] - in_correct
        counts = Counts(in_correct, in_count, out_correct, self.trials.n_trials - in_count)
        return counts, counts.difference()

    def bounds(self, pairs: Candidates, tail: float) -> tuple[Floats, Floats]:
        """The closed formulas, whatever the number of trials."""
        k_in, n_in, k_out, n_out = (each.astype(np.float64) for each in vars(self.errors(pairs)[0]).values())
        return closed_bounds(k_in, n_in, k_out, n_out, -float(ndtri(tail)))

    def _in_correct(self, pairs: Candidates) -> NDArray[np.int64]:
        """The counts k that the pairs' influences came from: (k T - n c) / (n (T - n)) solved for k."""
        total = self.trials.n_trials
        count, correct = self.trials.in_count[pairs.train], self.trials.correct[pairs.test]
        exact = (pairs.value.astype(np.float64) * (count * (total - count)) + count * correct) / total
        return np.asarray(np.rint(exact), dtype=np.int64)


@dataclass(frozen=True)
class ScoreSignificance:
    """Welch's t tests of numbers; where counts of right trials would stand there is -1."""

    trials: ScoreTrials

    def family(self, tests: Places, trains: Places) -> NDArray[np.int64]:
        """All pairs of training examples that were in and out."""
        return np.full(2, int(self._tested(trains).sum()) * len(tests))

    def in_family(self, pairs: Candidates) -> NDArray[np.bool_]:
        """The same, of given pairs."""
        return self._tested(pairs.train)

    def _tested(self, trains: Places) -> NDArray[np.bool_]:
        count = self.trials.in_count[trains]
        return np.asarray((count > 0) & (count < self.trials.n_trials))

    def far(self, value: Values, tests: Places, trains: Places) -> NDArray[np.bool_]:
        """At least ``SCREEN`` standard errors."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(value) >= SCREEN * self.trials.welch(Tile(tests, trains)).se)

    def p_values(self, pairs: Candidates) -> NDArray[np.float64]:
        """Of Welch's t."""
        count = self.trials.in_count[pairs.train]
        return p_values(self.trials.of_pairs(pairs.train, pairs.test), count, self.trials.n_trials - count)

    def errors(self, pairs: Candidates) -> tuple[Counts, Difference]:
        """Welch's intervals."""
        count, none = self.trials.in_count[pairs.train], np.full(len(pairs), -1)
        counts = Counts(none, count, none, self.trials.n_trials - count)
        return counts, difference(self.trials.of_pairs(pairs.train, pairs.test))

    def bounds(self, pairs: Candidates, tail: float) -> tuple[Floats, Floats]:
        """Welch's; NaN where nothing tells the spread."""
        found = self.trials.of_pairs(pairs.train, pairs.test)
        half = np.where(found.se > 0, stdtrit(found.freedom, 1 - tail) * found.se, np.nan)
        return found.value - half, found.value + half


def significance_of(trials: Trials | ScoreTrials) -> Significance:
    """Those that go with what the trials recorded."""
    return CountSignificance(trials) if isinstance(trials, Trials) else ScoreSignificance(trials)
