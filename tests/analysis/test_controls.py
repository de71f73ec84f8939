"""Near-duplicates, the fractional score, and the threshold from random labels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memexp.analysis.controls import fractional_score, near_duplicates, null_threshold
from memexp.errors import InputError
from tests.conftest import SHARED

RANDOM = np.random.default_rng(0)
TRAIN = RANDOM.integers(0, 256, (40, 8, 8, 3), np.uint8)
TEST = RANDOM.integers(0, 256, (20, 8, 8, 3), np.uint8)


def test_copies_are_found_however_they_were_changed() -> None:
    test = TEST.copy()
    test[3] = TRAIN[7]
    test[5] = TRAIN[9][:, ::-1]  # mirrored
    test[8] = (TRAIN[1] // 2 + 20).astype(np.uint8)  # darker
    test[9] = np.clip(TRAIN[2] + RANDOM.normal(0, 20, TRAIN[2].shape), 0, 255).astype(np.uint8)  # noisy
    found = near_duplicates(TRAIN, test)
    assert set(zip(found.train.tolist(), found.test.tolist(), strict=True)) == {(7, 3), (9, 5), (1, 8), (2, 9)}
    assert found.correlation[0] == pytest.approx(1, abs=1e-6)
    assert (np.diff(found.correlation) <= 0).all()
    assert found.trains.tolist() == [1, 2, 7, 9]
    assert found.tests.tolist() == [3, 5, 8, 9]


def test_correlations_are_those_of_numpy() -> None:
    found = near_duplicates(TRAIN, TEST, 0.05)
    expected = {}
    for i, x in enumerate(TRAIN):
        for j, y in enumerate(TEST):
            r = max(np.corrcoef(x.ravel(), view.ravel())[0, 1] for view in (y, y[:, ::-1]))
            if r >= 0.05:
                expected[i, j] = r
    assert len(expected) > 100
    pairs = dict(zip(zip(found.train.tolist(), found.test.tolist(), strict=True), found.correlation, strict=True))
    assert pairs.keys() == expected.keys()
    for pair, r in expected.items():
        assert pairs[pair] == pytest.approx(r, abs=1e-5)


def test_images_of_one_colour_are_like_nothing_else() -> None:
    test = TEST.copy()
    test[0] = 17
    assert not len(near_duplicates(TRAIN, test).train)
    assert len(near_duplicates(TRAIN.reshape(40, -1), TRAIN.reshape(40, -1)[:3]).train) == 3  # features
    with pytest.raises(InputError, match="at most 1"):
        near_duplicates(TRAIN, TEST, 0)


@given(st.integers(0, 10), st.integers(1, 10), st.integers(0, 10), st.integers(1, 10))
def test_the_fractional_score_is_relative(a: int, n: int, b: int, m: int) -> None:
    inside, outside = min(a, n) / n, min(b, m) / m
    (score,) = fractional_score(np.array([inside], np.float32), np.array([outside], np.float32))
    if inside + outside == 0:
        assert np.isnan(score)
    else:
        assert score == pytest.approx((inside - outside) / (inside + outside), abs=1e-6)


def test_a_null_threshold_is_reached_by_the_share_that_was_asked_for() -> None:
    scores = np.append(RANDOM.uniform(0.5, 1, 1000), np.nan)
    for share in (0.5, 0.95):
        assert np.mean(scores[:-1] >= null_threshold(scores, share)) == pytest.approx(share, abs=0.002)
    with pytest.raises(InputError, match="19 examples with random labels are too few"):
        null_threshold(np.append(np.ones(19), np.nan))


@pytest.mark.process
@pytest.mark.skipif(not SHARED.exists(), reason="needs CIFAR-100 and the published pairs, which are beside the project")
def test_what_correlation_finds_of_the_published_pairs(tmp_path: Path) -> None:
    """Of CIFAR-100's pairs with an influence of 0.4 or more, nearly all of one object: what the documents say."""
    script, images = SHARED / "data/load_data.py", tmp_path / "cifar100.npz"
    subprocess.run([sys.executable, script, "cifar100", images], check=True)
    with np.load(SHARED / "reference/feldman_zhang/cifar100_high_infl_pairs_infl0.15_mem0.25.npz") as file:
        strong = file["infl"] >= 0.4
        trains, tests = file["tr_idx"][strong], file["tt_idx"][strong]
    with np.load(images) as file:
        found = near_duplicates(file["x_train"][trains], file["x_test"][tests], 0.9)
    alike = set(zip(found.train.tolist(), found.test.tolist(), strict=True))
    assert len(trains) == 135
    assert sum((k, k) in alike for k in range(135)) / 135 == pytest.approx(0.16, abs=0.005)
