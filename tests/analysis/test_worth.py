"""What memorized examples are worth: its error with known truth, against a plain regression, and where it is silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from memexp.analysis.estimates import current_estimates
from memexp.analysis.merged import open_merged
from memexp.analysis.summary import summarize
from memexp.analysis.worth import worth_of_memorized
from memexp.runs.run import Run
from tests.analysis.test_calibrated import Table

N_EXAMPLES, N_TAIL = 120, 24


class Trials(Table):
    """Trials of luck that differ: one that is good on the test set is good on the examples that it did not see."""

    accuracies = ("in", "out", "test")
    numbers = False

    def __init__(self, draws: Any, n_trials: int, worth: float) -> None:
        mask = draws.random((N_EXAMPLES, n_trials)).argsort(axis=0) < 84
        luck = draws.normal(0, 1, n_trials)
        tail = np.arange(N_EXAMPLES)[:, None] < N_TAIL
        p_out = np.clip(np.where(tail, 0.2, 0.95) + 0.1 * luck, 0, 1)
        right = mask | (draws.random(mask.shape) < p_out)
        super().__init__(mask, right, np.zeros(mask.shape, np.float16))
        self.accuracy = 0.8 + worth * mask[:N_TAIL].sum(0) + 0.02 * luck

    def per_trial(self, name: str) -> Any:
        return self.accuracy if name == "test_accuracy" else super().per_trial(name)


def test_it_is_the_slope_of_a_regression_within_folds(run_copy: Run) -> None:
    merged = open_merged(run_copy.paths)
    order = np.argsort(merged.per_trial("trial"))
    mask, right = (merged.whole(name)[:, order] for name in ("mask", "train_correct"))
    accuracy = merged.per_trial("test_accuracy")[order].astype(float)
    number, left, fewer = np.empty(40), np.empty(40), []
    for fold in range(5):
        others, mine = (np.arange(40) % 5 != fold), (np.arange(40) % 5 == fold)
        value = [right[i, others & mask[i]].mean() - right[i, others & ~mask[i]].mean() for i in range(300)]
        memorized = np.array(value) >= 0.25
        number[mine] = mask[memorized][:, mine].sum(0)
        fewer.append(memorized.sum() * (1 - memorized.mean()))
        number[mine] -= number[mine].mean()
        left[mine] = accuracy[mine] - accuracy[mine].mean()
    found = worth_of_memorized(merged)
    assert found.cost == pytest.approx((number @ left) / (number @ number) * np.mean(fewer), rel=1e-6)
    assert ("", str(found)) in summarize(merged, current_estimates(merged))
    assert f"{100 * found.cost:+.1f} ± {100 * found.cost_se:.1f} points of test accuracy" in str(found)
    assert str(worth_of_memorized(merged, 0.3)).startswith("those at 0.3 or more are worth ")


def test_it_is_silent_with_few_trials() -> None:
    few = worth_of_memorized(Trials(np.random.default_rng(0), 19, 0.0))  # type: ignore[arg-type]
    assert np.isnan(few.cost)
    assert not few.known


@pytest.mark.parametrize(("n_trials", "worth"), [(60, 0.0), (60, 0.004), (200, -0.002)])
def test_the_error_holds_the_truth_as_often_as_it_says(n_trials: int, worth: float) -> None:
    draws = np.random.default_rng(n_trials)
    found, said = [], []
    true = worth * N_TAIL * (1 - N_TAIL / N_EXAMPLES)
    for _ in range(150):
        each = worth_of_memorized(Trials(draws, n_trials, worth))  # type: ignore[arg-type]
        found.append(each.cost)
        said.append(each.cost_se)
    held = np.mean(np.abs(np.array(found) - true) <= 1.96 * np.array(said))
    print(f"{n_trials} trials, truly {true:+.4f}: mean {np.mean(found):+.4f}, error {np.std(found):.4f}, said "
          f"{np.mean(said):.4f}, intervals hold {100 * held:.1f} %")  # fmt: skip
    assert held > 0.9
    assert abs(np.mean(found) - true) < 0.25 * np.std(found) + 0.15 * abs(true)
