"""Batches: the images and labels of their numbers, scaled by the training set's moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memexp.data import load_data
from memexp.training.batches import _moments, inputs, normalized, prepare
from tests.conftest import make_spec


def test_a_batch_holds_the_images_and_labels_of_its_numbers_channels_last() -> None:
    spec = make_spec(dataset={"source": "digits", "limit": {"train": 50, "test": 10}})
    data = load_data(spec.dataset)
    work = prepare(spec, data, "cpu")
    chosen = torch.tensor([[4, 9, 4], [0, 49, 7]])
    x, y = inputs(work, chosen, [])
    np.testing.assert_array_equal(y, data.y_train[[4, 9, 4, 0, 49, 7]])
    torch.testing.assert_close(x, normalized(work, work.x_train[chosen.flatten()]))
    assert x.permute(0, 2, 3, 1).is_contiguous()


def test_images_are_standardized_by_the_training_sets_moments_however_they_are_added(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    x = draws.integers(0, 256, (2500, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(2500) % 5, x_test=x[:5], y_test=np.arange(5))
    spec = make_spec(dataset={"source": "npz", "path": str(tmp_path / "d.npz")})
    work = prepare(spec, load_data(spec.dataset), "cpu")
    for whole, parts in zip(_moments(x), _moments(x, part_values=1000), strict=True):
        np.testing.assert_allclose(whole, parts, rtol=1e-12)
    seen = normalized(work, work.x_train).double()
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_channel_that_is_constant_in_training_keeps_the_scale_1(dtype: Any, tmp_path: Path) -> None:
    """As in scikit-learn: only its mean is subtracted, however the mean is rounded."""
    draws = np.random.default_rng(0)
    x = draws.integers(0, 200, (600, 1, 1, 4)).astype(dtype)
    x[..., 1] = 0
    x[..., 2] = np.float32(0.1) if dtype is np.float32 else 51
    x[..., 3] = np.float32(1e6) if dtype is np.float32 else 255
    test = x[:5] + dtype(1)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(600) % 5, x_test=test, y_test=np.arange(5))
    spec = make_spec(dataset={"source": "npz", "path": str(tmp_path / "d.npz")})
    work = prepare(spec, load_data(spec.dataset), "cpu")
    unit = 1.0 if dtype is np.float32 else 1 / 255
    steps = normalized(work, work.x_test)[:, 1:3] - normalized(work, work.x_train)[:5, 1:3]
    torch.testing.assert_close(steps, torch.full_like(steps, unit), rtol=1e-5, atol=1e-6)
    assert work.scale[3] == pytest.approx(unit)
    assert work.scale[0] == pytest.approx(1 / float(x[..., 0].std()))
