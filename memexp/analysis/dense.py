"""The whole influence matrix on disk, tile by tile; an interrupted one goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from memexp.analysis.products import Tile, Trials
from memexp.files import explain_full_disk

_WIDTH = 1024  # training examples in a chunk
_KEPT = "What is written already stays; the same command goes on from there."


def write_dense(
    trials: Trials, folder: Path, digest: str, memory_gb: float = 1.0, tell: Callable[[float], None] = lambda _: None
) -> None:
    """Write ``influence`` (test, train), float32, as a Zarr array in ``folder``, or finish it.

    One tile is one chunk is one file, written whole or not at all. Values are not compressed: their
    last bits are noise, and compressing takes longer than computing.

    Parameters
    ----------
    digest
        Of the trials. A part that was made from other trials is dropped.
    memory_gb
        What a tile may take.

    Raises
    ------
    OutOfSpace
        If the disk is full.
    """
    array = _open(folder, digest) or _create(trials, folder, digest, memory_gb)
    (n_test, n_train), (height, width) = array.shape, array.chunks
    corners = [(top, left) for top in range(0, n_test, height) for left in range(0, n_train, width)]
    done = {corner for corner in corners if _chunk(folder, corner[0] // height, corner[1] // width).is_file()}
    writing: Future[None] | None = None
    tests = slice(0, 0)
    with explain_full_disk(folder, _KEPT), ThreadPoolExecutor(1) as writer:
        for count, (top, left) in enumerate([corner for corner in corners if corner not in done], len(done) + 1):
            if tests.start != top or tests.stop == 0:
                tests = slice(top, min(top + height, n_test))
            tile = Tile(tests, slice(left, min(left + width, n_train)))
            value = trials.influence(tile)
            if writing:
                writing.result()
            writing = writer.submit(_write, array, tile, value)
            tell(count / len(corners))
        if writing:
            writing.result()


def _write(array: Any, tile: Tile, value: Any) -> None:
    with zarr.config.set({"array.write_empty_chunks": True}):
        array[tile.tests, tile.trains] = value


def _open(folder: Path, digest: str) -> Any:
    """The unfinished matrix of the same trials, or None."""
    try:
        array = zarr.open_array(folder, mode="r+")
    except (FileNotFoundError, ValueError):
        return None
    return array if array.attrs.get("trials_digest") == digest else None


def _create(trials: Trials, folder: Path, digest: str, memory_gb: float) -> Any:
    shutil.rmtree(folder, ignore_errors=True)
    n_test, n_train = trials.shape
    width = min(n_train, _WIDTH)
    # Beside a pair's product and two values (one waits for the disk), a row's operand takes its bytes.
    height = max(1, min(n_test, int(memory_gb * 2**30) // (16 * width + trials.bytes_per_row)))
    return zarr.create_array(
        folder,
        shape=(n_test, n_train),
        chunks=(height, width),
        dtype=np.float32,
        fill_value=np.nan,
        compressors=None,
        dimension_names=("test", "train"),
        attributes={"trials_digest": digest},
    )


def _chunk(folder: Path, row: int, column: int) -> Path:
    return folder / "c" / str(row) / str(column)
