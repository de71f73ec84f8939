"""Values of a spec as JSON that keeps their types: the digest of {0: 1} is not that of {"0": 1}."""

from __future__ import annotations

import json
import math
from typing import Any


def typed_json(value: Any) -> Any:
    """What JSON has stays as it is; anything else becomes an object whose one key is its type.

    A mapping whose keys are all text is what it was before types were kept, so that the identity of an
    older run stays the same.
    """
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("!!") for key in value):
            return {key: typed_json(inner) for key, inner in value.items()}
        return {"!!map": _sorted([[typed_json(key), typed_json(inner)] for key, inner in value.items()])}
    if isinstance(value, list | tuple):
        return [typed_json(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return {"!!set": _sorted([typed_json(inner) for inner in value])}
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return {f"!!{type(value).__name__}": value.isoformat() if hasattr(value, "isoformat") else repr(value)}


def _sorted(values: list[Any]) -> list[Any]:
    return sorted(values, key=lambda each: json.dumps(each, sort_keys=True))
