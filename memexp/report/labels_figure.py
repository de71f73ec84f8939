"""Pictures of what trials say of examples: the confusion of labels out of sample, data values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.labels import Labels
from memexp.analysis.values import Values
from memexp.report.figures import BLUE, ORANGE, count_logarithmically

_MOST_NAMES = 40  # classes with their names beside the axes
_LONGEST_NAME = 24  # letters; of longer names the numbers are shown


def draw_confusion(axes: Axes, confusion: NDArray[np.float64], classes: list[str]) -> Axes:
    """Share of the votes for each class (columns) of the examples of each label (rows); the diagonal left out."""
    off = np.where(np.eye(len(confusion), dtype=bool), np.nan, confusion)
    image = axes.imshow(100 * off, cmap="Blues", vmin=0)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("votes, % of the label's")
    if len(classes) <= _MOST_NAMES:
        names = classes if all(map(_drawable, classes)) else [str(label) for label in range(len(classes))]
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=7, parse_math=False)
        axes.set_yticks(range(len(classes)), names, fontsize=7, parse_math=False)
    axes.set_xlabel("class predicted without the example")
    axes.set_ylabel("label given")
    return axes


def _drawable(name: str) -> bool:
    """Whether a name fits beside an axis, in letters that the figures' font has."""
    return len(name) <= _LONGEST_NAME and name.isprintable() and all(ord(letter) < 0x250 for letter in name)


def save_confusion(labels: Labels, classes: list[str], path: Path) -> Path:
    """Write the confusion of the training and of the test labels as a picture."""
    figure = Figure(figsize=(4.5 * len(labels.confusion), 4.4), layout="constrained")
    words = {"train": "training examples", "test": "test examples"}
    places = figure.subplots(1, len(labels.confusion), squeeze=False)[0]
    for axes, (axis, confusion) in zip(places, labels.confusion.items(), strict=True):
        draw_confusion(axes, confusion, classes).set_title(words[axis], fontsize=9)
    figure.savefig(path)
    return path


def draw_values(axes: Axes, values: Values, flipped: NDArray[np.bool_] | None) -> Axes:
    """Histogram of the values; labels flipped on purpose in their own colour."""
    defined = ~np.isnan(values.value)
    planted = np.zeros(len(defined), np.bool_) if flipped is None else flipped
    parts = [values.value[defined & ~planted], values.value[defined & planted]]
    axes.hist(parts, bins=50, stacked=True, color=[BLUE, ORANGE], label=["label as in the source", "flipped"])
    if planted.any():
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    count_logarithmically(axes, bool(defined.any()))
    axes.set_xlabel("value of a training example")
    axes.set_ylabel("training examples")
    return axes


def save_values(values: Values, flipped: NDArray[np.bool_] | None, path: Path) -> Path:
    """Write the histogram of the values as a picture."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    draw_values(figure.subplots(), values, flipped).set_title(values.name, fontsize=9)
    figure.savefig(path)
    return path
