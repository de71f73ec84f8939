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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from memexp.errors import InputError, OutOfSpace, StoreError

_LIBRARIES = ("memexp", "torch", "timm", "numpy", "zarr")
_DIGEST = "digest"

KEPT = "All blocks that were finished are kept."


@contextmanager
def explain_unwritable(path: Path, kept: str) -> Iterator[None]:
    """Put in words why ``path`` cannot be written, and what is kept.

    Raises
    ------
    OutOfSpace
        If there is no space, no inode or no quota left.
    InputError
        If the file system is read-only, or the user may not write there.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(
                f"no space left while writing {path}. {kept} "
                "Free some space or inodes (`df -h`, `df -i`) or raise the quota, then run the same command again."
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise InputError(f"{_lasting(error, path)}: {os.strerror(error.errno).lower()}; {_NOT_YOURS}") from error
        raise


_NOT_YOURS = "ask its owner for the right to write there, or copy it to a place of your own and work on the copy"


def _lasting(error: OSError, path: Path) -> Path:
    """The file that an error is about, or ``path`` where it is one of our temporary names."""
    about = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    return path if any(part.startswith(".") for part in about.parts[-3:]) or about.suffix == ".partial" else about


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_temporary(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    with _named(path):
        try:
            with open(temporary, "xb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    return temporary


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let faults name the file that is wanted, not the temporary one."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def link(source: str, target: str) -> None:
    """Share a file that is never changed."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def write_atomic(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Replace ``path`` in one step: readers see the old content or the new, never a part.

    ``content``: the bytes, or what writes them to a stream.
    """
    temporary = _write_temporary(path, content if callable(content) else lambda stream: stream.write(content))
    with _named(path):
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
    temporary = _write_temporary(path, lambda stream: stream.write(content))
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _fsync_folder(path.parent)
    return True


def to_json(value: Any) -> bytes:
    """``value`` as readable JSON with a final newline."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of ``value``."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def to_record(value: dict[str, Any]) -> bytes:
    """``value`` as JSON that carries its own digest, so that a change by hand or by decay is seen."""
    return to_json(value | {_DIGEST: digest(value)})


def read_record(
    path: Path, repair: str, look: Callable[[Path, dict[str, Any]], None] = lambda *_: None
) -> dict[str, Any]:
    """Read what :func:`to_record` made; a record of an earlier version has no digest.

    ``look`` sees the content first, to refuse what a later version wrote.

    Raises
    ------
    StoreError
        If the file cannot be read, is no JSON object, or is not what was written; it ends with ``repair``.
    """
    try:
        content = json.loads(path.read_bytes())
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged ({error}); {repair}") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is damaged (no JSON object); {repair}")
    look(path, content)
    written = content.pop(_DIGEST, None)
    if written is not None and written != digest(content):
        raise StoreError(f"{path} was edited: its digest does not match its content; {repair}")
    return content


def here() -> dict[str, Any]:
    """Who writes: host and process id, as kept beside every attempt."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def versions() -> dict[str, str]:
    """Versions of Python, the libraries that decide outcomes, and the machine's type."""
    return {"python": platform.python_version(), "machine": platform.machine()} | _library_versions()


@cache
def _library_versions() -> dict[str, str]:
    """Asked once: each answer reads a whole description of a package."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
