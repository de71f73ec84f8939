"""Batches: the images and labels of their numbers, scaled by the training set's moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memexp.data import load_data
from memexp.spec.spec import Augment
from memexp.training.batches import _PART_BYTES, Draws, _moments, batches, drawn_moves, moved, normalized, prepare
from tests.conftest import make_spec


@pytest.mark.parametrize("part_bytes", [1, 1 << 20])
def test_batches_hold_the_images_and_labels_of_their_numbers_channels_last(
    part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_PART_BYTES, "cpu", part_bytes)
    spec = make_spec(dataset={"source": "digits", "limit": {"train": 50, "test": 10}})
    data = load_data(spec.dataset)
    work = prepare(spec, data, "cpu")
    order = torch.tensor([[[4, 9, 4], [0, 49, 7]], [[1, 2, 3], [5, 4, 3]]])
    made = list(batches(work, order, []))
    assert len(made) == 2
    for numbers, (x, y) in zip(order.flatten(1), made, strict=True):
        np.testing.assert_array_equal(y, data.y_train[numbers])
        torch.testing.assert_close(x, normalized(work, work.x_train[numbers]), rtol=0, atol=0)
        assert x.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("crop", "flip"), [(1, True), (8, True), (2, False), (0, True)])
def test_each_image_is_moved_and_flipped_by_its_own_draws(dtype: torch.dtype, crop: int, flip: bool) -> None:
    x = torch.randint(1, 200, (20, 3, 6, 5)).to(dtype).to(memory_format=torch.channels_last)
    moves = drawn_moves(Augment(crop=crop, flip=flip), np.random.default_rng(0), 400)
    chosen = torch.randint(20, (400,))
    out = moved(x, chosen, torch.from_numpy(moves), crop)
    assert out.permute(0, 2, 3, 1).is_contiguous()
    padded = torch.nn.functional.pad(x, (crop, crop, crop, crop))
    for k, (number, (row, column, coin)) in enumerate(zip(chosen, moves.tolist(), strict=True)):
        image = padded[number, :, row : row + 6, column : column + 5]
        torch.testing.assert_close(out[k], image.flip(-1) if coin else image, rtol=0, atol=0)
    if crop < 3:  # every move is drawn
        assert len(np.unique(moves, axis=0)) == (2 * crop + 1) ** 2 * (1 + flip)


def test_draws_are_the_same_alone_in_a_stack_and_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(training={"augment": {"crop": 2, "flip": True}})
    work = prepare(spec, load_data(spec.dataset), "cpu")
    order = torch.randint(200, (5, 3, 32))

    def fed(trials: list[int], part_bytes: int) -> list[torch.Tensor]:
        monkeypatch.setitem(_PART_BYTES, "cpu", part_bytes)
        draws = [Draws(3, trial) for trial in trials]
        return [x.unflatten(0, (len(trials), 32)) for x, _ in batches(work, order[:, trials], draws)]

    together = fed([0, 1, 2], 1 << 30)
    for each, again in zip(together, fed([0, 1, 2], 1), strict=True):
        torch.testing.assert_close(each, again, rtol=0, atol=0)
    for trial in (0, 1, 2):
        for each, alone in zip(together, fed([trial], 3 * 4 * 32 * 64), strict=True):
            torch.testing.assert_close(each[trial], alone[0], rtol=0, atol=0)


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
