"""A data set in memory, with the spec's limits and planted label noise applied."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.brief import Brief
from memexp.data.class_names import require_names
from memexp.data.fingerprint import array_digest
from memexp.data.further import Part, joined_tests
from memexp.data.grouping import grouped, numbered_groups
from memexp.data.limits import limited
from memexp.data.raw import Ids, RawData
from memexp.data.sources import SOURCES
from memexp.data.split import choose_test, refuse_second_test_set
from memexp.errors import DataError
from memexp.seeds import generator, raw_words
from memexp.spec import datasets
from memexp.spec.subsets import names_file


@dataclass(frozen=True, repr=False)
class Data(Brief):
    """What trials train and are tested on.

    Attributes
    ----------
    x_train, x_test : shape (N, H, W, C) and (M, H, W, C)
        uint8 pixels 0..255, or float32 used as they are; rows of features are (N, 1, 1, D). M is 0 without a test set.
    y_train, y_test : int64, shape (N,) and (M,)
        Labels trained on and tested on, from 0.
    classes
        Name of each label.
    train_index, test_index : int64, shape (N,) and (M,)
        Place of each example in its source, before any limit.
    y_original : int64, shape (N,), or None
        The source's training labels where the spec flips some on purpose.
    subpopulations : pair of int64, shape (N,) and (M,), or None
        Subpopulation of each training and test example, where the source or the limit knows it.
    digests
        Fingerprints of those images that need not be read to know them.
    id_train, id_test : text, shape (N,) and (M,), or None
        What the source calls each example, such as its file; None where it has no names.
    features
        Names of a table's features; empty where they have none.
    folder
        Where the ids are files below it.
    group_names : text, shape (N,), or None
        Name of each training example's group, where the spec draws groups.
    test_set : text, shape (M,), or None
        Name of each test example's set, where there are several; the sets stand one after the other.
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    classes: tuple[str, ...]
    train_index: NDArray[np.int64]
    test_index: NDArray[np.int64]
    y_original: NDArray[np.int64] | None = None
    subpopulations: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    digests: dict[str, str] = field(default_factory=dict)
    id_train: Ids | None = None
    id_test: Ids | None = None
    features: tuple[str, ...] = ()
    folder: Path | None = None
    group_names: Ids | None = None
    test_set: Ids | None = None

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """Number of each training example's group, shape (N,), in the order of their first examples; or None."""
        return None if self.group_names is None else numbered_groups(self.group_names)

    @property
    def first_tests(self) -> int:
        """How many of the test examples are of the first set."""
        return len(self.y_test) if self.test_set is None else int((self.test_set == self.test_set[0]).sum())

    @property
    def flipped(self) -> NDArray[np.bool_] | None:
        """bool, shape (N,): labels flipped on purpose; None where the spec flips none."""
        return None if self.y_original is None else self.y_original != self.y_train

    def equal_images(self, most_bytes: int = 4 << 30) -> tuple[int, int] | None:
        """How many training images are exactly equal to another one, and to one with another label of the source.

        None where the images have more than ``most_bytes``, so that reading them all takes minutes.
        """
        if self.x_train.nbytes > most_bytes:
            return None
        labels = self.y_train if self.y_original is None else self.y_original
        alike: dict[bytes, list[int]] = {}
        for image, label in zip(self.x_train, labels.tolist(), strict=True):
            content = np.ascontiguousarray(image).data
            alike.setdefault(hashlib.blake2b(content, digest_size=16).digest(), []).append(label)
        groups = [group for group in alike.values() if len(group) > 1]
        return sum(map(len, groups)), sum(len(group) for group in groups if len(set(group)) > 1)

    def fingerprint(self) -> dict[str, str]:
        """sha256 of each array's shape, dtype, content and order."""
        names = ("x_train", "y_train", "x_test", "y_test", *(("groups",) if self.groups is not None else ()))
        found = {name: self.digests.get(name) or array_digest(getattr(self, name)) for name in names}
        if self.test_set is not None:
            found["test_set"] = array_digest(self.test_set.astype(str))
        return found


def load_data(block: datasets.Dataset, groups: str | None = None) -> Data:
    """Load what the spec's dataset block names, and its further test sets.

    Parameters
    ----------
    block
        The block.
    groups
        The column or file that the subsets block names.

    Raises
    ------
    DataError
        If files are missing, cut or mislabelled, or the limits leave nothing.
    """
    data = _load(block, groups)
    if not block.tests:
        return data
    if data.subpopulations is not None:
        raise DataError("dataset.tests: the examples of another source have no subpopulations; delete tests")
    further = {name: _further(name, section) for name, section in block.tests.items()}
    digests = {name: known for name, known in data.digests.items() if name != "x_test"}
    return replace(data, **joined_tests(_part(data, "train"), _part(data, "test"), further), digests=digests)


def _further(name: str, block: datasets.Dataset) -> Part:
    """A further test set, whose classes need not all be there: the source's own, or all of its examples."""
    try:
        data = _load(block, whole=False)
    except DataError as error:
        raise DataError(f"dataset.tests.{name}: {error}") from error
    return _part(data, "test" if len(data.y_test) else "train")


def _part(data: Data, axis: str) -> Part:
    if axis == "train":
        return Part(data.x_train, data.y_train, data.train_index, data.id_train, data.classes, data.features)
    return Part(data.x_test, data.y_test, data.test_index, data.id_test, data.classes, data.features)


def _load(block: datasets.Dataset, groups: str | None = None, whole: bool = True) -> Data:
    """One source's data; ``whole``: they are to be trained on, so that each class must have examples."""
    columns = groups is not None and not names_file(groups) and block.source in ("table", "huggingface")
    raw = SOURCES[block.source](block, groups) if columns else SOURCES[block.source](block)
    if block.class_names is not None:
        if len(block.class_names) != len(raw.classes):
            raise DataError(
                f"dataset.class_names has {len(block.class_names)} names, but there are {len(raw.classes)} classes; "
                "give one name for each"
            )
        raw = raw._replace(classes=require_names("dataset.class_names", block.class_names))
    _check(raw if whole else raw._replace(gaps=True), block.source, 2 if whole else 1)
    raw = raw._replace(groups=None) if groups is None else grouped(raw, groups)
    data = _as_data(raw)
    split = getattr(block, "test", None)
    if isinstance(split, datasets.Split):
        refuse_second_test_set(raw)
        chosen = choose_test(data.y_train, split, data.groups)
        data = _parted(data, np.flatnonzero(~chosen), data, np.flatnonzero(chosen))
    if block.limit is not None:
        data = _limited(data, block.limit)
    if block.label_noise is not None:
        data = _with_flipped_labels(data, block.label_noise)
    return data


def _as_data(raw: RawData) -> Data:
    """All of a source's examples."""
    x_test = raw.x_train[:0] if raw.x_test is None else raw.x_test
    y_test = raw.y_train[:0] if raw.y_test is None else raw.y_test
    digests = raw.digests or {} if raw.x_test is not None else {}
    return Data(
        x_train=raw.x_train,
        y_train=raw.y_train.astype(np.int64),
        x_test=x_test,
        y_test=y_test.astype(np.int64),
        classes=raw.classes,
        train_index=np.arange(len(raw.y_train), dtype=np.int64),
        test_index=np.arange(len(y_test), dtype=np.int64),
        subpopulations=raw.subpopulations,
        digests={name: known for name, known in digests.items() if name.startswith("x_")},
        id_train=raw.id_train,
        id_test=raw.id_test,
        features=raw.features,
        folder=raw.folder,
        group_names=raw.groups,
    )


def _parted(train: Data, chosen: NDArray[np.intp], test: Data, tested: NDArray[np.intp]) -> Data:
    """Training examples of one data set, and of another's *training* examples the test set."""
    return replace(
        train,
        **_taken(train, "train", chosen, "train"),
        **_taken(test, "train", tested, "test"),
        digests={},
    )


def _taken(data: Data, axis: str, places: NDArray[np.intp], to: str) -> dict[str, Any]:
    """Some examples of an axis, under the names of the axis ``to``."""
    ids = getattr(data, f"id_{axis}")
    groups = data.group_names if to == "train" else None
    return {
        f"x_{to}": getattr(data, f"x_{axis}")[places],
        f"y_{to}": getattr(data, f"y_{axis}")[places],
        f"{to}_index": getattr(data, f"{axis}_index")[places],
        f"id_{to}": None if ids is None else ids[places],
        **({} if groups is None else {"group_names": groups[places]}),
    }


def _check(raw: RawData, source: str, classes: int) -> None:
    parts = [("train", raw.x_train, raw.y_train)]
    if raw.x_test is not None and raw.y_test is not None:
        parts.append(("test", raw.x_test, raw.y_test))
    for split, x, y in parts:
        if x.ndim != 4:
            raise DataError(
                f"{source}: x_{split} has shape {x.shape}; images must be (N, H, W) or (N, H, W, C), features (N, D)"
            )
        if y.ndim != 1 or len(x) != len(y):
            raise DataError(f"{source}: {len(x)} {split} images but labels of shape {y.shape}; there must be one each")
        if not x.size:
            raise DataError(f"{source}: x_{split} has shape {x.shape}; name data with at least one {split} example")
        wrong = np.flatnonzero((y < 0) | (y >= len(raw.classes)))
        if len(wrong):
            raise DataError(
                f"{source}: y_{split}[{wrong[0]}] = {y[wrong[0]]} is outside the classes 0..{len(raw.classes) - 1} "
                f"({len(wrong)} such labels); mend the labels, or leave those examples out"
            )
        if x.dtype != np.uint8 and not np.isfinite(x).all():
            raise DataError(f"{source}: x_{split} contains NaN or infinity; replace them before training")
    if len(raw.classes) < classes:
        raise DataError(f"{source}: all training examples have one label; there must be at least two classes")
    empty = sorted(set(range(len(raw.classes))) - set(np.unique(raw.y_train).tolist()))
    if empty and not raw.gaps:
        raise DataError(
            f"{source}: no training example has label {empty[0]} "
            f"({len(empty)} of {len(raw.classes)} classes have none); labels must be 0, 1, ... without gaps"
        )
    if raw.x_test is not None and raw.x_train.shape[1:] != raw.x_test.shape[1:]:
        raise DataError(
            f"{source}: training images are {raw.x_train.shape[1:]}, test images {raw.x_test.shape[1:]}; "
            "they must have one size"
        )


def _limited(data: Data, limit: datasets.Limit) -> Data:
    """Keep some classes (renumbered in the order given) and at most so many examples."""
    kept = limited((data.y_train, data.y_test), data.classes, data.subpopulations, limit)
    return replace(
        data,
        **_taken(data, "train", kept.places[0], "train") | {"y_train": kept.labels[0]},
        **_taken(data, "test", kept.places[1], "test") | {"y_test": kept.labels[1]},
        classes=kept.classes,
        subpopulations=kept.subpopulations,
        digests={},
    )


def _with_flipped_labels(data: Data, noise: datasets.LabelNoise) -> Data:
    """Give round(fraction * N) training examples another label, every other class equally likely."""
    n_train = len(data.y_train)
    count = round(noise.fraction * n_train)
    if not count:
        raise DataError(f"dataset.label_noise.fraction = {noise.fraction:g} of {n_train} examples flips none; raise it")
    chosen = np.argsort(raw_words(n_train, noise.seed, "label-noise"), kind="stable")[:count]
    shift = generator(noise.seed, "label-noise-class").integers(1, len(data.classes), size=count)
    labels = data.y_train.copy()
    labels[chosen] = (labels[chosen] + shift) % len(data.classes)
    return replace(data, y_train=labels, y_original=data.y_train)
