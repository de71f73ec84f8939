"""What is shown of examples: pictures as they are, floats on the data's range, rows of features as what they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

_PART = 1 << 24  # values that are looked at together
_TOLD = 3  # features that are told of a row


class Images(Protocol):
    """What a report needs of a data set: uint8 or float images (N, H, W, C), or rows of features (N, 1, 1, D)."""

    @property
    def x_train(self) -> NDArray[Any]:
        """Training images."""
        ...

    @property
    def x_test(self) -> NDArray[Any]:
        """Test images."""
        ...


@dataclass(frozen=True)
class Table:
    """Rows of features, and how usual each value is in the training set.

    Attributes
    ----------
    rows : shape (N, D) and (M, D)
        Of the training and of the test examples.
    names
        Of the features.
    mean, deviation : shape (D,)
        Over the training set.
    """

    rows: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def words(self, axis: str, example: int) -> list[str]:
        """The features in which an example is furthest from the mean, in standard deviations."""
        row = self.rows[axis][example].astype(np.float64)
        away = (row - self.mean) / np.where(self.deviation > 0, self.deviation, np.inf)
        most = np.argsort(-np.abs(away), kind="stable")[:_TOLD]
        return [f"{self.names[k]} {row[k]:.4g} ({away[k]:+.1f} sd)" for k in most]


@dataclass(frozen=True)
class Look:
    """A data set as it is drawn.

    Attributes
    ----------
    x_train, x_test : uint8, or float in 0..1, shape (N, H, W, C) and (M, H, W, C)
        What is drawn of each example.
    caption
        What the pictures' values mean, where they are not what they seem; else empty.
    table
        The rows of features that are drawn, if the examples are such rows.
    folder
        Where the examples' names are files below it.
    """

    x_train: NDArray[Any]
    x_test: NDArray[Any]
    caption: str = ""
    table: Table | None = None
    folder: Path | None = None

    def words(self, axis: str, example: int) -> list[str]:
        """What is told of a row of features; nothing for pictures."""
        return [] if self.table is None else self.table.words(axis, example)

    def link(self, name: str) -> str | None:
        """Address of the file that an example is, if it is one."""
        return None if self.folder is None else f"{self.folder.as_uri()}/{quote(name)}"


def look_of(images: Images) -> Look:
    """How to draw a data set.

    Pixels, and floats from 0 to 1, are drawn as they are. Other floats are scaled from the smallest value of the
    training set (black) to its largest (white), features each from its own; test values beyond are cut off.
    """
    if isinstance(images, Look):
        return images
    train, test = images.x_train, images.x_test
    folder = getattr(images, "folder", None)
    if train.shape[1:3] == (1, 1):
        return _look_of_table(train[:, 0, 0], test[:, 0, 0], getattr(images, "features", ()))
    if train.dtype.kind != "f":
        return Look(train, test, folder=folder)
    parts = _parts(train)
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    if low >= 0 and high <= 1:
        return Look(train, test, folder=folder)
    caption = f"Pictures are drawn on the range of the data: {low:.4g} is black, {high:.4g} is white."
    return Look(_scaled(train, low, high), _scaled(test, low, high), caption, folder=folder)


def _parts(x: NDArray[Any]) -> list[NDArray[Any]]:
    step = max(1, _PART // max(1, math.prod(x.shape[1:])))
    return [x[start : start + step] for start in range(0, len(x), step)]


def _scaled(x: NDArray[Any], low: Any, high: Any) -> NDArray[np.uint8]:
    """Values from ``low`` to ``high`` as 0 to 255; a value that is always the same as 0."""
    found = np.empty(x.shape, np.uint8)
    width = np.where(np.asarray(high) > low, np.asarray(high) - low, 1)
    start = 0
    for part in _parts(x):
        found[start : start + len(part)] = np.clip(255 * ((part - low) / width), 0, 255)
        start += len(part)
    return found


def _look_of_table(train: NDArray[Any], test: NDArray[Any], names: tuple[str, ...]) -> Look:
    width = train.shape[1]
    low, high = train.min(0), train.max(0)
    told = names or tuple(f"feature {place}" for place in range(width))
    table = Table({"train": train, "test": test}, told, train.mean(0, np.float64), train.std(0, dtype=np.float64))
    caption = (
        f"The examples are rows of {width:,} features. Each picture has one field for each feature, line by line, from "
        f"its smallest value in the training set (black) to its largest (white); below it are the {min(_TOLD, width)} "
        "features that are furthest from the mean, in standard deviations (sd)."
    )
    return Look(_squares(_scaled(train, low, high)), _squares(_scaled(test, low, high)), caption, table)


def _squares(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows (N, D) as squares (N, S, S, 1); what is left of a square is black."""
    side = math.isqrt(rows.shape[1] - 1) + 1
    square = np.zeros((len(rows), side * side), np.uint8)
    square[:, : rows.shape[1]] = rows
    return square.reshape(len(rows), side, side, 1)
