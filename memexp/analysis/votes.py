"""What trials say of examples that they were not trained on: votes for each class, out of sample.

A training example is judged by the trials that did not see it, a test example by all. The bands are made
from the merged trials again whenever they are asked for, so that no table of examples by classes is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from memexp.analysis.merged import Merged
from memexp.errors import InputError, command

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_VALUES = 4 << 20  # of a matrix counted at a time


@dataclass(frozen=True)
class Band:
    """Some examples of one axis.

    Attributes
    ----------
    rows
        Their places, B of them.
    votes : int64, shape (B, K)
        Trials without the example that give each class the largest logit.
    confidence : float64, shape (B,)
        Mean probability of the given label in these trials; NaN without probabilities and margins, or without such
        trials.
    probabilities : float64, shape (B, K)
        Mean probability of each class in these trials; NaN where it is not known.
    """

    rows: slice
    votes: Ints
    confidence: Floats
    probabilities: Floats

    @property
    def n(self) -> Ints:
        """Trials without each example, shape (B,)."""
        return np.asarray(self.votes.sum(axis=1))

    @property
    def shares(self) -> Floats:
        """Share of the votes, shape (B, K); NaN without trials."""
        return shares_of(self.votes)

    @property
    def said(self) -> Floats:
        """Mean probabilities, where they are not known shares of the votes, shape (B, K); NaN without trials."""
        return np.where(np.isnan(self.probabilities), self.shares, self.probabilities)


@dataclass(frozen=True)
class Votes:
    """Votes of the merged trials of a run with K classes.

    Raises
    ------
    InputError
        If the trials did not record which class they predicted.
    """

    merged: Merged
    n_classes: int

    def __post_init__(self) -> None:
        if "train_predicted" not in self.merged.matrices:
            root = self.merged.paths.root
            raise InputError(
                f"the trials of {root} did not record which class they predicted, and so suggest none. Launch the spec "
                "under another name with `record: [correct, margin, predicted]`, which is the default; "
                f"`{command('estimate', root)}` tells which examples are memorized"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """``train``, and ``test`` where there is a test set."""
        return ("train", "test") if len(self.labels("test")) else ("train",)

    def labels(self, axis: str) -> Ints:
        """Given labels, shape (N,) or (M,)."""
        return np.asarray(self.merged.examples[f"{axis}_label"], np.int64)

    def bands(self, axis: str) -> Iterator[Band]:
        """All examples of ``train`` or ``test``, in order."""
        names = [f"{axis}_predicted"]
        names += [f"{axis}_margin"] if f"{axis}_margin" in self.merged.matrices else []
        names += ["mask"] if axis == "train" else []
        for rows, matrices in self.merged.bands(*names):
            found = dict(zip(names, matrices, strict=True))
            step = max(1, _VALUES // max(self.n_classes, self.merged.n_trials))
            for top in range(0, rows.stop - rows.start, step):
                part = {name: values[top : top + step] for name, values in found.items()}
                yield self._band(rows.start + top, axis, part)

    def _band(self, first: int, axis: str, part: dict[str, NDArray[Any]]) -> Band:
        predicted = part[f"{axis}_predicted"]
        out = ~part["mask"] if "mask" in part else np.ones(predicted.shape, np.bool_)
        place = predicted.astype(np.int64) + self.n_classes * np.arange(len(predicted))[:, None]
        counted = np.bincount(place[out], minlength=len(predicted) * self.n_classes)
        confidence = np.full(len(predicted), np.nan)
        if f"{axis}_margin" in part:
            probability = expit(part[f"{axis}_margin"].astype(np.float32))
            n = out.sum(axis=1)
            np.divide(np.where(out, probability, 0).sum(axis=1, dtype=np.float64), n, out=confidence, where=n > 0)
        rows = slice(first, first + len(predicted))
        said = np.full((len(predicted), self.n_classes), np.nan)
        if self.merged.has_probabilities:
            said = self.merged.probabilities(axis, rows)
            given = said[np.arange(len(said)), self.labels(axis)[rows]]
            confidence = np.where(np.isnan(given), confidence, given)
        return Band(rows, counted.reshape(len(predicted), self.n_classes).astype(np.int64), confidence, said)


def shares_of(votes: Ints) -> Floats:
    """Votes (B, K) as shares; NaN where nobody voted."""
    n = votes.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(votes, n, out=np.full(votes.shape, np.nan), where=n > 0))
