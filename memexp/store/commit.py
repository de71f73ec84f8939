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
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import StoreError
from memexp.files import explain_full_disk, to_json, write_atomic, write_once
from memexp.store.paths import RunPaths
from memexp.store.trials import MISSING, Arrays, TrialStore, block_digest

_ORPHAN_AFTER_SECONDS = 3600.0


@dataclass(frozen=True)
class Receipt:
    """What is known of a committed block.

    Attributes
    ----------
    block
        Its number.
    first, last
        Its trials; the last block of a run that grew has an older receipt for its first trials.
    trained
        The trials that this attempt trained together, in this order.
    staged
        Name of the file with its outcomes until they are in the store.
    digests
        sha256 of each array of the block.
    failures
        Reason for each failed trial, by trial number.
    seconds
        Wall time of the attempt.
    made_by
        Host, process, device, threads, versions.
    """

    block: int
    first: int
    last: int
    trained: list[int]
    staged: str
    digests: dict[str, str]
    failures: dict[str, str]
    seconds: float
    finished: float
    made_by: dict[str, Any] = field(default_factory=dict)


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
) -> bool:
    """Commit the outcomes of a block; True if this attempt's outcomes are the ones that count.

    Raises
    ------
    OutOfSpace
        If the disk is full. Nothing is lost but this attempt at this block.
    """
    trials = store.layout.block(number)
    name = _stem(trials)
    staged = paths.blocks / f"{name}.{uuid.uuid4().hex[:12]}.npz"
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
    )
    with explain_full_disk(paths.root, "All blocks that were finished are kept."):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **content)
        try:
            write_atomic(staged, buffer.getvalue())
            mine = write_once(paths.blocks / f"{name}.json", to_json(asdict(receipt)))
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        if not mine:
            staged.unlink(missing_ok=True)
        _publish(paths, store, receipt if mine else _read_receipt(paths.blocks / f"{name}.json"))
    return mine


def recover(paths: RunPaths, store: TrialStore) -> None:
    """Finish what killed processes left: publish claimed blocks, drop files that nobody claimed."""
    claimed = set()
    for receipt in read_receipts(paths):
        claimed.add(receipt.staged)
        if (paths.blocks / receipt.staged).exists():
            _publish(paths, store, receipt)
        elif (store.status()[receipt.first : receipt.last + 1] == MISSING).any():
            # The machine died so hard that a flushed file is gone: the claim is worth nothing.
            void_receipt(paths, receipt, "lost")
    for leftover in paths.blocks.glob("*.npz"):
        if leftover.name not in claimed and time.time() - leftover.stat().st_mtime > _ORPHAN_AFTER_SECONDS:
            leftover.unlink(missing_ok=True)


def read_receipts(paths: RunPaths) -> Iterator[Receipt]:
    """All receipts, by first trial; of a block that grew, the older one first."""
    for path in sorted(paths.blocks.glob("*.json")):
        yield _read_receipt(path)


def void_receipt(paths: RunPaths, receipt: Receipt, why: str) -> None:
    """Set a receipt aside (it stays as NAME.WHY), so that its block can be trained again."""
    path = paths.blocks / f"{_stem(range(receipt.first, receipt.last + 1))}.json"
    path.replace(path.with_suffix(f".{why}"))


def rows_of(receipt: Receipt, content: Arrays) -> dict[str, NDArray[Any]]:
    """The rows of a block that the receipt speaks of."""
    return {name: array[: receipt.last - receipt.first + 1] for name, array in content.items()}


def _publish(paths: RunPaths, store: TrialStore, receipt: Receipt) -> None:
    staged = paths.blocks / receipt.staged
    try:
        with np.load(staged) as file:
            content = dict(file)
    except FileNotFoundError:
        return  # another process has published it
    if block_digest(content) != receipt.digests:
        raise StoreError(f"{staged} does not match its receipt; delete it and run `memexp resume {paths.root}`")
    store.write_block(receipt.block, content)
    staged.unlink(missing_ok=True)


def _read_receipt(path: Path) -> Receipt:
    try:
        return Receipt(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}); run `memexp verify {path.parent.parent} --repair`") from error


def _stem(trials: range) -> str:
    return f"{trials.start:06d}-{trials.stop - 1:06d}"
