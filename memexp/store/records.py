"""JSON files of a run, read as dataclasses. Every value is checked: a run from elsewhere may hold anything."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from memexp.errors import StoreError
from memexp.files import read_record

Kind = TypeVar("Kind")


def read_as(kind: type[Kind], path: Path, repair: str, absent: Mapping[str, Any] = MappingProxyType({})) -> Kind:
    """Read a record as a dataclass; ``absent`` has values of keys that an earlier version did not write.

    Raises
    ------
    StoreError
        If the file is damaged, or a value is missing or of another type; it ends with ``repair``.
    """
    return made_of(kind, {**absent, **read_record(path, repair)}, path, repair)


def made_of(kind: type[Kind], content: dict[str, Any], path: Path, repair: str) -> Kind:
    """The dataclass that a record's content is.

    Raises
    ------
    StoreError
        If a value is missing or of another type.
    """
    try:
        made: Kind = _adapter(cast(Hashable, kind)).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(f"{path} is damaged ({where}: {first['msg']}); {repair}") from error
    return made


@lru_cache(maxsize=16)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
