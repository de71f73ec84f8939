"""Data values: exact where all subsets are trained, by the names of their designs, and at hand for removal."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from sklearn.datasets import load_digits

from memexp.analysis.estimates import open_estimates
from memexp.analysis.merged import Merged, merge
from memexp.analysis.values import data_values, name_of, value_sets
from memexp.errors import InputError
from memexp.notebook import RunView
from memexp.runs.run import open_run
from memexp.spec.spec import Subsets
from memexp.store.paths import RunPaths
from memexp.store.trials import DONE
from tests.analysis.test_estimates import make_store, random_trials
from tests.conftest import Done

COIN = Subsets.model_validate({"design": "bernoulli", "ratio": 0.5, "trials": 256})


def every_subset(n: int) -> tuple[dict[str, Any], Any]:
    """A classifier trained on each subset of ``n`` digits, as trials, and its test accuracy by subset.

    It gives each digit the class of the nearest mean; with nothing to learn from, class 0.
    """
    x, y = load_digits(return_X_y=True)
    train, test = slice(0, n), slice(100, 160)
    masks = np.array(list(itertools.product([False, True], repeat=n)))
    correct, utility = [], {}
    for mask in masks:
        labels = np.unique(y[train][mask]) if mask.any() else np.array([0])
        means = (
            np.array([x[train][mask & (y[train] == label)].mean(axis=0) for label in labels]) if mask.any() else x[:1]
        )
        predicted = labels[((x[:160, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
        correct.append(predicted == y[:160])
        utility[tuple(mask.tolist())] = correct[-1][test].mean()
    right = np.array(correct)
    trials = {"mask": masks, "train_correct": right[:, train], "test_correct": right[:, test]}
    return trials, utility


@pytest.mark.long
def test_all_subsets_give_the_exact_banzhaf_values(tmp_path: Path) -> None:
    trials, utility = every_subset(8)
    exact = [
        math.fsum(u - utility[(*subset[:i], False, *subset[i + 1 :])] for subset, u in utility.items() if subset[i])
        / 2**7
        for i in range(8)
    ]
    found = data_values(merge(make_store(tmp_path / "a", trials, np.full(256, DONE, np.uint8), 64)), COIN)
    assert found.name == "Banzhaf value"
    assert len(np.unique(np.round(exact, 6))) == 8
    np.testing.assert_allclose(found.value, exact, rtol=0, atol=1e-12)
    for i in range(8):
        sides = [[u for subset, u in utility.items() if subset[i] is side] for side in (True, False)]
        assert found.value_se[i] == pytest.approx(math.sqrt(sum(np.var(side, ddof=1) / 128 for side in sides)))
    assert (found.in_count == 128).all()


class InMemory:
    """What `data_values` reads of merged trials."""

    numbers, paths = False, RunPaths(Path("run"))

    def __init__(self, mask: Any, test_correct: Any) -> None:
        self.matrices = {"mask": mask.T, "train_correct": mask.T, "test_correct": test_correct.T}
        self.n_trials = len(mask)
        self.examples = {"train_label": np.zeros(mask.shape[1]), "test_label": np.zeros(test_correct.shape[1])}

    def bands(self, *names: str) -> Iterator[tuple[slice, list[Any]]]:
        yield slice(0, len(self.matrices[names[0]])), [self.matrices[name] for name in names]


def test_numbers_have_no_accuracy_to_divide() -> None:
    scored = InMemory(np.eye(4, dtype=bool), np.ones((4, 3)))
    scored.numbers = True
    with pytest.raises(InputError, match="the trials of run give numbers, no classes"):
        data_values(cast(Merged, scored), COIN)


def test_values_have_the_errors_that_they_say() -> None:
    """200 runs of 60 trials of a known truth: accuracies that are linear in the masks, and noise."""
    draws, off = np.random.default_rng(3), []
    for _ in range(200):
        mask = draws.random((60, 20)) < 0.5
        chance = 0.5 + 0.02 * (mask.astype(float) - 0.5) @ np.arange(-10, 10) / 10
        correct = draws.random((60, 400)) < chance[:, None]
        found = data_values(cast(Merged, InMemory(mask, correct)), COIN)
        off.append((found.value - 0.002 * np.arange(-10, 10)) / found.value_se)
    assert np.std(off) == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(off) < 1.96) == pytest.approx(0.95, abs=0.015)


def test_values_are_named_as_what_they_are() -> None:
    assert name_of(Subsets(design="imported", trials=9)).endswith("with and without, imported subsets")

    def name(design: str, ratio: float) -> str:
        return name_of(Subsets.model_validate({"design": design, "ratio": ratio, "trials": 10}))

    assert name("bernoulli", 0.5) == "Banzhaf value"
    assert name("bernoulli", 0.3) == "weighted Banzhaf value, p = 0.3"
    assert name("uniform", 0.7) == "difference of test accuracy with and without, subsets of 70 %"
    assert name("balanced", 0.5) == "difference of test accuracy with and without, balanced subsets of 50 %"


def test_an_example_that_is_never_out_has_no_value(tmp_path: Path) -> None:
    trials = random_trials(6, 5, 4, 0)
    trials["mask"] = np.array([[True] * 5, [False] + [True] * 4, [True] * 5] * 2)
    found = data_values(merge(make_store(tmp_path / "a", trials, np.full(6, DONE, np.uint8), 3)), COIN)
    assert np.isnan(found.value).tolist() == np.isnan(found.c_score).tolist() == [False, True, True, True, True]
    assert np.isnan(found.value_se).tolist() == np.isnan(found.c_score_se).tolist() == [False, True, True, True, True]
    with pytest.raises(InputError, match="4 examples were never in or never out"):
        value_sets(found)


@pytest.mark.long
def test_the_commands(trained_run: Path, memexp: Callable[..., Done], tmp_path: Path) -> None:
    done = memexp("values", trained_run, "--csv", "values.csv", "--out", "values.svg", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["name"] == "difference of test accuracy with and without, balanced subsets of 70 %"
    rows = list(csv.DictReader((tmp_path / "values.csv").read_text().splitlines()))
    view = RunView(open_run(trained_run))
    frame = view.values()
    np.testing.assert_array_equal([float(row["value"]) for row in rows], frame["value"])
    assert [int(row["index"]) for row in rows] == list(range(300))
    np.testing.assert_allclose(frame["c_score"], view.estimates.scores.out_accuracy, rtol=1e-6)
    assert said["lowest"][0]["index"] == int(frame["value"].argmin())
    assert (tmp_path / "values.svg").read_text().startswith("<?xml")
    shown = memexp("values", trained_run, env={"COLUMNS": "80"}).stdout
    assert max(map(len, shown.splitlines())) <= 80
    done = memexp("select", trained_run, "--values", "--shares", "0.1", "--out", "sets.json")
    assert done.returncode == 0, done.stderr
    sets = json.loads((tmp_path / "sets.json").read_text())
    assert len(sets["lowest 10 % by value"]) == len(sets["highest 10 % by value"]) == 30
    assert frame["value"][sets["lowest 10 % by value"]].max() <= frame["value"].drop(sets["lowest 10 % by value"]).min()
    assert any(name.startswith("memorization >=") for name in sets)
    assert open_estimates(open_run(trained_run).paths)
    refused = memexp("select", trained_run, "--values", "--shares", "1.5", "--out", "sets.json")
    assert refused.returncode == 2
    assert "--shares 1.5 is no list of shares above 0 and below 1" in refused.stderr
