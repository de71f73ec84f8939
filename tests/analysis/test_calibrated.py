"""Calibrated memorization: a loop, errors with known truth, the same from trials in any order, NaN where undefined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.isotonic import IsotonicRegression

from memexp.analysis.calibrated import calibrated, monotone_map, smooth_out_accuracy
from memexp.analysis.counts import Counts, count_train
from memexp.analysis.estimates import current_estimates, open_estimates
from memexp.analysis.intervals import difference
from memexp.analysis.merged import merge, open_merged
from memexp.analysis.posterior import posterior
from memexp.runs.run import Run
from memexp.store.paths import RunPaths


class Table:
    """Trials in memory, as merged.zarr gives them."""

    def __init__(self, mask: Any, right: Any, margin: Any) -> None:
        self.whole = {"mask": mask, "train_correct": right, "train_margin": margin}
        self.matrices = [*self.whole]
        self.n_trials = mask.shape[1]
        self.examples = {"train_label": np.zeros(len(mask))}
        self.number = np.arange(self.n_trials)

    def bands(self, *names: str) -> Iterator[tuple[slice, list[Any]]]:
        for top in range(0, len(self.whole["mask"]), 64):
            rows = slice(top, min(top + 64, len(self.whole["mask"])))
            yield rows, [self.whole[name][rows] for name in names]

    def per_trial(self, name: str) -> Any:
        return self.number if name == "trial" else np.zeros(self.n_trials)


def drawn(draws: Any, n_examples: int, n_trials: int) -> tuple[Any, Any]:
    """Trials whose margins have heavy tails and other spreads for each example; and true memorization."""
    spread = np.exp(draws.normal(0.5, 0.4, n_examples))
    kind = draws.random(n_examples)
    out = np.where(kind < 0.6, draws.normal(5, 1, n_examples), draws.normal(0.5, 2.5, n_examples)) * spread
    into = np.maximum(out, draws.normal(4, 1.5, n_examples) * spread)
    mask = draws.random((n_examples, n_trials)) < 0.7
    noise = t.rvs(5, size=mask.shape, random_state=draws)
    margin = (np.where(mask, into[:, None], out[:, None]) + spread[:, None] * noise).astype(np.float16)
    return Table(mask, margin > 0, margin), t.cdf(into / spread, 5) - t.cdf(out / spread, 5)


@pytest.mark.long
@pytest.mark.parametrize(("n_trials", "most"), [(20, 0.8), (50, 0.85), (100, 0.9), (250, 1.0)])
def test_errors_are_smaller_and_said_honestly(n_trials: int, most: float) -> None:
    draws = np.random.default_rng(n_trials)
    raw, found, said, picked, held, width, usual = np.zeros(7)
    for _ in range(4):
        table, truth = drawn(draws, 500, n_trials)
        counts = count_train(table.whole["mask"], table.whole["train_correct"])
        smoothed = smooth_out_accuracy(table)  # type: ignore[arg-type]
        own = calibrated(counts, smoothed)
        each = difference(counts.in_correct, counts.in_count, counts.out_correct, counts.out_count)
        known = np.isfinite(each.value)
        raw += ((each.value - truth)[known] ** 2).sum()
        found += ((own.memorization_calibrated - truth)[known] ** 2).sum()
        said += (own.memorization_calibrated_se[known] ** 2).sum()
        likely = posterior(counts, 0.25, smoothed)
        pick = known & (each.value >= 0.25)
        low, high = likely.memorization_posterior_low[pick], likely.memorization_posterior_high[pick]
        held += ((low <= truth[pick] + 1e-6) & (truth[pick] <= high + 1e-6)).sum()
        picked, width = picked + pick.sum(), width + (high - low).sum()
        usual += (each.high - each.low)[pick].sum()
    print(
        f"{n_trials} trials: {found / raw:.3f} of the squared error, which the standard error says {said / found:.2f} "
        f"times; intervals of picked examples hold {100 * held / picked:.1f} %, {width / usual:.2f} of the width"
    )
    assert found < most * raw
    assert 0.95 * found < said < 3 * found
    assert 0.92 < held / picked < 0.985
    assert width < 0.9 * usual


def test_the_same_from_trials_in_any_order() -> None:
    table, _ = drawn(np.random.default_rng(0), 250, 30)
    order = np.random.default_rng(1).permutation(30)
    other = Table(*(each[:, order] for each in table.whole.values()))
    other.number = order
    found, again = (smooth_out_accuracy(each) for each in (table, other))  # type: ignore[arg-type]
    assert found is not None
    assert again is not None
    np.testing.assert_array_equal(found.accuracy, again.accuracy)
    assert found.variance == again.variance


def by_loops(mask: Any, right: Any, margin: Any) -> Any:
    """Smoothed out-accuracy of each example, from trials in their own order; arrays (N, T)."""
    n_examples, n_trials = mask.shape
    margin = np.clip(margin.astype(np.float64), -16, 16)
    margin = np.rint(margin * 256) / 256, margin
    squares = sum(((margin[0][i, ~mask[i]] - margin[0][i, ~mask[i]].mean()) ** 2).sum() for i in range(n_examples))
    spread = np.sqrt(squares / sum((~mask[i]).sum() - 1 for i in range(n_examples)))
    steps = np.rint((2**14 - 1) * norm.cdf(margin[1] / (0.5 * (100 / n_trials) ** (1 / 3) * spread))) / (2**14 - 1)

    def both(trials: Any) -> tuple[Any, Any]:
        share, mean, number = (np.empty(n_examples) for _ in range(3))
        for i in range(n_examples):
            mine = trials & ~mask[i]
            number[i], share[i], mean[i] = mine.sum(), right[i, mine].mean(), steps[i, mine].mean()
        mapped = np.empty(n_examples)
        for fold in range(5):
            others = np.arange(n_examples) % 5 != fold
            fit = IsotonicRegression().fit_transform(mean[others], share[others], sample_weight=number[others])
            parts = np.unique(fit)
            centres = [np.average(mean[others][fit == p], weights=number[others][fit == p]) for p in parts]
            mapped[~others] = np.interp(mean[~others], centres, parts)
        return share, mapped

    gain = cost = 0.0
    for group in range(10):
        here = np.arange(n_trials) % 10 == group
        share, mapped = both(~here)
        for i in range(n_examples):
            outcomes, n = right[i, here & ~mask[i]], (~mask[i]).sum()
            kept = (n - len(outcomes)) / n**2
            gain += kept * ((mapped - share)[i] * (outcomes - share[i])).sum()
            cost += kept * len(outcomes) * (mapped - share)[i] ** 2
    share, mapped = both(np.ones(n_trials, bool))
    return share + np.clip(gain / cost, 0, 1) * (mapped - share)


@pytest.mark.long
def test_estimates_hold_what_loops_give(trained_run: Path) -> None:
    merged = open_merged(RunPaths(trained_run))
    order = np.argsort(merged.per_trial("trial"))
    mask, right, margin = (merged.whole(name)[:, order] for name in ("mask", "train_correct", "train_margin"))
    expected = (right & mask).sum(1) / mask.sum(1) - by_loops(mask, right, margin)
    found = open_estimates(merged.paths)
    np.testing.assert_allclose(found.calibrated.memorization_calibrated, expected, atol=2e-6)
    assert (found.calibrated.memorization_calibrated_se <= found.scores.memorization_se).all()


def test_the_map_is_isotonic_regression_through_its_centres() -> None:
    draws = np.random.default_rng(0)
    x, weight = np.round(draws.random(300), 2), draws.integers(1, 9, 300)
    y = np.clip(x + draws.normal(0, 0.3, 300), 0, 1)
    at, value = monotone_map(x, y, weight)
    assert (np.diff(at) > 0).all()
    assert (np.diff(value) > 0).all()
    steps = np.unique(IsotonicRegression().fit_transform(x, y, sample_weight=weight).round(12))
    np.testing.assert_allclose(value, steps)


@pytest.mark.long
def test_it_is_undefined_without_margins_with_few_examples_and_for_an_example_never_out(new_run: Any) -> None:
    run: Run = new_run(record=["correct"], subsets={"trials": 10})
    from memexp.runs.worker import train_here

    train_here(run, "w0", "cpu", 1, run.store().missing_blocks(), lambda _: None)
    found = current_estimates(merge(run.paths))
    assert np.isnan(found.calibrated.memorization_calibrated).all()
    assert np.isnan(found.calibrated.memorization_calibrated_se).all()
    assert np.isfinite(found.posterior.memorization_posterior).all()
    table, _ = drawn(np.random.default_rng(0), 201, 20)
    table.whole["mask"][0] = True
    smoothed = smooth_out_accuracy(table)  # type: ignore[arg-type]
    counts = count_train(table.whole["mask"], table.whole["train_correct"])
    own = calibrated(counts, smoothed)
    for values in (own.memorization_calibrated, own.memorization_calibrated_se):
        assert np.isnan(values[0])
        assert np.isfinite(values[1:]).all()
    few = Table(*(each[:199] for each in table.whole.values()))
    assert smooth_out_accuracy(few) is None  # type: ignore[arg-type]
    assert isinstance(counts, Counts)
