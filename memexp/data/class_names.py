"""Names of classes: in which order folders are numbered, and what a data set may give as the names of its labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from memexp.errors import DataError

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Names as people order them: 2 before 10, and ``class2`` before ``class10``; numbers by their value."""
    names = list(names)
    if all(_NUMBER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (Decimal(name), name))
    return sorted(names, key=lambda name: ([_part(part) for part in re.split(r"([0-9]+)", name)], name))


def _part(text: str) -> tuple[int, str]:
    return (int(text), "") if text[:1] in "0123456789" and text else (0, text)


def likeness(name: str) -> str:
    """The same for names that people take for one: by capitals, Unicode's forms (NFC, NFD), zeros before a number."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return re.sub(r"(?<![0-9.])0+(?=[0-9])", "", plain)


def composed(name: str) -> str:
    """The name in Unicode's form NFC, as most systems write it; macOS writes folders in NFD."""
    return unicodedata.normalize("NFC", name)


def read_class_names(where: str, given: Any) -> tuple[str, ...]:
    """The names of labels 0, 1, ... as a data set gives them.

    Parameters
    ----------
    where
        For messages.
    given
        A list, tuple or array of names; or a mapping, {name: label} or {label: name}, in any order. A name
        is text, bytes of UTF-8, an integer, or several words for one class.

    Raises
    ------
    DataError
        If the order is not known (a set), a name is none, or two labels have one name.
    """
    if isinstance(given, Mapping):
        given = _by_label(where, given)
    elif not _is_list(given):
        raise DataError(
            f"{where}: classes is {_short(given)} ({type(given).__name__}); it must be a list of names, one for each "
            "label in order, or a mapping of names to labels"
        )
    return require_names(where, [_name(where, label, name) for label, name in enumerate(given)])


def require_names(where: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names, in form NFC, if each can be written and is another one.

    Raises
    ------
    DataError
        Otherwise.
    """
    first: dict[str, int] = {}
    for label, name in enumerate(names):
        if not name or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise DataError(
                f"{where}: the name of label {label} is {name!a}, which cannot be written; give another with "
                "dataset.class_names"
            )
        other = first.setdefault(composed(name), label)
        if other != label:
            raise DataError(
                f"{where}: labels {other} and {label} have one name, {name!r}; give each label its own, for example "
                "with dataset.class_names"
            )
    return tuple(first)


def _is_list(given: Any) -> bool:
    if isinstance(given, str | bytes | bytearray):
        return False
    return isinstance(given, Sequence) or (hasattr(given, "__array__") and np.ndim(given) == 1)


def _by_label(where: str, given: Mapping[Any, Any]) -> list[Any]:
    """The names of a mapping, by their labels 0 .. K - 1."""
    for pairs in ([(label, name) for name, label in given.items()], list(given.items())):
        labels = [label for label, _ in pairs]
        whole = all(isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels)
        if whole and sorted(labels) == list(range(len(labels))):
            return [name for _, name in sorted(pairs, key=lambda pair: int(pair[0]))]
    raise DataError(
        f"{where}: classes is the mapping {_short(dict(given))}; it must give each of the labels 0, 1, ... "
        "without gaps one name, as {name: label}"
    )


def _name(where: str, label: int, given: Any) -> str:
    if isinstance(given, bytes):
        try:
            return given.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: the name of label {label} is {given!r}, no UTF-8; give it as text") from error
    if isinstance(given, str):
        return str(given)
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        return str(int(given))
    if isinstance(given, tuple | list) and given and all(isinstance(word, str) for word in given):
        return ", ".join(given)
    raise DataError(f"{where}: the name of label {label} is {_short(given)}; it must be text")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
