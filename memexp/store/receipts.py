"""Receipts: what each committed block contains, and who trained it.

One JSON file below blocks/ for each block, named by its first and last trial. A run that grows in the
middle of a block gets a second, longer receipt for it; the longest one counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memexp.errors import StoreError, command
from memexp.store.paths import RunPaths
from memexp.store.trials import Arrays, TrialStore


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
    try:
        return Receipt(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        repair = command("verify", path.parent.parent, "--repair")
        raise StoreError(f"{path} is damaged ({error}); run `{repair}`") from error


def read_receipts(paths: RunPaths) -> Iterator[Receipt]:
    """All receipts, by first trial; of a block that grew, the older one first."""
    for path in sorted(paths.blocks.glob("*.json")):
        yield read_receipt(path)


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
        raise StoreError(
            f"block {number} of {paths.trials} {problem}. Run `{command('verify', paths.root, '--repair')}`, "
            f"then `{command('resume', paths.root)}`"
        )
    return content, receipt
