"""Data on the device: which examples come when, and how an image enters the network.

Axes: S trials in a stack, B batch, N train, M test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from memexp.data import Data
from memexp.seeds import generator
from memexp.spec.designs import Mask
from memexp.spec.spec import Augment, Spec


@dataclass(frozen=True)
class Work:
    """Everything that the trials of a run share.

    Attributes
    ----------
    x_train, x_test : shape (N, C, H, W) and (M, C, H, W), on the device where they fit
        uint8 pixels or float32, channels last in memory: convolutions are faster so (measured 1.4 to
        1.5 times for ``memexp_cnn`` and ``memexp_resnet9`` on one core), and nothing is copied, because
        that is how the data sources hold images.
    y_train, y_test : int64, shape (N,) and (M,), on the device
    scale, shift : float32, shape (C, 1, 1)
        An image enters the network as ``x * scale + shift``.
    """

    spec: Spec
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    scale: Tensor
    shift: Tensor
    n_classes: int

    @property
    def device(self) -> torch.device:
        """Where the data are and the trials train."""
        return self.y_train.device


def prepare(spec: Spec, data: Data, device: str) -> Work:
    """Put the data on the device, once per process."""
    x_train, x_test = (_placed(x, torch.device(device)) for x in (data.x_train, data.x_test))
    unit = 1 / 255 if data.x_train.dtype == np.uint8 else 1.0
    scale, shift = torch.full((x_train.shape[1], 1, 1), unit), torch.zeros(x_train.shape[1], 1, 1)
    if spec.training.standardize:
        mean, deviation = (unit * moment for moment in _moments(data.x_train))
        deviation[_constant(mean, deviation, data.x_train[..., 0].size)] = 1.0
        scale = torch.tensor(unit / deviation, dtype=torch.float32)[:, None, None]
        shift = torch.tensor(-mean / deviation, dtype=torch.float32)[:, None, None]
    y_train, y_test = (torch.from_numpy(y).to(device) for y in (data.y_train, data.y_test))
    return Work(spec, x_train, y_train, x_test, y_test, scale.to(device), shift.to(device), len(data.classes))


def _placed(x: NDArray[Any], device: torch.device) -> Tensor:
    """Images (N, H, W, C) as (N, C, H, W) on the device, or in the host's memory if they would fill a GPU's."""
    images = torch.from_numpy(np.require(x, requirements="W")).permute(0, 3, 1, 2)
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return images
    return images.to(device)


def _moments(x: NDArray[Any], part_values: int = 1 << 24) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel of (N, H, W, C); a part at a time, since the images may exceed the memory."""
    pixels, part = math.prod(x.shape[:3]), max(1, part_values // math.prod(x.shape[1:]))
    parts = [x[start : start + part] for start in range(0, len(x), part)]
    mean = np.sum([chunk.sum((0, 1, 2), dtype=np.float64) for chunk in parts], axis=0) / pixels
    squares = np.sum([np.square(chunk - mean).sum((0, 1, 2)) for chunk in parts], axis=0)
    return mean, np.sqrt(squares / pixels)


def _constant(mean: NDArray[np.float64], deviation: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Channels of ``count`` values whose deviation is rounding alone, by the bound that scikit-learn uses.

    Such a channel keeps the scale 1: divided by next to nothing, any other value in a test image would be
    millions of times larger than all else.
    """
    epsilon = count * np.finfo(np.float64).eps
    return deviation**2 <= epsilon * deviation**2 + (epsilon * mean) ** 2


def on_device(work: Work, x: Tensor) -> Tensor:
    """Images on the device; from the host's memory by a copy that the host does not wait for."""
    if x.device == work.device:
        return x
    return x.pin_memory().to(work.device, non_blocking=True)


def chosen_images(x: Tensor, chosen: Tensor) -> Tensor:
    """Images (B, C, H, W) of the given numbers (B,), channels last in memory like ``x``."""
    return x.permute(0, 2, 3, 1).index_select(0, chosen).permute(0, 3, 1, 2)


def normalized(work: Work, x: Tensor) -> Tensor:
    """Images (B, C, H, W) as the network gets them: float32, scaled."""
    x = x.to(torch.float32, copy=True).mul_(work.scale)  # never in the data's own memory
    return x.add_(work.shift) if work.spec.training.standardize else x


def augmented(x: Tensor, augment: Augment, draws: torch.Generator) -> Tensor:
    """Each image of (B, C, H, W) shifted by its own crop and flipped by its own coin."""
    count, _, height, width = x.shape

    def drawn(high: int) -> Tensor:
        return torch.randint(high, (count,), generator=draws, device=x.device)

    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device).expand(count, -1)
    flipped = drawn(2).bool() if augment.flip else torch.zeros(count, dtype=torch.bool, device=x.device)
    if not augment.crop:
        return torch.where(flipped[:, None, None, None], x.flip(3), x)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    pad = augment.crop
    x = F.pad(x, (pad, pad, pad, pad))
    rows = rows + drawn(2 * pad + 1)[:, None]
    columns = columns + drawn(2 * pad + 1)[:, None]
    # One gather over channels-last memory moves and flips every image, where a loop would copy each of them.
    image = torch.arange(count, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def inputs(work: Work, chosen: Tensor, draws: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """What S trials are fed in one step: images (S * B, C, H, W) as the network gets them, and labels (S * B,).

    Parameters
    ----------
    chosen : int64, shape (S, B)
        Numbers of the training examples, in the memory where the images are.
    draws
        The augmentation's generator of each trial.
    """
    augment, flat = work.spec.sgd.augment, chosen.flatten()
    x = on_device(work, chosen_images(work.x_train, flat))
    if augment.crop or augment.flip:
        parts = zip(x.split(chosen.shape[1]), draws, strict=True)
        x = torch.cat([augmented(part, augment, draw) for part, draw in parts])
    return normalized(work, x), work.y_train.index_select(0, flat.to(work.device, non_blocking=True))


def _stream(members: NDArray[np.intp], draws: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    assert len(members), "the plan lets no empty subset through"
    while True:
        yield draws.permutation(members)


def epochs(work: Work, masks: Mask, trials: Sequence[int], steps: int) -> Iterator[tuple[Tensor, Mask]]:
    """The order of the examples, one epoch of the longest trial at a time.

    Yields
    ------
    order : int64, shape (steps, S, B)
        Numbers of the training examples, in the memory where the images are.
    fed : bool, shape (S, N)
        What was fed so far. At the end it must be the masks, which the worker checks.
    """
    recipe, seed = work.spec.sgd, work.spec.subsets.seed
    # A trial's order depends on its own seed alone, so it is the same alone and in any stack.
    streams = [
        _stream(np.flatnonzero(mask), generator(seed, "order", trial))
        for mask, trial in zip(masks, trials, strict=True)
    ]
    waiting = [np.empty(0, dtype=np.intp) for _ in trials]  # drawn and not yet in a batch
    fed = np.zeros_like(masks)
    per_epoch = max(1, -(-int(masks.sum(1).max()) // recipe.batch_size))
    for start in range(0, steps, per_epoch):
        count = min(per_epoch, steps - start)
        order = np.empty((count, len(trials), recipe.batch_size), dtype=np.int64)
        for s, stream in enumerate(streams):
            while len(waiting[s]) < count * recipe.batch_size:
                waiting[s] = np.concatenate([waiting[s], next(stream)])
            taken, waiting[s] = np.split(waiting[s], [count * recipe.batch_size])
            order[:, s] = taken.reshape(count, -1)
            fed[s, taken] = True
        yield torch.from_numpy(order).to(work.x_train.device), fed
