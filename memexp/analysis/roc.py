"""Curves of true against false positives, over several targets, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from memexp.analysis.intervals import clustered_error

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

FPRS = (0.001, 0.01)
GRID: Floats = np.logspace(-4, 0, 81)


@dataclass(frozen=True)
class Mean:
    """A mean over targets with its 95 % interval; NaN where one target (or one group of them) gives no interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One attack over all targets.

    Attributes
    ----------
    auc, balanced_accuracy
        Area under the curve; the best mean of the shares of members and of others that are told rightly.
    tpr
        True positives at each of :data:`FPRS`.
    roc, roc_se : shape (81,)
        Mean share of true positives at most at the false positives :data:`GRID`, and its standard error.
    aucs : shape (targets,)
        Of each target.
    undefined
        Scores that were left out because an example was in (or out) for no shadow model.
    """

    auc: Mean
    balanced_accuracy: Mean
    tpr: dict[float, Mean]
    roc: Floats
    roc_se: Floats
    aucs: Floats
    undefined: int


class Roc:
    """Collects the curves of one attack, target after target.

    Parameters
    ----------
    group : shape (targets,)
        Targets of a group count as one: their members are not independent.
    """

    def __init__(self, group: NDArray[np.int64]) -> None:
        self._group = group
        self._found: list[list[float]] = []
        self._undefined = 0

    def add(self, scores: Floats, member: Bits) -> None:
        """Add the next target: scores (NaN: none) and which examples it saw, shape (N,)."""
        known = ~np.isnan(scores)
        self._undefined += int((~known).sum()) if known.any() else 0
        fpr, tpr = curve(scores[known], member[known])
        if not len(fpr):
            self._found.append([np.nan] * (2 + len(FPRS) + len(GRID)))
            return
        auc = float(trapezoid(tpr, fpr))
        accuracy = float(np.max(1 - (fpr + 1 - tpr) / 2))
        at = [float(tpr[fpr < each].max(initial=0.0)) for each in FPRS]
        self._found.append([auc, accuracy, *at, *tpr[np.searchsorted(fpr, GRID, side="right") - 1]])

    @staticmethod
    def threshold(scores: Floats, member: Bits, fpr: float) -> float:
        """The score that less than ``fpr`` of those that were not members pass."""
        others = np.sort(scores[~member & ~np.isnan(scores)])
        if not len(others):
            return np.inf
        allowed = int(np.ceil(fpr * len(others))) - 1
        return float(others[len(others) - 1 - max(0, allowed)])

    def curve(self) -> Curve:
        """The mean over all targets added."""
        values = np.array(self._found)
        means = [mean(column, self._group) for column in values.T[: 2 + len(FPRS)]]
        rocs = values[:, 2 + len(FPRS) :]
        errors = np.array([clustered_error(column, self._group)[0] for column in rocs.T])
        tpr = dict(zip(FPRS, means[2:], strict=True))
        return Curve(means[0], means[1], tpr, rocs.mean(axis=0), errors, values[:, 0], self._undefined)


def curve(scores: Floats, member: Bits) -> tuple[Floats, Floats]:
    """Shares of false and of true positives at every threshold, 0 to 1; empty without members or others."""
    n_in, n_out = int(member.sum()), int((~member).sum())
    if not n_in or not n_out:
        return np.empty(0), np.empty(0)
    order = np.argsort(-scores, kind="stable")
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # equal scores are one threshold
    hits = np.cumsum(member[order])[last]
    false = np.arange(1, len(scores) + 1)[last] - hits
    return np.append(0.0, false / n_out), np.append(0.0, hits / n_in)


def mean(values: Floats, group: NDArray[np.int64]) -> Mean:
    """Mean over targets and its 95 % interval, by Student's t over groups."""
    from scipy.stats import t as student

    error, n_groups = clustered_error(values, group)
    center = float(np.mean(values))
    half = float(student.ppf(0.975, n_groups - 1)) * error if n_groups > 1 else np.nan
    return Mean(center, center - half, center + half)
