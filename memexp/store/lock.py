"""Locks of a run: one process at a time decides what is trained next, and one makes what is derived from trials."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memexp.errors import InputError, RunBusy, command
from memexp.files import here
from memexp.store.paths import RunPaths

_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
_GROUP_WRITES, _GROUP = 0o020, 0o070


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
    busy = ("trained", f"Watch it with `{command('status', paths.root)}`, or stop that process first")
    with exclusive(paths, paths.lock, wait_seconds, busy, "ask its owner, or launch the spec with another --runs"):
        yield


@contextmanager
def exclusive(
    paths: RunPaths, lock: Path, wait_seconds: float, busy: tuple[str, str], otherwise: str
) -> Iterator[None]:
    """Hold a lock of the run. What is written meanwhile is the group's too, if the run's folder is.

    Parameters
    ----------
    busy
        What is done to the run by the process that holds it, and what to do then.
    otherwise
        What somebody can do who may not write the run.
    """
    with _umask_of(paths.root):
        descriptor = _open(paths, lock, otherwise)
        try:
            until = time.monotonic() + wait_seconds
            while not _take(descriptor, paths):
                if time.monotonic() > until:
                    doing, then = busy
                    raise RunBusy(f"{paths.root} is being {doing} by {_describe(_holder(lock))}. {then}")
                time.sleep(0.2)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(here()).encode(), 0)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def _umask_of(root: Path) -> Iterator[None]:
    """Where a group shares the run's folder, it can write every file in it, whatever the umask of each member."""
    before = os.umask(0o077)
    try:
        mode = root.stat().st_mode
        os.umask(before & ~(mode & _GROUP) if mode & _GROUP_WRITES else before)
        yield
    finally:
        os.umask(before)


def _open(paths: RunPaths, lock: Path, otherwise: str) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in _NO_RIGHT:
            raise
        if lock.exists() and os.access(lock.parent, os.W_OK):
            raise InputError(f"{lock} is not writable for you; ask its owner for `chmod g+w {lock}`") from error
        raise InputError(f"{paths.root} is not writable for you; {otherwise}") from error


def lock_holder(paths: RunPaths) -> dict[str, object] | None:
    """Host and process that launches the run now, or None."""
    return _holder(paths.lock)


def _holder(lock: Path) -> dict[str, object] | None:
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        if _try(descriptor, fcntl.LOCK_SH):
            return None
        holder = json.loads(os.pread(descriptor, 1000, 0))
        known = isinstance(holder, dict) and type(holder.get("pid")) is int and isinstance(holder.get("host"), str)
        return holder if known and holder["pid"] > 1 else {}
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
