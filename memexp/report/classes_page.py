"""classes.html: a table of the classes that sorts and filters, and which class trials take for which, out of sample."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.labels import Labels
from memexp.analysis.tested import places_of
from memexp.analysis.worth import MEMORIZED
from memexp.report.cards import Source, class_name
from memexp.report.figures import as_svg
from memexp.report.labels_figure import draw_confusion
from memexp.report.numbers import PageFigure, confusion_numbers

_WORDS = {"train": "Training", "test": "Test"}


class Cell(NamedTuple):
    """What a table shows, and the number by which it sorts; an empty one comes last."""

    text: str
    number: str


def classes_values(source: Source) -> dict[str, Any]:
    """What the page's template shows."""
    labels = source.labels if source.has_labels else None
    header = class_header(source)
    rows = [(label, name, list(cells)) for label, name, cells in class_rows(source)]
    if source.manifest.n_test:
        header.append(f"test {source.merged.measure}")
        tests = places_of(source.merged.examples)  # of the first set, as everywhere
        for label, _, cells in rows:
            mine = tests[source.merged.examples["test_label"][tests] == label]
            cells.append(_mean(source.test_accuracy[mine]))
    if labels is not None:
        header += ["said instead", "its share"]
        for label, _, cells in rows:
            cells += _said_instead(source, labels.confusion["train"][label], label)
    figures = [] if labels is None else [_confusion(source, labels, axis) for axis in labels.judged]
    return {"header": header, "rows": rows, "figures": figures}


def class_header(source: Source) -> list[str]:
    """What the columns of :func:`class_rows` are."""
    memorization = f"memorization ≥ {MEMORIZED:g}", "mean memorization"
    return ["class", "examples", *memorization, f"{source.merged.measure}, in", f"{source.merged.measure}, out"]


def class_rows(source: Source) -> list[tuple[int, str, list[Cell]]]:
    """Label, name and numbers of each class that has training examples, in the order of :func:`class_header`."""
    scores, labels = source.estimates.scores, source.merged.examples["train_label"]
    rows = []
    for label in np.unique(labels).tolist():
        mine = labels == label
        means = [_mean(values[mine]) for values in (scores.memorization, scores.in_accuracy, scores.out_accuracy)]
        high = int((scores.memorization[mine] >= MEMORIZED).sum())
        rows.append((label, class_name(source, label), [_count(int(mine.sum())), _count(high), *means]))
    return rows


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", str(number))


def _mean(values: NDArray[Any]) -> Cell:
    defined = values[~np.isnan(values)]
    return Cell(f"{defined.mean():.3f}", repr(float(defined.mean()))) if len(defined) else Cell("–", "")


def _said_instead(source: Source, shares: NDArray[np.float64], label: int) -> list[Cell]:
    """The other class that gets most votes of trials without an example of this class, and its share of them."""
    others = np.nan_to_num(shares.copy())
    others[label] = 0
    most = int(others.argmax())
    if not others[most] > 0:
        return [Cell("–", ""), Cell("–", "")]
    return [
        Cell(class_name(source, most), str(most)),
        Cell(f"{100 * others[most]:.1f}\u00a0%", repr(float(others[most]))),
    ]


def _confusion(source: Source, found: Labels, axis: str) -> PageFigure:
    classes = source.manifest.classes
    return PageFigure(
        f"Confusion of {_WORDS[axis].lower()} labels",
        as_svg(partial(draw_confusion, labels=found, axis=axis, classes=classes), 4.8, 4.0),
        f"{_WORDS[axis]} examples.",
        *confusion_numbers(found.confusion[axis], classes),
    )
