"""Drawn data sets: the mixture of subpopulations, the hypercube; real data cut to a tail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from memexp.data import Data, load_data
from memexp.data.generated import fixed_bits, fixed_share, frequencies, prior_shares
from memexp.errors import DataError
from memexp.spec.datasets import Dataset, Hypercube, Subpopulations


def load(**block: Any) -> Data:
    return load_data(TypeAdapter(Dataset).validate_python(block))


def test_subpopulations_have_the_prior_s_frequencies_and_the_stated_spread() -> None:
    block = Subpopulations(source="subpopulations", classes=4, kinds=5, train=40_000, test=500, dim=16, spread=0.25)
    data = load(**block.model_dump())
    assert data.x_train.shape == (40_000, 1, 1, 16)
    assert data.x_train.dtype == np.float32
    assert data.subpopulations is not None
    kind = data.subpopulations[0]
    assert np.array_equal(data.y_train, kind // 5)
    share = frequencies(block)
    assert share[:5] / share[0] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    deviation = np.sqrt(share * (1 - share) / 40_000)
    assert (np.abs(np.bincount(kind, minlength=20) / 40_000 - share) < 5 * deviation).all()
    x = data.x_train[:, 0, 0, :]
    within = np.concatenate([x[kind == k] - x[kind == k].mean(axis=0) for k in range(20)])
    assert within.std() == pytest.approx(0.25, rel=0.01)
    centres = np.stack([x[kind == k].mean(axis=0) for k in range(20)])
    assert centres.std() == pytest.approx(1, abs=0.15)


def test_training_and_test_examples_are_of_the_same_subpopulations() -> None:
    data = load(source="subpopulations", classes=2, kinds=3, train=300, test=300, dim=32, spread=0.01)
    assert data.subpopulations is not None
    for kind in range(6):
        train, test = (x[k == kind] for x, k in zip((data.x_train, data.x_test), data.subpopulations, strict=True))
        assert np.abs(train.mean(axis=0) - test.mean(axis=0)).max() < 0.02
    assert not np.array_equal(data.x_train, data.x_test)


def test_ambiguous_labels_are_those_of_the_next_class_in_both_parts() -> None:
    data = load(source="subpopulations", classes=3, kinds=2, train=5000, test=5000, dim=2, ambiguous=0.3, seed=4)
    assert data.subpopulations is not None
    for labels, kind in zip((data.y_train, data.y_test), data.subpopulations, strict=True):
        shift = (labels - kind // 2) % 3
        assert set(shift.tolist()) == {0, 1}
        assert shift.mean() == pytest.approx(0.3, abs=0.03)


def test_a_seed_draws_the_same_data_and_another_other() -> None:
    block = {"source": "subpopulations", "train": 50, "test": 10, "kinds": 3, "classes": 2}
    assert load(**block).fingerprint() == load(**block).fingerprint()
    assert load(**block).fingerprint() != load(**block, seed=1).fingerprint()


@pytest.mark.parametrize(("prior", "last"), [("zipf", 1 / 60), ("geometric", 1 / 60), ("uniform", 1.0)])
def test_priors_end_where_they_say(prior: str, last: float) -> None:
    shares = prior_shares(prior, 60)
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] / shares[0] == pytest.approx(last)
    if prior == "geometric":
        assert np.ptp(np.log(shares[1:] / shares[:-1])) < 1e-12
    assert prior_shares(prior, 1).tolist() == [1.0]


def test_the_hypercube_fixes_the_bits_of_a_cluster_and_flips_coins_for_the_others() -> None:
    block = Hypercube(source="hypercube", clusters=20, train=2000, test=400, dim=300)
    data, (fixed, pattern) = load(**block.model_dump()), fixed_bits(block)
    assert set(np.unique(data.x_train)) == {-1.0, 1.0}
    x, labels = data.x_train[:, 0, 0, :], data.y_train
    for cluster in range(20):
        mine = x[labels == cluster]
        assert (mine[:, fixed[cluster]] == pattern[cluster][fixed[cluster]]).all()
        assert np.abs(mine[:, ~fixed[cluster]].mean(axis=0)).max() < 0.6  # about 100 coins each
    share = fixed_share(20, 300)
    assert fixed.mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / fixed.size))


def test_the_share_of_fixed_bits_is_the_authors() -> None:
    n, d = 500, 1000
    assert fixed_share(n, d) == pytest.approx(((2 * np.log(50_000 * 0.368 * n) - np.log(np.log(n))) / d) ** 0.5, 1e-4)


def test_clusters_without_a_training_example_are_kept_as_classes() -> None:
    data = load(source="hypercube", clusters=100, train=100, test=100, dim=60)
    assert len(data.classes) == 100
    assert len(np.unique(data.y_train)) < 80


def test_a_tail_keeps_classes_at_zipf_frequencies_in_both_parts() -> None:
    data = load(source="digits", limit={"tail": {"exponent": 1, "seed": 3}})
    whole = load(source="digits")
    counts = np.sort(np.bincount(data.y_train, minlength=10))[::-1]
    assert counts == pytest.approx(counts[0] / np.arange(1, 11), abs=0.51 + 0.01 * counts[0])
    assert counts[0] > 130  # nearly a whole class of about 143
    ranks = [np.argsort(-np.bincount(labels, minlength=10), kind="stable") for labels in (data.y_train, data.y_test)]
    assert ranks[0][:4].tolist() == ranks[1][:4].tolist()
    assert np.array_equal(data.x_train, whole.x_train[data.train_index])
    other = load(source="digits", limit={"tail": {"seed": 4}})
    assert np.bincount(other.y_train).argmax() != np.bincount(data.y_train).argmax() or len(other.y_train) != len(
        data.y_train
    )


def test_a_tail_of_superclasses_ranks_the_parts_within_each() -> None:
    halves = {"even": [0, 2, 4, 6, 8], "odd": [1, 3, 5, 7, 9]}
    data = load(source="digits", limit={"superclasses": halves, "tail": {"exponent": 2, "seed": 0}, "train": 200})
    assert data.classes == ("even", "odd")
    assert data.subpopulations is not None
    parts = data.subpopulations[0]
    assert np.array_equal(data.y_train, parts % 2)
    for label in (0, 1):
        counts = np.sort(np.bincount(parts[data.y_train == label], minlength=10))[::-1][:5]
        assert counts == pytest.approx(counts[0] / np.arange(1, 6) ** 2.0, abs=1.1)
    assert abs(len(data.y_train) - 200) <= 6
    whole = load(source="digits")
    assert np.array_equal(whole.y_train[data.train_index], parts)


def test_superclasses_leave_out_what_is_in_no_list() -> None:
    data = load(source="digits", limit={"superclasses": {"low": [0, 1], "seven": [7]}, "train": 30})
    assert sorted(np.bincount(data.y_train).tolist()) == [15, 15]
    assert data.subpopulations is not None
    assert set(data.subpopulations[0].tolist()) == {0, 1, 7}


@pytest.mark.parametrize(
    "superclasses",
    [{"a": [0, 1]}, {"a": [0, 1], "b": []}, {"a": [0, 1], "b": [1, 2]}, {"a": [0, 1], "b": [12]}],
    ids=["one", "empty", "twice", "unknown"],
)
def test_superclasses_that_make_no_sense_are_refused(superclasses: dict[str, list[int]]) -> None:
    with pytest.raises(DataError, match=r"limit.superclasses = \{.*different lists of labels of 0..9"):
        load(source="digits", limit={"superclasses": superclasses})


def test_classes_and_superclasses_exclude_each_other() -> None:
    with pytest.raises(DataError, match="classes or superclasses, not both"):
        load(source="digits", limit={"superclasses": {"a": [0], "b": [1]}, "classes": [0, 1]})


def test_the_store_records_the_subpopulation_of_each_example(tmp_path: Path) -> None:
    from memexp.runs.examples import example_arrays

    data = load(source="subpopulations", classes=2, kinds=3, train=30, test=20)
    arrays = example_arrays(data)
    assert data.subpopulations is not None
    assert np.array_equal(arrays["train_subpopulation"], data.subpopulations[0])
    assert np.array_equal(arrays["test_subpopulation"], data.subpopulations[1])
