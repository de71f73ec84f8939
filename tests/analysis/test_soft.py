"""Soft influence: equal to a brute-force computation from the trials, the same bits however they were gathered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from memexp.analysis import dense
from memexp.analysis.estimates import Estimates, estimate
from memexp.analysis.levels import Levels
from memexp.analysis.merged import merge
from memexp.analysis.pairs import Selection
from memexp.analysis.products import Tile
from memexp.store.derived import MATRICES
from memexp.store.paths import RunPaths
from memexp.store.sealed import NotWhole
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
