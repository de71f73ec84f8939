"""Counts of (test example right, training example in) over all trials: one exact integer product.

Only the trials *with* a training example are counted; those without are the rest of the total. The
0/1 operands are int8 and their sums int32 where the processor multiplies int8 fast (VNNI, AMX), and
float32 elsewhere, which counts exactly up to 2**24. Both give the same integers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.counts import Counts

if TYPE_CHECKING:
    from torch import Tensor

Index = slice | NDArray[np.intp]
Packed = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Below this many trials every intermediate of the influence formula is an integer that float32 holds.
_EXACT_IN_FLOAT32 = 4096

_WIDEST = 512  # training examples in a tile; with _HEIGHT test examples they fit a core's cache
_HEIGHT = 512
_BYTES_PER_PAIR = 16  # the value, what callers make of it, and what waits for them
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)


class Tile(NamedTuple):
    """A rectangle of the influence matrix: which tests (rows) and training examples (columns)."""

    tests: Index
    trains: Index


class Operands(Protocol):
    """What is cut into tiles."""

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        ...

    @property
    def bytes_per_row(self) -> int:
        """What an unpacked operand takes for each example."""
        ...


class Trials:
    """Bits of all trials, and the products of their parts.

    Parameters
    ----------
    test_correct, mask
        Eight trials to a byte: uint8, shape (M, ceil(T / 8)) and (N, ceil(T / 8)).
    n_trials
        T.
    device
        Where products are made: ``cpu`` or ``cuda``.

    Attributes
    ----------
    correct : int64, shape (M,)
        Trials that got each test example right.
    in_count : int64, shape (N,)
        Trials that saw each training example.
    """

    def __init__(self, test_correct: Packed, mask: Packed, n_trials: int, device: str = "cpu") -> None:
        self.n_trials = n_trials
        self.correct, self.in_count = (row_sums(bits) for bits in (test_correct, mask))
        self._test, self._mask, self.device = test_correct, mask, device
        self._lock = Lock()
        self._kept: tuple[Index | None, Tensor | None] = (None, None)

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        return len(self._test), len(self._mask)

    @property
    def bytes_per_row(self) -> int:
        """What an unpacked operand takes for each example."""
        n_bytes: int = self._mask.shape[1]
        return 8 * n_bytes * (1 if self._kind == "int8" else 4)

    @property
    def _kind(self) -> str:
        return "float32" if self.device == "cuda" else fastest_kind()

    def in_correct(self, tile: Tile) -> NDArray[np.int32]:
        """Trials in which the test example was right and the training example in, shape (tests, trains)."""
        return multiply(*self._operands(tile), self._kind).cpu().int().numpy()

    def pair_counts(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> Counts:
        """Of the given pairs, of shape (P,)."""
        parts = [slice(top, top + 65536) for top in range(0, len(train), 65536)]
        both = [row_sums(self._mask[train[part]] & self._test[test[part]]) for part in parts]
        in_correct = np.concatenate([np.empty(0, np.int64), *both])
        in_count = self.in_count[train]
        return Counts(in_correct, in_count, self.correct[test] - in_correct, self.n_trials - in_count)

    def influence(self, tile: Tile) -> NDArray[np.float32]:
        """Influence, shape (tests, trains); NaN where a training example was never in or never out.

        k of c right trials had the example in, n of T trials had it: k/n - (c-k)/(T-n) is
        (T k - n c) / (n (T - n)), a quotient of integers, so the result is the rounded true value.
        """
        import torch

        kind = torch.float32 if self.n_trials <= _EXACT_IN_FLOAT32 else torch.float64
        correct, count = (
            torch.as_tensor(a).to(self.device, kind) for a in (self.correct[tile.tests], self.in_count[tile.trains])
        )
        divisor = count * (self.n_trials - count)
        divisor[divisor == 0] = torch.nan
        tests, trains = self._operands(tile)
        value = torch.empty((len(tests), len(trains)), dtype=torch.float32)
        for rows in strips(len(tests)):
            part = multiply(tests[rows], trains, self._kind).to(kind)
            value[rows] = part.addr_(correct[rows], count, beta=self.n_trials, alpha=-1).div_(divisor)
        return value.numpy()

    def masks(self, trains: Index) -> Tensor:
        """Which trials saw these training examples, 0 or 1, (trains, 8 ceil(T / 8)): an operand of products."""
        return self._unpack(self._mask[trains])

    def saw(self, train: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which trials saw each of the training examples, (P, T)."""
        return np.unpackbits(self._mask[train], axis=1, count=self.n_trials).view(np.bool_)

    def operand(self, values: NDArray[np.int8]) -> Tensor:
        """Integers from 0 to 127, (rows, T), as the other operand."""
        import torch

        padded = np.zeros((len(values), 8 * self._mask.shape[1]), np.int8)
        padded[:, : self.n_trials] = values
        tensor = torch.from_numpy(padded).to(self.device)
        return tensor if self._kind == "int8" else tensor.float()

    def multiply(self, tests: Tensor, trains: Tensor) -> Tensor:
        """Sums of the values over the trials that saw each training example, exact, (tests, trains)."""
        return multiply(tests, trains, self._kind)

    def _operands(self, tile: Tile) -> tuple[Tensor, Tensor]:
        with self._lock:
            kept, tests = self._kept
            if kept is not tile.tests or tests is None:  # callers go through the training examples tests by tests
                tests = self._unpack(self._test[tile.tests])
                self._kept = tile.tests, tests
        return tests, self.masks(tile.trains)

    def _unpack(self, bits: Packed) -> Tensor:
        import torch

        ones = torch.from_numpy(np.unpackbits(bits, axis=1).view(np.int8)).to(self.device)
        return ones if self._kind == "int8" else ones.float()


def n_threads() -> int:
    """Threads that products are made on: as many as torch uses."""
    import torch

    return torch.get_num_threads()


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``work(item)`` of each item in order, on as many threads as torch uses, with one core each.

    Tiles side by side need no barrier after every product, and one's writing or counting goes on
    while another multiplies. No more results than threads wait to be taken.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting: deque[Future[Result]] = deque()
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)  # what one thread sets, new threads would take over


def multiply(tests: Tensor, trains: Tensor, kind: str) -> Tensor:
    """Exact product tests @ trains.T of integers 0 to 127 and 0/1, int8 -> int32 or float32 -> float32."""
    import torch

    if kind == "int8":
        return torch._int_mm(tests, trains.T)
    assert 127 * tests.shape[1] < 2**24, "float32 would no longer count exactly"
    return tests @ trains.T


@lru_cache(maxsize=1)
def fastest_kind() -> str:
    """``int8`` or ``float32``: whichever multiplies faster on this processor, tried once on a small product."""
    import torch

    ones = torch.ones(256, 1024, dtype=torch.int8)
    seconds = {}
    for kind in ("float32", "int8"):
        operand = ones if kind == "int8" else ones.float()
        tries = []
        for _ in range(3):
            start = time.perf_counter()
            multiply(operand, operand, kind)
            tries.append(time.perf_counter() - start)
        seconds[kind] = min(tries)
    return min(seconds, key=lambda kind: seconds[kind])


def strips(n_rows: int) -> Iterator[slice]:
    """Rows of a tile strip by strip, so that a product and what is made of it stay in the cache."""
    for top in range(0, n_rows, _HEIGHT):
        yield slice(top, min(top + _HEIGHT, n_rows))


def tiles(trials: Operands, tests: Index, trains: Index, memory_gb: float) -> Iterator[Tile]:
    """Cut tests x trains into rectangles; the test operand and one tile of each thread fit into ``memory_gb``."""
    rows, columns = (np.arange(n)[part] for n, part in zip(trials.shape, (tests, trains), strict=True))
    budget, threads = int(memory_gb * 2**30) // 2, n_threads()
    height = max(1, min(len(rows), budget // trials.bytes_per_row))
    per_column = trials.bytes_per_row + _BYTES_PER_PAIR * height
    width = max(1, min(len(columns), _WIDEST, budget // (threads * per_column)))
    for top in range(0, len(rows), height):
        part = rows[top : top + height]
        for left in range(0, len(columns), width):
            yield Tile(part, columns[left : left + width])


def row_sums(bits: Packed) -> NDArray[np.int64]:
    """Ones in each row of packed bits."""
    sums = np.empty(len(bits), np.int64)
    for top in range(0, len(bits), 65536):
        sums[top : top + 65536] = _ONES[bits[top : top + 65536]].sum(1, dtype=np.int64)
    return sums
