"""Every fault that a user can meet, by what they can do about it.

A message names the thing, its value, what is allowed and the next step. The command line prints it
without a traceback and exits with ``exit_code``.
"""

from __future__ import annotations

import shlex
from pathlib import Path


class MemexpError(Exception):
    """Base of all faults that memexp explains. Exit code 1: the work failed."""

    exit_code = 1


class InputError(MemexpError, ValueError):
    """What the user gave (spec, data, run directory, option) cannot be used. Exit code 2."""

    exit_code = 2


class SpecError(InputError):
    """The spec has faults; the message lists all of them."""


class DataError(InputError):
    """A data set is missing, cut or mislabelled."""


class RunMismatch(InputError):
    """The run directory belongs to another spec or to other data."""


class NewerSchema(InputError):
    """A file was written by a newer memexp than this one."""


class StoreError(MemexpError):
    """Files of a run are damaged or missing."""


class OutOfSpace(MemexpError):
    """The disk (or the quota) is full."""


class Incomplete(MemexpError):
    """Nothing is wrong, but trials are missing. Exit code 3."""

    exit_code = 3


class RunBusy(Incomplete):
    """Another process is training this run now."""


def command(*words: object) -> str:
    """The ``memexp`` command of these words as one types it: quoted for a shell, a path never taken for an option."""
    safe = (f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words)
    return shlex.join(["memexp", *safe])


def reason(error: Exception) -> str:
    """Why a file could not be used, without Python's number of the fault and the path, which the message names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
