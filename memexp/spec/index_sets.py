"""Sets of example indices in a spec, small enough to be written down: packed bits as text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError
from memexp.spec.user_paths import read_text

LABELS = "sha256 of the training labels"  # key in a file of lists: of the data that the indices belong to

_MARK = "bits:"
_LONGEST_NAME = 200
_LARGEST = 1 << 26  # beyond any training set, and still indices that fit into memory


def pack(indices: Any) -> str:
    """Indices as ``bits:`` and base64 of compressed bits; text that is packed already stays as it is.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(indices, str):
        unpack(indices)
        return indices
    if not isinstance(indices, list | tuple | np.ndarray):
        raise ValueError("must be a list of training example indices")
    if any(isinstance(i, bool) or not isinstance(i, int | np.integer) or i < 0 for i in indices):
        raise ValueError("must be a list of training example indices: integers from 0")
    if max(indices, default=0) >= _LARGEST:
        raise ValueError(
            f"index {str(max(indices))[:40]} is beyond any training set; must be a list of training example indices"
        )
    mask = np.zeros(1 + max((int(i) for i in indices), default=-1), np.bool_)
    mask[np.asarray(indices, np.int64)] = True
    return _MARK + base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()


@lru_cache(maxsize=256)
def unpack(packed: str) -> NDArray[np.int64]:
    """The indices, ascending, each once; read-only.

    Raises
    ------
    ValueError
        If the text is not packed indices.
    """
    try:
        if not packed.startswith(_MARK):
            raise ValueError("no mark")
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(packed.removeprefix(_MARK), validate=True), _LARGEST // 8)
        if unpacking.unconsumed_tail:  # a few bytes may stand for a mask that fills the memory
            raise ValueError(f"more than {_LARGEST} examples")
        if not unpacking.eof:
            raise ValueError("cut")
    except (ValueError, binascii.Error, zlib.error) as error:
        raise ValueError("must be a list of training example indices, or 'bits:' and packed ones") from error
    indices = np.flatnonzero(np.unpackbits(np.frombuffer(content, np.uint8)))
    indices.setflags(write=False)
    return indices


def read_digest(packed: str) -> str:
    """sha256 of the indices."""
    return hashlib.sha256(unpack(packed).astype("<i8").tobytes()).hexdigest()


def read_sets(path: Path) -> dict[str, Any]:
    """Read a JSON file of named index lists, and pack them.

    Returns
    -------
    keys of a spec's subsets section
        ``removed``: the lists; and, where `memexp select` wrote the file, ``removed_labels``: the digest of the
        training labels of the run that they were selected from (they name examples of these data only), and
        ``removed_thresholds``: the least memorization of the lists that it made by that.

    Raises
    ------
    InputError
        If it is missing or something else.
    """
    wanted = 'wanted is {"name": [index, ...], ...}, as `memexp select` writes it'
    try:
        content = json.loads(read_text(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {wanted}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON file ({error}); {wanted}") from error
    labels = content.pop(LABELS, None) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} has no named lists; {wanted}")
    if not isinstance(labels, str | None):
        raise InputError(f"{path}: {LABELS} must be the digest that `memexp select` wrote; delete the key")
    try:
        packed = {require_name(name): pack(indices) for name, indices in content.items()}
    except ValueError as error:
        raise InputError(f"{path}: {error}; {wanted}") from error
    return {"removed": packed, "removed_labels": labels, "removed_thresholds": thresholds_in_names(packed)}


def require_name(name: str) -> str:
    """The name of a list, which tables and figures show; :class:`ValueError` if they cannot."""
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"{ascii(name)[:120]} must be a name of 1 to {_LONGEST_NAME} printable characters")
    return name


def thresholds_in_names(names: Iterable[str]) -> dict[str, float]:
    """Least memorization of the lists that have exactly the names that `memexp select` gives."""
    found = {name: re.fullmatch(r"memorization >= (-?\d+(\.\d+)?(e-\d+)?)", name) for name in names}
    return {name: float(match[1]) for name, match in found.items() if match}
