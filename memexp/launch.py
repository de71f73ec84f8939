"""Launch a run: train what is missing, here, and stop cleanly at any moment."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np

from memexp.errors import InputError, RunBusy
from memexp.files import explain_full_disk, here, to_json, write_atomic
from memexp.local import LocalPool, Progress, Resources
from memexp.run import Run, versions
from memexp.store.commit import recover
from memexp.store.trials import MISSING, TrialStore


@dataclass(frozen=True)
class Result:
    """What a launch did.

    ``given_up``: cause by block number. ``failed``: reason by trial number (of this launch).
    """

    trained: int
    failed: dict[int, str]
    given_up: dict[int, str]


def missing_blocks(store: TrialStore) -> list[int]:
    """Blocks with a trial that is neither done nor failed."""
    missing = np.flatnonzero(store.status() == MISSING) // store.layout.block_size
    return [int(block) for block in np.unique(missing)]


def launch_local(run: Run, resources: Resources, on_progress: Callable[[Progress], None]) -> Result:
    """Train all missing trials on this machine and return when they are settled.

    Raises
    ------
    RunBusy
        If another process is training the run.
    MemexpError
        For a fault that concerns every block (full disk, changed data, ...).
    """
    with launch_lock(run):
        store = run.store(writable=True)
        recover(run.paths, store)
        blocks = missing_blocks(store)
        launch_id = write_launch(run, "local", [[block] for block in blocks], resources)
        pool = LocalPool(run.paths, launch_id, resources)
        given_up = pool.train(blocks, on_progress)
        return Result(pool.progress.trained, pool.progress.failed, given_up)


def write_launch(run: Run, backend: str, tasks: Sequence[Sequence[int]], resources: Resources) -> str:
    """Write the launch's file (tasks are lists of blocks) and return the launch's name."""
    launch_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:4]}"
    record = {
        "backend": backend,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": here(),
        "resources": asdict(resources),
        "versions": versions(),
        "tasks": {str(number): list(blocks) for number, blocks in enumerate(tasks)},
    }
    with explain_full_disk(run.paths.launches, "All blocks that were finished are kept."):
        write_atomic(run.paths.launches / f"{launch_id}.json", to_json(record))
    return launch_id


@contextmanager
def launch_lock(run: Run) -> Iterator[None]:
    """Hold the run's launch lock; the system releases it however this process ends."""
    try:
        descriptor = os.open(run.paths.lock, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError as error:
        raise InputError(
            f"{run.paths.root} is not writable for you; ask its owner, or launch the spec with another --runs"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunBusy(
                f"{run.paths.root} is being trained by {_describe(lock_holder(run))}. "
                f"Watch it with `memexp status {run.paths.root}`, or stop that process first"
            ) from error
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(here()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_holder(run: Run) -> dict[str, object] | None:
    """Host and process that launches the run now, or None."""
    try:
        descriptor = os.open(run.paths.lock, os.O_RDONLY)
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
