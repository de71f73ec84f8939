"""Launch a run: train what is missing, here, and stop cleanly at any moment."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np

from memexp.files import KEPT, explain_full_disk, here, to_json, write_atomic
from memexp.local import LocalPool, Progress, Resources
from memexp.run import Run, versions
from memexp.store.commit import recover
from memexp.store.lock import launch_lock
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
    with launch_lock(run.paths), explain_full_disk(run.paths.root, KEPT):
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
    write_atomic(run.paths.launches / f"{launch_id}.json", to_json(record))
    return launch_id
