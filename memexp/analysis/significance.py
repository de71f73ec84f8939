"""How sure an influence is: exactly, from counts of right trials, or by t tests, from numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.counts import Counts
from memexp.analysis.discovery import SCREEN, permutation_p_values
from memexp.analysis.intervals import Difference
from memexp.analysis.means import ScoreTrials, difference, p_values
from memexp.analysis.products import Tile, Trials
from memexp.analysis.strongest import Candidates

Values = NDArray[np.float32]
Places = NDArray[np.intp]


class Significance(Protocol):
    """Tests of no influence, of whatever the trials recorded."""

    def far(self, value: Values, tests: Places, trains: Places) -> NDArray[np.bool_]:
        """Which influences (tests, trains) are so far from 0 that their p-values matter."""
        ...

    def p_values(self, pairs: Candidates) -> NDArray[np.float64]:
        """Two-sided, shape (P,)."""
        ...

    def errors(self, pairs: Candidates) -> tuple[Counts, Difference]:
        """Counts of the pairs, and their influence with standard error and interval; each of shape (P,)."""
        ...


@dataclass(frozen=True)
class CountSignificance:
    """Permutation tests of counts."""

    trials: Trials

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


def significance_of(trials: Trials | ScoreTrials) -> Significance:
    """Those that go with what the trials recorded."""
    return CountSignificance(trials) if isinstance(trials, Trials) else ScoreSignificance(trials)
