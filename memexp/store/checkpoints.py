"""Checkpoints: how far the training of a block has come, one file each, until the block is committed.

A file is a line of JSON and a payload. The line says which training the payload belongs to and has the payload's
digest, so that a torn file, or one of another spec, block, device or software, is taken for none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from memexp.files import write_atomic
from memexp.store.paths import RunPaths

ORPHAN_AFTER_SECONDS = 3600.0  # files of writers that were killed
_HEADER_BYTES = 1 << 20  # a line that is longer is none of ours


def checkpoint_path(paths: RunPaths, block: int) -> Path:
    """The checkpoint of a block."""
    return paths.partial / f"{block:06d}.checkpoint"


def write_checkpoint(path: Path, key: dict[str, Any], share: float, payload: memoryview) -> None:
    """Replace a checkpoint: written aside, flushed to the disk, renamed.

    Parameters
    ----------
    key
        What a reader must name to get the payload: JSON that says which training it is of.
    share
        How much of the block is trained, 0 to 1.
    """
    header = {"key": key, "share": share, "sha256": hashlib.sha256(payload).hexdigest()}
    path.parent.mkdir(exist_ok=True)

    def write(stream: BinaryIO) -> None:
        stream.write(json.dumps(header).encode() + b"\n")
        stream.write(payload)

    write_atomic(path, write)


def read_checkpoint(path: Path, key: dict[str, Any]) -> tuple[bytes | None, str]:
    """The payload, or None and why there is none (empty where there never was).

    A file that is damaged, or of another training, is left where it is: the next checkpoint replaces it.
    """
    try:
        with path.open("rb") as stream:
            header = _header(stream)
            payload = stream.read()
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path} cannot be read ({error.strerror})"
    if header is None or hashlib.sha256(payload).hexdigest() != header["sha256"]:
        return None, f"{path} is damaged"
    there = header["key"]
    if changed := sorted(name for name in key.keys() | there.keys() if key.get(name) != there.get(name)):
        return None, f"{path} is of another training ({', '.join(changed)} differ)"
    return payload, ""


def _header(stream: BinaryIO) -> dict[str, Any] | None:
    try:
        header = json.loads(stream.readline(_HEADER_BYTES))
        whole = isinstance(header["key"], dict) and isinstance(header["sha256"], str) and 0 <= header["share"] <= 1
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return header if whole else None


def checkpoint_shares(paths: RunPaths, blocks: Collection[int]) -> dict[int, float]:
    """How much of each of these blocks is trained and kept, by block number; those without a checkpoint are left out.

    Only first lines are read: a file that they do not fit will be found out by who goes on with it.
    """
    found: dict[int, float] = {}
    for path in sorted(paths.partial.glob("*.checkpoint")):
        if not path.stem.isdecimal() or int(path.stem) not in blocks:
            continue
        with suppress(OSError), path.open("rb") as stream:
            if (header := _header(stream)) is not None:
                found[int(path.stem)] = float(header["share"])
    return found


def drop_checkpoints(paths: RunPaths, missing: Collection[int]) -> None:
    """Delete those of blocks that are no longer missing, and what killed writers left half written."""
    for path in paths.partial.glob("*.checkpoint"):
        if not path.stem.isdecimal() or int(path.stem) not in missing:
            path.unlink(missing_ok=True)
    for path in paths.partial.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ORPHAN_AFTER_SECONDS:
                path.unlink()
