"""What ``load()`` of a Python file gives, in each of the forms that it may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.arrays import OPTIONAL, TEST, WANTED, from_arrays
from memexp.data.map_style import is_map_style, read_examples
from memexp.data.raw import RawData, existing
from memexp.errors import DataError, InputError
from memexp.spec import datasets
from memexp.spec.python_files import blamed, function_in, read_source, require_call
from memexp.spec.sections import PythonFile

_FORMS = (
    "a dict (or an object with attributes) of x_train, y_train, x_test, y_test, and classes if they have names; or a "
    "tuple (x, y, x_test, y_test) or (x, y); or two data sets with (image, label) at each number, (train, test)"
)


def load_python(block: datasets.PythonData) -> RawData:
    """What load() of a Python file returns."""
    path = existing(block.path)
    if path.is_dir():
        raise DataError(f"dataset.path = {path}: must be a Python file")
    try:
        file = PythonFile(name=str(path), source=read_source(path))
        load = function_in(file, "load", "load(), which returns x_train, y_train, x_test, y_test")
        require_call(load, file.name, (), block.arguments)
    except InputError as error:
        raise DataError(str(error)) from error
    with blamed(DataError):
        found = load(**block.arguments)
        return from_anything(f"{path}: load()", found)


def from_anything(where: str, found: Any) -> RawData:
    """Arrays, tensors or map-style data sets, in a dict, an object or a tuple.

    Raises
    ------
    DataError
        If it has none of these forms.
    """
    return from_arrays(where, named_arrays(where, found))


def named_arrays(where: str, found: Any) -> dict[str, Any]:
    """x_train, y_train and what else there is, by their names; those of :data:`OPTIONAL` may be None.

    Raises
    ------
    DataError
        As :func:`from_anything`.
    """
    given = _named(found)
    columns = _columns(given.get("x_train"))
    if columns is not None and given.get("features") is None:
        given["features"] = columns
    for axis, id_of in (("train", "id_train"), ("test", "id_test")):
        examples = given.get(f"x_{axis}")
        if examples is not None and is_map_style(examples):
            given[f"x_{axis}"], given[f"y_{axis}"] = read_examples(f"{where}: {axis} data set", examples)
            classes = getattr(examples, "classes", None)
            given.setdefault("classes", list(classes) if classes and axis == "train" else given.get("classes"))
            given.setdefault(id_of, None)
    missing = [name for name in WANTED if given.get(name) is None]
    missing += [
        name for name in TEST if given.get(name) is None and any(given.get(other) is not None for other in TEST)
    ]
    if missing:
        raise DataError(f"{where}: {type(found).__name__} without {', '.join(missing)}; it must be {_FORMS}")
    _refuse_other_order(where, given)
    arrays = {name: _contiguous(where, name, given[name]) for name in (*WANTED, *TEST) if given.get(name) is not None}
    return arrays | {name: given.get(name) for name in OPTIONAL}


def _named(found: Any) -> dict[str, Any]:
    """The parts by their names."""
    if isinstance(found, Mapping):
        return dict(found)
    if isinstance(found, tuple | list):
        if any(is_map_style(part) for part in found) and len(found) <= 2:
            return dict(zip(("x_train", "x_test"), found, strict=False))
        if len(found) in (2, 4):
            return dict(zip((*WANTED, *TEST), found, strict=False))
        return {}
    if is_map_style(found) and not hasattr(found, "x_train"):
        return {"x_train": found}
    return {name: getattr(found, name, None) for name in (*WANTED, *TEST, *OPTIONAL)}


def _refuse_other_order(where: str, given: Mapping[str, Any]) -> None:
    """Rows and columns are taken in their order; what tables call them must not speak against it."""
    columns, of_test = (_columns(given.get(name)) for name in ("x_train", "x_test"))
    if columns is not None and of_test is not None and columns != of_test:
        differing = (k for k, (a, b) in enumerate(zip(columns, of_test, strict=False)) if a != b)
        k = next(differing, min(len(columns), len(of_test)))
        a, b = (repr(names[k]) if k < len(names) else "nothing" for names in (columns, of_test))
        raise DataError(
            f"{where}: column {k} of x_test is {b}, of x_train {a}; give both the same columns in one order: "
            "x_test[x_train.columns]"
        )
    for axis in ("train", "test"):
        rows, labels = (pandas_index(given.get(f"{part}_{axis}")) for part in "xy")
        if rows is None or labels is None or len(rows) != len(labels) or rows == labels:
            continue
        counted = list(range(len(rows)))
        if set(rows) == set(labels) or counted not in (rows, labels):
            raise DataError(
                f"{where}: the index of y_{axis} is not that of x_{axis}, and labels are taken in order of rows; "
                f"put them in one order (y_{axis}.loc[x_{axis}.index]), or give y_{axis}.to_numpy() if they are"
            )


def _columns(value: Any) -> list[str] | None:
    """Names of a table's columns, whether pandas, Polars or Arrow made it; None for anything else."""
    names = getattr(value, "column_names", getattr(value, "columns", None))
    return None if names is None else [str(name) for name in names]


def pandas_index(value: Any) -> list[Any] | None:
    """What a DataFrame or a Series calls its rows; None for anything else."""
    return list(value.index) if hasattr(value, "iloc") else None


def _contiguous(where: str, name: str, value: Any) -> NDArray[Any]:
    """As an array in the memory order that everything after relies on."""
    place, _, what = where.rpartition(": ")
    whole = f"{place}: {name} of {what}" if place else f"{what}: {name}"
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{whole} has masked values; fill them, or leave those examples out")
    try:
        return np.ascontiguousarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{whole} is no array ({error}); give a numpy array") from error
