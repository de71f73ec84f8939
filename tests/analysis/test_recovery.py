"""Both attacks against models whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from memexp.analysis.recovery import ATTACKS, Answer, coordinate_ascent, sign_attack


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_that_keeps_the_example_gives_all_its_bits(attack: str) -> None:
    random = np.random.default_rng(0)
    example = (2 * random.integers(0, 2, 60) - 1).astype(np.float32)
    found = ATTACKS[attack](lambda x: (x @ example).astype(np.float64), 60, random)
    assert np.array_equal(found, example)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_that_keeps_nothing_gives_chance(attack: str) -> None:
    random = np.random.default_rng(1)
    shares = []
    for _ in range(40):
        example, other = (2 * random.integers(0, 2, (2, 50)) - 1).astype(np.float32)
        shares.append((ATTACKS[attack](_linear(other), 50, random) == example).mean())
    assert abs(np.mean(shares) - 0.5) < 4 * 0.5 / np.sqrt(40 * 50)


def test_the_ascent_finds_what_single_signs_cannot() -> None:
    """Bits that count in pairs only: a random input's sign says nothing, climbing finds a best input."""
    random = np.random.default_rng(2)

    def pairs(x: np.ndarray) -> np.ndarray:
        return (x[:, ::2] * x[:, 1::2]).sum(axis=1).astype(np.float64)

    found = coordinate_ascent(pairs, 40, random)
    assert pairs(found[None])[0] == 20
    assert pairs(sign_attack(pairs, 40, random)[None])[0] < 20


def _linear(weights: np.ndarray) -> Answer:
    return lambda x: (x @ weights).astype(np.float64)
