"""Boxes are distributed as torchvision draws them, and what comes of an image is what torchvision makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from memexp.errors import SpecError
from memexp.spec.reading import read_spec
from memexp.spec.training import RandomErasing, RandomResizedCrop
from memexp.training.batches import Draws, Work, batches, skip
from memexp.training.block import train_block
from memexp.training.boxes import drawn_crops, drawn_holes, erase, resized
from tests.conftest import Done

from .test_checkpoint import CNN, TRIALS, bits, masks, trained_on, work_of

CROPS = [
    (RandomResizedCrop(), (64, 64)),
    (RandomResizedCrop(scale=[0.5, 1.0], ratio=[0.5, 2.0]), (32, 48)),
    (RandomResizedCrop(scale=[0.9, 1.0], ratio=[2.0, 3.0]), (32, 32)),  # which seldom fits
]
COUNT = 3000


def theirs(crop: RandomResizedCrop, size: tuple[int, int]) -> NDArray[np.int64]:
    from torchvision.transforms.v2 import RandomResizedCrop as Theirs

    torch.manual_seed(1)
    transform = Theirs(size, crop.scale, crop.ratio)
    image = [torch.zeros(1, *size)]
    drawn = [transform.make_params(image) for _ in range(COUNT)]
    return np.array([[each[name] for name in ("top", "left", "height", "width")] for each in drawn])


def their_holes(size: tuple[int, int]) -> NDArray[np.int64]:
    from torchvision.transforms import RandomErasing as Theirs

    torch.manual_seed(2)
    drawn = [Theirs.get_params(torch.zeros(1, *size), (0.02, 1 / 3), (0.3, 1 / 0.3), [0.0]) for _ in range(COUNT)]
    return np.array([each[:4] for each in drawn])


def assert_alike(ours: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    """Two samples of boxes, by Kolmogorov and Smirnov's test of each number that one can make of them."""

    def numbers(boxes: NDArray[np.int64]) -> list[NDArray[Any]]:
        top, left, height, width = boxes.T
        return [top, left, height, width, height * width, width / height, top + height, left + width, top * left]

    values = [stats.ks_2samp(a, b).pvalue for a, b in zip(numbers(ours), numbers(other), strict=True)]
    assert min(values) > 1e-4, values


@pytest.mark.parametrize(("crop", "size"), CROPS)
def test_crops_are_distributed_as_torchvisions(crop: RandomResizedCrop, size: tuple[int, int]) -> None:
    assert_alike(drawn_crops(crop, np.random.default_rng(0), COUNT, size), theirs(crop, size))


def test_the_comparison_tells_one_distribution_from_a_near_one() -> None:
    crop, size = CROPS[0]
    near = RandomResizedCrop(scale=[0.08, 0.8])
    with pytest.raises(AssertionError):
        assert_alike(drawn_crops(near, np.random.default_rng(0), COUNT, size), theirs(crop, size))


def test_holes_are_distributed_as_torchvisions() -> None:
    size = (32, 40)
    ours = drawn_holes(RandomErasing(probability=1.0), np.random.default_rng(0), COUNT, size)
    assert_alike(ours, their_holes(size))
    few = drawn_holes(RandomErasing(probability=0.25), np.random.default_rng(0), COUNT, size)
    assert abs((few[:, 2] > 0).mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / COUNT)
    assert (few[few[:, 2] == 0] == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_box_becomes_what_torchvision_makes_of_it(channels: int) -> None:
    from torchvision.transforms.functional import hflip, resized_crop

    draws = np.random.default_rng(3)
    x = torch.from_numpy(draws.integers(0, 256, (5, 20, 28, channels), np.uint8)).permute(0, 3, 1, 2)
    chosen = torch.from_numpy(draws.integers(0, 5, 40))
    boxes = torch.from_numpy(drawn_crops(RandomResizedCrop(scale=[0.01, 1.0]), draws, 40, (20, 28)))
    flipped = torch.arange(40) % 2 == 0
    made = resized(x, chosen, boxes, flipped)
    for image, number, box, flip in zip(made, chosen, boxes, flipped, strict=True):
        expected = resized_crop(x[number].float(), *box.tolist(), [20, 28], antialias=True)
        torch.testing.assert_close(image, hflip(expected) if flip else expected, rtol=1e-4, atol=1e-3)


def test_erasing_puts_zero_into_the_box_and_nowhere_else() -> None:
    holes = torch.from_numpy(drawn_holes(RandomErasing(probability=0.5), np.random.default_rng(0), 20, (9, 12)))
    x = torch.ones(20, 2, 9, 12)
    expected = x.clone()
    for image, (top, left, height, width) in zip(expected, holes.tolist(), strict=True):
        image[:, top : top + height, left : left + width] = 0
    assert torch.equal(erase(x, holes), expected)
    assert 0 < expected.mean() < 1


AUGMENT = {"random_resized_crop": {"scale": [0.3, 1.0]}, "flip": True, "random_erasing": {"probability": 0.5}}


def fed(work: Work, steps: int, first: int = 0) -> torch.Tensor:
    order = torch.from_numpy(np.random.default_rng(0).integers(0, len(work.y_train), (steps, 2, 8)))
    draws = [Draws(3, trial) for trial in (0, 1)]
    skip(work, draws, first)
    return torch.stack([x for x, _ in batches(work, order[first:], draws)])


def test_the_boxes_of_a_step_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from memexp.training import batches as module

    work = work_of(training={"augment": AUGMENT, "batch_size": 8})
    whole = fed(work, 6)
    assert torch.equal(fed(work, 6, first=4), whole[4:])
    monkeypatch.setitem(module._PART_BYTES, "cpu", 1)
    assert torch.equal(fed(work, 6), whole)
    other = work_of(training={"augment": AUGMENT | {"flip": False}, "batch_size": 8})
    assert not torch.equal(fed(other, 6), whole)


@pytest.mark.long
def test_interruptions_change_no_bit_of_a_trial_with_boxes() -> None:
    work = work_of(model=CNN, training={"augment": AUGMENT})
    found, _ = trained_on(work, [7, 40])
    assert bits(found) == bits(train_block(work, masks(work), TRIALS))


def test_the_plan_tells_the_boxes_and_refuses_two_crops(
    write_spec: Callable[..., Path], memexp: Callable[..., Done]
) -> None:
    done = memexp("plan", write_spec(training={"augment": AUGMENT}))
    said = " ".join(done.stdout.split())
    assert "random boxes of 0.3 to 1 of the area, width / height 0.75 to 1.33, resized and random left-right" in said
    assert "and a box of 0.02 to 0.333 of the area erased with probability 0.5" in said
    for augment, words in (
        ({"crop": 2, "random_resized_crop": {}}, "has crop and random_resized_crop"),
        ({"random_resized_crop": {"scale": [1.0, 0.5]}}, "must not fall"),
        ({"random_resized_crop": {"scale": [0.1, 1.5]}}, "scale"),
        ({"random_erasing": {}}, "probability"),
    ):
        with pytest.raises(SpecError, match=words):
            read_spec(write_spec(training={"augment": augment}))
