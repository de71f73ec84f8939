"""Groups of training examples, which trials have in or out as one: a patient, an author, near-duplicates.

A source gives the name of each example's group, from a column of its own, or a file does:

.txt    a line for each training example of the source, in its order: the name of its group
.npy    the same as an array of text or integers
.csv    a table with the columns id and group; examples that it does not name are groups of their own
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.raw import Ids, RawData, as_ids
from memexp.errors import DataError, reason
from memexp.spec.subsets import names_file
from memexp.spec.user_paths import read_text

_COLUMNS = ("id", "group")


def grouped(raw: RawData, groups: str) -> RawData:
    """A source's examples with the names of their groups, which a file gives or the source has given.

    Raises
    ------
    DataError
        If neither does.
    """
    if names_file(groups):
        return raw._replace(groups=read_groups(Path(groups), len(raw.y_train), raw.id_train))
    if raw.groups is None:
        raise DataError(
            f"subsets.groups = {groups!r}: this source has no columns. Name a file (.csv, .txt or .npy) that gives "
            "each training example's group; arrays may have one called groups, and groups: groups then takes it"
        )
    return raw


def read_groups(path: Path, count: int, ids: Ids | None) -> Ids:
    """The name of each example's group, shape (count,), from a file.

    Parameters
    ----------
    ids
        Names of the examples; None where they have none and are called by their place, 0, 1, ...

    Raises
    ------
    DataError
        If it cannot be read, or does not give each example one group.
    """
    where = f"subsets.groups = {path}"
    try:
        if path.suffix == ".csv":
            return _of_table(where, path, as_ids(range(count)) if ids is None else ids)
        names = np.load(path, allow_pickle=False) if path.suffix == ".npy" else read_text(path).splitlines()
    except (OSError, ValueError, EOFError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        why = reason(error)
        if path.suffix == ".npy" and isinstance(error, ValueError):  # numpy's own words advise to unpickle it
            why = "it is no array of text or integers"
        raise DataError(f"{where} cannot be read ({why}); correct the path or the file") from error
    return names_of_groups(where, names, count)


def names_of_groups(where: str, names: Any, count: int) -> Ids:
    """Names that are given one by one, as text.

    Raises
    ------
    DataError
        If there is not one for each example, text or an integer.
    """
    given: NDArray[Any] = np.asarray(names)
    if given.shape != (count,):
        held = f"has {len(given):,} names" if given.ndim == 1 else f"has the shape {given.shape}"
        raise DataError(
            f"{where} {held}; it must name the group of each of the {count:,} training examples of the source, before "
            "any split or limit"
        )
    texts = as_ids(given.tolist())
    if given.dtype.kind not in "iuUTO" or not all(isinstance(each, str | int) for each in given.tolist()):
        raise DataError(f"{where} is {given.dtype}; groups are named by text or integers")
    if "" in texts:
        raise DataError(f"{where}: example {texts.tolist().index('')} has no group; name one for it")
    return texts


def _of_table(where: str, path: Path, ids: Ids) -> Ids:
    rows = list(csv.reader(read_text(path).splitlines()))
    header = rows[0] if rows else []
    if not set(_COLUMNS) <= set(header):
        raise DataError(f"{where} has the columns {', '.join(header) or 'of nothing'}; it must have id and group")
    columns = [header.index(name) for name in _COLUMNS]
    group: dict[str, str] = {}
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(f"{where}, line {line} has {len(row)} values; the header has {len(header)}")
        name, of = (row[column] for column in columns)
        if not of or group.setdefault(name, of) != of:
            raise DataError(f"{where}, line {line}: {name!r} must have one group")
    if unknown := sorted(group.keys() - set(ids.tolist())):
        raise DataError(
            f"{where} names {unknown[0]!r} ({len(unknown):,} such names), which is no training example; examples are "
            f"called like {ids[0]!r}"
        )
    named, mark = set(group.values()), " alone"
    while any(f"{name}{mark}" in named for name in ids.tolist()):  # another example's group would be called so
        mark += " too"
    return as_ids([group.get(name, f"{name}{mark}") for name in ids.tolist()])


def numbered_groups(names: Ids) -> NDArray[np.int64]:
    """Groups as 0, 1, ... in the order in which they first occur, shape (N,): what they are called does not matter."""
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return np.asarray(place[group.ravel()])
