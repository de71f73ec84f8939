"""What is left out with a target of an attack, so that the number of other trials does not tell what it saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.trial_table import TrialTable
from memexp.errors import InputError

Bits = NDArray[np.bool_]
Places = NDArray[np.intp]

_EQUAL = 0.7  # of the binomial variance of the examples' numbers of trials: with less, trials are no independent draws


def count_trials_of(table: TrialTable) -> NDArray[np.int64]:
    """In how many trials each example is, shape (N,)."""
    return np.concatenate([mask.sum(axis=1) for _, (mask,) in table.bands("mask")])


class Partners:
    """What is left out with a target, besides itself."""

    def __init__(self, table: TrialTable, counts: NDArray[np.int64]) -> None:
        self.group, self._counts = table.group, counts
        even = int(np.ptp(counts)) == 0
        sizes = np.bincount(self.group)
        self.by_group = bool(sizes.max() > 1)
        self.one_of_other_side = even and not self.by_group
        self.size = int(sizes.max()) if self.by_group else 1 + self.one_of_other_side
        if table.n_trials < self.size + 2:
            raise InputError(
                f"{table.n_trials} trials are too few to attack one by the others: with each target its whole group of "
                f"{self.size} is left out, since it tells what the target saw; train more"
            )

    def note(self) -> str:
        """Words on trials that seem to be a part of groups which nobody knows, or nothing.

        In imported trials, of which some are lacking: examples are then in more equal numbers of trials than
        independent draws give, and the others tell by their number what the target saw.
        """
        counts = self._counts
        share, total = counts.mean() / len(self.group), len(self.group)
        least = max(0.0, min(_EQUAL, 1 - 5 * np.sqrt(2 / len(counts))))
        if self.by_group or self.one_of_other_side or not counts.var() < least * total * share * (1 - share):
            return ""
        return (
            "examples are in more equal numbers of trials than chance gives, as if some trials of a balanced design "
            "were lacking: the areas of lira and lira_fixed come out too low, by 0.01 with 15 trials and by 0.1 with 7"
        )

    def of(self, target: int, mask: Bits) -> Places:
        """Places of the trials left out, shape (L,), or (R, 2) where they depend on the example."""
        if not self.one_of_other_side:
            return np.flatnonzero(self.group == self.group[target]) if self.by_group else np.array([target])
        random = np.random.default_rng([target, len(mask)]).random(mask.shape)
        other = np.where(mask == ~mask[:, [target]], random, -1.0).argmax(axis=1)
        return np.stack([np.full(len(mask), target), other], axis=1)
