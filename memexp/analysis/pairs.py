"""High-influence pairs: which training example changes the accuracy on which test example.

The paper's rule: training example i and test example j of one class, memorization of i at least
0.25 and influence of i on j at least 0.15.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.counts import Bits, count_pairs
from memexp.analysis.intervals import Difference, difference

_TILE = 4096


@dataclass(frozen=True)
class Selection:
    """Which pairs to keep.

    ``most`` bounds their number: the strongest are kept.
    """

    memorization: float = 0.25
    influence: float = 0.15
    most: int = 100_000


@dataclass(frozen=True)
class Pairs:
    """Pairs, strongest first; all of shape (P,).

    Attributes
    ----------
    train, test : int64
        Indices of the training and the test example.
    influence, influence_se, influence_low, influence_high : float32
        Estimate, standard error, 95% interval of each pair by itself.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    influence: NDArray[np.float32]
    influence_se: NDArray[np.float32]
    influence_low: NDArray[np.float32]
    influence_high: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.train)

    def take(self, order: NDArray[np.intp]) -> Pairs:
        """The pairs at the given places."""
        return Pairs(*(getattr(self, field.name)[order] for field in fields(self)))


def influence(test_correct: Bits, mask: Bits) -> Difference:
    """Influence of every training example (columns) on every test example (rows), shape (M, N).

    Parameters
    ----------
    test_correct, mask
        bool, shape (M, T) and (N, T).
    """
    n_trials = mask.shape[1]
    in_count = mask.sum(1, dtype=np.int64)
    in_correct = count_pairs(test_correct, mask)
    correct = test_correct.sum(1, dtype=np.int64)[:, None]
    return difference(in_correct, in_count, correct - in_correct, n_trials - in_count)


def select_pairs(
    test_correct: Bits,
    mask: Bits,
    test_label: NDArray[np.int64],
    train_label: NDArray[np.int64],
    memorization: NDArray[np.float32],
    selection: Selection,
) -> Pairs:
    """Pairs of one class that pass the selection's two thresholds.

    Parameters
    ----------
    test_correct, mask
        bool, shape (M, T) and (N, T).
    test_label, train_label
        Shape (M,) and (N,).
    memorization
        Shape (N,); NaN is never selected.
    """
    memorized = memorization >= selection.memorization
    found: list[Pairs] = []
    for label in np.unique(test_label):
        tests = np.flatnonzero(test_label == label)
        trains = np.flatnonzero(memorized & (train_label == label))
        for start in range(0, len(trains), _TILE):
            columns = trains[start : start + _TILE]
            found.append(_selected(test_correct, mask, tests, columns, selection.influence))
        found = [_strongest(found, selection.most)]
    return _strongest(found, selection.most)


def _selected(test_correct: Bits, mask: Bits, tests: NDArray[np.intp], trains: NDArray[np.intp], least: float) -> Pairs:
    estimate = influence(test_correct[tests], mask[trains])
    rows, columns = np.nonzero(estimate.value >= least)
    numbers = (part[rows, columns].astype(np.float32) for part in estimate)
    return Pairs(trains[columns].astype(np.int64), tests[rows].astype(np.int64), *numbers)


def _strongest(parts: list[Pairs], most: int) -> Pairs:
    """Join, sort by influence (ties by index, so that the order is one), keep the first ``most``."""
    joined = [np.concatenate([getattr(part, field.name) for part in parts] or [[]]) for field in fields(Pairs)]
    train, test, value = joined[:3]
    order = np.lexsort((test, train, -value))[:most]
    types = (np.int64, np.int64, np.float32, np.float32, np.float32, np.float32)
    return Pairs(*(values[order].astype(kind) for values, kind in zip(joined, types, strict=True)))
