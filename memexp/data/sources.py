"""Data sources: each turns its block of the spec into arrays, or says what is wrong with the files."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.arrays import OPTIONAL, TEST, WANTED, from_arrays
from memexp.data.class_names import read_class_names
from memexp.data.folders import SPLITS, list_images
from memexp.data.generated import load_hypercube, load_subpopulations
from memexp.data.images import read_image
from memexp.data.map_style import read_examples
from memexp.data.npz import read_npz
from memexp.data.official import cifar_reader, find_idx, read_idx
from memexp.data.prepared import open_prepared
from memexp.data.python_data import load_python
from memexp.data.raw import RawData, as_ids, as_nhwc, existing, existing_folder, numbered
from memexp.data.tables import load_huggingface, load_table
from memexp.errors import DataError
from memexp.spec import datasets


def load_digits(block: datasets.Digits) -> RawData:
    """scikit-learn's digits. They have no official test set: every fifth image is ours."""
    table = _digits_table()  # (1797, 65): 64 pixels of 0 to 16, and the digit
    images = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[..., None]
    labels, test = table[:, 64].astype(np.int64), np.arange(len(images)) % 5 == 4
    return RawData(images[~test], labels[~test], images[test], labels[test], numbered(10))


@cache
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
    folder = existing_folder(block.path)
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
    read = cifar_reader(existing(block.path), "cifar-100-python" if hundred else "cifar-10-batches-py")
    key = "fine_labels" if hundred else "labels"
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        batches = [read(name) for name in files[split]]
        try:
            pixels = np.concatenate([_bytes_of(batch["data"]) for batch in batches])
            arrays[f"x_{split}"] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()
            arrays[f"y_{split}"] = np.concatenate(
                [np.asarray(batch[key]).astype(np.int64, casting="safe") for batch in batches]
            )
            files_of = [name for batch in batches for name in batch.get("filenames", ())]
            arrays[f"id_{split}"] = as_ids(files_of) if len(files_of) == len(pixels) else None
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
    """x_train, y_train and, where present, x_test, y_test, and the names of classes, examples and features."""
    path = existing(block.path)
    arrays = read_npz(path, WANTED, *TEST, *OPTIONAL)
    if len(arrays.keys() & set(TEST)) == 1:
        read_npz(path, (*WANTED, *TEST))  # says which of the two is missing
    return from_arrays(str(path), arrays)


def load_torchvision(block: datasets.Torchvision) -> RawData:
    """A class of torchvision.datasets that takes ``train=`` or ``split=`` and yields images of one size."""
    import torchvision.datasets

    cls = getattr(torchvision.datasets, block.dataset, None)
    if not isinstance(cls, type):
        raise DataError(f"torchvision.datasets has no {block.dataset!r}; see its documentation for the names")
    splits = [_torchvision_split(cls, block, train) for train in (True, False)]
    arrays: dict[str, Any] = {"classes": getattr(splits[0], "classes", None) or None}
    for split, dataset in zip(SPLITS, splits, strict=True):
        images, labels = read_examples(f"torchvision {block.dataset}, {split}", dataset)
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    return from_arrays(f"torchvision {block.dataset}", arrays)


def load_folder(block: datasets.ImageFolder) -> RawData:
    """train/CLASS/*.png and test/CLASS/*.png (or val/), or CLASS/*.png without a test set, read in sorted order."""
    found = list_images(existing_folder(block.path), split=False)
    x = {
        split: np.stack([read_image(found.root / name, block.size) for name in names]) if names else None
        for split, names in found.files.items()
    }
    y = {split: labels if len(labels) else None for split, labels in found.labels.items()}
    ids = {split: as_ids(names) for split, names in found.files.items()}
    assert x["train"] is not None, "a class without images is refused"
    assert y["train"] is not None
    return RawData(
        x["train"], y["train"], x["test"], y["test"], found.classes,
        id_train=ids["train"], id_test=ids["test"], folder=found.root,
    )  # fmt: skip


def load_prepared(block: datasets.Prepared) -> RawData:
    """What ``memexp prepare`` wrote: images are mapped into memory and shared by all processes."""
    prepared = open_prepared(existing_folder(block.path))
    ids = {split: as_ids(prepared.record["files"][split]) for split in SPLITS}
    return RawData(
        *prepared.arrays, classes=prepared.classes, digests=prepared.digests, id_train=ids["train"], id_test=ids["test"]
    )


def load_imported(block: datasets.Imported) -> RawData:
    """Of trials that were trained elsewhere nothing but outcomes and labels is there."""
    raise DataError(
        "trials that were imported come without their images: nothing can be trained on them or shown of them; what "
        "reads their outcomes works"
    )


SOURCES: dict[str, Callable[..., RawData]] = {
    "digits": load_digits,
    "idx": load_idx,
    "cifar10": load_cifar,
    "cifar100": load_cifar,
    "npz": load_npz,
    "torchvision": load_torchvision,
    "folder": load_folder,
    "prepared": load_prepared,
    "table": load_table,
    "huggingface": load_huggingface,
    "python": load_python,
    "subpopulations": load_subpopulations,
    "hypercube": load_hypercube,
    "imported": load_imported,
}


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
