"""Axes to draw on, where a caller gives none; matplotlib is imported when they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AxesArray = NDArray[Any]

COLUMNS = 8  # pictures in a row


def one(axes: Axes | None) -> Axes:
    """The Axes given, or new ones."""
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1] if axes is None else axes


def gallery(count: int) -> AxesArray:
    """New Axes for so many pictures, line by line."""
    columns = max(1, min(COLUMNS, count))
    return grid(max(1, -(-count // columns)), columns)


def grid(rows: int, columns: int) -> AxesArray:
    """New Axes for pictures, shape (rows, columns)."""
    from matplotlib import pyplot

    size = 1.1 * columns, 1.25 * rows
    return pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")[1]
