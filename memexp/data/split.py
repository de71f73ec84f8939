"""A test set drawn from the training set of a source that has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memexp.data.raw import RawData
from memexp.errors import DataError
from memexp.seeds import raw_words
from memexp.spec.datasets import Split


def choose_test(labels: NDArray[np.int64], split: Split, groups: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """Which examples become the test set: bool, shape (N,).

    Stratified: each class gives its share to within one example, and all of them together round(fraction * N);
    each keeps at least one example to train on. A pure function of labels and seed: an example's place within its
    class is drawn from the generator's raw words, which no version of NumPy changes.

    With ``groups``, shape (N,), whole groups are taken, drawn at random, so that none is both trained and tested on;
    classes then give their share on average only.

    Raises
    ------
    DataError
        If that leaves no test example.
    """
    if groups is not None:
        return _choose_groups(labels, split, groups)
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


def _choose_groups(labels: NDArray[np.int64], split: Split, groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Groups in random order, those that still fit and leave each class an example to train on."""
    total, chosen = round(split.fraction * len(labels)), np.zeros(len(labels), np.bool_)
    left, taken = np.bincount(labels), 0
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    for group in np.argsort(raw_words(len(members), split.seed, "test-split-groups"), kind="stable"):
        mine = members[group]
        rest = left - np.bincount(labels[mine], minlength=len(left))
        if taken + len(mine) <= total and not ((rest < 1) & (left > 0)).any():
            chosen[mine], left, taken = True, rest, taken + len(mine)
    if not chosen.any():
        raise DataError(
            f"dataset.test.fraction = {split.fraction:g} of {len(labels)} examples in {len(members)} groups leaves no "
            "test example, since groups are not parted; raise it"
        )
    return chosen


def refuse_second_test_set(raw: RawData) -> None:
    """Raise :class:`DataError` where the spec asks for a split and the source has a test set."""
    if raw.y_test is not None:
        raise DataError(
            f"dataset.test draws a test set, but the data have one ({len(raw.y_test):,} examples); delete test"
        )
