"""Columns of a table as examples: images by file name or by content, or rows of features; labels; names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.data.folders import refuse
from memexp.data.grouping import names_of_groups
from memexp.data.images import read_as_it_is, read_sized
from memexp.data.raw import Ids, RawData, as_ids, number_labels
from memexp.errors import DataError

if TYPE_CHECKING:
    import pyarrow

    from memexp.spec.datasets import HuggingFace, Table

_LABELS = ("label", "labels", "target", "class", "y")
_IMAGES = ("image", "img")


class Columns(NamedTuple):
    """Which columns a spec names, or which were found; ``classes``: names of the labels, where the data have them."""

    label: str
    image: str | None
    features: tuple[str, ...]
    id: str | None
    size: int | None
    classes: tuple[str, ...] | None = None
    groups: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the columns whose values are names."""
        return tuple(name for name in (self.label, self.image, self.id, self.groups) if name is not None)


class Part(NamedTuple):
    """A table with training or with test examples: its name for messages, and the folder of its file names."""

    where: str
    table: pyarrow.Table
    folder: Path | None = None


def choose_columns(where: str, block: Table | HuggingFace, names: Sequence[str], groups: str | None = None) -> Columns:
    """The columns that the spec names; of those that it does not, label and image are found by their names.

    Parameters
    ----------
    names
        Of all columns.
    groups
        The column that names the examples' groups, where the spec has it.

    Raises
    ------
    DataError
        If one is not there, or none can be found.
    """
    label = _named(where, "label", block.label, names) or _found(names, _LABELS)
    if label is None:
        raise DataError(f"{where}: which column has the labels? Set dataset.label to one of {_listed(names)}")
    image, features = _named(where, "image", block.image, names), block.features
    if image is not None and features is not None:
        raise DataError(f"{where}: dataset.image and dataset.features exclude each other; keep one")
    if image is None and features is None:
        image = _found(names, _IMAGES)
        if image is None:
            raise DataError(
                f"{where}: what is trained on? Set dataset.image to the column of images, or dataset.features to "
                f"columns of numbers (or to rest); there are {_listed(names)}"
            )
    own = {label, image, block.id, _named(where, "groups", groups, names, "subsets")}
    chosen = (
        [name for name in names if name not in own]
        if features == "rest"
        else [_named(where, "features", name, names) or "" for name in features or ()]
    )
    if twice := sorted({name for name in chosen if chosen.count(name) > 1 or name in own}):
        raise DataError(f"{where}: dataset.features has {twice[0]!r}, which is used already; name it once")
    if image is None and not chosen:
        raise DataError(f"{where}: dataset.features names no column; there are {_listed(names)}")
    return Columns(label, image, tuple(chosen), _named(where, "id", block.id, names), block.size, groups=groups)


def _found(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """The only column with one of the usual names, in small or capital letters."""
    found = [name for name in names if name.casefold() in usual]
    return found[0] if len(found) == 1 else None


def _named(where: str, key: str, name: str | None, names: Sequence[str], section: str = "dataset") -> str | None:
    if name is None or name in names:
        return name
    close = difflib.get_close_matches(name, names, 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise DataError(f"{where}: {section}.{key} = {name!r} is no column{hint}; there are {_listed(names)}")


def _listed(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")


def from_columns(columns: Columns, train: Part, test: Part | None) -> RawData:
    """The examples of one or two tables.

    Raises
    ------
    DataError
        If a label is missing, a feature is no number, an image cannot be read, or images differ in size.
    """
    parts = [train] if test is None else [train, test]
    values = [_labels(part, columns.label, columns.classes is not None) for part in parts]
    labels = number_labels(train.where, values[0], values[1] if test is not None else None, columns.classes)
    if columns.image is None:
        tables = [_features(part, columns.features) for part in parts]
        names = tables[0][1]
        x = [table[:, None, None, :] for table, _ in tables]
        ids: list[Ids | None] = [None] * len(parts)
        folder = None
    else:
        names = ()
        x, ids, folder = _images(parts, columns.image, columns.size)
    if columns.id is not None:
        ids, folder = [as_ids(part.table.column(columns.id).to_pylist()) for part in parts], None
    if test is None:
        x, ids = [*x, None], [*ids, None]  # type: ignore[list-item]
    return RawData(
        x[0], labels.train, x[1], labels.test, labels.classes, id_train=ids[0], id_test=ids[1], features=names,
        folder=folder, groups=_groups(train, columns.groups),
    )  # fmt: skip


def _groups(part: Part, name: str | None) -> Ids | None:
    """The names of the training examples' groups."""
    if name is None:
        return None
    column = part.table.column(name)
    _require_whole(part, name, column, "give each example its group: its own, where it is alone")
    return names_of_groups(f"{part.where}: column {name!r}", as_ids(column.to_pylist()), len(column))


def _labels(part: Part, name: str, named: bool) -> NDArray[Any]:
    """Labels as text, so that any whole numbers will do; as the integers that they are where the data name them."""
    import pyarrow

    column = part.table.column(name)
    _require_whole(part, name, column, "give each example its label, or leave those rows out")
    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    if pyarrow.types.is_floating(kind):
        numbers = column.to_numpy()
        if not np.array_equal(numbers, np.rint(numbers)):
            raise DataError(
                f"{part.where}: column {name!r} holds numbers such as {numbers[numbers != np.rint(numbers)][0]:g}; "
                "labels must be classes: text or whole numbers"
            )
        return np.asarray([str(int(number)) for number in numbers])
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind) or _is_text(kind)):
        raise DataError(f"{part.where}: column {name!r} is {kind}; labels must be text or whole numbers")
    values = column.to_pylist()
    if named and pyarrow.types.is_integer(kind):
        return np.asarray(values, np.int64)
    return np.asarray([str(each) for each in values])


def _is_text(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _require_whole(part: Part, name: str, column: Any, advice: str) -> None:
    refuse(_empty(part, name, column, advice))


def _empty(part: Part, name: str, column: Any, advice: str) -> list[str]:
    """What is wrong with a column in which values are missing."""
    if not column.null_count:
        return []
    row = next(number for number, each in enumerate(column) if not each.is_valid)
    return [f"{part.where}: column {name!r} is empty in {column.null_count:,} rows, first in row {row}; {advice}"]


def _features(part: Part, names: Sequence[str]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Columns of numbers, or of lists of them, as one table (N, D), with a name for each of its columns."""
    import pyarrow

    made, titles, faults, others = [], [], list[str](), list[str]()
    for name in names:
        column = part.table.column(name)
        kind = column.type
        if pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind):
            faults += _empty(part, name, column, "fill them, or leave those rows out")
            made.append(column.to_numpy().astype(np.float32)[:, None])
            titles.append(name)
        elif pyarrow.types.is_list(kind) or pyarrow.types.is_fixed_size_list(kind) or pyarrow.types.is_large_list(kind):
            rows = _lists(part, name, column)
            made.append(rows)
            titles += [f"{name}[{place}]" for place in range(rows.shape[1])]
        else:
            others.append(f"{name!r} ({kind})")
    if others:
        faults.append(
            f"{part.where}: features must be numbers, and these columns are not: {', '.join(others)}. Name the columns "
            "to use in dataset.features, or write them as numbers (text with few values as one column of 0 and 1 each)"
        )
    refuse(faults)
    return np.concatenate(made, axis=1), tuple(titles)


def _lists(part: Part, name: str, column: Any) -> NDArray[np.float32]:
    try:
        rows = np.asarray(column.to_pylist(), np.float32)
        if rows.ndim == 2:
            return rows
    except (TypeError, ValueError):
        pass
    raise DataError(f"{part.where}: column {name!r} has no lists of numbers of one length; leave it out of features")


def _images(parts: list[Part], name: str, size: int | None) -> tuple[list[Any], list[Ids | None], Path | None]:
    """Pixels (N, H, W, C) of each part, the images' names, and the folder in which these are files."""
    read: list[list[NDArray[np.uint8]]] = []
    ids: list[Ids | None] = []
    decode: Callable[..., NDArray[np.uint8]] = read_as_it_is if size is None else partial(read_sized, size=size)
    are_files = True
    for part in parts:
        files, names = _files(part, name)
        are_files &= all(isinstance(file, Path) for file in files)
        faults: list[str] = []
        read.append([])
        for number, file in enumerate(files):
            try:
                read[-1].append(decode(file, str(file) if isinstance(file, Path) else f"{part.where}: row {number}"))
            except DataError as error:
                faults.append(str(error))
        refuse(faults)
        ids.append(as_ids(names) if all(names) and len(set(names)) == len(names) else None)
    channels = max((image.shape[2] for pixels in read for image in pixels), default=1)
    stacked = [_stacked(part, name, pixels, channels) for part, pixels in zip(parts, read, strict=True)]
    folders = {part.folder for part in parts}
    return (
        stacked,
        ids,
        folders.pop() if are_files and len(folders) == 1 and all(each is not None for each in ids) else None,
    )


def _files(part: Part, name: str) -> tuple[list[Path | bytes], list[str]]:
    """Each image as its file or the file's bytes, and what the table calls it."""
    column = part.table.column(name)
    _require_whole(part, name, column, "give each example its image, or leave those rows out")
    files: list[Path | bytes] = []
    names: list[str] = []
    for number, value in enumerate(column.to_pylist()):
        content, called = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(content, str):
            content, called = None, content
        if not isinstance(content, bytes | None) or (content is None and not called):
            raise DataError(
                f"{part.where}: row {number} of column {name!r} is {type(value).__name__}; it must be the name of a "
                "file, or the bytes of one"
            )
        files.append(content if content is not None else (part.folder or Path()) / str(called))
        names.append(str(called or ""))
    return files, names


def _stacked(part: Part, name: str, pixels: list[NDArray[np.uint8]], channels: int) -> NDArray[np.uint8]:
    """Images of one size as one array; grey ones among colour ones in three equal channels."""
    sizes = {image.shape[:2] for image in pixels}
    if len(sizes) > 1:
        one, other = sorted(sizes)[:2]
        raise DataError(
            f"{part.where}: the images of column {name!r} differ in size ({one[0]} x {one[1]}, {other[0]} x {other[1]} "
            "and so on); set dataset.size, such as 32, to which each is cut and resized"
        )
    if not pixels:
        raise DataError(f"{part.where} has no rows")
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in pixels])
