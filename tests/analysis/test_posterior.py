"""Posterior of memorization: a loop, coverage of picked examples with known truth, and where it is undefined."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scipy.stats import binom

from memexp.analysis import posterior as module
from memexp.analysis.calibrated import smooth_out_accuracy
from memexp.analysis.counts import Counts, count_train
from memexp.analysis.estimates import estimate, open_estimates
from memexp.analysis.intervals import difference
from memexp.analysis.merged import merge
from memexp.analysis.pairs import Selection
from memexp.analysis.posterior import FEWEST, Posterior, posterior
from memexp.store.paths import RunPaths


def drawn(draws: Any, n_examples: int, n_trials: int) -> tuple[Counts, Any]:
    """Counts and true memorization; most examples are easy, some are not, a tenth are right only when trained on."""
    kind = draws.random(n_examples)
    p_out = np.where(
        kind < 0.1, draws.beta(1, 8, n_examples), draws.beta(*np.where(kind < 0.3, [[2], [2]], [[20], [0.5]]))
    )
    p_in = np.where(draws.random(n_examples) < 0.9, 1.0, 1 - draws.random(n_examples) ** 2 * (1 - p_out))
    n_in = draws.binomial(n_trials - 2, 0.7, n_examples) + 1
    n_out = n_trials - n_in
    return Counts(draws.binomial(n_in, p_in), n_in, draws.binomial(n_out, p_out), n_out), p_in - p_out


@pytest.mark.long
@pytest.mark.parametrize("n_trials", [20, 50, 100, 250])
def test_intervals_of_picked_examples_hold_the_truth_and_means_lose_the_luck(n_trials: int) -> None:
    draws = np.random.default_rng(0)
    picked, held, width, usual, shift, luck = np.zeros(6)
    for _ in range(10):
        counts, truth = drawn(draws, 600, n_trials)
        found = posterior(counts, 0.25)
        each = difference(counts.in_correct, counts.in_count, counts.out_correct, counts.out_count)
        pick = each.value >= 0.25
        low, high = found.memorization_posterior_low[pick], found.memorization_posterior_high[pick]
        picked += pick.sum()
        held += ((low <= truth[pick] + 1e-6) & (truth[pick] <= high + 1e-6)).sum()
        width, usual = width + (high - low).sum(), usual + (each.high - each.low)[pick].sum()
        shift += (found.memorization_posterior - truth)[pick].sum()
        luck += (each.value - truth)[pick].sum()
    print(
        f"{n_trials} trials: {100 * held / picked:.1f} % held, {width / usual:.2f} of the width, "
        f"mean {shift / picked:+.3f} from the truth, the raw estimate {luck / picked:+.3f}"
    )
    assert 0.93 < held / picked < 0.975
    assert width < 0.95 * usual
    assert abs(shift) < 0.015 * picked
    assert abs(shift) < abs(luck) or n_trials > 50


@pytest.mark.long
def test_each_posterior_is_that_of_a_loop_over_the_grid() -> None:
    counts, _ = drawn(np.random.default_rng(1), 250, 30)
    found = posterior(counts, 0.25)
    distinct = np.stack([counts.in_correct, counts.in_count, counts.out_correct, counts.out_count])
    inside, outside = (module._Side.of(k, n) for k, n in (distinct[:2], distinct[2:]))
    prior = module._prior(inside.likelihood, outside.likelihood, np.ones(250, np.int64))
    assert prior.sum() == pytest.approx(1)
    for i in range(0, 250, 25):
        mean = memorized = total = 0.0
        for a, p in enumerate(inside.accuracy):
            for b, q in enumerate(outside.accuracy):
                weight = prior[a, b] * binom.pmf(counts.in_correct[i], counts.in_count[i], p)
                weight *= binom.pmf(counts.out_correct[i], counts.out_count[i], q)
                total += weight
                mean += weight * (p - q)
                memorized += weight * (p - q >= 0.25)
        assert found.memorization_posterior[i] == pytest.approx(mean / total, abs=1e-5)
        assert found.probability_memorized[i] == pytest.approx(memorized / total, abs=1e-5)


def test_it_is_undefined_for_an_example_never_in_or_out_and_where_examples_are_few() -> None:
    counts, _ = drawn(np.random.default_rng(2), FEWEST + 1, 20)
    counts.out_count[0], counts.out_correct[0] = 0, 0
    columns = [getattr(posterior(counts, 0.25), field.name) for field in fields(Posterior)]
    for values in columns:
        assert values.dtype == np.float32
        assert np.isnan(values[0])
        assert np.isfinite(values[1:]).all()
    fewer = Counts(*(getattr(counts, field.name)[:-1] for field in fields(Counts)))
    assert np.isnan(posterior(fewer, 0.25).memorization_posterior).all()
    order = np.random.default_rng(3).permutation(FEWEST + 1)
    shuffled = posterior(Counts(*(getattr(counts, field.name)[order] for field in fields(Counts))), 0.25)
    np.testing.assert_array_equal(shuffled.memorization_posterior, columns[0][order])


@pytest.mark.long
def test_estimates_hold_the_posterior_of_the_trials(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    merged = merge(RunPaths(tmp_path / "run"))
    estimate(merged, Selection(memorization=0.4))
    bands = [count_train(mask, right) for _, (mask, right) in merged.bands("mask", "train_correct")]
    assert len(bands) == 1
    expected = posterior(bands[0], 0.4, smooth_out_accuracy(merged))
    group = zarr.open_group(tmp_path / "run" / "estimates.zarr", mode="r")
    for field in fields(Posterior):
        found = np.asarray(group[field.name])
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, getattr(expected, field.name))
    open_estimates(merged.paths)
