"""trials.zarr: one row for each trial, one chunk for each block and array.

The launcher creates and extends the store; workers write whole chunks of their own blocks and never
touch metadata; everybody else reads. A missing chunk reads as zeros in Zarr, so readers here check
that every chunk of a finished block exists, and its checksum.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from memexp.errors import NewerSchema, StoreError
from memexp.store.layout import LEARNING, RECORDABLE, SCALAR, Layout
from memexp.store.manifest import SCHEMA_VERSION
from memexp.store.paths import by_repair
from memexp.store.plausible import require_plausible
from memexp.store.sealed import (
    EVERY_CHUNK,
    SEAL,
    NotWhole,
    check_array,
    create_examples,
    explained,
    plain,
    read_attributes,
    read_metadata,
    seal,
)

MISSING, DONE, FAILED = 0, 1, 2

Arrays = Mapping[str, NDArray[Any]]


def create_store(path: Path, layout: Layout, examples: Mapping[str, NDArray[Any]]) -> None:
    """Create an empty store.

    Parameters
    ----------
    path
        Where; must not exist.
    layout
        Shape of the store.
    examples
        Arrays that belong to the examples (labels, places in the source); their names start with
        ``train_`` or ``test_``.
    """
    group = zarr.create_group(path, attributes={"memexp_schema": SCHEMA_VERSION})
    codecs, sums = [ZstdCodec(level=3), Crc32cCodec()], layout.block_sums()
    for name, (axis, dtype) in layout.outcome_arrays().items():
        group.create_array(
            name,
            shape=layout.shape(name, layout.n_trials),
            chunks=layout.chunk(name),
            dtype=dtype,
            compressors=codecs,
            dimension_names=("block", axis, "class") if name in sums else ("trial", axis) if axis else ("trial",),
            fill_value=np.nan if dtype == np.float32 else 0,
        )
    with zarr.config.set(EVERY_CHUNK):
        for name, values in examples.items():
            create_examples(group, name, values, codecs)
    seal(path, growing=[*layout.outcome_arrays()])


def extend_store(path: Path, n_trials: int) -> None:
    """Make room for more trials; rows that exist stay as they are.

    ``status``, which tells how many trials there are, grows last: killed in between, the store is the old one.
    """
    store = TrialStore(path, writable=True)
    for name in store.layout.outcome_arrays():
        store._array(name).resize(store.layout.shape(name, n_trials))


class TrialStore:
    """An existing trials.zarr.

    Parameters
    ----------
    path
        The store.
    writable
        Workers and the launcher open it for writing.

    Raises
    ------
    NewerSchema
        If a newer memexp wrote it.
    StoreError
        If its metadata are damaged.
    """

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        try:
            attributes = read_attributes(path, self._refuse_newer)
            schema = attributes.get("memexp_schema")
            if schema not in (1, 2) or (schema == 1) != (SEAL not in attributes):
                raise NotWhole(f"{path}: its zarr.json has schema {schema}")
            self._digests: dict[str, str] = attributes[SEAL]["arrays"] if SEAL in attributes else {}
            self.layout = self._read_layout()
            mode: Literal["r+", "r"] = "r+" if writable else "r"
            self.group = explained(path, lambda: zarr.open_group(path, mode=mode, use_consolidated=False))
        except NotWhole as error:
            raise StoreError(f"{error}; {by_repair(path.parent)}") from error

    def _refuse_newer(self, attributes: dict[str, Any]) -> None:
        schema = attributes.get("memexp_schema")
        if isinstance(schema, int) and schema > SCHEMA_VERSION:
            raise NewerSchema(
                f"{self.path} has schema {schema}; this memexp reads up to {SCHEMA_VERSION}. Install a newer memexp"
            )

    def _read_layout(self) -> Layout:
        """The store's shape, which all of its arrays must have; of an older store it is all that is known of them."""
        outcome = "correct" if (self.path / "test_correct").is_dir() else "score"
        mask, test, status = (
            _shape_and_chunk(self.path / name, axes)
            for name, axes in (("mask", 2), (f"test_{outcome}", 2), ("status", 1))
        )
        recorded = {
            name: self._kind(name, kinds)
            for name, kinds in {**RECORDABLE, **LEARNING}.items()
            if (self.path / f"train_{name}").is_dir()
        }
        scalars = tuple(sorted(path.name.removeprefix(SCALAR) for path in self.path.glob(f"{SCALAR}*")))
        sums = self.path / "train_probabilities"
        n_classes = _shape_and_chunk(sums, 3)[0][2] if sums.is_dir() else 0
        layout = Layout(status[0][0], mask[0][1], test[0][1], mask[1][0], recorded, scalars, n_classes)
        for name, (_, dtype) in layout.outcome_arrays().items():
            folder = self.path / name
            length, *rest = layout.shape(name, layout.n_trials)
            shape, chunk = _shape_and_chunk(folder, 1 + len(rest))
            kind = read_metadata(folder).get("data_type")
            if shape[0] < length or [*shape[1:]] != rest or (*chunk,) != layout.chunk(name):
                raise NotWhole(f"{folder}/zarr.json is damaged (shape {shape}, chunks {chunk})")
            if kind != dtype.name:
                raise NotWhole(f"{folder}/zarr.json is damaged (its type is {kind})")
            if self._digests:
                check_array(folder, self._digests[name], growing=True)
        return layout

    def _kind(self, name: str, kinds: tuple[str, ...]) -> str:
        """Type of a recorded outcome; the first of those it may have, where the array's is none of them."""
        found = read_metadata(self.path / f"train_{name}").get("data_type")
        return found if found in kinds else kinds[0]

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        return array

    def examples(self) -> dict[str, NDArray[Any]]:
        """Arrays of the examples: train_label, test_label, train_index, test_index, ...; text as Python's.

        Raises
        ------
        StoreError
            If one is not what was written.
        """
        outcome = self.layout.outcome_arrays()
        names = set(self._digests) or {file.parent.name for file in self.path.glob("*/zarr.json")}
        found = {}
        for name in sorted(names - outcome.keys()):
            try:
                if self._digests:
                    check_array(self.path / name, self._digests[name])
            except NotWhole as error:
                raise StoreError(f"{error}; {by_repair(self.path.parent)}") from error
            found[name] = plain(self._read(name, slice(None)))
        if not self._digests:
            require_plausible(self.path, found)
        return found

    def status(self, trials: range | None = None) -> NDArray[np.uint8]:
        """State of some trials, or of every one, shape (trial,): MISSING, DONE or FAILED."""
        rows = slice(None) if trials is None else slice(trials.start, trials.stop)
        return np.asarray(self._read("status", rows))

    def require_present(self) -> None:
        """Raise :class:`StoreError` if a file of an outcome is missing; for readers that know nothing of receipts."""
        for number in self.layout.blocks_with(self.status() != MISSING):
            self._require_chunks(number, self.layout.outcome_arrays())

    def missing_blocks(self) -> list[int]:
        """Blocks with a trial that is neither done nor failed."""
        return self.layout.blocks_with(self.status() == MISSING)

    def per_trial(self, name: str) -> NDArray[np.float32]:
        """One of the numbers kept for each trial (seconds, in_accuracy, ...), shape (trial,)."""
        return np.asarray(self._read(name, slice(None)))

    def read_block(self, number: int, without: Collection[str] = ()) -> dict[str, NDArray[Any]]:
        """All arrays of one committed block, but for those named in ``without``.

        Raises
        ------
        StoreError
            If a chunk is missing, cut or altered.
        """
        names = [name for name in self.layout.outcome_arrays() if name not in without]
        self._require_chunks(number, names)
        return {name: self._read(name, self._rows(name, number), number) for name in names}

    def _rows(self, name: str, number: int) -> slice:
        """Where an array has a block: its trials, or its one row of sums."""
        trials = self.layout.block(number)
        return slice(number, number + 1) if name in self.layout.block_sums() else slice(trials.start, trials.stop)

    def _require_chunks(self, number: int, names: Iterable[str]) -> None:
        for name in set(names) & set(self._written()):
            if not self._chunk(name, number).is_file():
                raise self._damaged(name, number, "its file is missing")

    def write_block(self, number: int, content: Arrays) -> None:
        """Write all arrays of a block, ``status`` last, and see them safely on the disk."""
        names = self._written()
        with zarr.config.set(EVERY_CHUNK):
            for name in names[:-1]:
                self._array(name)[self._rows(name, number)] = content[name]
            self._flush(names[:-1], number)
            self._array("status")[self._rows("status", number)] = content["status"]
            self._flush(["status"], number)

    def _written(self) -> list[str]:
        """Arrays that have files: without a test set, those of its axis have none."""
        none = () if self.layout.n_test else ("test",)
        return [name for name, (axis, _) in self.layout.outcome_arrays().items() if axis not in none]

    def forget_block(self, number: int) -> None:
        """Mark the trials of a block as missing; its other chunks are overwritten when it is trained again."""
        self.write_status(number, np.zeros(len(self.layout.block(number)), dtype=np.uint8))

    def write_status(self, number: int, states: NDArray[np.uint8]) -> None:
        """Write the states of a block, whatever its chunk was."""
        trials = self.layout.block(number)
        with zarr.config.set(EVERY_CHUNK):
            self._chunk("status", number).unlink(missing_ok=True)
            self._array("status")[trials.start : trials.stop] = states
            self._flush(["status"], number)

    def _chunk(self, name: str, block: int) -> Path:
        return self.path.joinpath(name, "c", str(block), *["0"] * (self._array(name).ndim - 1))

    def _flush(self, names: list[str], block: int) -> None:
        for name in names:
            with open(self._chunk(name, block), "rb") as stream:
                os.fsync(stream.fileno())

    def _read(self, name: str, rows: slice, block: int | None = None) -> NDArray[Any]:
        try:
            return np.asarray(explained(self.path / name, lambda: self._array(name)[rows]))
        except NotWhole as error:
            raise self._damaged(name, block, str(error.__cause__)) from error

    def _damaged(self, name: str, block: int | None, why: str) -> StoreError:
        where = self.path / name if block is None else self._chunk(name, block)
        return StoreError(f"{where} is damaged: {why}; {by_repair(self.path.parent)}")


def _shape_and_chunk(folder: Path, axes: int) -> tuple[list[int], list[int]]:
    metadata = read_metadata(folder)
    try:
        shape, chunk = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
        whole = all(type(length) is int and length > 0 for length in (shape[0], *chunk))
        if len(shape) == len(chunk) == axes and whole and all(type(length) is int and length >= 0 for length in shape):
            return shape, chunk
    except (KeyError, TypeError):
        pass
    raise NotWhole(f"{folder}/zarr.json is damaged (its shape or chunks are none)")
