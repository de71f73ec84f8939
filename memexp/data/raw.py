"""Arrays as a source holds them, before any limit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class RawData(NamedTuple):
    """Arrays as a source holds them: images (N, H, W, C), integer labels (N,), a name for each label."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    classes: tuple[str, ...]
    digests: dict[str, str] | None = None  # of the arrays, by name, where the source knows them
    subpopulations: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None  # of training and test examples
    gaps: bool = False  # whether a class may be without a training example


def as_nhwc(images: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W) with one channel; a table of features (N, D) as D channels of one pixel, each with its own scale."""
    if images.ndim == 2:
        return images[:, None, None, :]
    return images[..., None] if images.ndim == 3 else images


def numbered(count: int) -> tuple[str, ...]:
    """Classes without names: 0, 1, ..."""
    return tuple(str(label) for label in range(count))
