"""Decode and resize an image folder once, for all trials. Killed at any moment, it goes on where it was.

Images are decoded in parts of ``_PART`` files by threads (Pillow works outside the interpreter's lock)
and written to their place in the arrays' files. A part that is on the disk is noted in ``progress.jsonl`` with the
names, sizes and times of its files, so that a part is done again exactly when one of them has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from memexp.data.folders import SPLITS, ImageFiles, list_images, refuse
from memexp.data.images import READING, read_image
from memexp.data.prepared import Prepared, open_prepared, seal
from memexp.errors import DataError, InputError, OutOfSpace
from memexp.files import digest, explain_unwritable

_PART = 128
_NOTE_EVERY_SECONDS = 5.0
_KEPT = "What was decoded is kept."


@dataclass(frozen=True)
class Part:
    """Images ``start`` to ``stop`` of a split; ``stamp`` tells whether one of the files has changed."""

    split: str
    start: int
    stop: int
    stamp: str


class _Pixels:
    """An .npy file of images (N, size, size, 3) that is filled in any order.

    By ordinary writes: a process that fills a mapped file is killed without a word when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode="r")
        self.path, self.shape, self.offset = path, array.shape, array.offset

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...]) -> _Pixels:
        open_memmap(path, "w+", np.uint8, shape)
        return cls(path)

    def write(self, start: int, images: NDArray[np.uint8]) -> None:
        """Put ``images`` at ``start`` and after it."""
        with open(self.path, "r+b") as stream:
            stream.seek(self.offset + start * math.prod(self.shape[1:]))
            stream.write(images.data)

    def flush(self) -> None:
        """See what was written safely on the disk."""
        with open(self.path, "rb") as stream:
            os.fsync(stream.fileno())


def prepare_images(
    root: Path,
    out: Path,
    size: int,
    only: Sequence[str] | None = None,
    workers: int = 1,
    skip_broken: bool = False,
    tell: Callable[[float], None] = lambda _: None,
) -> Prepared:
    """Decode the images below ``root`` into the folder ``out``, or go on with it.

    Parameters
    ----------
    size
        Pixels of a side; the centred square of each image is resized to it.
    only
        Classes to keep; all of them if None.
    workers
        Threads that decode.
    skip_broken
        Leave images out that cannot be decoded, instead of refusing the folder.
    tell
        Called with the number of images that are done.

    Raises
    ------
    DataError
        With all faults of the folder: see :func:`memexp.data.folders.list_images`, and every image that
        cannot be decoded. What could be decoded is kept.
    InputError
        If ``out`` holds something else, or is being prepared by another process.
    OutOfSpace
        If the disk has not enough room.
    """
    images = list_images(root, only)
    wanted = {"size": size, "classes": list(images.classes), "files": images.files, "reading": READING}
    with _alone(out), explain_unwritable(out, _KEPT):
        if (out / "prepared.json").exists():
            return _same(open_prepared(out), wanted, skip_broken)
        arrays, done = _begin(out, images, size, digest(wanted))
        parts = _parts(images)
        todo = [part for part in parts if part not in done]
        tell(sum(part.stop - part.start for part in parts if part in done))
        broken = _decode(images, todo, arrays, out, workers, tell)
        if broken and not skip_broken:
            advice = "mend these files, or leave them out with --skip-broken, and run the same command again"
            kept = f"{_KEPT} (Removing or adding files begins anew.)"
            refuse([f"{len(broken)} images cannot be decoded; {advice}. {kept}", *broken.values()], most=50)
        return _finish(out, images, wanted, broken)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the output folder; a second process is refused."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another folder") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{out} is being prepared by another process; wait, or choose another folder") from error
        yield
    finally:
        os.close(lock)


def _same(prepared: Prepared, wanted: dict[str, Any], skip_broken: bool) -> Prepared:
    """The finished folder, if it is what is wanted."""
    made = prepared.record
    kept = {split: set(made["files"][split]) | set(made["left_out"]) for split in SPLITS}
    faults = [
        f"{name}: {made[name]} there, {wanted[name]} wanted"
        for name in ("size", "classes")
        if made[name] != wanted[name]
    ]
    if any(set(wanted["files"][split]) - kept[split] or set(made["files"][split]) - set(wanted["files"][split])
           for split in SPLITS):  # fmt: skip
        faults.append("files: some were added or removed since")
    if made.get("reading", 1) != READING:
        faults.append("images: an earlier memexp read transparent, turned and deep ones otherwise")
    if made["left_out"] and not skip_broken:
        faults.append(f"{len(made['left_out'])} broken images were left out with --skip-broken")
    if faults:
        there = f"{prepared.folder} is prepared already, from something else. Choose another folder, or remove it"
        raise InputError("\n".join([there, *(f"  {fault}" for fault in faults)]))
    return prepared


def _parts(images: ImageFiles) -> list[Part]:
    parts = []
    for split in SPLITS:
        names = images.files[split]
        for start in range(0, len(names), _PART):
            stop = min(start + _PART, len(names))
            parts.append(Part(split, start, stop, _stamp(images.root, names[start:stop])))
    return parts


def _stamp(root: Path, names: Sequence[str]) -> str:
    """Changes when a file of a part does; a file that cannot be looked at counts as changed when it can."""
    state = hashlib.sha256()
    for name in names:
        try:
            found = os.stat(root / name)
            state.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        except OSError as error:
            state.update(f"{name}\0{error.errno}\n".encode())
    return state.hexdigest()


def _begin(out: Path, images: ImageFiles, size: int, key: str) -> tuple[dict[str, _Pixels], set[Part]]:
    """The arrays, new or with what an earlier call decoded, and which parts that is."""
    progress, done = out / "progress.jsonl", set()
    ours = {".lock", *(f"{name}_{split}.{end}" for name in "xy" for split in SPLITS for end in ("npy", "new"))}
    foreign = {entry.name for entry in out.iterdir()} - (ours | {progress.name} if progress.exists() else {".lock"})
    if foreign:
        raise InputError(f"{out} holds other files ({min(foreign)}); choose a new or empty folder")
    lines = progress.read_text(encoding="utf-8").splitlines() if progress.exists() else []
    if lines and lines[0] == key:
        for line in lines[1:]:
            try:
                done.add(Part(*json.loads(line)))
            except (ValueError, TypeError):  # the last line of a call that was killed
                continue
        return {split: _Pixels(out / f"x_{split}.npy") for split in SPLITS}, done
    shapes = {split: (len(images.files[split]), size, size, 3) for split in SPLITS}
    needed = sum(int(np.prod(shape)) for shape in shapes.values())
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OutOfSpace(
            f"{out} has {free / 1e6:,.0f} MB free, but the images need {needed / 1e6:,.0f} MB; "
            "free some, or choose another folder"
        )
    progress.write_text("", encoding="utf-8")  # these files are ours, and nothing is done
    arrays = {split: _Pixels.create(out / f"x_{split}.npy", shapes[split]) for split in SPLITS}
    progress.write_text(key + "\n", encoding="utf-8")
    return arrays, set()


def _decode(
    images: ImageFiles,
    todo: list[Part],
    arrays: dict[str, _Pixels],
    out: Path,
    workers: int,
    tell: Callable[[float], None],
) -> dict[str, str]:
    """Decode the parts and note each; the reason by file for those images that cannot be decoded."""
    broken: dict[str, str] = {}
    total = sum(map(len, images.files.values()))
    before = total - sum(part.stop - part.start for part in todo)

    def decode(part: Part) -> dict[str, str]:
        faults: dict[str, str] = {}
        size = arrays[part.split].shape[1]
        pixels = np.zeros((part.stop - part.start, size, size, 3), np.uint8)
        for place, name in enumerate(images.files[part.split][part.start : part.stop]):
            try:
                pixels[place] = read_image(images.root / name, size)
            except DataError as error:
                faults[name] = str(error)
        arrays[part.split].write(part.start, pixels)
        return faults

    notes = _Notes(out / "progress.jsonl", list(arrays.values()))
    with ThreadPoolExecutor(workers) as pool:
        try:
            for part, faults in zip(todo, pool.map(decode, todo), strict=True):
                broken |= faults
                if not faults:
                    notes.add(part)
                before += part.stop - part.start
                tell(before)
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C the parts in work are done again
            notes.write()
    return broken


class _Notes:
    """Finished parts, noted every few seconds: a part counts once its pixels are on the disk."""

    def __init__(self, path: Path, arrays: Sequence[_Pixels]) -> None:
        self.path, self.arrays = path, arrays
        self.waiting: list[Part] = []
        self.written = time.monotonic()

    def add(self, part: Part) -> None:
        self.waiting.append(part)
        if time.monotonic() - self.written > _NOTE_EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        for array in self.arrays:
            array.flush()
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.writelines(f"{json.dumps(astuple(part))}\n" for part in self.waiting)
        self.waiting, self.written = [], time.monotonic()


def _finish(out: Path, images: ImageFiles, wanted: dict[str, Any], broken: dict[str, str]) -> Prepared:
    """Leave the broken images out, write labels and the record."""
    files = {}
    for split in SPLITS:
        keep = np.array([name not in broken for name in images.files[split]])
        labels = images.labels[split][keep]
        empty = np.flatnonzero(np.bincount(labels, minlength=len(images.classes)) == 0)
        refuse(
            [f"{split}: no image of class {images.classes[label]!r} can be decoded; mend them" for label in empty]
        )  # fmt: skip
        files[split] = [name for name, kept in zip(images.files[split], keep, strict=True) if kept]
        np.save(out / f"y_{split}.npy", labels)
        if not keep.all():
            _close_gaps(out, split, np.flatnonzero(keep))
    record = wanted | {"files": files, "left_out": broken, "source": str(images.root)}
    prepared = seal(out, record)
    (out / "progress.jsonl").unlink()
    return prepared


def _close_gaps(out: Path, split: str, keep: NDArray[np.intp]) -> None:
    """Keep some images of a split. The new array takes the old one's place in one step."""
    path = out / f"x_{split}.npy"
    old = np.load(path, mmap_mode="r")
    new = _Pixels.create(path.with_suffix(".new"), (len(keep), *old.shape[1:]))
    for start in range(0, len(keep), _PART):
        new.write(start, old[keep[start : start + _PART]])
    new.flush()
    (out / "progress.jsonl").write_text("", encoding="utf-8")  # from here on the places of the parts are no longer true
    os.replace(path.with_suffix(".new"), path)
