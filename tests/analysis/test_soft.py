"""Soft influence: equal to a brute-force computation from the trials, the same bits however they were gathered."""

from __future__ import annotations

from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from scipy.stats import beta, false_discovery_control, kstat, rankdata
from scipy.stats import t as student

from memexp.analysis import dense
from memexp.analysis.estimates import Estimates, estimate
from memexp.analysis.levels import Levels
from memexp.analysis.merged import merge
from memexp.analysis.pairs import Pairs, Selection
from memexp.analysis.products import Tile
from memexp.errors import InputError
from memexp.store.derived import MATRICES
from memexp.store.paths import RunPaths
from memexp.store.sealed import NotWhole
from memexp.store.trials import DONE, MISSING
from tests.analysis.test_estimates import make_store, random_trials

pytestmark = pytest.mark.long

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


def rank_test(margin: Any, saw: Any) -> tuple[float, bool]:
    """Two-sided p-value and sign, from scipy's ranks and moments of Pitman's permutation distribution."""
    rank = np.rint((rankdata(np.asarray(margin, np.float64)) - 1) * min(1, 127 / (len(margin) - 1)))
    total, n = len(margin), int(saw.sum())
    gap = rank[saw].sum() - n * rank.mean()
    if n in (0, total) or np.ptp(rank) == 0:
        return 1.0, gap > 0
    step = np.gcd.reduce((rank - rank.min()).astype(int))
    distance = max(abs(gap) - step / 2, 0) / (rank.std(ddof=1) * np.sqrt(n * (total - n) / total))
    k = [kstat(values, 4) / kstat(values, 2) ** 2 for values in (rank, saw.astype(float))]
    bend = (total - 2) * (total - 3) / (3 * total * (total - 1) ** 2) * k[0] * k[1]
    excess = 3 * (total - 1) / (total + 1) * (1 + bend) - 3
    if excess < 0:  # Pearson's type II: a Beta distribution, stretched
        a = -3 / excess - 1.5
        tail = beta.sf((distance / np.sqrt(2 * a + 1) + 1) / 2, a, a)
    else:
        freedom = 4 + 6 / excess
        tail = student.sf(distance * np.sqrt(freedom / (freedom - 2)), freedom)
    return min(1.0, 2 * max(tail, 1 / comb(total, n))), gap > 0


def test_p_values_and_rates_of_margins_equal_brute_force(tmp_path: Path) -> None:
    """Of every pair, from the trials alone; the rates by scipy's adjustment of each sign by itself."""
    trials = {name: values.copy() for name, values in TRIALS.items()}
    half = np.flatnonzero(np.abs(trials["mask"].sum(0) - 15) < 8)[[0, 1, 0, 1]]
    planted = (4 * trials["mask"][:, half] - 2) * [1, 1, 1, -1] + np.random.default_rng(0).normal(size=(30, 4))
    trials["test_margin"][:, :4], trials["test_correct"][:, :4] = planted, planted > 0
    pairs = estimate(merge(make_store(tmp_path / "a", trials, np.full(30, DONE, np.uint8), 7)), EVERY).pairs
    assert pairs.judged_by == "margins"
    assert len(pairs) == 40
    found = [rank_test(trials["test_margin"][:, j], trials["mask"][:, i]) for i, j in zip(*places(pairs), strict=True)]
    p_value, positive = (np.array(each) for each in zip(*found, strict=True))
    np.testing.assert_allclose(pairs.p_value_soft, p_value, rtol=1e-5)
    n_in = trials["mask"].sum(0)
    smallest = np.array([1 / comb(30, int(n)) for n in n_in])[pairs.train]
    family = (smallest <= 1e-3) & (np.ptp(trials["test_margin"], axis=0)[pairs.test] > 0)
    far = (p_value < 2e-3) & family & ((pairs.influence > 0) == positive) & (pairs.influence != 0)
    assert far.sum() >= 3
    for sign in (True, False):
        one_sided = np.where((positive == sign) & (p_value < 1), p_value / 2, 1.0)[family]
        whole = np.ones(len(pairs))
        whole[family] = false_discovery_control(one_sided)
        mine = far & (positive == sign)
        np.testing.assert_allclose(pairs.fdr_soft[mine], whole[mine], rtol=0.0024)
        assert (pairs.fdr_soft[positive == sign] >= whole[positive == sign] * (1 - 1e-6)).all()
    assert (pairs.fdr_soft[~family] == 1).all()
    assert (pairs.fdr_soft[np.where(positive, pairs.influence < 0, pairs.influence > 0)] == 1).all()


def places(pairs: Pairs) -> tuple[Any, Any]:
    return pairs.train, pairs.test


def test_any_partition_of_the_trials_gives_the_same_bits(tmp_path: Path) -> None:
    whole = estimated(store(tmp_path / "whole")).pairs
    late, early = store(tmp_path / "late", slice(14, 30)), store(tmp_path / "early", slice(0, 14))
    parts = estimated(late, early).pairs
    for name in ("train", "test", "influence_soft", "influence_soft_se", "p_value_soft", "fdr_soft"):
        assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes(), name


def matrices(paths: RunPaths) -> dict[str, Any]:
    group = zarr.open_group(paths.estimates, mode="r")
    return {name: np.asarray(group[name]) for name in MATRICES if name in group}


def test_the_matrix_equals_brute_force_with_nan_where_undefined(tmp_path: Path) -> None:
    """Also one that was interrupted; a later estimate keeps it, and its seal finds what was changed."""
    trials = {name: values.copy() for name, values in TRIALS.items()}
    trials["mask"][:, 3], trials["mask"][:, 5] = True, False
    paths = make_store(tmp_path / "a", trials, np.full(30, DONE, np.uint8), 7)
    merged = merge(paths)
    tiles: list[Tile] = []
    difference = Levels.difference
    most = 3

    def limited(self: Levels, tile: Tile) -> NDArray[np.float32]:
        tiles.append(tile)
        if len(tiles) > most:
            raise KeyboardInterrupt
        return difference(self, tile)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_WIDTH", 3)
        patch.setattr(Levels, "difference", limited)
        with pytest.raises(KeyboardInterrupt):
            estimate(merged, EVERY, dense=True, memory_gb=2e-7)
        begun = sum(path.is_file() for path in (paths.matrix("influence_soft") / "c").rglob("*"))
        assert begun >= 1
        most = 1000
        tiles.clear()
        estimate(merged, EVERY, dense=True, memory_gb=2e-7)
    probability = np.rint(16383 / (1 + np.exp(-trials["test_margin"].astype(float)))) / 16383
    sees = trials["mask"].astype(float)
    with np.errstate(invalid="ignore"):
        wanted = (probability.T @ sees) / sees.sum(0) - (probability.T @ (1 - sees)) / (1 - sees).sum(0)
    found = matrices(paths)
    files = sum(path.is_file() for path in (paths.estimates / "influence_soft/c").rglob("*"))
    assert len(tiles) == files - begun
    assert np.isnan(found["influence_soft"]).all(0).tolist() == [i in (3, 5) for i in range(8)]
    np.testing.assert_allclose(found["influence_soft"], wanted, atol=1e-7)
    assert not paths.matrix("influence_soft").exists()
    pairs = estimate(merged, EVERY).pairs
    np.testing.assert_array_equal(pairs.influence_soft, found["influence_soft"][pairs.test, pairs.train])
    for name, values in matrices(paths).items():
        np.testing.assert_array_equal(values, found.pop(name))
    assert not found
    chunk = next(path for path in (paths.estimates / "influence_soft/c").rglob("*") if path.is_file())
    chunk.write_bytes(bytes(chunk.stat().st_size))
    with pytest.raises(NotWhole, match="--dense"):
        estimate(merged, EVERY)


def test_without_margins_there_is_no_soft_matrix(tmp_path: Path) -> None:
    paths = store(tmp_path / "a", margins=False)
    estimate(merge(paths), EVERY, dense=True)
    assert list(matrices(paths)) == ["influence"]


def test_without_margins_it_is_undefined(tmp_path: Path) -> None:
    pairs = estimated(store(tmp_path / "a", margins=False)).pairs
    assert len(pairs) > 20
    assert np.isnan(pairs.influence_soft).all()
    assert np.isnan(pairs.influence_soft_se).all()
    assert np.isnan(pairs.p_value_soft).all()
    assert np.isnan(pairs.fdr_soft).all()
    assert pairs.judged_by == "accuracy"
    np.testing.assert_array_equal(pairs.discoveries().fdr, np.sort(pairs.fdr[pairs.fdr <= 0.05]))
    with pytest.raises(InputError, match="no margins"):
        pairs.judged("margins")
    with pytest.raises(InputError, match="--test accuracy"):
        estimate(merge(RunPaths(tmp_path / "a")), replace(EVERY, test="margins"))
