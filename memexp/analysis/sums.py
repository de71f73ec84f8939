"""Sums of probabilities over the trials of blocks, added up over all blocks of all runs.

A block's sum is of all its finished trials and cannot be taken apart. So of blocks that have a trial in common (copies
of a run, one of which went on) the one with the most trials counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from memexp.analysis.arrivals import Source
from memexp.store.receipts import read_committed
from memexp.store.trials import DONE

SUMS = tuple(f"{axis}_probabilities{what}" for axis in ("train", "test") for what in ("", "_trials"))

_ROWS = 1024  # examples in a chunk


class _Block(NamedTuple):
    """A block with finished trials: their names, and where it is."""

    names: frozenset[tuple[int, int]]
    source: Source
    number: int


def write_sums(group: zarr.Group, sources: Sequence[Source]) -> None:
    """Write the sums over all blocks, and the trials that each example's are of, where all runs recorded them.

    Everything is read anew whenever trials have arrived: a block that was not full may have grown.

    Raises
    ------
    StoreError
        If a block is not what was committed.
    """
    layouts = [source.store.layout for source in sources]
    if not all(layout.n_classes for layout in layouts):
        for name in SUMS:  # of the runs that were merged before one that recorded none
            if name in group:
                del group[name]
        return
    layout, codecs = layouts[0], [ZstdCodec(level=1), Crc32cCodec()]
    sums = {axis: np.zeros((layout.size(axis), layout.n_classes), np.uint64) for axis in ("train", "test")}
    trials = {axis: np.zeros(layout.size(axis), np.int32) for axis in ("train", "test")}
    for block in _disjoint_blocks(sources):
        content, _ = read_committed(block.source.paths, block.source.store, block.number)
        done = content["status"] == DONE
        for axis in ("train", "test"):
            sums[axis] += content[f"{axis}_probabilities"][0]
            trials[axis] += done.sum(dtype=np.int32)
        trials["train"] -= content["mask"][done].sum(axis=0, dtype=np.int32)
    for axis in ("train", "test"):
        for name, values in (("", sums[axis]), ("_trials", trials[axis])):
            group.create_array(
                f"{axis}_probabilities{name}",
                data=values,
                chunks=(_ROWS, *values.shape[1:]),
                compressors=codecs,
                dimension_names=(axis, "class")[: values.ndim],
                overwrite=True,
            )


def _disjoint_blocks(sources: Sequence[Source]) -> list[_Block]:
    """Blocks without a common trial; of those that have one the largest, of equal ones the first run's."""
    found = []
    for source in sources:
        for number in range(source.store.layout.n_blocks):
            trials = source.store.layout.block(number)
            done = [trial for trial in trials if source.status[trial] == DONE]
            growing = any(source.paths.blocks.glob(f"{trials.start:06d}-*.npz"))  # it counts once it is in the store
            if done and not growing:
                found.append(_Block(frozenset((source.seed, trial) for trial in done), source, number))
    taken: set[tuple[int, int]] = set()
    chosen = []
    for block in sorted(found, key=lambda each: -len(each.names)):
        if not block.names & taken:
            taken |= block.names
            chosen.append(block)
    return chosen
