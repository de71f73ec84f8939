"""How exact estimates get with the number of trials, before any is trained; groups of the balanced design."""

from __future__ import annotations

import math
from fractions import Fraction

MAX_GROUP = 100  # trials in a group of the balanced design, at most


def worst_case_se(ratio: float, n_trials: int) -> float:
    """Standard error where both accuracies are 1/2, the largest that binomial noise can be.

    sqrt(1/(4 r T) + 1/(4 (1 - r) T)) for ``n_trials`` = T of which a share of ``ratio`` = r has the
    example in.
    """
    return math.sqrt(0.25 / (ratio * n_trials) + 0.25 / ((1 - ratio) * n_trials))


def trials_for(ratio: float, target_se: float, group: int = 1) -> int:
    """Fewest trials whose worst-case standard error is at most ``target_se``; a multiple of ``group``."""
    needed = 0.25 / (ratio * (1 - ratio) * target_se**2)
    return group * math.ceil(needed / group - 1e-9)


def lemma_bound(ratio: float, n_trials: int) -> float:
    """Root of the bound on the mean squared error in Lemma 2.1 of the paper.

    E (infl - estimate)^2 <= 1/(p t) + 1/((1-p) t) + exp(-p t / 16) / 2 with p = min(ratio, 1 - ratio).
    """
    p = min(ratio, 1 - ratio)
    return math.sqrt(1 / (p * n_trials) + 1 / ((1 - p) * n_trials) + math.exp(-p * n_trials / 16) / 2)


def balanced_group(ratio: float) -> tuple[int, int] | None:
    """(group, out): each example is out in ``out`` of every ``group`` trials; None if ratio fits no group."""
    fraction = Fraction(ratio).limit_denominator(MAX_GROUP)
    if abs(float(fraction) - ratio) > 1e-9 or fraction in (0, 1):
        return None
    return fraction.denominator, fraction.denominator - fraction.numerator
