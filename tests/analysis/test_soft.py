"""Soft influence: equal to a brute-force computation from the trials, the same bits however they were gathered."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memexp.analysis.estimates import Estimates, estimate
from memexp.analysis.merged import merge
from memexp.analysis.pairs import Selection
from memexp.store.paths import RunPaths
from memexp.store.trials import DONE, MISSING
from tests.analysis.test_estimates import make_store, random_trials

EVERY = Selection(memorization=-1, influence=-1, all_classes=True)
TRIALS = random_trials(30, 8, 5, 0, margins=True)


def estimated(*runs: RunPaths) -> Estimates:
    return estimate(merge(runs[0], runs[1:]), EVERY)


def store(root: Path, done: slice = slice(None), margins: bool = True) -> RunPaths:
    status = np.full(30, MISSING, np.uint8)
    status[done] = DONE
    trials = {name: values for name, values in TRIALS.items() if margins or "margin" not in name}
    return make_store(root, trials, status, 7)


def test_soft_influence_equals_brute_force(tmp_path: Path) -> None:
    """Within float32 of probabilities on the grid, and of any probabilities within a step of it."""
    pairs = estimated(store(tmp_path / "a")).pairs
    assert len(pairs) > 20
    exact = 1 / (1 + np.exp(-TRIALS["test_margin"].astype(float)))
    for probability, off in ((np.rint(exact * 16383) / 16383, 1e-7), (exact, 1 / 16383)):
        for k in range(len(pairs)):
            sees = TRIALS["mask"][:, pairs.train[k]]
            inside, outside = probability[sees, pairs.test[k]], probability[~sees, pairs.test[k]]
            assert abs(pairs.influence_soft[k] - (inside.mean() - outside.mean())) <= off
            if min(len(inside), len(outside)) > 1:
                error = np.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))
                assert abs(pairs.influence_soft_se[k] - error) <= off
            else:
                assert np.isnan(pairs.influence_soft_se[k])


def test_any_partition_of_the_trials_gives_the_same_bits(tmp_path: Path) -> None:
    whole = estimated(store(tmp_path / "whole")).pairs
    late, early = store(tmp_path / "late", slice(14, 30)), store(tmp_path / "early", slice(0, 14))
    parts = estimated(late, early).pairs
    for name in ("train", "test", "influence_soft", "influence_soft_se"):
        assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes(), name


def test_without_margins_it_is_undefined(tmp_path: Path) -> None:
    pairs = estimated(store(tmp_path / "a", margins=False)).pairs
    assert len(pairs) > 20
    assert np.isnan(pairs.influence_soft).all()
    assert np.isnan(pairs.influence_soft_se).all()
