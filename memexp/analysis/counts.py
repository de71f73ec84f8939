"""Counts: integer sums over trials. They add exactly, in any order, over any partition of the trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.intervals import Difference, difference
from memexp.brief import Brief

Bits = NDArray[np.bool_]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Counts(Brief):
    """Two by two counts, what memorization and influence are estimated from; all int64 of one shape.

    Attributes
    ----------
    in_count, out_count
        Trials that saw the training example, and that did not.
    in_correct, out_correct
        How many of those got the example (of an influence: the test example) right.
    """

    in_correct: Integers
    in_count: Integers
    out_correct: Integers
    out_count: Integers

    def __add__(self, other: Counts) -> Counts:
        """Counts of both sets of trials together."""
        return Counts(
            self.in_correct + other.in_correct,
            self.in_count + other.in_count,
            self.out_correct + other.out_correct,
            self.out_count + other.out_count,
        )

    @property
    def in_accuracy(self) -> Floats:
        """Share of the trials with the example that were right; NaN without such a trial."""
        return _share(self.in_correct, self.in_count)

    @property
    def out_accuracy(self) -> Floats:
        """Share of the trials without the example that were right; NaN without such a trial."""
        return _share(self.out_correct, self.out_count)

    def value(self) -> Floats:
        """Accuracy in minus accuracy out; NaN where a side has no trial."""
        return self.in_accuracy - self.out_accuracy

    def difference(self) -> Difference:
        """The same with standard error and interval."""
        return difference(self.in_correct, self.in_count, self.out_correct, self.out_count)


def _share(correct: Integers, count: Integers) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(correct / count)


def count_train(mask: Bits, correct: Bits) -> Counts:
    """Counts from ``mask`` and ``train_correct``, both (N, T)."""
    in_count = mask.sum(1, dtype=np.int64)
    in_correct = (mask & correct).sum(1, dtype=np.int64)
    return Counts(in_correct, in_count, correct.sum(1, dtype=np.int64) - in_correct, mask.shape[1] - in_count)
