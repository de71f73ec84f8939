"""Random numbers as pure functions of (seed, purpose, index).

Every random choice of a run comes from here, so any trial can be made again anywhere, in any order.
The generator is counter-based (Philox); its raw 64-bit words are fixed by definition, so what is
built from raw words (masks) does not change with the version of NumPy.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def bit_generator(seed: int, purpose: str, *index: int) -> np.random.Philox:
    """An independent Philox stream for each (seed, purpose, index...)."""
    name = "/".join(["memexp", purpose, str(seed), *map(str, index)])
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")
    return np.random.Philox(key=key)


def raw_words(count: int, seed: int, purpose: str, *index: int) -> NDArray[np.uint64]:
    """``count`` raw 64-bit words, shape (count,)."""
    return np.asarray(bit_generator(seed, purpose, *index).random_raw(count), dtype=np.uint64)


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A NumPy generator on the stream (seed, purpose, index...)."""
    return np.random.Generator(bit_generator(seed, purpose, *index))


def torch_seed(seed: int, purpose: str, *index: int) -> int:
    """A seed for ``torch.manual_seed``: a non-negative 63-bit integer."""
    return int(raw_words(1, seed, purpose, *index)[0] >> np.uint64(1))
