"""Files that are either whole or absent, on local and on shared file systems.

Everything that memexp writes by itself goes through here: write to a temporary name, flush to the
disk, then rename (replace) or link (first writer wins).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from memexp.errors import OutOfSpace

_LIBRARIES = ("memexp", "torch", "timm", "numpy", "zarr")
KEPT = "All blocks that were finished are kept."


@contextmanager
def explain_full_disk(path: Path, kept: str) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into an :class:`OutOfSpace` that says what is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutOfSpace(
            f"no space left while writing {path}. {kept} "
            "Free some space (or raise the quota), then run the same command again."
        ) from error


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_temporary(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` in one step: readers see the old content or the new, never a part."""
    temporary = _write_temporary(path, content)
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def write_once(path: Path, content: bytes) -> bool:
    """Create ``path`` with ``content`` unless it exists; True if this call created it.

    ``link(2)`` is atomic on local disks and on NFS, so of several processes on several machines
    exactly one gets True, and the file never has a part of its content.
    """
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _fsync_folder(path.parent)
    return True


def replace_folder(new: Path, old: Path) -> None:
    """Put a finished folder where an older one may be, which is deleted afterwards."""
    aside = old.with_name(f".old.{uuid.uuid4().hex[:8]}")
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)


def to_json(value: Any) -> bytes:
    """``value`` as readable JSON with a final newline."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of ``value``."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def here() -> dict[str, Any]:
    """Who writes: host and process id, as kept beside every attempt."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def versions() -> dict[str, str]:
    """Versions of Python, the libraries that decide outcomes, and the machine's type."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
