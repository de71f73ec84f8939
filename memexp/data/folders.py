"""Folders of images: which files there are, checked before anything is decoded, and one image as pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memexp.errors import DataError

SPLITS = ("train", "test")


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


def list_images(root: Path, only: Sequence[str] | None = None) -> ImageFiles:
    """Find train/CLASS/* and test/CLASS/* (or val/) below ``root``, hidden files left out.

    Parameters
    ----------
    only
        Classes to keep, numbered in this order; all of them, by name, if None.

    Raises
    ------
    DataError
        With all faults: a missing split, a class without images or in one split only, two folders or
        files whose names differ in capitals or endings only.
    """
    test = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        if not root.is_dir():
            raise DataError(f"{root} does not exist or is no folder; give one with train/CLASS/* and test/CLASS/*")
        raise DataError(f"{root} needs the folders train/ and test/ (or val/), each with a folder for every class")
    found = {split: _class_names(root / folder) for split, folder in zip(SPLITS, ("train", test), strict=True)}
    classes = tuple(found["train"]) if only is None else tuple(only)
    faults = _class_faults(root, found, test, only)
    files: dict[str, list[str]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    for split, folder in zip(SPLITS, ("train", test), strict=True):
        each = [_files_of(root / folder / name) for name in classes]
        for name, paths in zip(classes, each, strict=True):
            if not paths and name in found[split]:
                faults.append(f"{root / folder / name} has no images; delete the class from both splits, or fill it")
            faults += _duplicates(root / folder / name, paths)
        files[split] = [str(path.relative_to(root)) for paths in each for path in paths]
        labels[split] = np.repeat(np.arange(len(classes)), [len(paths) for paths in each]).astype(np.int64)
    refuse(faults)
    return ImageFiles(root, classes, files, labels)


def refuse(faults: list[str], most: int = 20) -> None:
    """Raise :class:`DataError` with the faults, one a line and so many at most, if there are any."""
    if faults:
        more = [f"and {len(faults) - most:,} more"] if len(faults) > most else []
        raise DataError("\n".join([*faults[:most], *more]))


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Decode one image: the centred square, resized; shape (size, size, 3).

    Raises
    ------
    DataError
        If the file cannot be read, is no whole image, or has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut their values off at 255
                raise ValueError(
                    f"mode {image.mode}: more than 8 bits of grey; save it with values 0..255, or give floating point "
                    "images by 'source: npz'"
                )
            image.draft("RGB", (2 * size, 2 * size))  # JPEG is decoded at a fraction of its size where that suffices
            return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))
    except (PermissionError, FileNotFoundError, IsADirectoryError) as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give yourself the right, or remove it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}); mend or remove it") from error


def _class_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _class_faults(root: Path, found: dict[str, list[str]], test: str, only: Sequence[str] | None) -> list[str]:
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
    same: dict[str, str] = {}
    for name in found["train"]:
        if name.casefold() in same:
            faults.append(
                f"{root / 'train'} has the classes {same[name.casefold()]!r} and {name!r}, which differ in capitals "
                "only; rename or unite them"
            )
        same[name.casefold()] = name
    return faults


def _files_of(folder: Path) -> list[Path]:
    """Everything that is no folder and not hidden, broken links included: they are named when read."""
    hidden = len(folder.parts)
    return sorted(
        path
        for path in folder.glob("**/*")
        if not path.is_dir() and not any(part.startswith(".") for part in path.parts[hidden:])
    )


def _duplicates(folder: Path, paths: list[Path]) -> list[str]:
    """Names that occur twice in a class: they would name two images in every table made from them."""
    first: dict[str, Path] = {}
    faults = []
    for path in paths:
        other = first.setdefault(path.stem.casefold(), path)
        if other is not path:
            faults.append(
                f"{folder}: {other.relative_to(folder)} and {path.relative_to(folder)} have one name; an image's name "
                "must be its own within its class. Rename or remove one of them"
            )
    return faults
