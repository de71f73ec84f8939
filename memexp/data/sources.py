"""Data sources: each turns its block of the spec into arrays, or says what is wrong with the files."""

from __future__ import annotations

import importlib.util
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.class_names import read_class_names
from memexp.data.folders import SPLITS, list_images
from memexp.data.generated import load_hypercube, load_subpopulations
from memexp.data.images import pixels_of, read_image
from memexp.data.npz import read_npz
from memexp.data.official import cifar_reader, find_idx, read_idx
from memexp.data.open_files import printable, require_file
from memexp.data.prepared import open_prepared
from memexp.data.raw import RawData, as_nhwc, numbered
from memexp.errors import DataError, InputError
from memexp.spec import datasets
from memexp.spec.python_files import blamed, function_in, read_source, require_call
from memexp.spec.sections import PythonFile

_WANTED = ("x_train", "y_train", "x_test", "y_test")


def load_digits(block: datasets.Digits) -> RawData:
    """scikit-learn's digits. They have no official test set: every fifth image is ours."""
    table = _digits_table()  # (1797, 65): 64 pixels of 0 to 16, and the digit
    images = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[..., None]
    labels, test = table[:, 64].astype(np.int64), np.arange(len(images)) % 5 == 4
    return RawData(images[~test], labels[~test], images[test], labels[test], numbered(10))


def _digits_table() -> NDArray[np.float64]:
    """The file that scikit-learn reads; importing scikit-learn takes ten times as long as reading it."""
    found = importlib.util.find_spec("sklearn")
    for folder in found.submodule_search_locations or () if found else ():
        path = Path(folder) / "datasets/data/digits.csv.gz"
        if path.exists():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits as sklearn_digits

    bunch = sklearn_digits()
    return np.column_stack([bunch.data, bunch.target])


def load_idx(block: datasets.Idx) -> RawData:
    """MNIST's format: a big-endian header (type, dimensions), then bytes."""
    folder = _folder(block.path)
    x_train, y_train, x_test, y_test = (
        read_idx(find_idx(folder, f"{split}-{kind}"))
        for split in ("train", "t10k")
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    classes = numbered(int(y_train.max(initial=0)) + 1)
    return RawData(as_nhwc(x_train), y_train, as_nhwc(x_test), y_test, classes)


def load_cifar(block: datasets.Cifar) -> RawData:
    """The official python pickles, read with an unpickler that only knows NumPy arrays."""
    hundred = block.source == "cifar100"
    files = (
        {"train": ["train"], "test": ["test"], "meta": ["meta"]}
        if hundred
        else {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"], "meta": ["batches.meta"]}
    )
    read = cifar_reader(_existing(block.path), "cifar-100-python" if hundred else "cifar-10-batches-py")
    key = "fine_labels" if hundred else "labels"
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        batches = [read(name) for name in files[split]]
        try:
            pixels = np.concatenate([_bytes_of(batch["data"]) for batch in batches])
            arrays[f"x_{split}"] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()
            arrays[f"y_{split}"] = np.concatenate(
                [np.asarray(batch[key]).astype(np.int64, casting="safe") for batch in batches]
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{block.path}: the {split} files are not {block.source}'s: {error}; get them again"
            ) from error
    key = "fine_label_names" if hundred else "label_names"
    names = read(files["meta"][0]).get(key)
    if names is None:
        raise DataError(f"{block.path}: {files['meta'][0]} lacks {key}; get it again")
    return RawData(**arrays, classes=read_class_names(f"{block.path}: {key}", names))


def _bytes_of(pixels: Any) -> NDArray[np.uint8]:
    found = np.asarray(pixels)
    if found.dtype != np.uint8:
        raise ValueError(f"data is {found.dtype}, where CIFAR has uint8")
    return found


def load_npz(block: datasets.Npz) -> RawData:
    """x_train, y_train, x_test, y_test and, where present, classes (names)."""
    path = _existing(block.path)
    arrays = read_npz(path, _WANTED, "classes")
    return _from_arrays(str(path), arrays, arrays.get("classes"))


def _from_arrays(where: str, arrays: dict[str, NDArray[Any]], names: Any) -> RawData:
    """Images (N, H, W) or (N, H, W, C) and integer labels, as somebody else made them."""
    x_train, y_train, x_test, y_test = (arrays[name] for name in _WANTED)
    for name, labels in (("y_train", y_train), ("y_test", y_test)):
        if labels.dtype.kind not in "iu":
            raise DataError(f"{where}: {name} is {labels.dtype}; labels must be integers")
    x_train, x_test = (as_nhwc(_pixels(x)) for x in (x_train, x_test))
    for name, x in (("x_train", x_train), ("x_test", x_test)):
        _refuse_channels_first(f"{where}: {name}", x)
    if x_train.ndim == x_test.ndim == 4:
        _require_one_scale(where, x_train, x_test)
    classes = _numbered_from(where, y_train) if names is None else read_class_names(where, names)
    return RawData(x_train, y_train, x_test, y_test, classes)


def _refuse_channels_first(name: str, x: NDArray[Any]) -> None:
    """Refuse (N, C, H, W): few channels before two larger axes, or another length before a square."""
    if x.ndim != 4:
        return
    _, first, second, third = x.shape
    few = first <= 4 < min(second, third)
    before_a_square = second == third != first and second >= 4
    if few or before_a_square:
        plain = name.rpartition(" ")[2]
        raise DataError(
            f"{name} has shape {x.shape}, which looks like channels first; images must be (N, H, W, C): "
            f"np.moveaxis({plain}, 1, -1). If they are so and only this high, exchange height and width: "
            f"np.swapaxes({plain}, 1, 2)"
        )


def _require_one_scale(where: str, x_train: NDArray[Any], x_test: NDArray[Any], most: float = 50.0) -> None:
    """Refuse images whose values mean something else in training than in test: 0..1 and 0..255, for example."""
    if x_train.dtype != x_test.dtype:
        raise DataError(
            f"{where}: x_train is {x_train.dtype}, x_test {x_test.dtype}; they must have one type and one scale "
            "(uint8 enters the network divided by 255, floating point as it is)"
        )
    few = [x[:: max(1, len(x) // 500)] for x in (x_train, x_test)]  # a copy of all may not fit in memory
    train, test = (float(np.abs(x).mean(dtype=np.float64)) if x.size else 0.0 for x in few)
    if 0 < most * train < test or 0 < most * test < train:
        raise DataError(
            f"{where}: the values of x_train are {train:.3g} on average (without their signs), those of x_test "
            f"{test:.3g}; scale both alike"
        )


def load_python(block: datasets.PythonData) -> RawData:
    """What load() of a Python file returns: a dict, or an object with attributes, of arrays as in an .npz file."""
    path = _existing(block.path)
    if path.is_dir():
        raise DataError(f"dataset.path = {path}: must be a Python file")
    try:
        file = PythonFile(name=str(path), source=read_source(path))
        load = function_in(file, "load", "load(), which returns x_train, y_train, x_test, y_test")
        require_call(load, file.name, (), block.arguments)
    except InputError as error:
        raise DataError(str(error)) from error
    with blamed(DataError):
        found = load(**block.arguments)
    names = (*_WANTED, "classes")
    given = found if isinstance(found, Mapping) else {name: getattr(found, name, None) for name in names}
    missing = [name for name in _WANTED if given.get(name) is None]
    if missing:
        raise DataError(
            f"{path}: load() returned {type(found).__name__} without {', '.join(missing)}; it must return a dict (or "
            f"an object with attributes) of {', '.join(_WANTED)}, and classes if they have names"
        )
    arrays = {name: _contiguous(path, name, given[name]) for name in _WANTED}
    return _from_arrays(f"{path}: load()", arrays, given.get("classes"))


def _contiguous(path: Path, name: str, value: Any) -> NDArray[Any]:
    """As an array in the memory order that everything after relies on."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{path}: {name} of load() has masked values; fill them, or leave those examples out")
    try:
        return np.ascontiguousarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: {name} of load() is no array ({error}); give a numpy array") from error


def load_torchvision(block: datasets.Torchvision) -> RawData:
    """A class of torchvision.datasets that takes ``train=`` or ``split=`` and yields images of one size."""
    import torchvision.datasets

    cls = getattr(torchvision.datasets, block.dataset, None)
    if not isinstance(cls, type):
        raise DataError(f"torchvision.datasets has no {block.dataset!r}; see its documentation for the names")
    splits = [_torchvision_split(cls, block, train) for train in (True, False)]
    arrays: dict[str, Any] = {}
    for split, dataset in zip(("train", "test"), splits, strict=True):
        images, labels = _examples(f"torchvision {block.dataset}, {split}", dataset)
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    return _from_arrays(f"torchvision {block.dataset}", arrays, getattr(splits[0], "classes", None) or None)


def _examples(where: str, dataset: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """The images and labels of a torchvision data set; labels that are no integers are refused, not rounded."""
    images, labels = [], []
    for number in range(len(dataset)):
        image, label = dataset[number]
        try:
            labels.append(operator.index(label))
        except TypeError as error:
            raise DataError(f"{where}[{number}]: its label is {label!r}; labels must be integers") from error
        try:
            images.append(pixels_of(image))
        except (ValueError, OSError) as error:
            raise DataError(f"{where}[{number}]: {error}") from error
    if len({image.shape for image in images}) > 1:
        raise DataError(f"{where}: images differ in size or channels; use 'source: folder' with a size")
    return np.stack(images) if images else np.zeros((0, 1, 1, 1), np.uint8), np.asarray(labels, np.int64)


def load_folder(block: datasets.ImageFolder) -> RawData:
    """train/CLASS/*.png and test/CLASS/*.png (or val/), read in sorted order."""
    found = list_images(_folder(block.path))
    images = [np.stack([read_image(found.root / name, block.size) for name in found.files[split]]) for split in SPLITS]
    return RawData(images[0], found.labels["train"], images[1], found.labels["test"], found.classes)


def load_prepared(block: datasets.Prepared) -> RawData:
    """What ``memexp prepare`` wrote: images are mapped into memory and shared by all processes."""
    prepared = open_prepared(_folder(block.path))
    return RawData(*prepared.arrays, classes=prepared.classes, digests=prepared.digests)


SOURCES: dict[str, Callable[[Any], RawData]] = {
    "digits": load_digits,
    "idx": load_idx,
    "cifar10": load_cifar,
    "cifar100": load_cifar,
    "npz": load_npz,
    "torchvision": load_torchvision,
    "folder": load_folder,
    "prepared": load_prepared,
    "python": load_python,
    "subpopulations": load_subpopulations,
    "hypercube": load_hypercube,
}


def _numbered_from(where: str, labels: NDArray[Any]) -> tuple[str, ...]:
    """Names 0, 1, ... up to the largest label, which is never larger than there are labels without gaps."""
    largest = int(labels.max(initial=0))
    if largest >= max(1, labels.size):
        raise DataError(
            f"{where}: label {largest} among {labels.size} training examples; labels must be 0, 1, ... without gaps"
        )
    return numbered(largest + 1)


def _existing(path: str) -> Path:
    try:
        require_file(Path(path))
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = "no such file or folder" if isinstance(error, FileNotFoundError) else f"cannot be used ({error})"
        raise DataError(
            f"dataset.path = {printable(path)}: {reason} (relative paths start at the spec's folder)"
        ) from error
    return Path(path)


def _folder(path: str) -> Path:
    if not _existing(path).is_dir():
        raise DataError(f"dataset.path = {path}: must be a folder")
    return Path(path)


def _pixels(images: NDArray[Any]) -> NDArray[Any]:
    """uint8 as it is; floating point as float32; anything else is refused."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f":
        return images.astype(np.float32)
    raise DataError(f"images are {images.dtype}; they must be uint8 (0..255) or floating point")


def _torchvision_split(cls: type, block: datasets.Torchvision, train: bool) -> Any:
    extra = {"download": True} if block.download else {}
    try:
        try:
            return cls(block.path, train=train, **extra)
        except TypeError:
            return cls(block.path, split="train" if train else "test", **extra)
    except (RuntimeError, OSError, TypeError, ValueError) as error:
        raise DataError(
            f"torchvision.datasets.{block.dataset} in {block.path}: {error}. "
            "Set 'download: true' to fetch it, or correct the path"
        ) from error
