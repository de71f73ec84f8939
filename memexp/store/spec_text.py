"""spec.yaml as text that carries its own digest; what it means is not known here."""

from __future__ import annotations

import hashlib
import re

from memexp.errors import StoreError
from memexp.files import write_atomic
from memexp.store.paths import RunPaths

_MARK = "# digest of all but the dataset's block: "
_DATASET = re.compile(r"^dataset:.*\n(?:[ \t#-].*\n|\n)*", re.MULTILINE)


def write_spec_text(paths: RunPaths, text: str) -> None:
    """Write spec.yaml. The dataset's block is left to the digests of the data, since data may move."""
    write_atomic(paths.spec, f"{_MARK}{_digest(text)}\n{text}".encode())


def read_spec_text(paths: RunPaths) -> str:
    """Text of spec.yaml; one of an earlier version has no digest.

    Raises
    ------
    StoreError
        If it cannot be read, or was edited.
    """
    try:
        text = paths.spec.read_text(encoding="utf-8")
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(f"{paths.spec} cannot be read ({error}); restore it from a backup") from error
    first, _, rest = text.partition("\n")
    if first.startswith(_MARK) and first.removeprefix(_MARK) != _digest(rest):
        raise edited(paths)
    return text


def edited(paths: RunPaths, what: str = "") -> StoreError:
    """The fault of a spec that is not the one that was launched."""
    return StoreError(
        f"{paths.spec} was edited{what}; only its dataset block may be, where data have moved. Restore it, "
        "or launch what you want as a new run"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(_DATASET.sub("", text).encode()).hexdigest()
