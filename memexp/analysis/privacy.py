"""Lower bounds on epsilon from one training: Steinke, Nasr and Jagielski, NeurIPS 2023 (theorem 5.2).

Each of m examples was in with chance 1/2 by itself. The auditor guesses r of them, the surest in and the surest
out, and abstains on the rest. So many right guesses refute small epsilons of an (epsilon, delta) private training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DELTA = 1e-5
LEVEL = 0.05
GUESSED = (0.01, 0.05, 0.2, 1.0)  # shares of the examples that are guessed


@dataclass(frozen=True)
class Audit:
    """Bounds of each target.

    Attributes
    ----------
    bounds : shape (targets, len(GUESSED))
        Lower bound on epsilon by so many guesses, each at level :data:`LEVEL` / len(:data:`GUESSED`).
    """

    bounds: Floats

    @property
    def epsilon(self) -> Floats:
        """Shape (targets,): the largest of each target's bounds; all of them together hold with 95 % confidence."""
        return np.asarray(self.bounds.max(axis=1))


def audit(scores: Floats, member: NDArray[np.bool_], delta: float = DELTA) -> list[float]:
    """Lower bounds on epsilon of one target, by each share of :data:`GUESSED`.

    Parameters
    ----------
    scores : shape (m,)
        Larger for members; NaN is never guessed.
    member : bool, shape (m,)
    """
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(scores[known], kind="stable")]
    found = []
    for share in GUESSED:
        half = min(len(order) // 2, max(1, round(share * len(member) / 2)))
        right = int((~member[order[:half]]).sum() + member[order[len(order) - half :]].sum())
        found.append(epsilon_bound(len(member), 2 * half, right, delta, LEVEL / len(GUESSED)))
    return found


def epsilon_bound(m: int, r: int, v: int, delta: float = DELTA, level: float = LEVEL) -> float:
    """Largest epsilon that v right guesses refute.

    Parameters
    ----------
    m
        Examples, each in with chance 1/2 by itself.
    r, v
        Guesses, and how many are right.
    delta
        Of (epsilon, delta) privacy.
    level
        Chance of a bound that is too high.
    """
    low, high = 0.0, 1.0
    while _p_value(m, r, v, high, delta) < level:
        low, high = high, 2 * high
        if high > 64:
            return low
    if low == 0.0 and _p_value(m, r, v, 0.0, delta) >= level:
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _p_value(m, r, v, middle, delta) < level else (low, middle)
    return low


def _p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Chance of v or more right guesses, at most, under (epsilon, delta) privacy."""
    from scipy.stats import binom

    q = 1 / (1 + np.exp(-epsilon))
    beta = float(binom.sf(v - 1, r, q))
    i = np.arange(1, v + 1)
    between = binom.sf(v - i - 1, r, q) - beta  # P[v > Bin >= v - i]
    return min(1.0, beta + 2 * m * delta * float((between / i).max(initial=0.0)))
