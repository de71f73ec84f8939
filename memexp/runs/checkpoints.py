"""Where a long block's checkpoint lies, and what it must agree with to be gone on with."""

from __future__ import annotations

import sys
from collections.abc import Callable

from memexp.runs.run import Run
from memexp.runs.software import deciding, software
from memexp.store.checkpoints import checkpoint_path, read_checkpoint, write_checkpoint
from memexp.training.checkpoint import BlockKeeper


def block_keeper(
    run: Run, block: int, trials: list[int], device: str, every: float, kept: Callable[[], None]
) -> BlockKeeper:
    """What keeps a block, with what was kept of it: of the same spec and trials, by the same software and device.

    Parameters
    ----------
    trials
        Those of the block that are missing.
    device
        ``cpu`` or ``cuda``, whose generators differ.
    every
        Seconds between two checkpoints.
    kept
        Called after each.
    """
    path = checkpoint_path(run.paths, block)
    identity = run.manifest.identity
    key = {"identity": identity, "trials": trials, "device": device, "software": deciding(software(), run.spec.arch)}
    payload, why = read_checkpoint(path, key)
    if why:
        sys.stderr.write(f"block {block} begins anew: {why}\n")

    def save(content: memoryview, share: float) -> None:
        try:
            write_checkpoint(path, key, share, content)
        except OSError as error:  # a full disk may have room again when the block is committed
            sys.stderr.write(f"no checkpoint of block {block}: {path}: {error.strerror}\n")
        kept()

    return BlockKeeper(payload, save, every, len(trials))
