"""Errors before training: formulas, and numbers of trials that follow from a goal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memexp.spec.reading import check_spec, write_spec
from memexp.spec.sampling_error import lemma_bound, trials_for, worst_case_se
from tests.conftest import make_spec


def test_the_bound_of_lemma_2_1_and_the_true_worst_case() -> None:
    """Numbers computed by hand from the formulas at the paper's ratio."""
    assert lemma_bound(0.7, 2000) == pytest.approx(0.0488, abs=5e-5)
    assert lemma_bound(0.7, 4000) == pytest.approx(0.0345, abs=5e-5)
    assert worst_case_se(0.7, 2000) == pytest.approx(0.0244, abs=5e-5)
    assert worst_case_se(0.7, 4000) == pytest.approx(0.0173, abs=5e-5)


def test_the_worst_case_is_the_spread_of_simulated_estimates() -> None:
    draws = np.random.default_rng(0)
    estimates = draws.binomial(70, 0.5, 100_000) / 70 - draws.binomial(30, 0.5, 100_000) / 30
    assert worst_case_se(0.7, 100) == pytest.approx(estimates.std(), rel=0.01)


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.5), st.sampled_from([1, 4, 10]))
def test_the_fewest_trials_for_a_goal(ratio: float, goal: float, group: int) -> None:
    trials = trials_for(ratio, goal, group)
    assert trials % group == 0
    assert worst_case_se(ratio, trials) <= goal * (1 + 1e-6)
    if trials > group:
        assert worst_case_se(ratio, trials - group) > goal


@pytest.mark.parametrize(("design", "trials"), [("balanced", 1330), ("uniform", 1323), ("bernoulli", 1323)])
def test_a_spec_with_a_goal_has_the_trials_that_follow(design: str, trials: int) -> None:
    spec = make_spec(subsets={"design": design, "trials": None, "target_se": 0.03})
    assert spec.subsets.trials == trials
    again, faults = check_spec(yaml.safe_load(write_spec(spec)))
    assert (again, faults) == (spec, [])
    assert spec.science() == make_spec(subsets={"design": design}).science()


@pytest.mark.long
def test_plan_and_status_show_the_goal_and_what_is_missing(
    memexp: Callable[..., Any], new_run: Callable[..., Any], write_spec: Callable[..., Any]
) -> None:
    subsets = {"trials": None, "target_se": 0.2}
    planned = memexp("plan", write_spec(subsets=subsets))
    assert planned.returncode == 0, planned.stderr
    assert "0.199 at worst" in planned.stdout
    assert "standard error 0.2 at worst, hence 30 trials" in planned.stdout
    run = new_run(subsets=subsets)
    waiting = memexp("status", run.paths.root).stdout
    assert "0.199 at the end" in waiting
    assert "0.2 at worst: 30 trials left" in waiting
    resumed = memexp("resume", run.paths.root, "--workers", 0)
    assert resumed.returncode == 0, resumed.stderr
    done = memexp("status", run.paths.root)
    assert "0.2 at worst: reached" in done.stdout
    found = json.loads(memexp("status", run.paths.root, "--json").stdout)["standard_error"]
    assert found["now"] == found["end"] == pytest.approx(0.199, abs=5e-4)
    assert found["goal"] == 0.2
    assert found["measured_trials"] == 30
    assert 0.05 < found["measured"] < found["now"]


def test_the_forecast_is_of_accuracies_in_the_middle_and_of_many_trials_out() -> None:
    draws = np.random.default_rng(0)
    for trials, p_in, p_out in ((100, 0.5, 0.5), (100, 1.0, 0.9), (10, 0.5, 0.5)):
        n_in = draws.binomial(trials, 0.7, 200_000)  # the `bernoulli` design
        n_in = n_in[(n_in > 0) & (n_in < trials)]
        error = draws.binomial(n_in, p_in) / n_in - draws.binomial(trials - n_in, p_out) / (trials - n_in)
        share = error.std() / worst_case_se(0.7, trials)
        print(f"{trials} trials, accuracies {p_in} and {p_out}: {share:.2f} of the forecast")
        assert share == pytest.approx({(100, 0.5): 1.01, (100, 0.9): 0.51, (10, 0.5): 1.09}[trials, p_out], abs=0.04)
