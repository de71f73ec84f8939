"""Short representations: of an array its type, shape and range in the place of its content; counts in words."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Brief:
    """A dataclass that shows what it has, not all of it: declare it with ``@dataclass(repr=False)``."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in briefly(self))})"  # type: ignore[arg-type]

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, briefly(self))  # type: ignore[arg-type]


def briefly(record: DataclassInstance) -> list[tuple[str, str]]:
    """Names of a dataclass's fields, and each value in a few words."""
    return [(field.name, brief(getattr(record, field.name))) for field in fields(record)]


def brief(value: Any) -> str:
    """An array as ``float32 (1437,), -0.12 to 1``, a record as its name and length, anything else as it is."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {value.shape}{_range(value)}"
    if is_dataclass(value) and not isinstance(value, type):
        arrays = [getattr(value, field.name) for field in fields(value)]
        if shapes := [each.shape for each in arrays if hasattr(each, "shape")]:
            return f"{type(value).__name__} {shapes[0]}"
        if any(is_dataclass(each) for each in arrays):
            return type(value).__name__
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def counted(number: int, noun: str, one: str = "", several: str = "") -> str:
    """A number of things, and a verb for one and for several of them: ``1 trial``, ``2,000 trials are``."""
    words = f"1 {noun} {one}" if number == 1 else f"{number:,} {noun}s {several}"
    return words.rstrip()


def in_classes(number: int) -> str:
    """How many classes examples are of; nothing of a single one, which tells nothing apart."""
    return f", {number:,} classes" if number > 1 else ""


def _range(array: Any) -> str:
    """Smallest and largest number of an array of one axis; of many, nothing is read."""
    if array.ndim != 1 or array.dtype.kind not in "fiu" or not len(array):
        return ""
    known = array[array == array]  # NaN is not equal to itself
    return f", {known.min():.4g} to {known.max():.4g}" if len(known) else ", all NaN"


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Names and values as a table, escaped."""
    left = 'style="text-align: left"'
    cells = "".join(
        f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(value)}</td></tr>" for name, value in rows
    )
    caption = f'<caption style="text-align: left; font-weight: bold">{html.escape(title)}</caption>'
    return f"<table>{caption}<tbody>{cells}</tbody></table>"
