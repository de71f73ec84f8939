"""Files that the arguments of a model, a recipe or a data function name: where they are, and their content.

The rule: a text among the arguments, at any depth of lists and mappings, is a path where it has a slash or an
ending (``./weights``, ``w.pth``) and names a file or folder that exists, seen from the spec's folder. It is made
absolute when the spec is read. A run's identity has the digest of the content in its place, so that a file may
move but not change.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from memexp.errors import InputError

MARK = "sha256:"

_MOST_FILES = 10_000  # of a folder, whose content every worker reads before it trains


def with_absolute_paths(value: Any, folder: Path) -> Any:
    """Arguments with every path in them made absolute."""
    if isinstance(value, dict):
        return {key: with_absolute_paths(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(with_absolute_paths(inner, folder) for inner in value)
    if not isinstance(value, str) or not ("/" in value or Path(value).suffix):
        return value
    path = _existing(value, folder)
    return value if path is None else str(path)


def with_digests(value: Any) -> Any:
    """Arguments with the digest of its content in the place of every absolute path that exists.

    Raises
    ------
    InputError
        If such a file cannot be read, or a folder has too many of them.
    """
    if isinstance(value, dict):
        return {key: with_digests(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_digests(inner) for inner in value]
    if not isinstance(value, str) or not value.startswith("/") or (path := _existing(value, Path("/"))) is None:
        return value
    try:
        return MARK + (_folder_digest(path) if path.is_dir() else _file_digest(path))
    except OSError as error:
        raise InputError(
            f"{path}, which an argument names, cannot be read ({error.strerror}); its content is part of the "
            "experiment. Give yourself the right, or name another file"
        ) from error


def _existing(text: str, folder: Path) -> Path | None:
    """The file or folder that a text names; no root and no ``..``, which are separators and the like."""
    try:
        path = (folder.resolve() / Path(text).expanduser()).absolute()
        kept = path if path.name not in ("", "..") and Path(text).name not in ("", "..") else None
        return kept if kept is not None and (kept.is_file() or kept.is_dir()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _file_digest(path: Path) -> str:
    state = path.stat()
    return _digest(str(path), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int, inode: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _folder_digest(folder: Path) -> str:
    files = sorted(Path(here) / name for here, _, names in os.walk(folder, followlinks=False) for name in names)
    if len(files) > _MOST_FILES:
        raise InputError(
            f"{folder}, which an argument names, has {len(files):,} files, and their content is part of the "
            f"experiment; name the files that are needed, or a folder of {_MOST_FILES:,} files at most"
        )
    state = hashlib.sha256()
    for path in files:
        if path.is_file():
            state.update(f"{path.relative_to(folder)}\0{_file_digest(path)}\n".encode("utf-8", "surrogateescape"))
    return state.hexdigest()
