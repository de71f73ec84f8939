"""Figures of a page with their numbers as a table: what a picture shows, for whoever cannot see it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.agreement import Agreement
from memexp.analysis.compare import Curves

_MOST = 40  # rows of a table of pairs of classes


class PageFigure(NamedTuple):
    """A figure: what it is, ``<svg>``, words below it, and the head and rows of its table."""

    label: str
    svg: str
    caption: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


class Numbers(NamedTuple):
    """Head and rows of a table."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def histogram_numbers(values: NDArray[Any], name: str, flipped: NDArray[np.bool_] | None = None) -> Numbers:
    """How many of the values (N,) are in each tenth, or wider range, those flipped on purpose once more."""
    defined = ~np.isnan(values)
    low, high = float(values[defined].min(initial=1)), float(values[defined].max(initial=1))
    step = 0.1 * max(1, np.ceil((high - low) / 4))  # a score may be on any scale
    edges = step * np.arange(np.floor(low / step), max(np.ceil(high / step), 1) + 1)
    chosen = [defined] if flipped is None else [defined, defined & flipped]
    counts = [np.histogram(values[each], edges)[0] for each in chosen]
    header = (name, "examples") if flipped is None else (name, "examples", "of these flipped")
    ranges = [f"{low:.1f} to {high:.1f}" for low, high in itertools.pairwise(edges)]
    return Numbers(header, [(ranges[k], *(f"{each[k]:,}" for each in counts)) for k in range(len(ranges))])


def map_numbers(x: NDArray[Any], y: NDArray[Any], names: tuple[str, str]) -> Numbers:
    """How many of the points (P,) are in each fifth of both: rows of y, the highest first, columns of x.

    From 0 to 1, or as far as the points go.
    """
    known = np.isfinite(x) & np.isfinite(y)
    low, high = (float(f((x[known], y[known]), initial=end)) for f, end in ((np.min, 0), (np.max, 1)))
    edges = np.linspace(low, high, 6)
    counts = np.histogram2d(y[known], x[known], bins=[edges, edges])[0].astype(int)[::-1]
    ranges = [f"{start:.1f} to {end:.1f}" for start, end in itertools.pairwise(edges)]
    header = (f"{names[1]} \\ {names[0]}", *ranges)
    return Numbers(header, [(ranges[4 - k], *(f"{n:,}" for n in counts[k])) for k in range(5)])


def accuracy_numbers(accuracies: dict[str, NDArray[np.float32]], measure: str) -> Numbers:
    """Mean, smallest and largest over trials."""
    header = (measure, "mean", "lowest trial", "highest trial")
    rows = [(name, *(f"{f(each):.4f}" for f in (np.mean, np.min, np.max))) for name, each in accuracies.items()]
    return Numbers(header, rows)


def curve_numbers(curves: Curves) -> Numbers:
    """Agreement at each threshold, found and by chance."""
    header = ("threshold", "Jaccard index", "by chance", "mean difference", "by chance")
    both = (curves.found, curves.by_chance)
    return Numbers(
        header,
        [
            (f"{threshold:g}", *(_at(each, name, k) for name in ("jaccard", "mean_difference") for each in both))
            for k, threshold in enumerate(curves.found.threshold)
        ],
    )


def _at(agreement: Agreement | None, name: str, k: int) -> str:
    value = np.nan if agreement is None else getattr(agreement, name)[k]
    return "–" if np.isnan(value) else f"{value:.3f}"


def confusion_numbers(confusion: NDArray[np.float64], classes: Sequence[str]) -> Numbers:
    """The largest shares of votes beside the diagonal, the largest first."""
    off = np.where(np.eye(len(confusion), dtype=bool), 0, np.nan_to_num(confusion))
    places = np.argsort(-off, axis=None, kind="stable")[:_MOST]
    given, voted = np.unravel_index(places, off.shape)
    rows = [
        (classes[a], classes[b], f"{100 * off[a, b]:.2f} %")
        for a, b in zip(given.tolist(), voted.tolist(), strict=True)
        if off[a, b] > 0
    ]
    return Numbers(("label given", "class predicted without the example", "share of votes"), rows)
