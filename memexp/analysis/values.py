"""Data values: what each training example is worth to the test set, from trials that are there anyway.

The value of an example is the mean utility of the trials with it minus that of the trials without, where the
utility of a trial is its test accuracy. Where every example is in by the toss of a fair coin this is the
maximum-sample-reuse estimate of the Banzhaf value (Wang and Jia, AISTATS 2023); for other designs it is the
same difference at subsets of another size, and called so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.intervals import added_variance
from memexp.analysis.merged import Merged
from memexp.analysis.tables import given_columns, library
from memexp.analysis.tested import places_of
from memexp.brief import Brief
from memexp.errors import InputError
from memexp.spec.subsets import Subsets

if TYPE_CHECKING:
    import pandas

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tell = Callable[[float], None]

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)  # of the training set that `select --values` leaves out

_COLUMNS = 1 << 20  # of a band of masks turned into numbers at a time


@dataclass(frozen=True, repr=False)
class Values(Brief):
    """Values of all training examples, shape (N,); NaN where an example was never in or never out.

    Attributes
    ----------
    name
        What the values are, by the design.
    value, value_se : float64
        Difference of the mean test accuracies, and its standard error (Welch's, over trials).
    c_score, c_score_se : float64
        The consistency score (Jiang et al., ICML 2021) at this share of the training set: how often trials
        without the example get it right, ``out_accuracy`` of the estimates; and its standard error.
    in_count, out_count : int64
        Trials with and without it.
    """

    name: str
    value: Floats
    value_se: Floats
    c_score: Floats
    c_score_se: Floats
    in_count: Integers
    out_count: Integers


def name_of(subsets: Subsets) -> str:
    """What the values of a design are called."""
    if subsets.groups is not None:
        return f"{name_of(subsets.model_copy(update={'groups': None}))}, of the example's group"
    if subsets.design == "bernoulli":
        return "Banzhaf value" if subsets.ratio == 0.5 else f"weighted Banzhaf value, p = {subsets.ratio:g}"
    if subsets.design == "imported":
        return "difference of test accuracy with and without, imported subsets"
    size = "subsets of" if subsets.design == "uniform" else "balanced subsets of"
    return f"difference of test accuracy with and without, {size} {100 * (subsets.ratio or 0):g} %"


def data_values(merged: Merged, subsets: Subsets, tell: Tell = lambda _: None, tests: str | None = None) -> Values:
    """Value of every training example.

    Parameters
    ----------
    merged
        The trials.
    subsets
        How their subsets were drawn.
    tell
        Takes the share done.
    tests
        Name of the test set whose accuracy is the utility; None: the first one.

    Raises
    ------
    InputError
        If there are no test examples, no set is called so, or trials give numbers.
    """
    if not len(merged.examples["test_label"]):
        raise InputError(
            f"{merged.paths.root} has no test examples, and the value of a training example is what it does for these; "
            "launch a spec whose dataset has a test set"
        )
    if merged.numbers:
        raise InputError(
            f"the trials of {merged.paths.root} give numbers, no classes, so there is no test accuracy to divide among "
            "training examples; `run.to_xarray('trials')` has the numbers"
        )
    utility, n_test = _right(merged, places_of(merged.examples, tests), lambda share: tell(share / 2))
    whole = len(merged.examples["train_label"])
    parts: list[Any] = []
    for rows, (mask, correct) in merged.bands("mask", "train_correct"):
        step = max(1, _COLUMNS // max(1, merged.n_trials))
        for top in range(0, len(mask), step):
            parts.append(_sums(mask[top : top + step], correct[top : top + step], utility))
        tell(0.5 + 0.5 * rows.stop / whole)
    n_in, in_sum, in_squares, out_right = np.concatenate(parts, axis=1)
    n_out = merged.n_trials - n_in
    out_sum, out_squares = utility.sum() - in_sum, (utility**2).sum() - in_squares
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (in_sum / n_in - out_sum / n_out) / n_test
        variance = _of_mean(in_sum, in_squares, n_in) + _of_mean(out_sum, out_squares, n_out)
        score = out_right / n_out
    score_se = np.where(n_out > 0, np.sqrt(added_variance(out_right, n_out)), np.nan)
    return Values(name_of(subsets), value, np.sqrt(variance) / n_test, score, score_se, n_in, n_out)


def _right(merged: Merged, tests: NDArray[np.intp], tell: Tell) -> tuple[Integers, int]:
    """Test examples that each trial gets right, (T,), and how many there are: integers, whose sums are exact."""
    right = np.zeros(merged.n_trials, np.int64)
    n_test = len(merged.examples["test_label"])
    for rows, (correct,) in merged.bands("test_correct"):
        here = tests[(tests >= rows.start) & (tests < rows.stop)] - rows.start
        right += correct[here].sum(axis=0, dtype=np.int64)
        tell(rows.stop / n_test)
    return right, len(tests)


def _sums(mask: NDArray[np.bool_], correct: NDArray[np.bool_], utility: Integers) -> Integers:
    """Trials in, sum of their utilities and of the squares, right answers of the others; int64, (4, rows)."""
    weights = np.stack([np.ones_like(utility), utility, utility**2])
    return np.stack([*(weights @ mask.T.astype(np.int64)), (correct & ~mask).sum(axis=1)])


def _of_mean(total: Integers, squares: Integers, n: Integers) -> Floats:
    """Variance of a mean, from sums; NaN with fewer than two."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.maximum(squares - total.astype(np.float64) ** 2 / n, 0) / (n - 1)
        return np.asarray(np.where(n > 1, spread / n, np.nan))


def table(values: Values, examples: dict[str, NDArray[Any]], classes: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of one row for each training example, in their order."""
    columns: dict[str, NDArray[Any]] = {"index": np.arange(len(values.value))}
    columns |= {name: getattr(values, name) for name in ("value", "value_se", "c_score", "c_score_se")}
    columns |= {name: getattr(values, name) for name in ("in_count", "out_count")}
    return columns | given_columns(examples, classes)


def values_frame(merged: Merged, subsets: Subsets, classes: list[str]) -> pandas.DataFrame:
    """The same as a pandas table."""
    frame: pandas.DataFrame = (
        library("pandas").DataFrame(table(data_values(merged, subsets), merged.examples, classes)).set_index("index")
    )
    return frame


def chosen_shares(words: str | None) -> tuple[float, ...]:
    """The shares that an option names, as in 0.05,0.1; :data:`SHARES` for None.

    Raises
    ------
    InputError
        If they are none.
    """
    try:
        shares = SHARES if words is None else tuple(map(float, words.split(",")))
        if all(0 < share < 1 for share in shares):
            return shares
    except ValueError:
        pass
    raise InputError(f"--shares {words} is no list of shares above 0 and below 1; give for example 0.05,0.1")


def value_sets(values: Values, shares: Sequence[float] = SHARES) -> dict[str, list[int]]:
    """Lists of the examples of lowest and of highest value, for `removed:` of a spec.

    Raises
    ------
    InputError
        If the value of an example is not defined, so that the order is not.
    """
    undefined = int(np.isnan(values.value).sum())
    if undefined:
        raise InputError(
            f"{undefined:,} examples were never in or never out, so their value is not defined; train more trials"
        )
    order = np.argsort(values.value, kind="stable")
    sets = {}
    for share in shares:
        count = round(share * len(order))
        sets[f"lowest {100 * share:g} % by value"] = sorted(order[:count].tolist())
        sets[f"highest {100 * share:g} % by value"] = sorted(order[len(order) - count :].tolist())
    return sets
