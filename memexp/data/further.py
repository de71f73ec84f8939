"""Further test sets of a spec: examples that trials are tested on beside those of the first test set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.data.arrays import require_one_scale
from memexp.data.class_names import composed
from memexp.data.raw import Ids, as_ids, numbered
from memexp.errors import DataError

FIRST = "test"  # what the dataset's own test set is called


class Part(NamedTuple):
    """Training or test examples of a data set: images, labels, places in the source, names; classes; features."""

    x: NDArray[Any]
    y: NDArray[np.int64]
    places: NDArray[np.int64]
    ids: Ids | None
    classes: tuple[str, ...]
    features: tuple[str, ...]


def joined_tests(train: Part, own: Part, tests: Mapping[str, Part]) -> dict[str, Any]:
    """The examples of further sets after those of the dataset's own test set, and the name of each one's set.

    Parameters
    ----------
    train, own
        Of the dataset that trials train on; ``own`` may be empty.
    tests
        Further sets by name.

    Returns
    -------
    fields of :class:`memexp.data.dataset.Data`
        ``x_test``, ``y_test``, ``test_index``, ``id_test`` and ``test_set``.

    Raises
    ------
    DataError
        If images or classes are not those of the training set.
    """
    parts = {FIRST: own} if len(own.y) else {}
    parts |= {name: _fitting(f"dataset.tests.{name}", train, part) for name, part in tests.items()}
    sizes = [len(part.y) for part in parts.values()]
    return {
        "x_test": np.concatenate([part.x for part in parts.values()]),
        "y_test": np.concatenate([part.y for part in parts.values()]),
        "test_index": np.concatenate([part.places for part in parts.values()]),
        "id_test": _ids([*parts.values()]),
        "test_set": as_ids(np.repeat([*parts], sizes).tolist()),
    }


def _ids(parts: list[Part]) -> Ids | None:
    """Names of all examples, their places where a set has none; None where no set has names."""
    if all(part.ids is None for part in parts):
        return None
    return np.concatenate([as_ids(part.places.tolist()) if part.ids is None else part.ids for part in parts])


def _fitting(where: str, train: Part, found: Part) -> Part:
    """A set's examples, its labels numbered as those of the training set are."""
    if found.x.shape[1:] != train.x.shape[1:] or found.x.dtype != train.x.dtype:
        raise DataError(
            f"{where}: its examples are {found.x.shape[1:]} {found.x.dtype}, those trained on {train.x.shape[1:]} "
            f"{train.x.dtype}; they must have one size and one type (a folder or table takes size)"
        )
    if train.features and found.features and train.features != found.features:
        differ = next(pair for pair in zip(train.features, found.features, strict=True) if pair[0] != pair[1])
        raise DataError(
            f"{where}: its features are {differ[1]!r} where the training set has {differ[0]!r}; name them in one order"
        )
    if found.x.dtype != np.uint8:  # of bytes a set may be as dark as it likes
        require_one_scale(where, train.x, found.x)
    return found._replace(y=_numbered_alike(where, train.classes, found.classes, found.y))


def _numbered_alike(
    where: str, classes: tuple[str, ...], others: tuple[str, ...], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Labels by the names of their classes; by their numbers where only these are known."""
    number = {composed(name): label for label, name in enumerate(classes)}
    if others == numbered(len(others)) and not set(others) <= set(classes):
        number = {name: label for label, name in enumerate(numbered(len(classes)))}
    unknown = [others[label] for label in np.unique(labels).tolist() if composed(others[label]) not in number]
    if unknown:
        raise DataError(
            f"{where}: its class {unknown[0]!r} is none of those trained on ({', '.join(classes[:10])}); correct the "
            "names, or choose classes by limit: {classes: [...]}"
        )
    place = np.array([number.get(composed(name), -1) for name in others], np.int64)
    return place[labels]
