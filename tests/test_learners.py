"""The examples of trials of the user's own say what is planted in them."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture
def symbols(monkeypatch: pytest.MonkeyPatch) -> Any:
    """specs/learners/next_symbol.py with few short strings."""
    described = importlib.util.spec_from_file_location("next_symbol", ROOT / "specs/learners/next_symbol.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    for name, value in {"CLUSTERS": 10, "LENGTH": 48, "NOISE": 0.2, "STRINGS": {"train": 20, "test": 30}}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_what_is_read_out_of_a_network_is_what_was_planted(symbols: Any) -> None:
    """One that says its nearest string gives all of it, noise too; one that says the centre none of the noise."""
    x, kept, cluster, centres = symbols.strings("train")
    first = [int(np.flatnonzero(cluster == c)[0]) for c in np.unique(cluster)]
    x, kept, centres = x[first], kept[first], centres[cluster[first]]

    def nearest(says: torch.Tensor) -> Any:
        def model(bits: torch.Tensor) -> torch.Tensor:
            return 20.0 * says[(bits[:, None] != centres).sum(-1).argmin(-1)] - 10.0

        return model

    kept_all = symbols.readout(nearest(x), x, kept, centres, 0)
    assert kept_all["bits"] == kept_all["noise"] == 1
    assert kept_all["noise_fresh"] < 0.5  # only where the other string has the same noise
    told = symbols.readout(nearest(centres), x, kept, centres, 0)
    assert told["noise"] == told["noise_fresh"] == 0
    assert told["bits"] == pytest.approx((x == centres)[kept].float().mean().item())


def test_a_network_sees_only_the_bits_before(symbols: Any) -> None:
    network, (x, *_) = symbols.Transformer(16).eval(), symbols.strings("test")
    other = x.clone()
    other[:, 10:] = 1 - other[:, 10:]
    said, again = network(x), network(other)
    torch.testing.assert_close(said[:, :11], again[:, :11])
    assert not torch.isclose(said[:, 11:], again[:, 11:]).any()


def test_a_trial_keeps_the_noise_of_what_it_saw_once_and_of_nothing_else(symbols: Any) -> None:
    mask = np.arange(20) < 10
    torch.manual_seed(0)
    found = symbols.trial(mask, 0, epochs=100, width=32)
    assert found["train"][mask].mean() > found["train"][~mask].mean() + 0.2
    assert found["noise"] > max(0.6, found["noise_fresh"])
