"""labels.html: the labels that are probably wrong, given beside suggested.

Whole by itself, as the overview is; its one script shows the pairs of labels that are asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from memexp.analysis.labels import Judged, Labels
from memexp.report.cards import Card, Source, card_of, class_name, memorization_in_words, number_of, told_of

_SHOWN = 150  # examples of each set
_WORDS = {"train": "training", "test": "test"}


class Suspect(NamedTuple):
    """An example whose label is probably wrong, in words; ``pair``: both labels, by number."""

    pair: str
    given: str
    suggested: str
    card: Card


def labels_values(source: Source) -> dict[str, Any]:
    """What the page's template shows."""
    found = source.labels
    suspects = {axis: _suspects(source, axis, judged) for axis, judged in found.judged.items()}
    return {
        "sets": [(axis, _WORDS[axis], _facts(found, axis), suspects[axis]) for axis in found.judged],
        "pairs": _pairs(source, found, suspects),
        "counted_by": found.counted_by,
        "shown": _SHOWN,
    }


def _facts(found: Labels, axis: str) -> list[tuple[str, str]]:
    judged = found.judged[axis]
    unknown = int((judged.trials == 0).sum())
    return [
        ("labels", f"{len(judged.given):,}"),
        *([("not judged: in every trial", f"{unknown:,}")] if unknown else []),
        ("expected to be wrong", f"{found.expected[axis]:,}"),
        ("another class has most votes", f"{judged.differs.sum():,}"),
        ("trials without an example, median", f"{np.median(judged.trials):,.0f}"),
    ]


def _suspects(source: Source, axis: str, judged: Judged) -> list[Suspect]:
    """The first by rank of those for which another class is suggested."""
    order = judged.order
    return [_suspect(source, axis, judged, place) for place in order[judged.differs[order]][:_SHOWN].tolist()]


def _suspect(source: Source, axis: str, judged: Judged, place: int) -> Suspect:
    shares = {
        name: "{:.2f} [{:.2f}, {:.2f}]".format(
            *(getattr(judged, f"share_{name}{end}")[place] for end in ("", "_low", "_high"))
        )
        for name in ("given", "suggested")
    }
    lines = [f"votes {shares['given']}", f"votes {shares['suggested']}", number_of(source, axis, place)]
    if axis == "train":
        lines.append(memorization_in_words(judged.memorization[place]))
    lines += told_of(source, axis, place)
    given, suggested = int(judged.given[place]), int(judged.suggested[place])
    names = class_name(source, given), class_name(source, suggested)
    return Suspect(
        f"{given}-{suggested}", *names, card_of(source, axis, place, f"{names[0]}, perhaps {names[1]}", lines)
    )


def _pairs(source: Source, found: Labels, suspects: dict[str, list[Suspect]]) -> list[tuple[str, str, str]]:
    """Value, words and number of the pairs of labels among those shown, the most frequent in both sets first."""
    shown = {each.pair for some in suspects.values() for each in some}
    count: dict[tuple[int, int], int] = {}
    for judged in found.judged.values():
        for given, suggested, n in judged.pairs():
            count[given, suggested] = count.get((given, suggested), 0) + n
    return [
        (f"{given}-{suggested}", f"{class_name(source, given)} → {class_name(source, suggested)}", f"{n:,}")
        for (given, suggested), n in sorted(count.items(), key=lambda each: -each[1])
        if f"{given}-{suggested}" in shown
    ]
