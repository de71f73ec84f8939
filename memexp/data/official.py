"""Readers of the files in which MNIST (idx) and CIFAR (python version) are distributed; each fault is a DataError."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.open_files import MOST_UNPACKED, require_file, require_memory, require_promise, unpack_exactly
from memexp.errors import DataError


def find_idx(folder: Path, stem: str) -> Path:
    """The file of this name, under the endings by which it is found, packed or not."""
    candidates = [folder / name for s in (stem, stem.replace("-idx", ".idx")) for name in (s, f"{s}.gz")]
    for path in candidates:
        if path.exists() and not path.is_dir():
            require_file(path)
            return path
    raise DataError(f"{folder} lacks {stem} (or {stem}.gz); it must hold the four idx files of an MNIST-like set")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The bytes of an idx file, in the shape that its header says; nothing beyond them is unpacked."""
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            start = stream.read(4)
            if len(start) < 4 or start[:3] != b"\x00\x00\x08" or not start[3]:
                raise DataError(
                    f"{path} is not an idx file of bytes (it starts with {start.hex()}, expected 000008); "
                    "get the file again"
                )
            header = stream.read(4 * start[3])
            if len(header) < 4 * start[3]:
                raise DataError(f"{path} is cut within its header; get the file again")
            shape = tuple(np.frombuffer(header, ">u4").tolist())
            there = path.stat().st_size - (0 if packed else 4 + len(header))
            size = require_promise(shape, 1, there, str(path), packed)
            return np.frombuffer(unpack_exactly(stream, size, str(path)), np.uint8).reshape(shape)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is cut or damaged ({error}); get the file again") from error


class _ArrayUnpickler(pickle.Unpickler):
    """Loads dicts, lists, strings and NumPy arrays, and nothing that could run code."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer", "encode")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs")


def cifar_reader(path: Path, folder: str) -> Callable[[str], dict[str, Any]]:
    """A function that reads one of the pickles, from the extracted folder or from the .tar.gz."""

    def read_bytes(name: str) -> bytes:
        if path.is_dir():
            found = next((p for p in (path / name, path / folder / name) if p.exists()), None)
            if found is None:
                raise DataError(f"{path} lacks {name}; it must hold the files of {folder} (python version)")
            require_file(found)
            return found.read_bytes()
        with tarfile.open(path) as archive:
            member = archive.getmember(f"{folder}/{name}")
            if member.size > MOST_UNPACKED * path.stat().st_size:
                raise DataError(f"{path}: {name} is {member.size:,} bytes by its header, more than can be there")
            require_memory(member.size, f"{path}: {name}")
            stream = archive.extractfile(member)
            return stream.read() if stream else b""

    def read(name: str) -> dict[str, Any]:
        try:
            content = _ArrayUnpickler(io.BytesIO(read_bytes(name)), encoding="latin1").load()
        except DataError:
            raise
        except Exception as error:  # a damaged pickle or archive can raise anything
            raise DataError(f"{path}: {name} is cut or is no CIFAR file ({error}); get it again") from error
        if not isinstance(content, dict):
            raise DataError(f"{path}: {name} holds a {type(content).__name__}, so it is no CIFAR file; get it again")
        return content

    return read
