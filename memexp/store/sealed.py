"""Zarr stores that are read only where they are whole: every chunk present, each file the one that was written.

Zarr reads an absent chunk as the fill value, and takes a chunk's checksum as proof even where another
array's chunk stands in its place. So every chunk is written, and the last step of writing a store is its
seal, in the attributes of its root: a digest of each array (its metadata, and length and end of each of its
files, where Zarr's own checksum stands) and one of the root itself. What the seal says is checked when a
store is opened; what the checksums say, when a chunk is read.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from memexp.errors import StoreError
from memexp.files import digest, write_atomic

SEAL = "memexp_seal"
EVERY_CHUNK = {"array.write_empty_chunks": True}

_END = 4096  # bytes at the end of a file: of a shard its index too


class NotWhole(StoreError):
    """A store, or a part of it, is absent or not as it was written."""


def seal(path: Path, growing: Sequence[str] = ()) -> None:
    """Seal a finished store.

    Parameters
    ----------
    growing
        Arrays whose first axis grows and whose chunks come later: only the rest of their metadata is sealed.
    """
    root = path / "zarr.json"
    content = json.loads(root.read_bytes())
    names = sorted(file.parent.relative_to(path).as_posix() for file in path.rglob("zarr.json") if file != root)
    arrays = [name for name in names if read_metadata(path / name)["node_type"] == "array"]
    content["attributes"][SEAL] = {"arrays": {name: _array_digest(path / name, name in growing) for name in arrays}}
    content["attributes"][SEAL]["root"] = digest(content)
    write_atomic(root, json.dumps(content, indent=1).encode())


def read_attributes(path: Path, look: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
    """Attributes of a store's root, checked where it is sealed, the seal among them.

    ``look`` sees them first, to refuse what a later version wrote.

    Raises
    ------
    NotWhole
        If they cannot be read, or are not those that were written.
    """
    try:
        content = json.loads((path / "zarr.json").read_bytes())
        attributes: dict[str, Any] = content["attributes"]
        written = attributes[SEAL].pop("root") if SEAL in attributes else None
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotWhole(f"{path}: its zarr.json is absent or damaged ({error})") from error
    look(attributes)
    if written is not None and written != digest(content):
        raise NotWhole(f"{path}: its zarr.json was changed after it was written")
    return attributes


class Sealed:
    """A sealed store, open for reading.

    Parameters
    ----------
    path
        The store.
    version
        Attribute with the version of its layout, and the version that is read.
    repair
        What makes it again: the end of every message.
    unread
        Arrays that are not looked at here.

    Attributes
    ----------
    attributes
        Of its root.
    names
        Of its arrays; those of groups with their path.

    Raises
    ------
    NotWhole
        If it is absent, of another version, or not whole.
    """

    def __init__(self, path: Path, version: tuple[str, int], repair: str, unread: Sequence[str] = ()) -> None:
        self.path, self._repair = path, repair
        name, wanted = version
        try:
            self._generation = _generation(path)
            self.attributes = read_attributes(path)
            if self.attributes.get(name) != wanted or SEAL not in self.attributes:
                raise NotWhole(f"{path}: its version is {self.attributes.get(name)}, not {wanted}")
            self._digests: dict[str, str] = self.attributes[SEAL]["arrays"]
            for each in self.names:
                if each not in unread:
                    self.check(each)
            self.group = explained(path, lambda: zarr.open_group(path, mode="r"))
        except NotWhole as error:
            raise NotWhole(f"{error}; {repair}") from error

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._digests)

    def check(self, name: str) -> None:
        """Raise :class:`NotWhole` unless an array's files are those that were sealed."""
        check_array(self.path / name, self._digests[name])

    def array(self, name: str) -> Any:
        """An array, to ask for its shape and chunks."""
        return self.group[name]

    def read(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Rows of an array.

        Raises
        ------
        NotWhole
            If a chunk is damaged, or the store was replaced since it was opened.
        """
        try:
            values: NDArray[Any] = explained(self.path / name, lambda: np.asarray(self.array(name)[rows]))
            if _generation(self.path) != self._generation:
                raise NotWhole(f"{self.path} was made again while it was read")
        except NotWhole as error:
            raise NotWhole(f"{error}; {self._repair}") from error
        return plain(values)


def read_everything(path: Path, repair: str) -> None:
    """Read all of a sealed store; one of an earlier version has no seal, and is only read by that version.

    Raises
    ------
    NotWhole
        If something in it is absent or damaged.
    """
    try:
        attributes = read_attributes(path)
        if SEAL not in attributes:
            return
        group = explained(path, lambda: zarr.open_group(path, mode="r"))
        for name, wanted in attributes[SEAL]["arrays"].items():
            check_array(path / name, wanted)
            explained(path / name, partial(_read_in_bands, group[name]))
    except NotWhole as error:
        raise NotWhole(f"{error}; {repair}") from error


def _read_in_bands(array: Any) -> None:
    height = (array.shards or array.chunks)[0]
    for top in range(0, array.shape[0], height):
        array[top : top + height]


def check_array(folder: Path, wanted: str | None, growing: bool = False) -> None:
    """Raise :class:`NotWhole` unless an array's files are those of its digest, or all there (None: it has none)."""
    found = _array_digest(folder, growing)
    if wanted not in (None, found):
        raise NotWhole(f"{folder} is not what was written: a file of it was changed, or stands in another's place")


def chunk_files(metadata: dict[str, Any]) -> Iterator[str]:
    """Names of all files of an array, from its metadata."""
    shape, height = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
    counts = (range(-(-length // step)) for length, step in zip(shape, height, strict=True))
    return ("/".join(["c", *map(str, place)]) for place in itertools.product(*counts))


def _array_digest(folder: Path, growing: bool) -> str:
    metadata = read_metadata(folder)
    try:
        if growing:
            return digest(metadata | {"shape": [None, *metadata["shape"][1:]]})
        state = hashlib.sha256(digest(metadata).encode())
        for name in chunk_files(metadata):
            with open(folder / name, "rb") as stream:
                length = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, length - _END))
                state.update(f"{name} {length} ".encode() + stream.read())
    except PermissionError:
        raise
    except OSError as error:
        raise NotWhole(f"{error.filename} is missing or unreadable ({error.strerror})") from error
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise NotWhole(f"{folder}/zarr.json is damaged ({error!r})") from error
    return state.hexdigest()[:32]


def read_metadata(folder: Path) -> dict[str, Any]:
    """zarr.json of an array or a group.

    Raises
    ------
    NotWhole
        If it is absent or damaged.
    """
    try:
        content = json.loads((folder / "zarr.json").read_bytes())
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise NotWhole(f"{folder}/zarr.json is absent or damaged ({error})") from error
    if not isinstance(content, dict):
        raise NotWhole(f"{folder}/zarr.json is damaged (no JSON object)")
    return content


def _generation(path: Path) -> tuple[int, int]:
    """Changes when another folder takes the store's place; a finished store is never changed."""
    try:
        found = path.stat()
    except PermissionError:
        raise
    except OSError as error:
        raise NotWhole(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
    return found.st_ino, found.st_mtime_ns


def explained(what: Path, read: Callable[[], Any]) -> Any:
    """What ``read`` gives. Zarr and its codecs say in many ways that something is damaged; this says it in one.

    Raises
    ------
    NotWhole
        Whatever the fault.
    """
    try:
        return read()
    except PermissionError:  # nothing is known of what one may not read
        raise
    except Exception as error:
        raise NotWhole(f"{what} is damaged: {error}") from error


def create_examples(group: zarr.Group, name: str, values: NDArray[Any], codecs: list[Any]) -> None:
    """Write an array of the examples, whose axis its name starts with; text as Zarr's ``string``."""
    axis = (name.split("_")[0],)
    if values.dtype.kind != "O":
        group.create_array(name, data=values, compressors=codecs, dimension_names=axis)
        return
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=(max(1, len(values)),),
        dtype=str,
        compressors=codecs,
        dimension_names=axis,
    )
    array[:] = values


def plain(values: NDArray[Any]) -> NDArray[Any]:
    """Text as Python's, whichever type this NumPy has for it; other arrays as they are."""
    return values if values.dtype.kind in "biufc" else values.astype(object)
