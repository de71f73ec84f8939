"""What margins tell of influence: soft influence, and a test of their ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memexp.analysis.levels import STEPS, Levels, probabilities, ranks
from memexp.analysis.merged import Merged
from memexp.analysis.products import Trials
from memexp.analysis.rank_test import RankTest
from memexp.errors import InputError, command


@dataclass(frozen=True)
class Soft:
    """What margins of the test examples say of all pairs.

    Attributes
    ----------
    probabilities
        Of the labels.
    ranks
        The test of margins.
    """

    probabilities: Levels
    ranks: RankTest


def soft_of(merged: Merged, trials: Trials) -> Soft | None:
    """What margins of the test examples say, read band by band; None without margins."""
    if "test_margin" not in merged.matrices:
        return None
    values, ranked = np.empty((2, trials.shape[0], merged.n_trials), np.uint16)
    for rows, (margin,) in merged.bands("test_margin"):
        values[rows], ranked[rows] = probabilities(margin), ranks(margin)
    return Soft(Levels(trials, values, STEPS), RankTest(trials, ranked))


def no_margins(merged: Merged) -> InputError:
    """What is said to those who want a test of margins that trials did not record."""
    return InputError(
        f"{merged.paths.root} has no margins of all its trials, so there is no test of margins; run "
        f"`{command('estimate', merged.paths.root, '--test', 'accuracy')}`"
    )
