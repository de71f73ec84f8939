"""Designs: exact sizes, exact balance, one meaning per (seed, trial) for ever."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memexp.spec.designs import draw_masks, subset_size, subset_sizes
from memexp.spec.sampling_error import balanced_group
from memexp.spec.spec import Subsets


def subsets(design: str, ratio: float | None = 0.7, seed: int = 0, **more: object) -> Subsets:
    return Subsets.model_validate({"design": design, "ratio": ratio, "trials": 1, "seed": seed} | more)


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("uniform", "ad2ebf7ad87afbbc"),
        ("balanced", "d781e175d44366a5"),
        ("bernoulli", "b98ddcdbbd8e121e"),
    ],
)
def test_masks_never_change(design: str, expected: str) -> None:
    """Golden bits. If they change, runs can no longer grow: raise the schema version and say so."""
    masks = draw_masks(subsets(design, seed=7), 1003, range(12))
    assert hashlib.sha256(np.packbits(masks).tobytes()).hexdigest()[:16] == expected


@given(
    st.integers(2, 300), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.75, 0.95]), st.integers(0, 2**40), st.integers(0, 10**6)
)
def test_uniform_takes_exactly_m_of_n(n: int, ratio: float, seed: int, trial: int) -> None:
    block = subsets("uniform", ratio, seed)
    assert draw_masks(block, n, [trial]).sum() == subset_size(block, n) == round(ratio * n)


@given(
    st.integers(1, 400), st.sampled_from([0.1, 0.5, 0.7, 0.75, 0.9, 0.95, 0.64]), st.integers(0, 99), st.integers(0, 50)
)
def test_balanced_is_balanced_over_examples_and_over_trials(n: int, ratio: float, seed: int, group: int) -> None:
    size, out = balanced_group(ratio) or (0, 0)
    assert Fraction(size - out, size) == Fraction(ratio).limit_denominator(100)
    masks = draw_masks(subsets("balanced", ratio, seed), n, range(group * size, (group + 1) * size))
    np.testing.assert_array_equal((~masks).sum(0), out)  # every example out equally often
    in_counts = masks.sum(1)  # every trial m of n up to rounding
    assert in_counts.max() - in_counts.min() <= 1
    assert abs(in_counts - ratio * n).max() < 1


def test_balanced_is_random_from_group_to_group_and_between_examples() -> None:
    """Pairs of examples are out together about as often as chance says: 3/10 * 2/9 in groups of ten."""
    outs = ~draw_masks(subsets("balanced"), 60, range(4000))
    together = (outs.T.astype(float) @ outs) / len(outs)
    pairs = together[np.triu_indices(60, 1)]
    # two examples of one deal share turns less often, of different deals with probability 0.09
    assert 0.075 < pairs.mean() < 0.095
    assert pairs.std() < 0.01
    assert 0.25 < outs[:, 0].mean() < 0.35


def test_balanced_marginals_are_uniform_over_trials_of_a_group() -> None:
    outs = ~draw_masks(subsets("balanced"), 50, range(5000))
    by_place = outs.reshape(500, 10, 50).mean((0, 2))
    np.testing.assert_allclose(by_place, 0.3, atol=0.011)


def test_bernoulli_has_the_right_rate_and_independent_examples() -> None:
    masks = draw_masks(subsets("bernoulli", 0.3), 2000, range(300))
    assert abs(masks.mean() - 0.3) < 5 * np.sqrt(0.21 / masks.size)
    assert masks.sum(1).std() == pytest.approx(np.sqrt(2000 * 0.21), rel=0.2)


@pytest.mark.parametrize("n_train", [1, 20, 25, 997])
@pytest.mark.parametrize("ratio", [0.05, 0.5, 0.7])
@pytest.mark.parametrize("design", ["uniform", "balanced", "bernoulli"])
def test_no_trial_is_smaller_or_larger_than_said(design: str, ratio: float, n_train: int) -> None:
    block = subsets(design, ratio)
    sizes = draw_masks(block, n_train, range(200)).sum(1)
    fewest, most = subset_sizes(block, n_train)
    assert fewest <= sizes.min()
    assert sizes.max() <= most
    if design != "bernoulli":
        assert (fewest, most) == (sizes.min(), sizes.max())
    removal = subsets("remove", None, removed={"none": [], "some": [1, 2]})
    assert subset_sizes(removal, 10) == (8, 10)


def test_remove_leaves_out_exactly_the_given_examples_in_every_trial() -> None:
    block = subsets("remove", None, removed=[3, 5, 5])
    masks = draw_masks(block, 10, [0, 7])
    assert np.flatnonzero(~masks[0]).tolist() == [3, 5]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert subset_size(block, 10) == 8


@pytest.mark.parametrize("design", ["uniform", "balanced", "bernoulli"])
def test_a_trial_does_not_depend_on_which_others_are_asked_for(design: str) -> None:
    block = subsets(design)
    many = draw_masks(block, 101, range(400, 430))
    for trial in (400, 413, 429):
        np.testing.assert_array_equal(draw_masks(block, 101, [trial])[0], many[trial - 400])
    assert not np.array_equal(many[0], many[1])
    assert not np.array_equal(many[0], draw_masks(subsets(design, seed=1), 101, [400])[0])


@pytest.mark.parametrize("ratio", [1 / 3 + 1e-4, 0.7071, 0.001])
def test_ratios_without_a_group_are_recognized(ratio: float) -> None:
    assert balanced_group(ratio) is None
