"""What the paper counts about high-influence pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class PairFacts(NamedTuple):
    """Numbers of the paper's section on high-influence pairs.

    Attributes
    ----------
    pairs
        Pairs that pass the thresholds.
    unique_tests, unique_trains
        Different test examples that are influenced, and training examples that influence (the set S_h).
    single_influencers
        Test examples with exactly one influential training example.
    """

    pairs: int
    unique_tests: int
    unique_trains: int
    single_influencers: int


def pair_facts(train: NDArray[Any], test: NDArray[Any]) -> PairFacts:
    """Count among the selected pairs, given as indices of shape (P,)."""
    tests, per_test = np.unique(test, return_counts=True)
    return PairFacts(
        len(train),
        len(tests),
        len(np.unique(train)),
        int((per_test == 1).sum()),
    )
