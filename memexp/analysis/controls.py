"""Controls that critics of the method ask for: near-duplicates, a fractional score, a threshold from random labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError

Floats = NDArray[np.float64]
LEAST_RANDOM = 20  # examples with random labels, for a threshold that 95 % of them reach
ALIKE = 0.9  # correlation of the pixels from which two images count as near-duplicates


@dataclass(frozen=True)
class Duplicates:
    """Training and test examples that look the same, most alike first.

    Attributes
    ----------
    train, test : int64, shape (P,)
        The pairs, of any classes.
    correlation : float64, shape (P,)
        Of their pixels.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    correlation: Floats

    @property
    def tests(self) -> NDArray[np.int64]:
        """Test examples that have a near-duplicate in the training set, ascending."""
        return np.unique(self.test)

    @property
    def trains(self) -> NDArray[np.int64]:
        """Training examples that have a near-duplicate in the test set, ascending."""
        return np.unique(self.train)


def near_duplicates(x_train: NDArray[Any], x_test: NDArray[Any], least: float = ALIKE) -> Duplicates:
    """Pairs of a training and a test image whose pixels correlate, also with one of them mirrored.

    A shift by some pixels or another crop escapes it: on CIFAR-100 only 16 % of the published pairs with an
    influence of 0.4 or more, nearly all of them photographs of one object, correlate at 0.9
    (docs/experiments.md). Features of a network find more; give them instead of pixels.

    Parameters
    ----------
    x_train, x_test : shape (N, H, W, C) and (M, H, W, C), or (N, D) and (M, D)
        Images, or features of them.
    least
        Least correlation over all pixels and channels, in (0, 1].

    Raises
    ------
    InputError
        If ``least`` is out of range.
    """
    from sklearn.neighbors import NearestNeighbors

    if not 0 < least <= 1:
        raise InputError(f"a correlation of at least {least:g} selects nothing sensible; use more than 0, at most 1")
    if not len(x_test):
        raise InputError("near-duplicates are those of test images, and there is no test set")
    # Vectors of length 1 with correlation r have squared distance 2 - 2r; the margin keeps exact copies at r = 1.
    index = NearestNeighbors(radius=math.sqrt(2 - 2 * least + 1e-6), algorithm="brute").fit(_unit(x_train))
    views = [x_test, x_test[:, :, ::-1]] if x_test.ndim == 4 else [x_test]
    found: dict[tuple[int, int], float] = {}
    for view in views:
        for test, (distances, trains) in enumerate(zip(*index.radius_neighbors(_unit(view)), strict=True)):
            for train, value in zip(trains.tolist(), (1 - distances.astype(np.float64) ** 2 / 2).tolist(), strict=True):
                found[train, test] = max(value, found.get((train, test), -1.0))
    order = sorted(found, key=lambda pair: (-found[pair], pair))
    pairs = np.array(order, np.int64).reshape(-1, 2)
    return Duplicates(pairs[:, 0], pairs[:, 1], np.array([found[pair] for pair in order], np.float64))


def _unit(images: NDArray[Any]) -> NDArray[np.float32]:
    """Each image as a vector of mean 0 and length 1; an image of one colour as zeros."""
    vectors = images.reshape(len(images), -1).astype(np.float32)
    vectors -= vectors.mean(1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 1e-6)
    return vectors


def fractional_score(in_accuracy: NDArray[Any], out_accuracy: NDArray[Any]) -> Floats:
    """Memorization relative to accuracy, (in - out) / (in + out), shape (N,).

    1 for an example that is right only when trained on, however rarely; NaN where it never is right.
    """
    inside, outside = np.asarray(in_accuracy, np.float64), np.asarray(out_accuracy, np.float64)
    total = inside + outside
    score: Floats = np.full(total.shape, np.nan)
    np.divide(inside - outside, total, out=score, where=total > 0)
    return score


def null_threshold(memorization: NDArray[Any], share: float = 0.95) -> float:
    """Memorization that ``share`` of the examples with random labels reach.

    Random labels can only be memorized, never generalized to: their scores are what pure memorization
    looks like in this network and training, and an example above the threshold looks like one of them.

    Parameters
    ----------
    memorization : shape (R,)
        Of examples whose labels were drawn at random.

    Raises
    ------
    InputError
        If there are fewer than LEAST_RANDOM such examples with a defined score.
    """
    known = np.asarray(memorization, np.float64)
    known = known[~np.isnan(known)]
    if len(known) < LEAST_RANDOM:
        raise InputError(
            f"{len(known)} examples with random labels are too few for a threshold; train a run with "
            "`label_noise: {fraction: 0.9}` (with ten classes: labels that tell nothing), at least "
            f"{LEAST_RANDOM} examples"
        )
    return float(np.quantile(known, 1 - share))
