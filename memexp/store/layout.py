"""Which arrays a run's trials are, their axes and types, and what they take on a disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a trial may record of every training and of every test example, and the types it is stored in. The arrays
# train_NAME and test_NAME hold it; creating, checking, merging and reading stores knows no more of them.
RECORDABLE: Mapping[str, tuple[str, ...]] = {
    "correct": ("bool",),
    "margin": ("float16",),
    "predicted": ("uint8", "uint16", "uint32"),  # the class of the largest logit
    "score": ("float32",),  # a number that a trial of the user's own gives
}

# What a trial may record of the examples that it saw, while it was trained: the arrays train_NAME.
LEARNING: Mapping[str, tuple[str, ...]] = {
    "learning_loss": ("float32",),  # summed over the times it was seen
    "learned": ("uint16",),
    "forgotten": ("uint16",),
}

# Probabilities of all classes are kept as sums over the trials of a block, in whole steps: integers add up to the same
# in any order. Each row's share of a trial is at most a step of each class away from the softmax.
PROBABILITY_STEPS = 2**16 - 1
SUMS_LARGEST = 2**31 - 1  # bytes of a chunk, at most

PER_TRIAL = ("seconds", "in_accuracy", "out_accuracy", "test_accuracy", "train_loss")

SCALAR = "scalar_"  # begins the names of the further numbers that a trial of the user's own gives

Kinds = dict[str, tuple[str, "np.dtype[Any]"]]

_DISK_BLOCK = 4096


@dataclass(frozen=True)
class Layout:
    """Shape of a store.

    Attributes
    ----------
    n_trials, n_train, n_test
        Lengths of the axes.
    block_size
        Trials in a chunk.
    recorded
        Type of each outcome that the trials record, by its name in ``RECORDABLE``, in its order.
    scalars
        Names of further numbers of each trial; their arrays are called ``scalar_NAME``.
    n_classes
        Length of the axis of classes, where sums of probabilities are kept for each block; 0: they are not.
    """

    n_trials: int
    n_train: int
    n_test: int
    block_size: int
    recorded: Mapping[str, str]
    scalars: tuple[str, ...] = ()
    n_classes: int = 0

    @property
    def n_blocks(self) -> int:
        """Blocks, the last one perhaps smaller."""
        return -(-self.n_trials // self.block_size)

    def block(self, number: int) -> range:
        """Trials of a block."""
        return range(number * self.block_size, min((number + 1) * self.block_size, self.n_trials))

    def blocks_with(self, flags: NDArray[np.bool_]) -> list[int]:
        """Blocks with a trial that is flagged; ``flags`` of all trials, shape (trial,)."""
        blocks: list[int] = np.flatnonzero(np.bincount(np.flatnonzero(flags) // self.block_size)).tolist()
        return blocks

    def size(self, axis: str) -> int:
        """Length of ``train`` or ``test``."""
        return {"train": self.n_train, "test": self.n_test}[axis]

    def recorded_arrays(self) -> Kinds:
        """Second axis and type of the arrays of what is recorded of every example."""
        return {
            f"{axis}_{name}": (axis, np.dtype(kind))
            for name, kind in self.recorded.items()
            for axis in (("train",) if name in LEARNING else ("train", "test"))
        }

    def matrices(self) -> Kinds:
        """The same, and the masks: all arrays of two axes."""
        return {"mask": ("train", np.dtype(np.bool_))} | self.recorded_arrays()

    def block_sums(self) -> Kinds:
        """Second axis and type of the arrays of three axes: block, examples, class."""
        return {f"{axis}_probabilities": (axis, np.dtype(np.uint32)) for axis in ("train", "test") if self.n_classes}

    def shape(self, name: str, n_trials: int) -> tuple[int, ...]:
        """Shape of an outcome array that holds so many trials, from the first of a block on."""
        axis, _ = self.outcome_arrays()[name]
        if name in self.block_sums():
            return -(-n_trials // self.block_size), self.size(axis), self.n_classes
        return (n_trials, self.size(axis)) if axis else (n_trials,)

    def chunk(self, name: str) -> tuple[int, ...]:
        """Shape of the chunk of a block; of an array without examples one that Zarr allows."""
        return tuple(max(1, length) for length in self.shape(name, self.block_size))

    def outcome_arrays(self) -> Kinds:
        """Second axis ("" for none) and type of every array that a worker writes, ``status`` last."""
        numbers = (*PER_TRIAL, *(SCALAR + name for name in self.scalars))
        per_trial = dict.fromkeys(numbers, np.dtype(np.float32)) | {"status": np.dtype(np.uint8)}
        return self.matrices() | self.block_sums() | {name: ("", kind) for name, kind in per_trial.items()}

    def bytes_at_most(self) -> int:
        """Upper bound of what the store and its receipts take on a disk that gives out 4 kB at a time."""
        arrays = self.outcome_arrays()
        # a chunk of two axes has a folder of its own, one of three has two
        folders = sum(bool(axis) for axis, _ in arrays.values()) + len(self.block_sums())
        files = self.n_blocks * (len(arrays) + folders + 1) + 5 * len(arrays) + 30
        labels = 25 * (self.n_train + self.n_test)
        sums = self.n_blocks * self.bytes_of_sums()
        return self.n_trials * self.bytes_per_trial() + sums + labels + _DISK_BLOCK * files

    def bytes_of_sums(self) -> int:
        """Of a block's sums of probabilities."""
        return sum(self.size(axis) * self.n_classes * kind.itemsize for axis, kind in self.block_sums().values())

    def bytes_per_trial(self) -> int:
        """Upper bound of a trial's outcomes: a bit for each boolean, all bytes of other numbers."""
        bits = sum(self.size(axis) * bits_of(kind) for axis, kind in self.matrices().values())
        return bits // 8 + 64


def bits_of(kind: np.dtype[Any]) -> int:
    """What a value takes where booleans are packed."""
    return 1 if kind == np.bool_ else 8 * kind.itemsize


def recorded_kinds(names: Collection[str], n_classes: int) -> dict[str, str]:
    """Types of the outcomes that a spec records; of classes the smallest that holds them."""
    kinds = {name: kinds[0] for name, kinds in RECORDABLE.items() if name in names}
    kinds |= {name: kinds[0] for name, kinds in LEARNING.items() if "learning" in names}
    return kinds | ({"predicted": np.min_scalar_type(n_classes - 1).name} if "predicted" in kinds else {})
