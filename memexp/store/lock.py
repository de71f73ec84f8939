"""The launch lock: one process at a time decides what a run trains next."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from memexp.errors import InputError, RunBusy, command
from memexp.files import here
from memexp.store.paths import RunPaths

_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def launch_lock(paths: RunPaths, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the run's launch lock; the system releases it however this process ends.

    Raises
    ------
    RunBusy
        If another process still holds it after ``wait_seconds``.
    InputError
        If the run is not writable for this user, or its file system has no locks.
    """
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o666)  # as the umask has it: a group may share a run
    except OSError as error:
        if error.errno not in _NO_RIGHT:
            raise
        raise InputError(
            f"{paths.root} is not writable for you; ask its owner, or launch the spec with another --runs"
        ) from error
    try:
        until = time.monotonic() + wait_seconds
        while not _take(descriptor, paths):
            if time.monotonic() > until:
                raise RunBusy(
                    f"{paths.root} is being trained by {_describe(lock_holder(paths))}. "
                    f"Watch it with `{command('status', paths.root)}`, or stop that process first"
                )
            time.sleep(0.2)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(here()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_holder(paths: RunPaths) -> dict[str, object] | None:
    """Host and process that launches the run now, or None."""
    try:
        descriptor = os.open(paths.lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        if _try(descriptor, fcntl.LOCK_SH):
            return None
        holder = json.loads(os.pread(descriptor, 1000, 0))
        return holder if isinstance(holder, dict) else {}
    except ValueError:
        return {}
    except OSError:  # no locks on this file system: nobody holds one
        return None
    finally:
        os.close(descriptor)


def _take(descriptor: int, paths: RunPaths) -> bool:
    """Lock it for this process alone; False if another process has done so.

    One that only looks (:func:`lock_holder`) shares the lock for an instant, which is no reason to be refused.
    """
    try:
        while not _try(descriptor, fcntl.LOCK_EX):
            if not _try(descriptor, fcntl.LOCK_SH):
                return False
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(random.uniform(0, 0.01))
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise InputError(
            f"the file system of {paths.root} has no file locks (flock: {os.strerror(error.errno)}), without which two "
            "launches could not exclude each other; choose another file system with --runs, or ask its administrator "
            "for them (Lustre: the mount option flock). `memexp doctor --runs DIR` tells whether a folder has them"
        ) from error


def _try(descriptor: int, kind: int) -> bool:
    """Take a lock if that is possible now."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise


def _describe(holder: dict[str, object] | None) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')}" if holder else "another process"
