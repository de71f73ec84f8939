"""Why a network did not take the arguments of a spec, in terms of what the user wrote."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from memexp.errors import InputError
from memexp.spec.python_files import meant
from memexp.spec.yaml_text import short


def refused(
    arch: str, make: Callable[..., Any], fitted: dict[str, Any], arguments: dict[str, Any], error: Exception
) -> InputError:
    """The error to raise where ``make(**fitted, **arguments)`` raised ``error``.

    Parameters
    ----------
    fitted
        What memexp passes by itself, which the user never wrote.
    arguments
        What the user wrote.
    """
    taken = _taken(make, fitted)
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found and found[1] in arguments:
        unknown = [key for key in arguments if key == found[1] or (taken and key not in taken)]
        return InputError(f"{arch!r}: {meant(unknown, [key for key in taken if key not in fitted])}")
    written = ", ".join(f"{key}={short(value)}" for key, value in arguments.items())
    kind = (
        "" if isinstance(error, TypeError | ValueError | RuntimeError | AssertionError) else type(error).__name__ + ": "
    )
    return InputError(f"{arch!r} does not take {written or short(fitted)}: {kind}{short_line(error)}")


def short_line(error: Exception) -> str:
    """An exception's words in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]}..."


def _taken(make: Callable[..., Any], fitted: dict[str, Any]) -> list[str]:
    """Names of the arguments that a network takes, as far as its functions tell."""
    names = _names(make)
    if "**" in names:
        try:
            names = names | _names(type(make(**fitted)).__init__)
        except Exception:  # whatever a network raises: then its function alone tells
            return []
    own = {"self", "**", "model_name", "pretrained_cfg", "scriptable", "exportable", "no_jit"}
    return [name for name in names if name not in own]


def _names(function: Callable[..., Any]) -> dict[str, None]:
    """Parameters in their order; ``**`` for any further."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {"**": None}
    return {"**" if each.kind is each.VAR_KEYWORD else each.name: None for each in parameters}
