"""How merged.zarr is written: slab after slab of trials, transposed.

Full slabs stay as they are, the last one is completed. Each slab of each matrix is one sharded file (a few
for millions of examples).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from memexp.analysis.arrivals import Arrivals, Source, common_matrices
from memexp.analysis.counts import Bits
from memexp.store.layout import PER_TRIAL, Kinds, Layout, bits_of
from memexp.store.sealed import create_examples

_SLAB = 1024  # trials in a file, at most
_SLAB_BYTES = 512 << 20  # of their outcomes, which are held at once
_ROWS = 1024  # examples in a chunk
_CHUNKS = 64  # chunks in a file, at most

Tell = Callable[[float], None]


def create_merged(path: Path, sources: list[Source]) -> None:
    """An empty merged store for the experiment of the sources."""
    layout, matrices = sources[0].store.layout, common_matrices(sources)
    group = zarr.create_group(path)
    codecs = [ZstdCodec(level=1), Crc32cCodec()]
    names = dict.fromkeys(PER_TRIAL, np.float32) | {"trial": np.int64, "seed": np.int64}
    for name, kind in names.items():
        group.create_array(
            name, shape=(0,), chunks=(64 * _SLAB,), dtype=kind, compressors=codecs, dimension_names=("trial",)
        )
    for name, values in sources[0].store.examples().items():
        create_examples(group, name, values, codecs)
    slab = _slab(layout, matrices)
    for name, (axis, dtype) in matrices.items():
        chunks_in_file = max(1, min(_CHUNKS, -(-layout.size(axis) // _ROWS)))
        group.create_array(
            name,
            shape=(layout.size(axis), 0),
            shards=(_ROWS * chunks_in_file, slab),
            chunks=(_ROWS, slab),
            dtype=dtype,
            compressors=codecs,
            dimension_names=(axis, "trial"),
        )


def _slab(layout: Layout, matrices: Kinds) -> int:
    """Trials in a file: fewer where their outcomes, such as the margins of a million examples, are large."""
    bits = sum(layout.size(axis) * bits_of(dtype) for axis, dtype in matrices.values())
    return max(1, min(_SLAB, 8 * _SLAB_BYTES // bits))


def append(group: zarr.Group, arrivals: Arrivals, tell: Tell) -> None:
    """Append the new trials, one slab after the other."""
    mask: Any = group["mask"]
    end, size = mask.shape[1], mask.chunks[1]
    for slab in arrivals.slabs(first=size - end % size, size=size, tell=tell):
        start, end = end, end + slab.count
        for name, values in slab.columns.items():
            array: Any = group[name]
            array.resize((end,))
            array[start:end] = values
        for name, rows in slab.matrices.items():
            array = group[name]
            array.resize((array.shape[0], end))
            _write_slab(array, rows, start, end)


def _write_slab(array: Any, trials: NDArray[Any], start: int, end: int) -> None:
    """Write trials ``start`` to ``end``, of one slab, (trial, examples), booleans packed. Whole files only."""
    n_rows, height, width = array.shape[0], array.shards[0], array.chunks[1]
    slab = start // width * width
    for top in range(0, n_rows, height):
        rows = slice(top, min(top + height, n_rows))
        new = _columns(trials, rows) if array.dtype == np.bool_ else trials[:, rows]
        before = np.asarray(array[rows, slab:start]) if start > slab else np.empty((len(new.T), 0), array.dtype)
        array[rows, slab:end] = np.concatenate([before, new.T], axis=1)


def _columns(packed: NDArray[np.uint8], rows: slice) -> Bits:
    """Some examples of packed booleans, (trial, rows)."""
    columns = slice(rows.start // 8, -(-rows.stop // 8))
    offset = rows.start - 8 * columns.start
    return np.unpackbits(packed[:, columns], axis=1)[:, offset : offset + rows.stop - rows.start].view(np.bool_)
