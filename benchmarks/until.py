"""Does stopping at a measured error bias the estimates? Simulated trials, stopped by --until's rule, truth known.

    python benchmarks/until.py [--repetitions 1000]

Trials differ in luck, which moves all examples together, and the goals lie where it decides at which look they stop.
Printed for each goal: at how many trials they stop, and the mean of estimate minus truth over examples and repetitions
with its standard error, stopped by the rule and, from other trials, at the same numbers fixed beforehand.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.goal import least_of_share
from memexp.analysis.intervals import added_variance

EXAMPLES = 200
RATIO = 0.7
LOOKS = [20, 30, 50, 80, 120, 180]  # as memexp.launch.until.looks fixes them for blocks of 10, and a spec of 180 trials

GOALS = [(0.09, 0.5), (0.0532, 0.5), (0.0796, 0.9)]  # standard error and quantile

Floats = NDArray[np.float64]


class Stopped(NamedTuple):
    """Of each repetition: trials, estimate minus truth on average over the examples, and of the hard ones alone."""

    trials: Floats
    bias: Floats
    hard: Floats


def simulate(draws: np.random.Generator, se: float, quantile: float, repetitions: int) -> tuple[Stopped, Stopped]:
    """By the rule; and at the numbers of trials that the rule gave, from other trials."""
    truth = Truth(draws)
    by_rule = [_one(truth, draws, se, quantile, None) for _ in range(repetitions)]
    fixed = [_one(truth, draws, se, quantile, int(trials)) for trials, *_ in by_rule]
    return tuple(Stopped(*np.array(found, np.float64).T) for found in (by_rule, fixed))  # type: ignore[return-value]


class Truth:
    """Chances to be right with and without each example; a fifth is hard without."""

    def __init__(self, draws: np.random.Generator) -> None:
        self.hard = np.arange(EXAMPLES) < EXAMPLES // 5
        self.out = np.where(self.hard, draws.uniform(0.1, 0.7, EXAMPLES), draws.uniform(0.85, 0.98, EXAMPLES))
        self.into = np.where(self.hard, 0.97, 0.99)


def _one(truth: Truth, draws: np.random.Generator, se: float, quantile: float, fixed: int | None) -> list[float]:
    """Trials, mean of estimate minus truth, the same of hard examples."""
    luck = draws.choice([-1.0, 1.0], LOOKS[-1])[:, None]  # its mean over trials is 0, so that the truth is known
    mask = draws.random((LOOKS[-1], EXAMPLES)) < RATIO
    chance = np.where(mask, truth.into, truth.out)
    right = draws.random(mask.shape) < chance + luck * 0.8 * np.minimum(chance, 1 - chance)
    for look in LOOKS:
        value, variance = np.zeros(EXAMPLES), np.zeros(EXAMPLES)
        for side, sign in ((mask[:look], 1), (~mask[:look], -1)):
            correct, number = (side & right[:look]).sum(0), side.sum(0)
            with np.errstate(invalid="ignore"):
                value += sign * correct / number
            variance += added_variance(correct, number)
        error = np.where(np.isnan(value), np.nan, np.sqrt(variance))
        if look == fixed or (fixed is None and (least_of_share(error, quantile) <= se or look == LOOKS[-1])):
            break
    off = value - (truth.into - truth.out)
    return [look, float(np.nanmean(off)), float(np.nanmean(off[truth.hard]))]


def main() -> None:
    """A line for each goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    given = parser.parse_args()
    for se, quantile in GOALS:
        both = simulate(np.random.default_rng(0), se, quantile, given.repetitions)
        for name, found in zip(("by the rule", "fixed"), both, strict=True):
            stops = f"{found.trials.mean():5.1f} trials (deviation {found.trials.std():4.1f})"
            bias, hard = (
                f"{each.mean():+.5f} ± {each.std() / np.sqrt(len(each)):.5f}" for each in (found.bias, found.hard)
            )
            print(f"se={se:g}@{quantile:g} {name:11}: {stops}, bias {bias}, of hard examples {hard}", flush=True)


if __name__ == "__main__":
    main()
