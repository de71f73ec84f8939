"""Membership inference: each trial attacked with the others as shadow models.

The likelihood ratio attack (LiRA) of Carlini et al., IEEE S&P 2022, and the robust one (RMIA) of Zarifzadeh, Liu and
Shokri, ICML 2024. In a balanced design the other trials of the target's group tell by their number what the target
saw, so the whole group is left out; where it is the whole run, one trial of the other side is, for each example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.partners import Partners, count_trials_of
from memexp.analysis.privacy import Audit, audit
from memexp.analysis.roc import Curve, Roc
from memexp.analysis.shadows import Shadows, separation
from memexp.analysis.tested import places_of
from memexp.analysis.trial_table import TrialTable
from memexp.errors import InputError

if TYPE_CHECKING:
    from memexp.analysis.merged import Merged
    from memexp.spec.subsets import Subsets

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
Places = NDArray[np.intp]

METHODS = {
    "lira": "likelihood ratio, a normal distribution of each example's margins in and out",
    "lira_fixed": "the same with one deviation for all examples, in and out apart",
    "lira_offline": "by the trials without the example only, one deviation for all",
    "rmia": "relative likelihood against the test set, by trials in and out",
    "rmia_offline": "the same by the trials without the example only",
    "loss": "the margin alone, no shadow models",
}
OFFLINE = 0.3  # RMIA's slope from the mean probability out to that in and out
LOW_FPR = 0.01  # at which single examples count as detected

_LEAST = 1e-30  # added to deviations, as the published code does
_NUMBERS = 64 << 20  # kept of a batch of targets
_KEPT = ("value", "in_median", "in_deviation", "out_median", "out_deviation", "in_share", "out_share")


@dataclass(frozen=True)
class Risk:
    """Of each training example, shape (N,).

    Attributes
    ----------
    separation, separation_se, separation_low, separation_high
        Chance that a trial with the example has a larger margin than one without: 0.5 where nothing gives it away; its
        standard error and its 95 % interval, which holds near 0 and 1 too, where the error is too small.
    in_margin, out_margin
        Median margin of the trials with and without it.
    detected
        Share of the targets with the example that ``lira`` detects at the threshold of :data:`LOW_FPR`; NaN where it
        is in (or out) for no shadow model of any.
    targets
        Number of those targets, where it is in and out for shadow models.
    """

    separation: Floats
    separation_se: Floats
    separation_low: Floats
    separation_high: Floats
    in_margin: Floats
    out_margin: Floats
    detected: Floats
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Attack:
    """What attacks find.

    Attributes
    ----------
    methods
        By name, see :data:`METHODS`.
    n_targets, n_trials, left_out
        Trials attacked; trials in all; of them left out with each target, itself included.
    balanced_over_all
        Whether every example is in as many trials: then a trial of the other side is left out with each target.
    audit
        Lower bounds on epsilon, where each example was in with chance 1/2 by itself.
    note
        What else a reader must know, or nothing.
    """

    methods: dict[str, Curve]
    risk: Risk
    n_targets: int
    n_trials: int
    left_out: int
    balanced_over_all: bool
    audit: Audit | None
    note: str


def attack(
    table: TrialTable,
    targets: int | None = None,
    coin: bool = False,
    tell: Callable[[float], None] = lambda _: None,
) -> Attack:
    """Attack trials with the others as shadow models.

    Parameters
    ----------
    table
        Trials with margins.
    targets
        How many are attacked, spread over the groups; None for all.
    coin
        Whether each example was in with chance 1/2 by itself (``bernoulli`` at 0.5): then epsilon is bounded too.
    tell
        Takes the share done.

    Raises
    ------
    InputError
        If no margins were recorded, or the trials are too few.
    """
    table.require("train_margin")
    attacked, partners = _targets(table, targets), Partners(table, count_trials_of(table))
    size = len(_KEPT) * table.n_train + 2 * table.n_test
    batches = np.array_split(attacked, min(len(attacked), -(-len(attacked) * size // _NUMBERS)))
    roc = {name: Roc(table.group[attacked]) for name in METHODS}
    audits: list[list[float]] = []
    found, hits = np.zeros(table.n_train, np.int64), np.zeros(table.n_train, np.int64)
    for number, batch in enumerate(batches):
        share = lambda done, start=number: tell((start + done) / len(batches))  # noqa: E731
        content = _Batch(table, batch, partners, share)
        for place in range(len(batch)):
            member = content.member[place]
            for name, scores in content.scores(place).items():
                roc[name].add(scores, member)
                if name == "lira":
                    detected = scores > roc[name].threshold(scores, member, LOW_FPR)
                    found += member & ~np.isnan(scores)
                    hits += member & detected
                    if coin:
                        audits.append(audit(scores, member))
    with np.errstate(invalid="ignore"):
        risk = Risk(*_separations(table), hits / found, found)
    curves = {name: each.curve() for name, each in roc.items()}
    return Attack(
        curves, risk, len(attacked), table.n_trials, partners.size, partners.one_of_other_side, _audited(audits),
        partners.note(),
    )  # fmt: skip


def attackable(table: TrialTable) -> bool:
    """Whether the trials recorded margins and are enough to attack one by the others."""
    try:
        table.require("train_margin")
        Partners(table, count_trials_of(table))
    except InputError:
        return False
    return True


def attack_run(
    merged: Merged,
    table: TrialTable,
    subsets: Subsets,
    targets: int | None = None,
    tell: Callable[[float], None] = lambda _: None,
) -> Attack:
    """Attack trials of a run: with the first test set as population, and bounds on epsilon where its design allows.

    ``table``: of the trials that take part; the rest as for :func:`attack`. Groups of examples toss one coin
    together, so that no epsilon is told of them.
    """
    coin = subsets.design == "bernoulli" and subsets.ratio == 0.5 and subsets.groups is None
    return attack(replace(table, n_test=len(places_of(merged.examples))), targets, coin, tell)


def _audited(bounds: list[list[float]]) -> Audit | None:
    return Audit(np.array(bounds)) if bounds else None


def _targets(table: TrialTable, targets: int | None) -> Places:
    """The trials to attack: one of each group first."""
    within = np.zeros(table.n_trials, np.int64)
    seen: dict[int, int] = {}
    for place, group in enumerate(table.group.tolist()):
        within[place] = seen[group] = seen.get(group, -1) + 1
    order = np.lexsort((np.arange(table.n_trials), within))
    if targets is not None and targets > len(order):
        raise InputError(f"--targets {targets}: there are {len(order):,} trials; give that or fewer")
    return np.sort(order[:targets])


class _Batch:
    """What the scores of some targets are made of."""

    def __init__(self, table: TrialTable, targets: Places, partners: Partners, tell: Callable[[float], None]) -> None:
        n = len(targets)
        self.kept = {name: np.empty((n, table.n_train)) for name in _KEPT}
        self.member = np.empty((n, table.n_train), np.bool_)
        self._pool = np.zeros((2, 3, n))  # in and out: number, sum and squares of the residuals
        for rows, (mask, margin) in table.bands("mask", "train_margin"):
            shadows = Shadows(margin, mask)
            probabilities = probability(margin)
            shares = [np.where(side, probabilities, 0.0) for side in (mask, ~mask)]
            summed = [(share, share.sum(axis=1)) for share in shares]  # once for all targets
            for place, target in enumerate(targets.tolist()):
                self._add(shadows, summed, rows, place, target, partners.of(target, mask))
            tell(rows.stop / table.n_train * 0.9)
        self._population(table, targets, partners)
        tell(1.0)

    def _add(
        self, shadows: Shadows, summed: list[tuple[Floats, Floats]], rows: slice, place: int, target: int, left: Places
    ) -> None:
        self.member[place, rows] = shadows.mask[:, target]
        self.kept["value"][place, rows] = shadows.values[:, target]
        there = np.arange(len(shadows.mask))[:, None]
        gone = np.broadcast_to(left, (len(there), left.shape[-1]))
        for number, (side, spread) in enumerate(zip(("in", "out"), shadows.without(left), strict=True)):
            self.kept[f"{side}_median"][place, rows] = spread.median
            self.kept[f"{side}_deviation"][place, rows] = spread.deviation
            share, all_of_side = summed[number]
            total = all_of_side - share[there, gone].sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                self.kept[f"{side}_share"][place, rows] = total / spread.number
            self._pool[number, :, place] += [
                spread.number.sum(), np.nansum(spread.residual), np.nansum(spread.square)
            ]  # fmt: skip

    def _population(self, table: TrialTable, targets: Places, partners: Partners) -> None:
        """The ratios of the test examples, which no trial was trained on, sorted: shape (targets, M)."""
        self.ratios = np.full((len(targets), table.n_test), np.nan)
        if "test_margin" not in table.recorded:
            return
        stay = [
            np.isin(table.group, table.group[target], invert=True) if partners.by_group
            else np.arange(table.n_trials) != target
            for target in targets.tolist()
        ]  # fmt: skip
        weights = np.stack([each / each.sum() for each in stay], axis=1)
        for rows, (margin,) in table.bands("test_margin"):
            share = probability(margin)
            self.ratios[:, rows] = (share[:, targets] / (share @ weights)).T
        self.ratios.sort(axis=1)

    def scores(self, place: int) -> dict[str, Floats]:
        """Of one target: each method's score of each example, larger for members; NaN where there is none."""
        value, in_median, in_deviation, out_median, out_deviation, in_share, out_share = (
            self.kept[name][place] for name in _KEPT
        )
        count, residual, square = self._pool[:, :, place].T
        with np.errstate(invalid="ignore"):  # no example is in, or none out: NaN
            fixed_in, fixed_out = np.sqrt(square / count - (residual / count) ** 2)
        own = probability(value)
        offline = (1 + OFFLINE) / 2 * out_share + (1 - OFFLINE) / 2
        return {
            "lira": _log_density(value, in_median, in_deviation) - _log_density(value, out_median, out_deviation),
            "lira_fixed": _log_density(value, in_median, fixed_in) - _log_density(value, out_median, fixed_out),
            "lira_offline": np.where(np.isnan(out_median), np.nan, (value - out_median) / (fixed_out + _LEAST)),
            "rmia": self._above(place, own / ((in_share + out_share) / 2)),
            "rmia_offline": self._above(place, own / offline),
            "loss": value,
        }

    def _above(self, place: int, ratio: Floats) -> Floats:
        """Share of the test examples whose ratio is smaller."""
        if np.isnan(self.ratios[place]).any() or not len(self.ratios[place]):  # there are no test margins
            return np.full(ratio.shape, np.nan)
        below = np.searchsorted(self.ratios[place], ratio, side="left") / self.ratios.shape[1]
        return np.where(np.isnan(ratio), np.nan, below)


def probability(margin: NDArray[np.floating]) -> Floats:
    """p_y from log p_y - log(1 - p_y)."""
    from scipy.special import expit

    return np.asarray(expit(margin.astype(np.float64)))


def _log_density(value: Floats, center: Floats, deviation: Floats | np.float64) -> Floats:
    """Of a normal distribution, up to the constant that both sides share."""
    wide = deviation + _LEAST
    return np.asarray(-0.5 * ((value - center) / wide) ** 2 - np.log(wide))


def _separations(table: TrialTable) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """The first six fields of :class:`Risk`, in order."""
    found = np.empty((6, table.n_train))
    for rows, (mask, margin) in table.bands("mask", "train_margin"):
        found[:4, rows] = separation(margin, mask)
        none = np.array([], np.intp)
        found[4, rows], found[5, rows] = (side.median for side in Shadows(margin, mask).without(none))
    return found[0], found[1], found[2], found[3], found[4], found[5]
