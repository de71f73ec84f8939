"""Which examples a spec keeps of its source: some classes, superclasses, a long tail, at most so many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.data.class_names import require_names
from memexp.errors import DataError
from memexp.seeds import raw_words
from memexp.spec.datasets import Limit, Tail

Labels = NDArray[np.int64]
Both = tuple[Labels, Labels]  # of the training and of the test examples


class Kept(NamedTuple):
    """What is left of a source.

    Attributes
    ----------
    places : int64, shape (N,) and (M,)
        Places in the source, ascending.
    labels : int64, shape (N,) and (M,)
        From 0, renumbered.
    classes
        Name of each label.
    subpopulations : int64, shape (N,) and (M,), or None
        Of each example: the source's own, or its class there where superclasses join several.
    """

    places: Both
    labels: Both
    classes: tuple[str, ...]
    subpopulations: Both | None


def limited(labels: Both, classes: tuple[str, ...], subpopulations: Both | None, limit: Limit) -> Kept:
    """Apply a limit to the labels of a source.

    Raises
    ------
    DataError
        If it names unknown or repeated classes, or leaves a class without a training example.
    """
    where, groups, names = _groups(classes, limit)
    new_label = np.full(len(classes), -1, dtype=np.int64)
    for label, members in enumerate(groups):
        new_label[members] = label
    train, test = new_label[labels[0]], new_label[labels[1]]
    if limit.superclasses is not None and subpopulations is None:
        subpopulations = labels
    if limit.tail is not None:
        parts = (train, test) if subpopulations is None else subpopulations
        kept = _tail(limit, (train, test), parts)
    else:
        kept = _spread(train, limit.train), _spread(test, limit.test)
    absent = sorted(set(range(len(groups))) - set(np.unique(train[kept[0]]).tolist()))
    if absent:
        raise DataError(
            f"dataset.limit.train = {limit.train} leaves some of the {len(groups)} classes without a training example "
            f"(the first is {names[absent[0]]!r}); raise it to {len(groups)} or more, or keep fewer classes"
        )
    if not len(kept[1]) and len(labels[1]):
        raise DataError(f"{where}: no test example is of these classes; keep others")
    parts_left = None if subpopulations is None else (subpopulations[0][kept[0]], subpopulations[1][kept[1]])
    return Kept(kept, (train[kept[0]], test[kept[1]]), names, parts_left)


def _groups(classes: tuple[str, ...], limit: Limit) -> tuple[str, list[list[int]], tuple[str, ...]]:
    """What the spec says of classes, in words; the labels that make each class that is kept, and its name."""
    if limit.superclasses is not None:
        where, groups = f"dataset.limit.superclasses = {limit.superclasses}", [*limit.superclasses.values()]
        if limit.classes is not None:
            raise DataError("dataset.limit: give classes or superclasses, not both")
    else:
        kept = list(range(len(classes))) if limit.classes is None else limit.classes
        where, groups = f"dataset.limit.classes = {limit.classes}", [[label] for label in kept]
    named = [label for members in groups for label in members]
    wrong = [label for label in named if label >= len(classes)]
    if wrong or len(set(named)) != len(named) or len(groups) < 2 or not all(groups):
        lists = "lists of " if limit.superclasses is not None else ""
        raise DataError(f"{where}: must be at least two different {lists}labels of 0..{len(classes) - 1}")
    if limit.superclasses is not None:
        return where, groups, require_names("dataset.limit.superclasses", [*limit.superclasses])
    return where, groups, tuple(classes[label] for label in named)


def _spread(labels: Labels, count: int | None) -> NDArray[np.int64]:
    """Indices (ascending) of at most ``count`` examples with label >= 0, evenly over the classes."""
    members = np.flatnonzero(labels >= 0)
    if count is None or count >= len(members):
        return members
    turn = np.empty(len(members), dtype=np.int64)  # the example's number within its class
    for label in np.unique(labels[members]):
        same = labels[members] == label
        turn[same] = np.arange(same.sum())
    return np.sort(members[np.argsort(turn, kind="stable")[:count]])


def _tail(limit: Limit, labels: Both, parts: Both) -> Both:
    """Indices (ascending) of the training and test examples that a long tail keeps.

    Parts are the classes, ranked among all of them, or the subpopulations, ranked within their class.
    """
    tail = limit.tail
    assert tail is not None
    share = _shares(tail, labels[0], parts[0])
    return (
        _at_shares(tail, "train", labels[0], parts[0], share, limit.train, 1),
        _at_shares(tail, "test", labels[1], parts[1], share, limit.test, 0),
    )


def _shares(tail: Tail, labels: Labels, parts: Labels) -> dict[int, float]:
    """Weight of each part, 1 for the first of each ranking."""
    found = np.unique(parts[labels >= 0])
    classes_of = {int(part): int(labels[(parts == part) & (labels >= 0)][0]) for part in found}
    drawn = raw_words(int(found.max(initial=0)) + 1, tail.seed, "tail-ranks")
    one_ranking = len(set(classes_of.values())) == len(classes_of)
    taken: dict[int, int] = {}
    weights = {}
    for part in sorted(classes_of, key=lambda part: int(drawn[part])):
        ranking = 0 if one_ranking else classes_of[part]
        taken[ranking] = rank = taken.get(ranking, 0) + 1
        weights[part] = rank**-tail.exponent
    return weights


def _at_shares(
    tail: Tail, split: str, labels: Labels, parts: Labels, share: dict[int, float], most: int | None, least: int
) -> NDArray[np.int64]:
    """As many examples of each part as its share allows: in all at most about ``most``, of each at least ``least``."""
    members = {part: np.flatnonzero((parts == part) & (labels >= 0)) for part in share}
    scale = min((len(found) / share[part] for part, found in members.items() if len(found)), default=0.0)
    if most is not None:
        scale = min(scale, most / sum(share.values()))
    order = raw_words(len(labels), tail.seed, f"tail-{split}")
    kept = [
        found[np.argsort(order[found], kind="stable")[: max(least, round(scale * share[part]))]]
        for part, found in members.items()
    ]
    return np.sort(np.concatenate(kept)).astype(np.int64)
