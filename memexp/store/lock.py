"""The launch lock: one process at a time decides what a run trains next."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from memexp.errors import InputError, RunBusy
from memexp.files import here
from memexp.store.paths import RunPaths


@contextmanager
def launch_lock(paths: RunPaths) -> Iterator[None]:
    """Hold the run's launch lock; the system releases it however this process ends."""
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError as error:
        raise InputError(
            f"{paths.root} is not writable for you; ask its owner, or launch the spec with another --runs"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunBusy(
                f"{paths.root} is being trained by {_describe(lock_holder(paths))}. "
                f"Watch it with `memexp status {paths.root}`, or stop that process first"
            ) from error
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
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        try:
            return dict(json.loads(os.pread(descriptor, 1000, 0)))
        except ValueError:
            return {}
    finally:
        os.close(descriptor)


def _describe(holder: dict[str, object] | None) -> str:
    return f"process {holder['pid']} on {holder['host']}" if holder else "another process"
