"""The strongest entries of a matrix that is seen tile by tile; ties go to the smaller index, whatever the tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """Pairs and their influence; all of shape (P,)."""

    train: Places
    test: Places
    value: Values

    def __len__(self) -> int:
        return len(self.train)

    @classmethod
    def none(cls) -> Candidates:
        """No pair."""
        return cls(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32))

    def take(self, places: Places | NDArray[np.bool_]) -> Candidates:
        """The pairs at the given places."""
        return Candidates(self.train[places], self.test[places], self.value[places])

    def first(self, most: int | None) -> Candidates:
        """The strongest ``most`` (all of them, if there are no more), in no order."""
        return self if most is None or len(self) <= 2 * most else self.take(self._order()[:most])

    def unique(self) -> Candidates:
        """Each pair once, strongest first."""
        ordered = self.take(self._order())
        same = (ordered.train[1:] == ordered.train[:-1]) & (ordered.test[1:] == ordered.test[:-1])
        return ordered.take(np.concatenate([np.ones(min(1, len(self)), np.bool_), ~same]))

    def among(self, *others: Candidates) -> NDArray[np.bool_]:
        """Which of the pairs occur in one of ``others``."""
        wanted = join(list(others))
        width = 1 + max(0, *(int(part.max(initial=0)) for part in (self.test, wanted.test)))
        return np.isin(self.train * width + self.test, wanted.train * width + wanted.test)

    def _order(self) -> Places:
        return np.lexsort((self.test, self.train, -self.value))


def join(parts: list[Candidates]) -> Candidates:
    """One after the other."""
    return Candidates(
        np.concatenate([part.train for part in parts]),
        np.concatenate([part.test for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def best_of_each(value: Values, tests: Places, trains: Places, k: int, axis: int) -> Candidates:
    """At least the k most positive and the k most negative pairs of each example of one tile.

    Parameters
    ----------
    value
        Shape (tests, trains); NaN and 0 are nobody's strongest.
    axis
        1 for each test example, 0 for each training example.
    """
    found = []
    for sign in (1, -1):
        signed = np.where(value * sign > 0, value * sign, np.float32(0))
        place = max(0, signed.shape[axis] - k)
        least = np.take(np.partition(signed, place, axis=axis), [place], axis=axis)
        rows, columns = np.nonzero((signed >= least) & (signed > 0))
        found.append(Candidates(trains[columns], tests[rows], value[rows, columns]))
    return join(found)


def best_joined(before: Candidates, found: Candidates, k: int, axis: int) -> Candidates:
    """The k most positive and the k most negative pairs of each example, of both together."""
    both = join([before, found])
    positive = both.value > 0
    return join([_best(both.take(side), k, axis) for side in (positive, ~positive)])


def _best(pairs: Candidates, k: int, axis: int) -> Candidates:
    """The k strongest of each example; values of one sign."""
    example, other = (pairs.test, pairs.train) if axis == 1 else (pairs.train, pairs.test)
    order = np.lexsort((other, -np.abs(pairs.value), example))
    ordered = example[order]
    first = np.searchsorted(ordered, ordered, side="left")
    return pairs.take(order[np.arange(len(order)) - first < k])
