"""Counts: integer sums over trials. They add exactly, in any order, over any partition of the trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class TrainCounts:
    """What memorization is estimated from, for each training example; each int64, shape (N,).

    Attributes
    ----------
    in_count, out_count
        Trials that saw the example, and that did not.
    in_correct, out_correct
        How many of those got its label right.
    """

    in_count: Counts
    out_count: Counts
    in_correct: Counts
    out_correct: Counts

    def __add__(self, other: TrainCounts) -> TrainCounts:
        """Counts of both sets of trials together."""
        return TrainCounts(
            self.in_count + other.in_count,
            self.out_count + other.out_count,
            self.in_correct + other.in_correct,
            self.out_correct + other.out_correct,
        )


def count_train(mask: Bits, correct: Bits) -> TrainCounts:
    """Counts from ``mask`` and ``train_correct``, both (N, T)."""
    n_trials = mask.shape[1]
    in_count = mask.sum(1, dtype=np.int64)
    in_correct = (mask & correct).sum(1, dtype=np.int64)
    return TrainCounts(
        in_count=in_count,
        out_count=n_trials - in_count,
        in_correct=in_correct,
        out_correct=correct.sum(1, dtype=np.int64) - in_correct,
    )
