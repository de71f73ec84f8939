"""merged.zarr: the finished trials transposed for analysis, trials as the fast axis.

Built from trials.zarr block by block, packed to bits, so that memory is T * (2 N + M) / 8 bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from memexp.analysis.counts import Bits
from memexp.errors import Incomplete, StoreError
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_committed
from memexp.store.trials import DONE, FAILED, MISSING, TrialStore

MERGED_SCHEMA = 1
_BAND_BYTES = 32 << 20

_MATRICES = {"mask": "train", "train_correct": "train", "test_correct": "test"}
_PER_TRIAL = ("in_accuracy", "out_accuracy", "test_accuracy", "train_loss", "seconds")


def merge(paths: RunPaths, tell: Callable[[float], None] = lambda _: None) -> Merged:
    """Write merged.zarr from the trials that are done, replacing an older one, and open it.

    Raises
    ------
    Incomplete
        If no trial is done yet.
    StoreError
        If a block is damaged.
    """
    store = TrialStore(paths.trials)
    status = store.status()
    if not (status == DONE).any():
        raise Incomplete(f"{paths.root} has no finished trial to merge; run `memexp resume {paths.root}`")
    digest = trials_digest(paths, status)
    packed = {name: _PackedRows() for name in _MATRICES}
    for number in range(store.layout.n_blocks):
        trials = store.layout.block(number)
        done = status[trials.start : trials.stop] == DONE
        if done.any():
            block, _ = read_committed(paths, store, number)
            for name, rows in packed.items():
                rows.add(block[name][done])
        tell((number + 1) / store.layout.n_blocks)
    building = paths.merged.with_name(f".merged.{uuid.uuid4().hex[:8]}.zarr")
    try:
        _write(building, store, status, packed, digest)
        replace_store(building, paths.merged)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Merged(paths)


def open_merged(paths: RunPaths, tell: Callable[[float], None] = lambda _: None) -> Merged:
    """The run's merged.zarr, merged anew if it is absent or trials have arrived since."""
    try:
        merged = Merged(paths)
    except StoreError:  # absent, damaged or of another version: it can always be made again
        return merge(paths, tell)
    current = trials_digest(paths, TrialStore(paths.trials).status())
    return merged if merged.trials_digest == current else merge(paths, tell)


class Merged:
    """An existing merged.zarr.

    Attributes
    ----------
    n_trials, n_failed, n_missing
        Trials merged, trials that failed, trials not trained yet.
    examples
        Arrays of the examples: train_label, test_label, train_index, ...
    """

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths
        try:
            self.group = zarr.open_group(paths.merged, mode="r")
            attributes: dict[str, Any] = dict(self.group.attrs)
            if attributes["memexp_merged_schema"] != MERGED_SCHEMA:
                raise ValueError(f"schema {attributes['memexp_merged_schema']}")
            self.trials_digest: str = attributes["trials_digest"]
            self.n_failed: int = attributes["failed"]
            self.n_missing: int = attributes["missing"]
            self.n_trials: int = self._array("trial").shape[0]
            skipped = {"trial", *_MATRICES, *_PER_TRIAL}
            names = set(self.group.array_keys()) - skipped
            self.examples: dict[str, NDArray[Any]] = {name: self._read(name) for name in sorted(names)}
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise StoreError(f"{paths.merged} is not readable ({error}); run `memexp merge {paths.root}`") from error

    def _array(self, name: str) -> Any:
        return self.group[name]

    def _read(self, name: str) -> NDArray[Any]:
        try:
            return np.asarray(self._array(name)[:])
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(
                f"{self.paths.merged}/{name} is damaged ({error}); run `memexp merge {self.paths.root}`"
            ) from error

    def matrix(self, name: str) -> Bits:
        """A whole matrix, bool: mask or train_correct (N, T), test_correct (M, T)."""
        return self._read(name)

    def per_trial(self, name: str) -> NDArray[np.float32]:
        """A number of each merged trial (in_accuracy, seconds, ...), shape (T,)."""
        return self._read(name)

    def bands(self, *names: str) -> Iterator[tuple[slice, list[Bits]]]:
        """Matrices of one axis in bands of rows, as stored; yields (rows, bands)."""
        n_rows, step = self._array(names[0]).shape[0], self._array(names[0]).chunks[0]
        for start in range(0, n_rows, step):
            rows = slice(start, min(start + step, n_rows))
            yield rows, [np.asarray(self._array(name)[rows]) for name in names]


@dataclass
class _PackedRows:
    """Rows of booleans, eight to a byte; ``columns`` gives them back transposed."""

    packed: list[NDArray[np.uint8]] = field(default_factory=list)
    waiting: list[Bits] = field(default_factory=list)
    count: int = 0

    def add(self, rows: Bits) -> None:
        self.waiting.append(rows)
        self.count += len(rows)
        together = np.concatenate(self.waiting)
        whole = len(together) // 8 * 8
        if whole:
            self.packed.append(np.packbits(together[:whole], axis=0))
            self.waiting = [together[whole:]]

    def columns(self, step: int) -> Iterator[tuple[slice, Bits]]:
        rest = np.packbits(np.concatenate(self.waiting), axis=0)
        bits = np.concatenate([*self.packed, rest])
        for start in range(0, bits.shape[1], step):
            columns = slice(start, min(start + step, bits.shape[1]))
            band = np.unpackbits(np.ascontiguousarray(bits[:, columns].T), axis=1, count=self.count)
            yield columns, band.astype(np.bool_)


def _write(
    path: Path, store: TrialStore, status: NDArray[np.uint8], packed: dict[str, _PackedRows], digest: str
) -> None:
    done = np.flatnonzero(status == DONE)
    attributes = {
        "memexp_merged_schema": MERGED_SCHEMA,
        "trials_digest": digest,
        "failed": int((status == FAILED).sum()),
        "missing": int((status == MISSING).sum()),
    }
    group = zarr.create_group(path, attributes=attributes)
    codecs = [ZstdCodec(level=1), Crc32cCodec()]
    step = max(1, _BAND_BYTES // len(done))
    sizes = {"train": store.layout.n_train, "test": store.layout.n_test}
    group.create_array("trial", data=done.astype(np.int64), compressors=codecs, dimension_names=("trial",))
    for name in _PER_TRIAL:
        group.create_array(name, data=store.per_trial(name)[done], compressors=codecs, dimension_names=("trial",))
    for name, values in store.examples().items():
        group.create_array(name, data=values, compressors=codecs, dimension_names=(name.split("_")[0],))
    for name, axis in _MATRICES.items():
        array = group.create_array(
            name,
            shape=(sizes[axis], len(done)),
            chunks=(min(step, sizes[axis]), len(done)),
            dtype=np.bool_,
            compressors=codecs,
            dimension_names=(axis, "trial"),
        )
        for columns, band in packed[name].columns(step):
            array[columns] = band


def trials_digest(paths: RunPaths, status: NDArray[np.uint8]) -> str:
    """Changes whenever a trial arrives or a block is trained again: states and receipts of all blocks."""
    digest = hashlib.sha256(status.tobytes())
    for path in sorted(paths.blocks.glob("*.json")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def replace_store(new: Path, old: Path) -> None:
    """Put a finished store where an older one may be."""
    aside = old.with_name(f".old.{uuid.uuid4().hex[:8]}.zarr")
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)
