"""Commit a block: whole, once, and never a mixture of two attempts.

Zarr cannot write several chunks in one step, and the same block may be trained twice at once (a lost
node that is not dead, two launches). So the outcomes of a block go through three steps:

1. *stage*: all arrays in one file beside the store, flushed to the disk;
2. *claim*: the block's receipt is created with ``link(2)``, which exactly one attempt can do. From
   here the block's content is decided: the digests stand in the receipt;
3. *publish*: the claimed file is copied into the store, ``status`` last, and then deleted.

A process killed before step 2 leaves nothing behind but a file to delete. Killed after step 2, anybody
can repeat step 3 (:func:`recover`), since it always writes the same bytes.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from memexp.errors import StoreError, command
from memexp.files import KEPT, explain_unwritable, to_record, write_atomic, write_once
from memexp.store.checkpoints import ORPHAN_AFTER_SECONDS, drop_checkpoints
from memexp.store.paths import RunPaths
from memexp.store.receipts import (
    Receipt,
    block_digest,
    read_receipt,
    read_receipts,
    receipt_files,
    receipt_path,
    require_fitting,
)
from memexp.store.trials import DONE, FAILED, MISSING, Arrays, TrialStore
from memexp.store.weights import publish_weights, stage_weights


def commit(
    paths: RunPaths,
    store: TrialStore,
    number: int,
    content: Arrays,
    *,
    trained: list[int],
    failures: dict[int, str],
    seconds: float,
    made_by: dict[str, Any],
    weights: Mapping[int, bytes] = MappingProxyType({}),
) -> bool:
    """Commit the outcomes of a block; True if this attempt's outcomes are the ones that count.

    Raises
    ------
    OutOfSpace
        If the disk is full. Nothing is lost but this attempt at this block.
    """
    trials = store.layout.block(number)
    path = receipt_path(paths, trials.start, trials.stop - 1)
    staged = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:12]}.npz")
    with explain_unwritable(paths.root, KEPT):
        kept = stage_weights(paths, weights)
        receipt = Receipt(
            block=number,
            first=trials.start,
            last=trials.stop - 1,
            trained=trained,
            staged=staged.name,
            digests=block_digest(content),
            failures={str(trial): reason for trial, reason in failures.items()},
            seconds=seconds,
            finished=time.time(),
            made_by=made_by,
            weights=kept,
        )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **content)  # type: ignore[arg-type]
        try:
            write_atomic(staged, buffer.getvalue())
            mine = write_once(path, to_record(asdict(receipt)))
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        if not mine:
            staged.unlink(missing_ok=True)
        _publish(paths, store, receipt if mine else read_receipt(path))
    return mine


def recover(paths: RunPaths, store: TrialStore) -> None:
    """Finish what killed processes left: publish claimed blocks, drop files that nobody claims."""
    receipts = list(read_receipts(paths))
    published = []
    for receipt in receipts:
        require_fitting(paths, store, receipt)
        if (paths.blocks / receipt.staged).exists():
            _publish(paths, store, receipt)
        else:
            published.append(receipt)
    status = store.status()  # read once, and after the look at the files: what was published by then stands in it
    for receipt in published:
        lost = (status[receipt.first : receipt.last + 1] == MISSING).any()
        if lost and not restore_states(paths, store, receipt.block):
            # The machine died so hard that a flushed file is gone: the claim is worth nothing.
            set_aside(receipt_path(paths, receipt.first, receipt.last), "lost")
    claimed = {receipt.staged for receipt in receipts}
    for leftover in [*paths.blocks.glob("*.npz"), *paths.weights.glob("*.part")]:
        if leftover.name not in claimed and time.time() - leftover.stat().st_mtime > ORPHAN_AFTER_SECONDS:
            leftover.unlink(missing_ok=True)
    drop_checkpoints(paths, store.layout.blocks_with(status == MISSING))


def restore_states(paths: RunPaths, store: TrialStore, number: int) -> bool:
    """Whether only the states of a block were lost: its receipts tell them, and they are written again."""
    trials = store.layout.block(number)
    try:
        receipts = [read_receipt(path) for path in receipt_files(paths, trials.start)]
        states = np.full(len(trials), MISSING, np.uint8)
        for receipt in receipts:
            states[: receipt.last - receipt.first + 1] = DONE
        for trial in (int(name) for receipt in receipts for name in receipt.failures):
            states[trial - trials.start] = FAILED
        content = store.read_block(number, without=["status"]) | {"status": states}
    except StoreError:
        return False
    whole = bool(receipts) and not receipts[-1].wrong_arrays(content)
    if whole:
        store.write_status(number, states)
    return whole


def set_aside(path: Path, why: str) -> None:
    """Take a receipt out of the count (it stays as NAME.WHY), so that its block can be trained again."""
    path.replace(path.with_suffix(f".{why}"))


def _publish(paths: RunPaths, store: TrialStore, receipt: Receipt) -> None:
    staged = paths.blocks / receipt.staged
    try:
        with np.load(staged) as file:
            content = dict(file)
    except FileNotFoundError:
        return  # another process has published it
    if block_digest(content) != receipt.digests:
        raise StoreError(f"{staged} does not match its receipt; delete it and run `{command('resume', paths.root)}`")
    publish_weights(paths, receipt)
    store.write_block(receipt.block, content)
    staged.unlink(missing_ok=True)
