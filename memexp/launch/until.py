"""`--until`: train in rounds up to fixed numbers of trials, and stop at the first whose error is small enough.

The looks are fixed before anything is trained, and the goal speaks of the error only, never of the estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from memexp.analysis.goal import judge
from memexp.errors import InputError
from memexp.runs.larger import enlarged, with_trials
from memexp.runs.plan import Plan
from memexp.runs.run import Run, prepare_run
from memexp.spec.sampling_error import balanced_group
from memexp.spec.spec import Spec
from memexp.store.goal import Goal
from memexp.store.launches import read_launches

FIRST_LOOK = 20  # trials: below, the standard error is mostly that of its own prior
STEP = 1.5  # each look has about so many times the trials of the one before


class Aim(NamedTuple):
    """What the user asks for: see :class:`memexp.store.goal.Goal`."""

    se: float
    quantile: float

    def goal(self, spec: Spec, block_size: int) -> Goal:
        """With the looks of this spec.

        Raises
        ------
        InputError
            If its subsets are chosen, so that nothing is estimated.
        """
        if spec.subsets.ratio is None:
            raise InputError(
                f"--until: 'design: {spec.subsets.design}' estimates no memorization, so there is no error to "
                "measure; leave the option away"
            )
        found = looks(spec, block_size)
        return Goal(self.se, self.quantile, found, found[0])


def read_aim(text: str | None) -> Aim | None:
    """``se=0.03`` (the median), or with a quantile of the examples ``se=0.03@0.9``.

    Raises
    ------
    InputError
        If it is neither.
    """
    if text is None:
        return None
    name, _, rest = text.partition("=")
    number, _, share = rest.partition("@")
    try:
        aim = Aim(float(number), float(share or 0.5))
    except ValueError:
        aim = Aim(math.nan, math.nan)
    if name.strip() != "se" or not (0 < aim.se < math.inf and 0 < aim.quantile <= 1) or rest.endswith("@"):
        raise InputError(
            f"--until {text}: give se=X, the standard error of memorization to reach (X > 0) by half of the "
            "examples, or se=X@Q by a share Q of them (0 < Q <= 1), such as se=0.03 or se=0.03@0.9"
        )
    return aim


def looks(spec: Spec, block_size: int) -> list[int]:
    """Numbers of trials at which is looked: whole blocks and whole balanced groups, up to the spec's trials."""
    subsets = spec.subsets
    group = balanced_group(subsets.ratio or 0.0) if subsets.design == "balanced" else None
    unit = math.lcm(block_size, group[0] if group else 1)
    found = [unit * math.ceil(FIRST_LOOK / unit)]
    while found[-1] < subsets.trials:
        found.append(unit * math.ceil(STEP * found[-1] / unit))
    return [look for look in found if look < subsets.trials] + [subsets.trials]


def begin(plan: Plan, runs: Path, block: int | None = None, aim: Aim | None = None) -> tuple[Run, Goal | None]:
    """Create the run of a plan, or open it; with an aim as large as its first look, and with its goal."""
    if aim is None:
        return prepare_run(plan.spec, plan.data, runs, block), None
    goal = aim.goal(plan.spec, block or plan.layout.block_size)
    run = prepare_run(with_trials(plan.spec, goal.trials), plan.data, runs, block)
    return _as_large(run, aim.goal(plan.spec, run.manifest.block_size))


def first_look_is_late(run: Run, goal: Goal) -> str:
    """What to say of a run that was made as large as its spec, since a run never shrinks to a look; else nothing."""
    former = read_launches(run.paths)[-1:]
    if (
        goal.trials != goal.looks[-1]
        or goal.trials == goal.looks[0]
        or not run.missing()
        or (former and former[0].until)
    ):
        return ""
    return (
        f"{run.paths.root} was made with all its {goal.trials:,} trials, so the first look comes when all are trained; "
        f"under another name it comes after {goal.looks[0]:,}"
    )


def going_on(run: Run) -> tuple[Run, Goal | None]:
    """The run with the goal of its last launch, if that had one."""
    last = read_launches(run.paths)[-1:]
    return _as_large(run, last[0].until) if last and last[0].until else (run, None)


def _as_large(run: Run, goal: Goal) -> tuple[Run, Goal]:
    goal = goal.at(run.store().layout.n_trials)
    return enlarged(run, goal.trials), goal


def next_round(run: Run, goal: Goal, tell: Callable[[Goal], None] = lambda _: None) -> tuple[Run, Goal]:
    """Judge a run whose trials are all settled, and enlarge the run if it goes on.

    ``ended`` of the goal tells whether it does.
    """
    judged = judge(run.paths, goal)
    tell(judged)
    if judged.ended or judged.next is None:
        return run, judged
    return enlarged(run, judged.next), judged.at(judged.next)


def in_rounds(
    run: Run, goal: Goal | None, train: Callable[[Run, Goal | None], None], tell: Callable[[Goal], None]
) -> None:
    """Train, and look, until the goal has ended; or until a round leaves trials missing, which nobody can judge."""
    train(run, goal)
    while goal is not None and not run.missing():
        run, goal = next_round(run, goal, tell)
        if goal.ended:
            return
        train(run, goal)
