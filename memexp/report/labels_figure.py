"""Pictures of what trials say of examples: the confusion of labels out of sample, data values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.labels import Labels
from memexp.analysis.values import Values
from memexp.report.figures import draw_counts

_MOST_NAMES = 40  # classes with their names beside the axes
_LONGEST_NAME = 24  # letters; of longer names the numbers are shown


def draw_confusion(axes: Axes, labels: Labels, axis: str, classes: list[str]) -> Axes:
    """Share of the votes for each class (columns) of the examples of each label (rows); the diagonal left out.

    Both sets have one scale of colours, so that they can be compared.
    """
    offs = {
        name: np.where(np.eye(len(each), dtype=bool), np.nan, 100 * each) for name, each in labels.confusion.items()
    }
    most = max((float(np.max(off, where=np.isfinite(off), initial=0)) for off in offs.values()), default=0)
    image = axes.imshow(offs[axis], cmap="Blues", vmin=0, vmax=most or 1)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("votes, % of the label's")
    if len(classes) <= _MOST_NAMES:
        names = classes if all(map(_drawable, classes)) else [str(label) for label in range(len(classes))]
        turned = 90 if max(map(len, names)) > 2 else 0
        axes.set_xticks(range(len(classes)), names, rotation=turned, fontsize=8, parse_math=False)
        axes.set_yticks(range(len(classes)), names, fontsize=8, parse_math=False)
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
    for axes, axis in zip(places, labels.confusion, strict=True):
        draw_confusion(axes, labels, axis, classes).set_title(words[axis], fontsize=9)
    figure.savefig(path)
    return path


def draw_values(axes: Axes, values: Values, flipped: NDArray[np.bool_] | None) -> Axes:
    """Histogram of the values; labels flipped on purpose in their own colour."""
    defined = values.value[~np.isnan(values.value)]
    draw_counts(axes, values.value, np.histogram_bin_edges(defined, 50), flipped)
    axes.set_xlabel("value of a training example")
    return axes


def save_values(values: Values, flipped: NDArray[np.bool_] | None, path: Path) -> Path:
    """Write the histogram of the values as a picture."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    draw_values(figure.subplots(), values, flipped).set_title(values.name, fontsize=9)
    figure.savefig(path)
    return path
