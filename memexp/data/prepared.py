"""Prepared images: a folder of .npy files that every process maps into its memory, with their fingerprint.

x_train.npy, x_test.npy    uint8, (N, size, size, 3) and (M, size, size, 3)
y_train.npy, y_test.npy    int64 labels
prepared.json              classes, size, the files in order, fingerprints; written last
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.fingerprint import array_digest
from memexp.data.open_files import require_file
from memexp.errors import DataError
from memexp.files import to_json, write_atomic

FORMAT = 1
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Prepared:
    """Arrays in the order x_train, y_train, x_test, y_test; ``record``: the content of prepared.json."""

    folder: Path
    arrays: tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
    record: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return tuple(self.record["classes"])

    @property
    def digests(self) -> dict[str, str]:
        """Fingerprint of each array, by name."""
        return dict(self.record["digests"])


def seal(folder: Path, record: dict[str, Any]) -> Prepared:
    """Fingerprint the arrays of a folder and write prepared.json, which makes it complete."""
    record = {"format": FORMAT} | record
    record["digests"] = {name: array_digest(_mapped(folder, name)) for name in ARRAYS}
    record["files_as_sealed"] = {name: _stamp(folder, name) for name in ARRAYS}
    write_atomic(folder / "prepared.json", to_json(record))
    return open_prepared(folder)


def open_prepared(folder: Path) -> Prepared:
    """Map the arrays of a prepared folder.

    The images are read as they are needed. A file of another size or time than when it was sealed (a
    copy, for example) is read as a whole and compared with its fingerprint, the labels always; others are taken as
    they are.

    Raises
    ------
    DataError
        If the folder is not complete, or a file is not what ``memexp prepare`` wrote.
    """
    try:
        for name in ("prepared.json", *(f"{name}.npy" for name in ARRAYS)):
            require_file(folder / name)
        record = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
        if record["format"] > FORMAT:
            raise DataError(f"{folder} was prepared by a newer memexp; install that")
        sealed = record["files_as_sealed"]
        changed = [name for name in ARRAYS if name[0] == "y" or sealed[name] != _stamp(folder, name)]
        arrays = {name: _mapped(folder, name) for name in ARRAYS}
        wrong = [name for name in changed if array_digest(arrays[name]) != record["digests"][name]]
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} lacks {Path(error.filename).name}: it is not (wholly) prepared. Run `memexp prepare IMAGES "
            f"{folder}`, which goes on where it was stopped"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder} is damaged ({error}); remove it and run `memexp prepare` again") from error
    if wrong:
        raise DataError(
            f"{folder}: {wrong[0]}.npy is not what memexp prepare wrote (its fingerprint differs); restore it, or "
            "remove the folder and prepare it again"
        )
    return Prepared(folder, (arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"]), record)


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    # Copy on write: torch asks for writable memory, and the file must never change.
    array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
    return array


def _stamp(folder: Path, name: str) -> list[int]:
    state = (folder / f"{name}.npy").stat()
    return [state.st_size, state.st_mtime_ns]
