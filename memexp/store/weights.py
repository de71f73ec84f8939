"""Weights of trials that stay: one safetensors file a trial, named by its number, its digest in the block's receipt.

They become part of a run as outcomes do (:mod:`memexp.store.commit`): written under a name of their own, decided by the
receipt, then moved into place. That name has the digest in it, so attempts that made the same share the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from memexp.errors import InputError, StoreError, command
from memexp.files import write_atomic
from memexp.store.paths import RunPaths, by_repair
from memexp.store.receipts import Receipt, read_receipt, receipt_files


def weights_path(paths: RunPaths, trial: int) -> Path:
    """Where the weights of a trial are."""
    return paths.weights / f"{trial:06d}.safetensors"


def stage_weights(paths: RunPaths, weights: Mapping[int, bytes]) -> dict[str, str]:
    """Write weights where :func:`publish_weights` finds them; their digests by trial, for the receipt."""
    digests = {trial: hashlib.sha256(content).hexdigest() for trial, content in weights.items()}
    for trial, content in weights.items():
        paths.weights.mkdir(exist_ok=True)
        write_atomic(_staged(paths, trial, digests[trial]), content)
    return {str(trial): digest for trial, digest in digests.items()}


def publish_weights(paths: RunPaths, receipt: Receipt) -> None:
    """Move the weights that a receipt names into place; others may have done it already."""
    for trial, digest in receipt.weights.items():
        with suppress(FileNotFoundError):
            _staged(paths, int(trial), digest).replace(weights_path(paths, int(trial)))


def _staged(paths: RunPaths, trial: int, digest: str) -> Path:
    return paths.weights / f"{trial:06d}.{digest[:16]}.part"


def require_weights(paths: RunPaths, receipt: Receipt) -> None:
    """Raise :class:`StoreError` unless all weights that a receipt names are there, and are those."""
    for trial in receipt.weights:
        read_weights(paths, receipt, int(trial))


def read_weights(paths: RunPaths, receipt: Receipt, trial: int) -> bytes:
    """The weights of a trial as they were written.

    Raises
    ------
    StoreError
        If they are gone or changed.
    """
    path = weights_path(paths, trial)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; {by_repair(paths.root)}") from None
    if hashlib.sha256(content).hexdigest() != receipt.weights[str(trial)]:
        raise StoreError(f"{path} differs from its receipt; {by_repair(paths.root)}")
    return content


def receipt_with_weights(paths: RunPaths, first: int, trial: int) -> Receipt:
    """The receipt that names the weights of a trial, of the block that begins with ``first``.

    Raises
    ------
    InputError
        If none were kept of it.
    """
    found = [read_receipt(path) for path in receipt_files(paths, first)]
    named = [receipt for receipt in found if str(trial) in receipt.weights]
    if not named:
        kept = sorted(int(path.stem) for path in paths.weights.glob("*.safetensors"))
        there = f"there are those of {len(kept)} trials, {kept[0]} to {kept[-1]}" if kept else "there are none"
        raise InputError(
            f"no weights of trial {trial} were kept in {paths.root}; {there}. `keep: {{weights: N}}` in a spec keeps "
            "those of the first N trials as they are trained; failed trials leave none. Launch the spec under another "
            f"name, or see `{command('status', paths.root)}`"
        )
    return named[-1]
