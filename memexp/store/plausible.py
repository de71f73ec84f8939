"""Arrays of the examples in a store without a seal: an older memexp left out chunks that hold only zeros."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import StoreError
from memexp.store.manifest import read_manifest
from memexp.store.paths import RunPaths, by_repair


def require_plausible(path: Path, examples: Mapping[str, NDArray[Any]]) -> None:
    """Tell damage from chunks that were never written because they hold only zeros.

    Labels are those of the manifest's digests, places in the source occur once, and the examples whose label was
    flipped are those with another original label: a chunk that is gone and was not all zeros breaks one of these.

    Raises
    ------
    StoreError
        If one of these does not hold.
    """
    data = read_manifest(RunPaths(path.parent)).data
    flipped, original = examples.get("train_label_flipped"), examples.get("train_label_original")
    wrong = [
        f"{axis}_label" for axis in ("train", "test") if _digest(examples.get(f"{axis}_label")) != data.get(f"y_{axis}")
    ]
    for name in ("train_index", "test_index"):
        found = examples.get(name)
        if found is None or len(np.unique(found)) != len(examples[name.replace("index", "label")]):
            wrong.append(name)
    if flipped is not None and not wrong and not np.array_equal(flipped, original != examples["train_label"]):
        wrong.append("train_label_flipped")
    if wrong:
        raise StoreError(f"{path}/{wrong[0]} is damaged; {by_repair(path.parent)}")


def _digest(labels: NDArray[Any] | None) -> str | None:
    """sha256 of shape, type and content, as the manifest has it of the data."""
    if labels is None:
        return None
    return hashlib.sha256(f"{labels.shape}{labels.dtype.str}".encode() + labels.tobytes()).hexdigest()
