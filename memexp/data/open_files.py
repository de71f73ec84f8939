"""What is looked at before a file of data is read: that it is an ordinary file, and that its content fits in memory."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from memexp.errors import DataError

# No packed file is larger unpacked than this many times (deflate, by its format); so a header is known to lie at once.
MOST_UNPACKED = 1032


def printable(name: str | Path) -> str:
    """A file's name as text that can be written anywhere; bytes that are no UTF-8 as ``\\udcXX``."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def require_file(path: Path) -> None:
    """Refuse what is no ordinary file: reading a fifo, a socket or a device may never end.

    Raises
    ------
    DataError
        If it is there, and something else.
    OSError
        If it is not there.
    """
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        what = next(
            (word for test, word in ((stat.S_ISFIFO, "a fifo"), (stat.S_ISSOCK, "a socket")) if test(kind)), "a device"
        )
        raise DataError(f"{printable(path)} is {what}, no file; give an ordinary file, or remove it")


def require_memory(size: int, what: str) -> None:
    """Refuse to read ``size`` bytes, as a header promises them, where this machine has not that much memory.

    Raises
    ------
    DataError
        If they are more.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise DataError(
            f"{what} holds {size / 1e9:,.0f} GB by its header; this machine has {memory / 1e9:,.0f} GB of memory. "
            "Use a part of the data, or get the file again if it should be smaller"
        )


def require_promise(shape: Sequence[int], item_bytes: int, there: int, what: str, packed: bool = False) -> int:
    """Compare the bytes of an array, as its header promises them, with those that can be there; returns the former.

    Parameters
    ----------
    shape, item_bytes
        By the header.
    there
        Bytes of the file after the header.
    what
        For the message.
    packed
        Whether the bytes are compressed, so that there may be more of them.

    Raises
    ------
    DataError
        If the array cannot be there, or does not fit in memory.
    """
    size = item_bytes * math.prod(shape)
    if min(shape, default=0) < 0 or (size > MOST_UNPACKED * there + 4096 if packed else size != there):
        raise DataError(
            f"{what} is cut or damaged: its header says {tuple(shape)}, that is {size:,} bytes, but {there:,} "
            f"{'compressed bytes ' if packed else ''}follow; get the file again"
        )
    require_memory(size, what)
    return size


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def unpack_exactly(stream: _Readable, size: int, what: str) -> bytes:
    """``size`` bytes of a stream that must end after them; no more is unpacked."""
    content = stream.read(size + 1)
    if len(content) != size:
        many = "more" if len(content) > size else f"{len(content):,}"
        raise DataError(f"{what} is cut or damaged: its header says {size:,} bytes, but {many} follow; get it again")
    return content
