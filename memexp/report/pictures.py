"""Pictures of examples on given Axes: the most memorized ones, and pairs of high influence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.estimates import Memorization
from memexp.analysis.pairs import Pairs
from memexp.report.axes import AxesArray
from memexp.report.figures import draw_images
from memexp.report.looks import Images, look_of
from memexp.report.thumbnails import shown


def rank(scores: Memorization) -> NDArray[np.intp]:
    """Examples, most memorized first; equal ones by the interval's lower end, then by index; undefined last."""
    return np.lexsort((-scores.memorization_low, -scores.memorization))


def draw_memorized(
    axes: AxesArray,
    scores: Memorization,
    images: Images,
    names: Sequence[str],
    chosen: NDArray[np.intp] | None = None,
) -> AxesArray:
    """The most memorized training examples, one to each of the Axes.

    Parameters
    ----------
    names
        Of each training example's class.
    chosen
        Of these examples only.
    """
    images, order = look_of(images), rank(scores)
    order = order if chosen is None else order[np.isin(order, chosen)]
    order = order[~np.isnan(scores.memorization[order])][: axes.size]
    titles = [f"{names[i]}: {scores.memorization[i]:.2f}" for i in order]
    gaps = axes.size - len(order)
    draw_images(axes, [*(shown(images.x_train[i]) for i in order), *[None] * gaps], titles + [""] * gaps)
    return axes


def pair_rows(pairs: Pairs, most: int) -> list[Pairs]:
    """The pairs of ``most`` training examples, those of one together, in the order in which they are given."""
    first = list(dict.fromkeys(pairs.train.tolist()))[:most]
    return [pairs.take(pairs.train == train) for train in first]


def rate_in_words(rate: float) -> str:
    """A false discovery rate, as far as its figures matter."""
    return "FDR < 0.001" if rate < 0.001 else f"FDR {rate:.2g}"


def draw_pairs(
    axes: AxesArray, pairs: Pairs, scores: Memorization, images: Images, names: tuple[Sequence[str], Sequence[str]]
) -> AxesArray:
    """Training examples in the first column, beside it the test examples that each one helps, in the pairs' order.

    Parameters
    ----------
    axes : shape (rows, 1 + test examples of a row)
    names
        Of each training and of each test example's class.
    """
    images, rows = look_of(images), pair_rows(pairs, len(axes))
    for line, row in zip(axes, [*rows, *[None] * (len(axes) - len(rows))], strict=True):
        places: list[NDArray[Any] | None] = [None] * len(line)
        titles = [""] * len(line)
        if row is not None:
            train = row.train[0]
            places[0], titles[0] = shown(images.x_train[train]), f"{names[0][train]}: {scores.memorization[train]:.2f}"
            for k, (test, influence, rate) in enumerate(zip(row.test, row.influence, row.rate, strict=True), 1):
                if k < len(line):
                    places[k] = shown(images.x_test[test])
                    titles[k] = f"{names[1][test]}: {influence:.2f}\n{rate_in_words(rate)}"
        draw_images(line, places, titles)
    return axes
