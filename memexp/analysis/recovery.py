"""Reading a training example out of a model, by questions alone: two attacks on inputs of -1 and 1.

Both are those of Brown et al. (2021), "When Is Memorization of Irrelevant Training Data Necessary for
High-Accuracy Learning?", against a class of which the model saw a single example.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.int8]
Answer = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Log-probability of the class in question for inputs (B, D), shape (B,)."""


def sign_attack(answer: Answer, dim: int, random: np.random.Generator, probes: int = 5) -> Bits:
    """For each bit, with which value the class is likelier: the majority over random inputs.

    Parameters
    ----------
    answer
        The model's log-probability of the class.
    dim
        Bits of an example, D.
    random
        Draws the inputs.
    probes
        Random inputs, an odd number so that there is always a majority.

    Returns
    -------
    int8, shape (D,), of -1 and 1
    """
    votes = np.zeros(dim)
    for _ in range(probes):
        x = _random_bits(random, dim)
        both = np.repeat(x[None], 2 * dim, axis=0)
        places = np.arange(dim)
        both[places, places], both[dim + places, places] = 1, -1
        said = answer(both)
        votes += np.sign(said[:dim] - said[dim:])
    return np.where(votes >= 0, 1, -1).astype(np.int8)


def coordinate_ascent(answer: Answer, dim: int, random: np.random.Generator, sweeps: int = 10) -> Bits:
    """From a random input, keep each flip of a bit that makes the class likelier, until none does.

    Parameters as of :func:`sign_attack`; at most ``sweeps`` passes over all bits.
    """
    x = _random_bits(random, dim)
    best = float(answer(x[None])[0])
    for _ in range(sweeps):
        before = best
        for place in random.permutation(dim):
            x[place] *= -1
            said = float(answer(x[None])[0])
            if said > best:
                best = said
            else:
                x[place] *= -1
        if best == before:
            break
    found: Bits = x.astype(np.int8)
    return found


ATTACKS: dict[str, Callable[[Answer, int, np.random.Generator], Bits]] = {
    "sign": sign_attack,
    "ascent": coordinate_ascent,
}


def _random_bits(random: np.random.Generator, dim: int) -> NDArray[np.float32]:
    return (2 * random.integers(0, 2, size=dim) - 1).astype(np.float32)
