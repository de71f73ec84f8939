"""The linear datamodelling score: how well attributions, summed over a subset, rank what training on it gives.

Park et al., TRAK, ICML 2023: for each test example the rank correlation, over trials, of its outcome with the sum of
its scores over the training examples that the trial saw; then the mean over test examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.intervals import clustered_error
from memexp.analysis.trial_table import TrialTable
from memexp.errors import InputError, reason

Floats = NDArray[np.float64]

_PREDICTIONS = 16 << 20  # kept at a time
LEAST_TRIALS = 10


@dataclass(frozen=True)
class Score:
    """The score of one attribution for one outcome.

    Attributes
    ----------
    mean
        Over the test examples for which it is defined; NaN if there is none.
    se_tests, se_trials
        Standard error of the mean if other test examples, or other trials, had been drawn. Trials whose subsets were
        drawn together count as one.
    low, high
        95 % interval, over tests and trials both.
    tests, trials
        Number of test examples that count (whose outcome and prediction vary), and of trials.
    each : shape (M,)
        Of each test example; NaN where it is not defined.
    """

    mean: float
    se_tests: float
    se_trials: float
    low: float
    high: float
    tests: int
    trials: int
    each: Floats


def linear_datamodelling_score(
    table: TrialTable, scores: NDArray[Any], outcome: str, tell: Callable[[float], None] = lambda _: None
) -> Score:
    """Score an attribution.

    Parameters
    ----------
    table
        The trials to predict; none of them may have been used for the scores.
    scores : shape (M, N)
        Row j, column i: what training example i does for test example j. It may be mapped from a file.
    outcome
        ``margin`` or ``correct``.
    tell
        Takes the share done.

    Raises
    ------
    InputError
        If the scores have another shape or are not finite, the trials are too few, or did not record the outcome.
    """
    table.require(f"test_{outcome}")
    _require_shape(table, scores)
    if table.n_trials < LEAST_TRIALS:
        raise InputError(f"{table.n_trials} trials are too few for a rank correlation; give {LEAST_TRIALS} or more")
    each = np.full(table.n_test, np.nan)
    effect = np.zeros(table.n_trials)
    for rows, predicted in _predictions(table, scores, tell):
        each[rows], influence = spearman(predicted, table.read(f"test_{outcome}", rows).astype(np.float64))
        effect += influence
    count = int((~np.isnan(each)).sum())
    if not count:
        return Score(np.nan, np.nan, np.nan, np.nan, np.nan, 0, table.n_trials, each)
    return _score(each, effect / count, table.group)


def _score(each: Floats, effect: Floats, group: NDArray[np.int64]) -> Score:
    from scipy.stats import t as student

    defined = each[~np.isnan(each)]
    mean = float(defined.mean())
    se_tests = float(defined.std(ddof=1) / np.sqrt(len(defined))) if len(defined) > 1 else np.nan
    se_trials, n_groups = clustered_error(effect, group)
    half = float(student.ppf(0.975, max(1, n_groups - 1))) * float(np.hypot(se_tests, se_trials))
    return Score(mean, se_tests, se_trials, mean - half, mean + half, len(defined), len(effect), each)


def spearman(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Rank correlations of rows, shape (R,), NaN where a row is constant; and what each column adds to their sum.

    The second is the influence function of the coefficient, summed over the rows where it is defined, shape (T,):
    over independent columns, its variance divided by T is that of the sum. With u and v the centred ranks as shares,
    s and r their deviations, rho = mean(u v) / (s r); a column moves it by its own product, by its rank in what it
    adds to the ranks of all others, and by the deviations where there are ties.
    """
    from scipy.stats import rankdata

    n = first.shape[1]
    u, v = ((rankdata(values, axis=1) - (n + 1) / 2) / n for values in (first, second))
    scale = np.sqrt((u**2).mean(axis=1) * (v**2).mean(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(scale > 0, (u * v).mean(axis=1) / scale, np.nan)
    fine = scale > 0
    u, v, rho = u[fine], v[fine], each[fine, None]
    s, r = (np.sqrt((part**2).mean(axis=1, keepdims=True)) for part in (u, v))
    # a column raises the ranks of those above it: by the mean of the other ranks there
    moved = u * v + _above(first[fine], v) + _above(second[fine], u)
    spread = [part**2 + 2 * _above(values[fine], part) for part, values in ((u, first), (v, second))]
    influence = moved / (s * r) - rho * (spread[0] / s**2 + spread[1] / r**2) / 2
    influence -= influence.mean(axis=1, keepdims=True)
    return each, np.asarray(influence.sum(axis=0))


def _above(values: Floats, weights: Floats) -> Floats:
    """For each column: mean over all columns of the weights of those with larger values, equal ones half."""
    n = values.shape[1]
    order = np.argsort(values, axis=1, kind="stable")
    ordered, weight = np.take_along_axis(values, order, axis=1), np.take_along_axis(weights, order, axis=1)
    total = np.cumsum(weight, axis=1)
    change = ordered[:, 1:] != ordered[:, :-1]
    last = np.concatenate([change, np.ones((len(values), 1), np.bool_)], axis=1)
    first = np.concatenate([np.ones((len(values), 1), np.bool_), change], axis=1)
    place = np.arange(n)
    end = np.minimum.accumulate(np.where(last, place, n - 1)[:, ::-1], axis=1)[:, ::-1]
    start = np.maximum.accumulate(np.where(first, place, 0), axis=1)
    upto = np.take_along_axis(total, end, axis=1)
    before = np.take_along_axis(total, start, axis=1) - np.take_along_axis(weight, start, axis=1)
    above = (total[:, -1:] - upto) + (upto - before) / 2
    found = np.empty_like(above)
    np.put_along_axis(found, order, above / n, axis=1)
    return found


def _predictions(
    table: TrialTable, scores: NDArray[Any], tell: Callable[[float], None]
) -> Iterator[tuple[slice, Floats]]:
    """Sums of the scores over each trial's examples, (rows, (rows, T)), in bands of tests."""
    step = max(1, _PREDICTIONS // table.n_trials)
    for top in range(0, table.n_test, step):
        rows = slice(top, min(top + step, table.n_test))
        predicted = np.zeros((rows.stop - top, table.n_trials))
        for columns, (mask,) in table.bands("mask"):
            part = np.asarray(scores[rows, columns], np.float64)
            if not np.isfinite(part).all():
                raise InputError(
                    "the scores are not all finite numbers: "
                    f"{int((~np.isfinite(part)).sum()):,} in rows {rows.start} to {rows.stop - 1} and columns "
                    f"{columns.start} to {columns.stop - 1} are not; give 0 where an attribution is not known"
                )
            predicted += part @ mask.astype(np.float64)
            tell((top + (rows.stop - top) * columns.stop / table.n_train) / table.n_test)
        yield rows, predicted


def _require_shape(table: TrialTable, scores: NDArray[Any]) -> None:
    wanted = (table.n_test, table.n_train)
    if scores.dtype.kind not in "fiub":
        raise InputError(f"the scores are of type {scores.dtype}; give numbers")
    if scores.shape == wanted:
        return
    turned = scores.shape == wanted[::-1]
    hint = "; they are (train, test): save scores.T" if turned else ""
    raise InputError(f"the scores have shape {scores.shape}; the run needs (test, train) = {wanted}{hint}")


def open_scores(path: Path) -> NDArray[Any]:
    """A matrix of scores, mapped from a .npy file.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read as an array ({reason(error)}); give a .npy file with a matrix"
        ) from error
    if not isinstance(found, np.ndarray) or found.ndim != 2:
        what = f"shape {found.shape}" if isinstance(found, np.ndarray) else "several arrays"
        raise InputError(f"{path} holds {what}; give a .npy file with one matrix (test, train)")
    return found
