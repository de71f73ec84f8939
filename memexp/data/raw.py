"""What a source gives: arrays as its files hold them, before any limit."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.data.class_names import in_natural_order, read_class_names
from memexp.data.open_files import printable, require_file
from memexp.errors import DataError

Ids = NDArray[np.object_]  # text, one for each example


class RawData(NamedTuple):
    """Images (N, H, W, C) or rows of features (N, 1, 1, D), integer labels (N,), a name for each label.

    Attributes
    ----------
    x_test, y_test
        None where the source has no test set.
    digests
        Of the arrays, by name, where the source knows them.
    id_train, id_test
        What the source calls each example, such as its file; None where it has no names.
    features
        Names of the features of a table.
    folder
        Where the ids are files below it.
    subpopulations
        Of training and test examples, where the source knows them.
    gaps
        Whether a class may be without a training example.
    groups
        Name of each training example's group, where the source gives them.
    """

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any] | None
    y_test: NDArray[Any] | None
    classes: tuple[str, ...]
    digests: dict[str, str] | None = None
    id_train: Ids | None = None
    id_test: Ids | None = None
    features: tuple[str, ...] = ()
    folder: Path | None = None
    subpopulations: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    gaps: bool = False
    groups: Ids | None = None


def as_nhwc(images: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W) with one channel; a table of features (N, D) as D channels of one pixel, each with its own scale."""
    if images.ndim == 2:
        return images[:, None, None, :]
    return images[..., None] if images.ndim == 3 else images


class Labels(NamedTuple):
    """Labels as integers, and the name of each."""

    train: NDArray[Any]
    test: NDArray[Any] | None
    classes: tuple[str, ...]


def number_labels(where: str, train: NDArray[Any], test: NDArray[Any] | None, names: Any = None) -> Labels:
    """Labels as a source gives them, as integers from 0.

    Integers stay as they are. Text and booleans become 0, 1, ... in the order of ``names``, or else in the
    natural order of what there is (2 before 10).

    Parameters
    ----------
    where
        For messages.
    names
        Of the labels, as :func:`memexp.data.class_names.read_class_names` reads them.

    Raises
    ------
    DataError
        If they are neither, or text that ``names`` lacks.
    """
    given = [("y_train", train)] if test is None else [("y_train", train), ("y_test", test)]
    if all(labels.dtype.kind in "iu" for _, labels in given):
        return Labels(train, test, _numbered_from(where, train) if names is None else read_class_names(where, names))
    texts = [_as_text(f"{where}: {name}", labels) for name, labels in given]
    known = (
        tuple(in_natural_order({text for each in texts for text in each.tolist()}))
        if names is None
        else read_class_names(where, names)
    )
    number = {name: label for label, name in enumerate(known)}
    for (name, _), text in zip(given, texts, strict=True):
        if unknown := [each for each in text.tolist() if each not in number]:
            raise DataError(
                f"{where}: {name} has {unknown[0]!r}, which is none of the classes "
                f"{', '.join(known[:10])}; correct the labels, or the names"
            )
    numbers = [np.array([number[each] for each in text.tolist()], np.int64) for text in texts]
    return Labels(numbers[0], numbers[1] if len(numbers) > 1 else None, known)


def _as_text(where: str, labels: NDArray[Any]) -> Ids:
    """Labels that are text, bytes of UTF-8 or booleans, as text."""
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    values = labels.tolist() if labels.ndim == 1 else [None]
    if labels.dtype.kind not in "UbOT" or not all(isinstance(each, str | bool) for each in values):
        other = next((each for each in values if not isinstance(each, str | bool)), None)
        what = labels.dtype if labels.dtype.kind != "O" else f"partly {type(other).__name__}"
        raise DataError(f"{where} is {what}; labels must be integers, or all of them text")
    empty = [place for place, each in enumerate(values) if each == ""]
    if empty:
        raise DataError(f"{where}[{empty[0]}] is empty ({len(empty)} such labels); give each example its label")
    return as_ids(values)


def as_ids(values: Sequence[Any]) -> Ids:
    """Names of examples as an array of text."""
    found = np.empty(len(values), object)
    found[:] = [str(each) for each in values]
    return found


def _numbered_from(where: str, labels: NDArray[Any]) -> tuple[str, ...]:
    """Names 0, 1, ... up to the largest label, which is never larger than there are labels without gaps."""
    largest = int(labels.max(initial=0))
    if largest >= max(1, labels.size):
        raise DataError(
            f"{where}: label {largest} among {labels.size} training examples; labels must be 0, 1, ... without gaps"
        )
    return numbered(largest + 1)


def numbered(count: int) -> tuple[str, ...]:
    """Names of labels that have none: 0, 1, ..."""
    return tuple(str(label) for label in range(count))


def existing(path: str, key: str = "path") -> Path:
    """The file or folder that a key of the dataset section names.

    Raises
    ------
    DataError
        If it is not there, or is neither.
    """
    try:
        require_file(Path(path))
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = "no such file or folder" if isinstance(error, FileNotFoundError) else f"cannot be used ({error})"
        raise DataError(
            f"dataset.{key} = {printable(path)}: {reason} (relative paths start at the spec's folder)"
        ) from error
    return Path(path)


def existing_folder(path: str) -> Path:
    """As :func:`existing`, and it must be a folder."""
    if not existing(path).is_dir():
        raise DataError(f"dataset.path = {path}: must be a folder")
    return Path(path)


def library(name: str, source: str) -> Any:
    """A library that only some sources need.

    Raises
    ------
    DataError
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"{source} needs {name}, which is not installed ({error}); run `pip install 'memexp[data]'`"
        ) from error
