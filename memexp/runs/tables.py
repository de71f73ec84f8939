"""Tables of foreign trials, checked: masks, outcomes and labels that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError

Array = NDArray[Any]
Bits = NDArray[np.bool_]
Labels = NDArray[np.int64]

# What may be given of each half, by the name of its option, and its axes after the trial's.
KINDS = ("margins", "correct", "logits")


@dataclass(frozen=True)
class Half:
    """What is known of the training or of the test examples.

    Attributes
    ----------
    labels : int64, shape (N,)
    given
        Arrays (T, N) of ``margins``, ``correct``; ``logits`` (T, N, K). Empty where nothing is known.
    """

    labels: Labels
    given: Mapping[str, Array]

    @property
    def known(self) -> bool:
        """Whether there are outcomes."""
        return bool(self.given)

    @property
    def has_margins(self) -> bool:
        """Whether margins are given, or follow."""
        return bool({"margins", "logits"} & self.given.keys())

    @property
    def guessed(self) -> bool:
        """Whether correctness is read off margins."""
        return self.known and not {"correct", "logits"} & self.given.keys()

    def words(self) -> str:
        """What is known, for people."""
        if not self.known:
            return "nothing but who saw them" if len(self.labels) else "there are none"
        return f"{', '.join(self.given)} of {len(self.labels):,}"

    def outcomes(self, trials: slice) -> tuple[Bits, NDArray[np.float64] | None]:
        """correct (R, N) and margin of some trials; margin None where it is not known.

        Raises
        ------
        InputError
            If one is no such thing: not 0 or 1, not a finite number.
        """
        first = trials.start
        if not self.known:  # for a store, which has both halves; marked as unknown there
            shape = (trials.stop - first, len(self.labels))
            return np.zeros(shape, np.bool_), np.full(shape, np.nan)
        margin = _finite(self.given["margins"][trials], "margins", first) if "margins" in self.given else None
        correct = bits(self.given["correct"][trials], "correct", first) if "correct" in self.given else None
        if "logits" in self.given:
            logits = _finite(self.given["logits"][trials], "logits", first)
            correct = logits.argmax(axis=2) == self.labels if correct is None else correct
            margin = _margin(logits, self.labels) if margin is None else margin
        if correct is None:
            assert margin is not None
            correct = margin > 0
        return correct, margin


@dataclass(frozen=True)
class Tables:
    """Masks and both halves.

    Attributes
    ----------
    masks : shape (T, N)
    left_out
        Whether the masks mark what each trial did not see.
    """

    masks: Array
    train: Half
    test: Half
    left_out: bool = False

    @property
    def n_trials(self) -> int:
        """T."""
        return len(self.masks)

    @property
    def n_train(self) -> int:
        """N."""
        return len(self.train.labels)

    @property
    def n_test(self) -> int:
        """M."""
        return len(self.test.labels)

    @property
    def has_margins(self) -> bool:
        """Whether all that is known has margins."""
        return all(half.has_margins for half in (self.train, self.test) if half.known)

    def mask(self, trials: slice) -> Bits:
        """Masks of some trials, True where an example was seen.

        Raises
        ------
        InputError
            If they are not 0 or 1, or a trial saw all examples, or none.
        """
        mask = bits(self.masks[trials], "masks", trials.start)
        mask = ~mask if self.left_out else mask
        seen = mask.sum(axis=1)
        for wrong, what in ((seen == 0, "no example"), (seen == mask.shape[1], "every example")):
            if wrong.any():
                raise InputError(
                    f"masks: trial {(trials.start or 0) + int(wrong.argmax())} saw {what}, so it tells nothing of what "
                    "an example does; leave such trials out"
                )
        return mask


def make_tables(
    masks: Array, train: Mapping[str, Array], test: Mapping[str, Array], labels: Array | None,
    test_labels: Array | None, left_out: bool = False,
) -> Tables:  # fmt: skip
    """Tables of arrays, once they fit each other.

    Parameters
    ----------
    masks : shape (T, N)
    train, test
        ``margins`` and ``correct`` of shape (T, N) and (T, M), ``logits`` (T, N, K) and (T, M, K); one half may be
        empty. Margins of shape (T, M) among those of the training examples are taken for the test's.
    labels, test_labels : shape (N,), (M,)

    Raises
    ------
    InputError
        Naming what has which shape, and which it must have.
    """
    if masks.ndim != 2:
        raise InputError(f"masks have shape {masks.shape}; give a matrix (trials, training examples)")
    n_trials, n_train = masks.shape
    if train and not test and _are_of_tests(train, masks, labels if test_labels is None else test_labels):
        train, test, test_labels, labels = {}, train, labels if test_labels is None else test_labels, None
    if labels is None and not train and test_labels is not None:
        labels = np.zeros(n_train, np.int64)  # nothing is known of the training examples but who saw them
    if labels is None:
        raise InputError("labels of the training examples are missing; give --labels, a file with one integer for each")
    if len(labels) != n_train and len(labels) == n_trials:
        raise InputError(
            f"masks have shape {masks.shape} and there are {len(labels):,} labels: the masks seem to be (training "
            "examples, trials); save masks.T"
        )
    _require(labels, (n_train,), "labels", "(training examples,) as the masks have")
    known = _labels(labels, "labels")
    for name, array in train.items():
        wanted = (n_trials, n_train, *array.shape[2:])
        _require_outcome(name, array, wanted, n_trials)
    if not train and not test:
        raise InputError(
            "no outcomes: give --margins, --correct or --logits, of test examples --test-margins and so on"
        )
    tests = _labels_of_tests(test, test_labels)
    for name, array in test.items():
        _require_outcome(f"test {name}", array, (n_trials, len(tests), *array.shape[2:]), n_trials)
    halves = Half(known, train), Half(tests, test)
    if train and test and halves[0].has_margins != halves[1].has_margins:
        lacking = "test" if halves[0].has_margins else "training"
        raise InputError(
            f"there are margins of one half and none of the {lacking} examples; give those too, or --correct and "
            "--test-correct alone"
        )
    return Tables(masks, *halves, left_out)


def _labels_of_tests(test: Mapping[str, Array], labels: Array | None) -> Labels:
    """Labels of the test examples; none where nothing is given of these. Outcomes and labels go together."""
    if test and labels is None:
        raise InputError(
            "labels of the test examples are missing; give --test-labels, a file with one integer for each"
        )
    if labels is not None and not test:
        raise InputError(
            "labels of the test examples are given, but not what trials say of these: add --test-margins, "
            "--test-correct or --test-logits, or leave --test-labels away"
        )
    return np.empty(0, np.int64) if labels is None else _labels(labels, "test labels")


def _are_of_tests(given: Mapping[str, Array], masks: Array, labels: Array | None) -> bool:
    """Whether outcomes are of other examples than the masks, for which there are labels."""
    return labels is not None and all(
        array.ndim > 1 and array.shape[:2] == (len(masks), len(labels)) != masks.shape for array in given.values()
    )


def _require_outcome(name: str, array: Array, wanted: tuple[int, ...], n_trials: int) -> None:
    axes = 3 if name.endswith("logits") else 2
    if array.ndim != axes:
        what = "(trials, examples, classes)" if axes == 3 else "(trials, examples)"
        raise InputError(f"{name} have shape {array.shape}; give {what}")
    if array.shape[:2] == wanted[1::-1] and array.shape != wanted:
        raise InputError(f"{name} have shape {array.shape}, but there are {n_trials:,} trials: they seem turned; swap")
    _require(array, wanted, name, "as masks and labels have")


def _require(array: Array, wanted: tuple[int, ...], name: str, why: str) -> None:
    if array.shape != wanted:
        raise InputError(f"{name} have shape {array.shape}; they must have {wanted}, {why}")


def _labels(labels: Array, name: str) -> Labels:
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels) or labels.min() < 0:
        raise InputError(
            f"{name} are {labels.dtype} of shape {labels.shape}; give integers from 0, one for each example"
        )
    return labels.astype(np.int64)


def bits(values: Array, name: str, first: int | None) -> Bits:
    """0 and 1 as booleans.

    Raises
    ------
    InputError
        If there are other values.
    """
    if values.dtype == np.bool_:
        return np.asarray(values)
    wrong = ~((values == 0) | (values == 1))
    if wrong.any():
        row, column = (int(each) for each in np.argwhere(wrong)[0][:2])
        raise InputError(
            f"{name} of trial {(first or 0) + row}, example {column}: {values[row, column]!r}; give true and false, or "
            "1 and 0"
        )
    return np.asarray(values == 1)


def _finite(values: Array, name: str, first: int | None) -> NDArray[np.float64]:
    if values.dtype.kind not in "fiu":
        raise InputError(f"{name} are of type {values.dtype}; give numbers")
    found = values.astype(np.float64)
    wrong = np.isnan(found)
    if wrong.any():
        row, column = (int(each) for each in np.argwhere(wrong)[0][:2])
        raise InputError(
            f"{name} of trial {(first or 0) + row}, example {column} are not a number; leave such trials out"
        )
    return found


def _margin(logits: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """log p_y - log of the sum of the others."""
    from scipy.special import logsumexp

    if logits.shape[2] <= labels.max():
        raise InputError(f"logits have {logits.shape[2]} classes, but there is a label {labels.max()}")
    place = labels[None, :, None]
    own = np.take_along_axis(logits, np.broadcast_to(place, (*logits.shape[:2], 1)), axis=2)[..., 0]
    others = logits.copy()
    np.put_along_axis(others, np.broadcast_to(place, (*logits.shape[:2], 1)), -np.inf, axis=2)
    return np.asarray(own - logsumexp(others, axis=2))
