"""A test set drawn from the training set of a source that has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memexp.data.raw import RawData
from memexp.errors import DataError
from memexp.seeds import raw_words
from memexp.spec.datasets import Split


def choose_test(labels: NDArray[np.int64], split: Split) -> NDArray[np.bool_]:
    """Which examples become the test set: bool, shape (N,).

    Stratified: each class gives its share to within one example, and all of them together round(fraction * N);
    each keeps at least one example to train on. A pure function of labels and seed: an example's place within its
    class is drawn from the generator's raw words, which no version of NumPy changes.

    Raises
    ------
    DataError
        If that leaves no test example.
    """
    count, total = len(labels), round(split.fraction * len(labels))
    keys = raw_words(count, split.seed, "test-split")
    classes, sizes = np.unique(labels, return_counts=True)
    exact = split.fraction * sizes
    taken = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    for place in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if taken.sum() >= total:
            break
        taken[place] += taken[place] < sizes[place] - 1
    if not taken.sum():
        raise DataError(
            f"dataset.test.fraction = {split.fraction:g} of {count} examples in {len(classes)} classes leaves no test "
            "example; raise it"
        )
    chosen = np.zeros(count, np.bool_)
    for label, number in zip(classes, taken, strict=True):
        members = np.flatnonzero(labels == label)
        chosen[members[np.argsort(keys[members], kind="stable")[:number]]] = True
    return chosen


def refuse_second_test_set(raw: RawData) -> None:
    """Raise :class:`DataError` where the spec asks for a split and the source has a test set."""
    if raw.y_test is not None:
        raise DataError(
            f"dataset.test draws a test set, but the data have one ({len(raw.y_test):,} examples); delete test"
        )
