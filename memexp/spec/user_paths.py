"""Paths that users give, in a spec, a profile or on the command line, and the text of the files there."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from memexp.errors import InputError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"  # of a run's folder

_MOST_BYTES = 1 << 28  # of a text; larger ones are something else by mistake
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, on Linux and macOS


def user_path(given: str | Path, folder: Path = Path()) -> Path:
    """A path as the user meant it: ``~`` is a home, and relative ones start at ``folder``.

    Raises
    ------
    InputError
        If no file can have it: it holds NUL or what is no UTF-8, is too long, or names an unknown user.
    """
    text = str(given)
    if not text or re.search("[\x00\ud800-\udfff]", text):
        what = "holds a character that no path can, or that is not UTF-8" if text else "is empty"
        raise InputError(f"the path {ascii(text)[:200]} {what}; give another, or rename the file")
    try:
        path = folder / Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"the path {text[:200]} starts with the home of an unknown user; write it out") from error
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _LONGEST_NAME or len(os.fsencode(path)) > _LONGEST_PATH:
        raise InputError(
            f"the path {text[:80]}... has {len(text):,} characters; a name in it may have {_LONGEST_NAME} bytes, "
            f"and all of it {_LONGEST_PATH}"
        )
    return path


def absolute(path: Path) -> Path:
    """The path from the root, links resolved.

    Raises
    ------
    InputError
        If links lead in a circle.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"the path {path} cannot be followed: {error}; mend its links") from error


def read_text(path: Path) -> str:
    """The UTF-8 text of a file.

    Raises
    ------
    OSError
        If it cannot be read, is no ordinary file (a pipe would wait for ever) or is far too large for a text.
    UnicodeDecodeError
        If it is something else.
    """
    found = os.stat(path)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise OSError(errno.EINVAL, "it is no ordinary file")
    if found.st_size > _MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, which is far too large for a text")
    return path.read_text(encoding="utf-8-sig")
