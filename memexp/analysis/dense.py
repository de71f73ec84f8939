"""Whole matrices of influence on disk, tile by tile; an interrupted one goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from memexp.analysis.merged import Merged
from memexp.analysis.products import Operands, Tile, in_parallel, n_threads
from memexp.errors import command
from memexp.files import explain_unwritable
from memexp.store.sealed import EVERY_CHUNK, SEAL, NotWhole, check_array, read_attributes

_WIDTH = 512  # training examples in a chunk
_KEPT = "What is written already stays; the same command goes on from there."


def write_dense(
    operands: Operands,
    value: Callable[[Tile], NDArray[np.float32]],
    folder: Path,
    digest: str,
    memory_gb: float = 1.0,
    tell: Callable[[float], None] = lambda _: None,
) -> None:
    """Write a matrix (test, train), float32, as a Zarr array in ``folder``, or finish it.

    One tile is one chunk is one file, written whole or not at all. Values are not compressed: their
    last bits are noise, and compressing takes longer than computing.

    Parameters
    ----------
    operands, value
        What values are made of, and those of a tile, shape (tests, trains).
    digest
        Of the trials. A part that was made from other trials is dropped.
    memory_gb
        What a tile may take.

    Raises
    ------
    OutOfSpace
        If the disk is full.
    """
    with zarr.config.set(EVERY_CHUNK):  # a file says that its tile is done
        array = _open(folder, digest) or _create(operands.shape, operands.bytes_per_row, folder, digest, memory_gb)
    (n_test, n_train), (height, width) = array.shape, array.chunks
    corners = [(top, left) for top in range(0, n_test, height) for left in range(0, n_train, width)]
    done = {corner for corner in corners if _is_whole(folder, corner[0] // height, corner[1] // width, height * width)}
    missing = [corner for corner in corners if corner not in done]
    bands = {top: slice(top, min(top + height, n_test)) for top in range(0, n_test, height)}

    def compute(corner: tuple[int, int]) -> None:
        tile = Tile(bands[corner[0]], slice(corner[1], min(corner[1] + width, n_train)))
        array[tile.tests, tile.trains] = value(tile)

    with explain_unwritable(folder, _KEPT):
        for count, _ in enumerate(in_parallel(compute, missing), len(done) + 1):
            tell(count / len(corners))


def holds_matrix(merged: Merged, name: str) -> bool:
    """Whether the estimates hold a whole matrix of this name, of exactly these trials.

    Raises
    ------
    NotWhole
        If they hold a part of one.
    """
    folder = merged.paths.estimates / name
    try:
        attributes = read_attributes(merged.paths.estimates)
    except NotWhole:
        return False
    if attributes.get("trials_digest") != merged.trials_digest or not folder.is_dir():
        return False
    try:
        check_array(folder, attributes[SEAL]["arrays"][name] if SEAL in attributes else None)
    except NotWhole as error:
        raise NotWhole(f"{error}; make it again with `{command('estimate', merged.paths.root, '--dense')}`") from error
    return True


def _open(folder: Path, digest: str) -> Any:
    """The unfinished matrix of the same trials, or None."""
    try:
        array = zarr.open_array(folder, mode="r+")
        return array if array.attrs.get("trials_digest") == digest else None
    except Exception:  # absent, or its metadata are damaged: it is begun again
        return None


def _create(shape: tuple[int, int], bytes_per_row: int, folder: Path, digest: str, memory_gb: float) -> Any:
    if folder.exists():
        shutil.rmtree(folder)
    n_test, n_train = shape
    width = min(n_train, _WIDTH)
    # For each thread a tile's values, three times while they are written; and once the operand of its rows.
    per_row = 12 * width * n_threads() + bytes_per_row
    height = max(1, min(n_test, int(memory_gb * 2**30) // per_row))
    return zarr.create_array(
        folder,
        shape=(n_test, n_train),
        chunks=(height, width),
        dtype=np.float32,
        fill_value=np.nan,
        compressors=[Crc32cCodec()],
        dimension_names=("test", "train"),
        attributes={"trials_digest": digest},
    )


def _is_whole(folder: Path, row: int, column: int, values: int) -> bool:
    """Whether a tile is written; a machine that lost its power can leave an empty file."""
    tile = folder / "c" / str(row) / str(column)
    return tile.is_file() and tile.stat().st_size >= 4 * values
