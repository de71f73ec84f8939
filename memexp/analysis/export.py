"""Export estimates for other programs: the released files' format, CSV, Parquet."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.estimates import Estimates, trials_of
from memexp.analysis.grouped import group_columns
from memexp.analysis.merged import Merged
from memexp.analysis.products import Tile, in_parallel
from memexp.analysis.tables import ids, memorization_columns, pair_columns
from memexp.errors import InputError
from memexp.files import explain_unwritable, write_atomic

Arrays = dict[str, NDArray[Any]]

_ROWS = 65536
_ENDINGS = {"fz": ".npz", "csv": ".csv", "parquet": ".parquet"}


@contextmanager
def new_array(path: Path, dtype: Any, shape: tuple[int, int]) -> Iterator[NDArray[Any]]:
    """A .npy file of a matrix to be filled, mapped; it has its name once it is whole."""
    building = path.with_name(f".{path.name}.new")
    try:
        found = np.lib.format.open_memmap(building, mode="w+", dtype=dtype, shape=shape)
        yield found
        found.flush()
        building.replace(path)
    finally:
        building.unlink(missing_ok=True)


def form_of(out: Path) -> str:
    """The format whose files end like this one.

    Raises
    ------
    InputError
        If there is none.
    """
    for form, ending in _ENDINGS.items():
        if out.suffix == ending:
            return form
    raise InputError(f"{out}: end the name of --out in {', '.join(_ENDINGS.values())}, or give a --format")


def export(
    merged: Merged, estimates: Estimates, form: str, out: Path, classes: Sequence[str] | None = None
) -> list[Path]:
    """Write the estimates in another format; returns the files written.

    Parameters
    ----------
    form
        ``fz``: one .npz with the keys and orientation of the files that Feldman and Zhang released.
        ``csv`` and ``parquet``: a table of the training examples, and one of the pairs beside it.
    out
        The file; the pairs' name has ``-pairs`` before its ending.
    classes
        Names of the labels, for columns of both tables.

    Raises
    ------
    InputError
        If the file cannot be written there, or the format needs a library that is not installed.
    """
    require_place(out)
    if out.suffix != _ENDINGS[form]:
        raise InputError(
            f"{out}: --format {form} writes a {_ENDINGS[form]} file; end the name of --out so, or give another --format"
        )
    write: dict[str, Callable[[Arrays, Path], None]] = {"csv": write_csv, "parquet": _write_parquet}
    with explain_unwritable(out, "The estimates are untouched."):
        if form == "fz":
            write_atomic(out, lambda stream: _write_npz(released_arrays(merged, estimates), stream))
            return [out]
        beside = out.with_name(f"{out.stem}-pairs{out.suffix}")
        write[form](train_table(merged, estimates, classes), out)
        named = None if classes is None else pair_columns(estimates.pairs, merged.examples, list(classes))
        write[form](named or estimates.pairs.columns(), beside)
        return [out, beside]


def make_folder(out: Path, form: str) -> None:
    """Make the folder that a format of several files is written into.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --format {form} writes several, so give --out a folder")
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {out}: {error.strerror}; give another --out") from error


def require_place(out: Path, endings: Sequence[str] = ()) -> None:
    """Raise :class:`InputError` unless a file can be written there, with one of these endings."""
    if not out.parent.is_dir():
        raise InputError(f"the folder {out.parent} does not exist; create it, or give another --out")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give --out the name of a file in it")
    if endings and out.suffix not in endings:
        raise InputError(f"{out}: the name must end in {' or '.join(endings)}")


def released_arrays(merged: Merged, estimates: Estimates) -> Iterator[tuple[str, NDArray[Any]]]:
    """Keys of the released CIFAR-100 file and of the released pair files in one, and their arrays, one at a time.

    ``tr_mem``, ``tr_labels``, ``tt_labels``; for each class K ``tr_classidx_K``, ``tt_classidx_K`` and
    ``infl_matrix_classK`` (train, test): the transpose of our orientation. ``tr_idx``, ``tt_idx``,
    ``infl``, ``mem`` of the selected pairs.
    """
    train_label, test_label = merged.examples["train_label"], merged.examples["test_label"]
    memorization = estimates.scores.memorization.astype(np.float64)
    passing = estimates.pairs.passing()
    yield from {
        "tr_mem": memorization,
        "tr_labels": train_label,
        "tt_labels": test_label,
        "tr_idx": passing.train,
        "tt_idx": passing.test,
        "infl": passing.influence.astype(np.float64),
        "mem": memorization[passing.train],
    }.items()
    trials = trials_of(merged)

    def of_class(label: int) -> Arrays:
        trains, tests = np.flatnonzero(train_label == label), np.flatnonzero(test_label == label)
        empty = not len(trains) or not len(tests)
        matrix = np.empty((len(tests), len(trains)), np.float32) if empty else trials.influence(Tile(tests, trains))
        return {
            f"tr_classidx_{label}": trains,
            f"tt_classidx_{label}": tests,
            f"infl_matrix_class{label}": np.ascontiguousarray(matrix.T),
        }

    for arrays in in_parallel(of_class, np.unique(np.concatenate([train_label, test_label])).tolist()):
        yield from arrays.items()


def train_table(merged: Merged, estimates: Estimates, classes: Sequence[str] | None = None) -> Arrays:
    """One row for each training example: what the store knows of it, then its scores."""
    known = {name: values for name, values in merged.examples.items() if name.startswith("train_")}
    for name in ("train_id", "train_group", "train_group_name"):
        known.pop(name, None)
    place: Arrays = {"train": np.arange(len(estimates.scores.memorization)), "id": ids(merged.examples, "train")}
    if classes is not None:
        place["class_name"] = np.array(classes)[known["train_label"]]
    return place | group_columns(merged.examples) | known | memorization_columns(estimates)


def _write_npz(arrays: Iterable[tuple[str, NDArray[Any]]], out: BinaryIO) -> None:
    """An .npz, array by array. Influences are not compressed: their last bits are noise, and zlib is slow."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, values, allow_pickle=False)


def write_csv(columns: Mapping[str, NDArray[Any]], out: Path) -> None:
    """Columns as a CSV file, by their names."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    length = len(next(iter(columns.values())))
    for top in range(0, length, _ROWS):  # as text, a table takes many times the memory of its numbers
        part = (values[top : top + _ROWS].astype(str).tolist() for values in columns.values())
        writer.writerows(zip(*part, strict=True))
    write_atomic(out, text.getvalue().encode())


def _write_parquet(columns: Arrays, out: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            "--format parquet needs pyarrow, which is not installed; run `pip install pyarrow`, or use --format csv"
        ) from error
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink)
    write_atomic(out, sink.getvalue())
