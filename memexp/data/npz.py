"""Read arrays of an .npz file; what its headers promise is compared with what is there before anything is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from memexp.data.open_files import printable, require_file, require_promise
from memexp.errors import DataError

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path, wanted: Sequence[str], *optional: str) -> dict[str, NDArray[Any]]:
    """The wanted arrays, and the optional ones that are there.

    Raises
    ------
    DataError
        If the file is damaged, lacks one, or promises an array that cannot be there.
    """
    try:
        require_file(path)
        with open(path, "rb") as stream, _opened(stream) as file:
            names = _zip(file).namelist()
            members = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
            missing = [name for name in wanted if name not in members]
            if missing:
                others = [
                    f"{name} (which is no array: its name must end in .npy)" for name in names if name[-4:] != ".npy"
                ]
                raise DataError(f"{path} lacks {', '.join(missing)}; it has {', '.join(members + others) or 'nothing'}")
            twice = [name for name in (*wanted, *optional) if members.count(name) > 1]
            if twice:
                raise DataError(f"{path} holds {twice[0]} twice; write it again with numpy.savez")
            return {name: _array(path, file, name) for name in (*wanted, *optional) if name in members}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError,
            RuntimeError) as error:  # fmt: skip
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{printable(path)} cannot be read as .npz ({error}); write it again with numpy.savez"
        ) from error


def _opened(stream: IO[bytes]) -> NpzFile:
    file = np.load(stream, allow_pickle=False)
    if not isinstance(file, NpzFile):
        raise ValueError("it holds a single array")
    return file


def _zip(file: NpzFile) -> zipfile.ZipFile:
    assert file.zip is not None, "it was opened just now"
    return file.zip


def _array(path: Path, file: NpzFile, name: str) -> NDArray[Any]:
    archive = _zip(file)
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version in _HEADERS:  # the others are for names of fields, which no array of ours has
            shape, _, dtype = _HEADERS[version](stream)
            there = member.file_size - stream.tell()
            if not dtype.hasobject:
                require_promise(shape, dtype.itemsize, there, f"{printable(path)}: {name}")
    packed = member.compress_size
    if member.file_size > 4096 + packed * (1 if member.compress_type == zipfile.ZIP_STORED else 1 << 14):
        raise ValueError(f"{name} is {member.file_size:,} bytes of {packed:,} packed ones by the file's directory")
    return np.asarray(file[f"{name}.npy"])
