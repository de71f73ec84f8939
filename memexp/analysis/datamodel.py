"""Linear datamodels: each test example's outcome as a linear function of which training examples a trial saw.

Ridge regression on the centred masks, as Ilyas et al., Datamodels, ICML 2022, with an L2 penalty in place of theirs.
One eigendecomposition of the trials' Gram matrix, of T by T, gives all test examples and all penalties; the penalty is
the one with the least error of leaving trials out, a group at a time, which is exact and needs no further fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.trial_table import TrialTable
from memexp.errors import InputError

Floats = NDArray[np.float64]

Write = Callable[[slice, slice, NDArray[np.float32]], None]

_WEIGHTS = 32 << 20  # made at a time
_PENALTIES = 25  # tried
LEAST_TRIALS = 10


@dataclass(frozen=True)
class Datamodel:
    """What was fitted.

    Attributes
    ----------
    penalty
        Of the squared weights, one for all test examples.
    r2
        Share of the variance over trials that is predicted for trials left out, a group at a time, shape (M,); NaN
        where the outcome does not vary.
    held_out_r2
        The same for trials that were not used, by the means of those that were; shape (M,), or None without.
    n_trials, n_held_out
        Trials used, and not used.
    """

    penalty: float
    r2: Floats
    held_out_r2: Floats | None
    n_trials: int
    n_held_out: int


class Ridge:
    """Ridge regression of all test examples on the masks of some trials.

    Parameters
    ----------
    table
        The trials to fit.
    tell
        Takes the share done.

    Raises
    ------
    InputError
        If there are fewer than 10, or all saw the same.
    """

    def __init__(self, table: TrialTable, tell: Callable[[float], None] = lambda _: None) -> None:
        if table.n_trials < LEAST_TRIALS:
            raise InputError(f"{table.n_trials} trials are too few for a datamodel; give {LEAST_TRIALS} or more")
        self.table, self._groups = table, _by_size(table.group)
        gram = np.zeros((table.n_trials, table.n_trials))
        for rows, (mask,) in table.bands("mask"):
            part = centred(mask)
            gram += part.T @ part
            tell(rows.stop / table.n_train)
        self.values, self.vectors = np.linalg.eigh(gram)
        if self.values[-1] <= 1e-9:
            raise InputError("all trials saw the same training examples: nothing can be told from them")
        self.values = np.where(self.values > 1e-9 * self.values[-1], self.values, 0.0)

    def penalties(self) -> Floats:
        """A grid around the eigenvalues, shape (25,)."""
        top = self.values[-1]
        return np.geomspace(1e-4 * top, 100 * top, _PENALTIES)

    def left_out_errors(self, outcomes: Floats, penalty: float) -> Floats:
        """Errors of predicting each trial by a fit to all trials of other groups, exactly; outcomes and errors (T, M).

        Of trials that share out the examples, one tells of the others: with complementary masks, leaving a trial out
        alone promises much more than trials drawn anew give.
        """
        return self._left_out(self.vectors.T @ (outcomes - outcomes.mean(axis=0)), penalty)

    def _left_out(self, rotated: Floats, penalty: float) -> Floats:
        shrink = penalty / (self.values + penalty)
        residual = self.vectors @ (shrink[:, None] * rotated)
        errors = np.empty_like(residual)
        for places in self._groups:  # (groups, trials of each)
            part = self.vectors[places]
            rest = np.einsum("gik,k,gjk->gij", part, shrink, part, optimize=True) - 1 / len(shrink)  # 1 - leverage
            errors[places] = np.linalg.solve(rest, residual[places])
        return errors

    def dual(self, outcomes: Floats, penalty: float) -> Floats:
        """Coefficients of the trials, (T, M): weights are their products with the centred masks."""
        rotated = self.vectors.T @ (outcomes - outcomes.mean(axis=0))
        return np.asarray(self.vectors @ (rotated / (self.values + penalty)[:, None]))


def fit(
    table: TrialTable,
    outcome: str,
    held_out: TrialTable | None,
    write: Write,
    penalty: float | None = None,
    tell: Callable[[float], None] = lambda _: None,
) -> Datamodel:
    """Fit all test examples and hand out their weights part by part.

    Parameters
    ----------
    table
        The trials to fit.
    outcome
        ``margin`` or ``correct``.
    held_out
        Other trials, on which the fit is judged; None for none.
    write
        Takes (tests, trains, weights): a part of the matrix (M, N).
    penalty
        None: the one with the least error of leaving trials out, over all test examples.

    Raises
    ------
    InputError
        If the trials are too few, or did not record the outcome.
    """
    table.require(f"test_{outcome}")
    ridge = Ridge(table, lambda share: tell(0.2 * share))
    if penalty is None:
        penalty = best_penalty(ridge, outcome)
    r2, held = np.full(table.n_test, np.nan), np.full(table.n_test, np.nan)
    for tests in _parts(table):
        outcomes = _outcomes(table, outcome, tests)
        r2[tests] = share_predicted(ridge.left_out_errors(outcomes, penalty), outcomes - outcomes.mean(axis=0))
        dual = ridge.dual(outcomes, penalty).astype(np.float32)
        n_held = 0 if held_out is None else held_out.n_trials
        predicted = np.zeros((n_held, outcomes.shape[1]))
        for trains, (mask,) in table.bands("mask"):
            weights = dual.T @ centred(mask, np.float32).T
            write(tests, trains, weights)
            if held_out is not None:
                mean = mask.mean(axis=1, dtype=np.float32)
                predicted += (held_out.read("mask", trains) - mean[:, None]).T @ weights.T
            tell(0.2 + 0.8 * (tests.start + (tests.stop - tests.start) * trains.stop / table.n_train) / table.n_test)
        if held_out is not None:
            off = _outcomes(held_out, outcome, tests) - outcomes.mean(axis=0)
            held[tests] = share_predicted(off - predicted, off)
    n_held = 0 if held_out is None else held_out.n_trials
    return Datamodel(penalty, r2, held if n_held else None, table.n_trials, n_held)


def best_penalty(ridge: Ridge, outcome: str) -> float:
    """The penalty of the grid with the least squared error of leaving trials out, over all test examples."""
    penalties = ridge.penalties()
    errors = np.zeros(len(penalties))
    for tests in _parts(ridge.table):
        outcomes = _outcomes(ridge.table, outcome, tests)
        rotated = ridge.vectors.T @ (outcomes - outcomes.mean(axis=0))
        errors += [(ridge._left_out(rotated, penalty) ** 2).sum() for penalty in penalties]
    return float(penalties[errors.argmin()])


def difference(table: TrialTable, outcome: str, write: Write, tell: Callable[[float], None] = lambda _: None) -> None:
    """Influence of each training on each test example: mean outcome of the trials with it less without.

    By ``correct`` it is the paper's influence. 0 where an example is in, or out, for no trial. The parameters are
    those of :func:`fit`.
    """
    table.require(f"test_{outcome}")
    for tests in _parts(table):
        outcomes = _outcomes(table, outcome, tests)
        total = outcomes.sum(axis=0)[:, None]
        for trains, (mask,) in table.bands("mask"):
            sums, count = outcomes.T @ mask.T.astype(np.float64), mask.sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                off = sums / count - (total - sums) / (mask.shape[1] - count)
            part = np.where((count > 0) & (count < mask.shape[1]), off, 0.0)
            write(tests, trains, part.astype(np.float32))
            tell((tests.start + (tests.stop - tests.start) * trains.stop / table.n_train) / table.n_test)


def share_predicted(errors: Floats, off: Floats) -> Floats:
    """R2 over trials (rows) of each test example: 1 - squared errors / squares about the mean of the fit."""
    total = (off**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, 1 - (errors**2).sum(axis=0) / total, np.nan)


def centred(mask: NDArray[np.bool_], kind: type[np.floating] = np.float64) -> NDArray[np.floating]:
    """Masks of some examples less the share of trials that saw each, shape (R, T)."""
    part = mask.astype(kind)
    part -= part.mean(axis=1, keepdims=True)
    return part


def _by_size(group: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Places of the trials of each group, (groups, size), for each size."""
    names, counts = np.unique(group, return_counts=True)
    return [np.stack([np.flatnonzero(group == name) for name in names[counts == size]]) for size in np.unique(counts)]


def _outcomes(table: TrialTable, outcome: str, tests: slice) -> Floats:
    return table.read(f"test_{outcome}", tests).T.astype(np.float64)


def _parts(table: TrialTable) -> Iterator[slice]:
    step = max(1, _WEIGHTS // (8 * table.n_trials))
    for top in range(0, table.n_test, step):
        yield slice(top, min(top + step, table.n_test))
