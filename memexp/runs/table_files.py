"""Arrays of foreign trials from files: .npy, .npz, and what Feldman and Zhang released of each of their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError, reason
from memexp.runs.tables import bits

Array = NDArray[Any]


def read_array(text: Path) -> Array:
    """An array from ``FILE.npy``, mapped; from a ``FILE.npz`` with one array, or ``FILE.npz:NAME``.

    Raises
    ------
    InputError
        If there is none.
    """
    path, name = text, None
    if not text.exists() and ".npz:" in text.name:
        file, _, name = str(text).rpartition(":")
        path = Path(file)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            if name is None and len(found.files) == 1:
                name = found.files[0]
            if name not in found.files:
                raise InputError(f"{path} holds {', '.join(found.files)}; say which: {path}:{found.files[0]}")
            return np.asarray(found[name])
    except InputError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array ({reason(error)}); give a .npy or .npz file") from error


def read_published(folder: Path) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Trials as Feldman and Zhang released them: one ``aux_arrays.npz`` for each, anywhere below a folder.

    Returns
    -------
    masks : bool, shape (T, N)
    train, test
        ``correct`` of both halves, (T, N) and (T, M).

    Raises
    ------
    InputError
        If there is none, or one is of another kind or size.
    """
    files = sorted(folder.rglob("aux_arrays.npz"))
    if not files:
        raise InputError(f"{folder} holds no aux_arrays.npz; give the folder of the released models")
    rows = [_published_trial(file) for file in files]
    sizes = {tuple(len(part) for part in row) for row in rows}
    if len(sizes) > 1:
        raise InputError(f"the files below {folder} are of different sizes: {sorted(sizes)}; give one experiment's")
    mask, train, test = (np.stack(parts) for parts in zip(*rows, strict=True))
    return mask, {"correct": train}, {"correct": test}


def _published_trial(file: Path) -> tuple[Array, Array, Array]:
    try:
        with np.load(file, allow_pickle=False) as found:
            seen = found["subsample_idx"]
            index = {side: found[f"index_{side}"] for side in ("train", "removed", "test")}
            right = {side: bits(found[f"correctness_{side}"], str(file), 0) for side in index}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{file} is not what was released ({error}); leave it out") from error
    trains = np.concatenate([index["train"], index["removed"]])
    halves = []
    for places, values in (
        (trains, np.concatenate([right["train"], right["removed"]])), (index["test"], right["test"])
    ):  # fmt: skip
        if not np.array_equal(np.sort(places), np.arange(len(places))):
            raise InputError(f"{file} does not name every example once; leave it out")
        halves.append(np.empty(len(places), np.bool_))
        halves[-1][places] = values
    mask = np.zeros(len(trains), np.bool_)
    mask[seen] = True
    if not np.array_equal(np.flatnonzero(mask), np.sort(index["train"])):
        raise InputError(f"{file}: subsample_idx and index_train are different examples; leave it out")
    return mask, halves[0], halves[1]
