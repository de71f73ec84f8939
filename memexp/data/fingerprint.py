"""Fingerprint of an array: what a run's identity knows of its data."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def array_digest(array: NDArray[Any]) -> str:
    """sha256 of shape, dtype, content and order, as hexadecimal digits."""
    state = hashlib.sha256(f"{array.shape}{array.dtype.str}".encode())
    state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()
