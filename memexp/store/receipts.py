"""Receipts: what each committed block contains, and who trained it.

One JSON file below blocks/ for each block, named by its first and last trial. A run that grows in the
middle of a block gets a second, longer receipt for it; the longest one counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import StoreError, command
from memexp.store.paths import RunPaths, by_repair
from memexp.store.records import read_as
from memexp.store.trials import MISSING, Arrays, TrialStore


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
    weights
        sha256 of the kept weights of each trial, by trial number.
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
    weights: dict[str, str] = field(default_factory=dict)

    def wrong_arrays(self, content: Arrays) -> list[str]:
        """Names of the arrays of the block that are not what was committed."""
        rows = self.last - self.first + 1
        found = block_digest({name: array[:rows] for name, array in content.items()})
        return [name for name, digest in self.digests.items() if found.get(name) != digest]


def block_digest(content: Arrays) -> dict[str, str]:
    """sha256 of each array of a block: type, shape and content."""
    return {
        name: hashlib.sha256(f"{a.shape}{a.dtype.str}".encode() + np.ascontiguousarray(a).tobytes()).hexdigest()
        for name, a in content.items()
    }


def receipt_path(paths: RunPaths, first: int, last: int) -> Path:
    """File of the receipt for the trials ``first`` to ``last``."""
    return paths.blocks / f"{first:06d}-{last:06d}.json"


def read_receipt(path: Path) -> Receipt:
    """Read one receipt.

    Raises
    ------
    StoreError
        If it is damaged.
    """
    repair = f"run `{command('verify', path.parent.parent, '--repair')}`"
    receipt = read_as(Receipt, path, repair)
    trials = range(receipt.first, receipt.last + 1)
    known = (
        path.name == receipt_path(RunPaths(path.parent.parent), receipt.first, receipt.last).name
        and re.fullmatch(rf"{re.escape(path.stem)}\.[0-9a-f]{{12}}\.npz", receipt.staged)
        and {*receipt.trained, *map(_number, receipt.failures)} <= {*trials}
    )
    if not known:
        raise StoreError(f"{path} is damaged (it tells of other trials or files than its name); {repair}")
    return receipt


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1


def read_receipts(paths: RunPaths) -> Iterator[Receipt]:
    """All receipts, by first trial; of a block that grew, the older one first."""
    for path in sorted(paths.blocks.glob("*.json")):
        yield read_receipt(path)


def read_states(paths: RunPaths, store: TrialStore) -> tuple[NDArray[np.uint8], list[Receipt]]:
    """States of all trials, shape (trial,), and all receipts, checked against each other.

    Raises
    ------
    StoreError
        If a state is not the one that was committed, or a receipt is missing or damaged.
    """
    receipts = list(read_receipts(paths))
    for receipt in receipts:
        require_fitting(paths, store, receipt)
    latest = {receipt.block: receipt for receipt in receipts}
    published = [each for each in latest.values() if not (paths.blocks / each.staged).exists()]
    status = store.status()  # after the look at the files: what was published by then stands in it
    for receipt in published:
        committed = status[receipt.first : receipt.last + 1]
        if block_digest({"status": committed})["status"] != receipt.digests.get("status"):
            raise StoreError(
                f"trials {receipt.first} to {receipt.last} of {paths.trials} do not have the states that were "
                f"committed; {by_repair(paths.root)}"
            )
    for number in store.layout.blocks_with(status != MISSING):
        if number not in latest and not receipt_files(paths, store.layout.block(number).start):
            raise StoreError(f"block {number} of {paths.trials} has no receipt in blocks/; {by_repair(paths.root)}")
    return status, receipts


def require_fitting(paths: RunPaths, store: TrialStore, receipt: Receipt) -> None:
    """Raise :class:`StoreError` if a receipt tells of trials that the store does not have, or of another block."""
    trials = store.layout.block(receipt.block)
    if trials.start != receipt.first or receipt.last not in trials:
        path = receipt_path(paths, receipt.first, receipt.last)
        raise StoreError(f"{path} and {paths.trials} do not belong together; {by_repair(paths.root)}")


def receipt_files(paths: RunPaths, first: int) -> list[Path]:
    """Receipts of the block that starts with trial ``first``; the last one counts."""
    return sorted(paths.blocks.glob(f"{first:06d}-*.json"))


def read_committed(paths: RunPaths, store: TrialStore, number: int) -> tuple[dict[str, Any], Receipt]:
    """A block and its receipt, checked against each other.

    A checksum alone would not notice a chunk that was put in another's place.

    Raises
    ------
    StoreError
        If a chunk is missing, cut, altered or not the one that was committed.
    """
    found = receipt_files(paths, store.layout.block(number).start)
    content = store.read_block(number)
    receipt = read_receipt(found[-1]) if found else None
    wrong = receipt.wrong_arrays(content) if receipt else []
    if receipt is None or wrong:
        problem = f"differs from its receipt in {', '.join(wrong)}" if receipt else "has no receipt in blocks/"
        raise StoreError(f"block {number} of {paths.trials} {problem}; {by_repair(paths.root)}")
    return content, receipt
