"""Folders of images: which files there are, checked before anything is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memexp.data.class_names import composed, in_natural_order, likeness
from memexp.data.open_files import printable
from memexp.errors import DataError

SPLITS = ("train", "test")
_NEARLY = ("train", "training", "test", "testing", "tests", "val", "valid", "validation", "dev", "eval")
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif")


@dataclass(frozen=True)
class ImageFiles:
    """The images of a folder, class by class in the order of their paths.

    ``root``: the folder. ``classes``: names of the labels. ``files``, ``labels``: for ``train`` and
    ``test``, each image's path below the root and its label.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, list[str]]
    labels: dict[str, NDArray[np.int64]]


def list_images(root: Path, only: Sequence[str] | None = None, split: bool = True) -> ImageFiles:
    """Find train/CLASS/* and test/CLASS/* (or val/) below ``root``, hidden files left out, links followed.

    Parameters
    ----------
    only
        Classes to keep, numbered in this order; all of them, in natural order (2 before 10), if None.
    split
        Whether both parts must be there. Else CLASS/* below ``root``, or below its train/, is a training set alone.

    Raises
    ------
    DataError
        With all faults: a missing split, a class without images or in one split only, two folders or
        files whose names are alike, images outside the classes, links in a circle, names that are no UTF-8.
    """
    folders = _parts(root, split)
    faults: list[str] = []
    found = {part: _class_folders(folder, faults) for part, folder in folders.items()}
    classes = tuple(found["train"]) if only is None else tuple(map(composed, only))
    if "test" in found:
        faults += _class_faults(root, found, folders["test"].name, classes if only is not None else None)
    faults += _alike(folders["train"], found["train"]) if only is None else []
    if not classes and not faults:
        faults.append(f"{folders['train']} has no folders of classes; give each class a folder of images")
    files: dict[str, list[str]] = {name: [] for name in SPLITS}
    labels: dict[str, NDArray[np.int64]] = {name: np.zeros(0, np.int64) for name in SPLITS}
    for part in found:
        each = [_files_of(root, found[part][name], faults) if name in found[part] else [] for name in classes]
        files[part] = [str(path.relative_to(root)) for paths in each for path in paths]
        labels[part] = np.repeat(np.arange(len(classes)), [len(paths) for paths in each]).astype(np.int64)
        faults += [fault for path in files[part] for fault in _unwritable(root / path)]
    refuse(faults)
    return ImageFiles(root, classes, files, labels)


def _parts(root: Path, split: bool) -> dict[str, Path]:
    """The folders of the training and of the test set; of the former alone where there is no other.

    A folder whose name is nearly that of a part is no class: it is refused rather than trained on.
    """
    if not root.is_dir():
        raise DataError(f"{root} does not exist or is no folder; give one with train/CLASS/* and test/CLASS/*")
    test = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    train = (root / "train").is_dir()
    if train and test is not None:
        return {"train": root / "train", "test": root / test}
    wanted = "needs the folders train/ and test/ (or val/), each with a folder for every class"
    if split:
        raise DataError(
            f"{root} {wanted}; where the folders of the classes are alone, a spec reads them as they are: "
            "`dataset: {source: folder, size: ..., test: {fraction: 0.2}}`"
        )
    others = [entry.name for entry in root.iterdir() if entry.is_dir()]
    unclear = sorted(name for name in others if name.casefold() in _NEARLY and name != "train")
    if unclear:
        raise DataError(
            f"{root} {wanted}; it has {', '.join(unclear)}. Rename, or remove, what is no class; without a test set it "
            "may have the folders of the classes alone"
        )
    return {"train": root / "train" if train else root}


def refuse(faults: list[str], most: int = 20) -> None:
    """Raise :class:`DataError` with the faults, one a line and so many at most, if there are any."""
    if faults:
        more = [f"and {len(faults) - most:,} more"] if len(faults) > most else []
        raise DataError("\n".join([*faults[:most], *more]))


def _entries(folder: Path, faults: list[str]) -> list[os.DirEntry[str]]:
    """What lies in a folder, hidden names left out, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        faults.append(f"{printable(folder)} cannot be read ({error.strerror}); give yourself the right, or remove it")
        return []


def _is_folder(entry: os.DirEntry[str], faults: list[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link that leads to itself
        faults.append(f"{printable(entry.path)} cannot be followed ({error.strerror}); remove it")
        return False


def _unwritable(path: Path) -> list[str]:
    """A name that is no UTF-8 can be written into no table, no report and no JSON file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        wrong = next(part for part in path.parts if part != printable(part))
        return [
            f"{printable(path)}: the name {os.fsencode(wrong)!r} is no UTF-8; rename it, for example by "
            "`convmv -r -f latin1 -t utf8 --notest` on the folder"
        ]
    return []


def _class_folders(folder: Path, faults: list[str]) -> dict[str, Path]:
    """The folder of each class by its name, in natural order."""
    found: dict[str, Path] = {}
    for entry in _entries(folder, faults):
        path = folder / entry.name
        if _is_folder(entry, faults):
            if faults_of_name := _unwritable(path):
                faults += faults_of_name
            elif (name := composed(entry.name)) in found:
                faults.append(f"{folder} has the class {name!r} twice, in two forms of Unicode; rename or unite them")
            else:
                found[name] = path
        elif entry.is_symlink() and not path.exists():
            faults.append(f"{printable(path)} is a link that leads nowhere; mend or remove it")
        elif path.suffix.lower() in _IMAGE_ENDINGS:
            faults.append(f"{printable(path)} lies beside the folders of the classes; move it into one, or remove it")
    return {name: found[name] for name in in_natural_order(found)}


def _class_faults(root: Path, found: dict[str, dict[str, Path]], test: str, only: Sequence[str] | None) -> list[str]:
    if only is not None:
        absent = [name for name in only if name not in found["train"] or name not in found["test"]]
        twice = sorted({name for name in only if list(only).count(name) > 1})
        return [
            f"class {name!r} is not in train/ and {test}/ of {root}; leave it out of --classes" for name in absent
        ] + [f"class {name!r} is named twice in --classes" for name in twice]
    faults = []
    for a, b in (("train", "test"), ("test", "train")):
        folder, other = (root / (test if split == "test" else "train") for split in (a, b))
        missing = sorted(set(found[a]) - set(found[b]))
        if missing:
            faults.append(f"{folder} has classes that {other} lacks: {', '.join(missing)}")
    return faults


def _alike(folder: Path, names: Iterable[str]) -> list[str]:
    """Classes whose names differ in capitals or zeros only."""
    faults = []
    same: dict[str, str] = {}
    for name in names:
        other_name = same.setdefault(likeness(name), name)
        if other_name != name:
            faults.append(
                f"{folder} has the classes {other_name!r} and {name!r}, which differ in capitals or zeros "
                "only; rename or unite them"
            )
    return faults


def _files_of(root: Path, folder: Path, faults: list[str]) -> list[Path]:
    """All that is no folder and not hidden, in order; broken links too, which are named when they are read."""
    found: list[Path] = []
    above_it = {root, folder.parent, folder}
    waiting: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(folder, tuple(map(_identity, above_it)))]
    while waiting:
        here, above = waiting.pop()
        for entry in _entries(here, faults):
            path = here / entry.name
            if not _is_folder(entry, faults):
                found.append(path)
            elif (identity := _identity(path)) in above:
                faults.append(f"{printable(path)} is a link to a folder that it lies in, so in a circle; remove it")
            else:
                waiting.append((path, (*above, identity)))
    if not found:
        faults.append(f"{printable(folder)} has no images; delete the class from both splits, or fill it")
    found.sort()
    faults += _duplicates(folder, found)
    return found


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from any other, by whichever links one comes to it."""
    state = folder.stat()
    return state.st_dev, state.st_ino


def _duplicates(folder: Path, paths: list[Path]) -> list[str]:
    """Names that occur twice in a class: they would name two images in every table made from them."""
    first: dict[str, Path] = {}
    faults = []
    for path in paths:
        other = first.setdefault(path.stem.casefold(), path)
        if other is not path:
            both = " and ".join(printable(each.relative_to(folder)) for each in (other, path))
            faults.append(
                f"{printable(folder)}: {both} have one name; an image's name must be its own within its class. "
                "Rename or remove one of them"
            )
    return faults
