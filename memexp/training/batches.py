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
from numpy.typing import NDArray
from torch import Tensor

from memexp.data import Data
from memexp.seeds import generator
from memexp.spec.designs import Mask
from memexp.spec.spec import Augment, Spec
from memexp.training.boxes import drawn_crops, drawn_holes, erase, resized
from memexp.training.models import moments_of_weights

# Of float32 images that are made at once. A processor's stay in its cache; a GPU's take a fraction of its memory.
_PART_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}


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
    first_tests
        Test examples of the first set, which test accuracies are of; None: all.
    """

    spec: Spec
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    scale: Tensor
    shift: Tensor
    n_classes: int
    first_tests: int | None = None
    compiled: bool = False  # whether networks are (memexp.training.compiled)

    @property
    def device(self) -> torch.device:
        """Where the data are and the trials train."""
        return self.y_train.device


def prepare(spec: Spec, data: Data, device: str, sharing: int = 1) -> Work:
    """Put the data on the device, once per process; ``sharing``: processes that do so on one device."""
    x_train, x_test = (_placed(x, torch.device(device), sharing) for x in (data.x_train, data.x_test))
    unit = 1 / 255 if data.x_train.dtype == np.uint8 else 1.0
    scale, shift = torch.full((x_train.shape[1], 1, 1), unit), torch.zeros(x_train.shape[1], 1, 1)
    if spec.training.standardize:
        mean, deviation = _moments_of(spec, data.x_train, unit)
        deviation[_constant(mean, deviation, data.x_train[..., 0].size)] = 1.0
        scale = torch.tensor(unit / deviation, dtype=torch.float32)[:, None, None]
        shift = torch.tensor(-mean / deviation, dtype=torch.float32)[:, None, None]
    y_train, y_test = (torch.from_numpy(y).to(device) for y in (data.y_train, data.y_test))
    on_it = scale.to(device), shift.to(device)
    return Work(spec, x_train, y_train, x_test, y_test, *on_it, len(data.classes), data.first_tests)


def _placed(x: NDArray[Any], device: torch.device, sharing: int = 1) -> Tensor:
    """Images (N, H, W, C) as (N, C, H, W) on the device, or in the host's memory if they would fill a GPU's.

    Processes that share a GPU ask for its free memory at one time, so each takes at most its part of half of it.
    """
    images = torch.from_numpy(np.require(x, requirements="W")).permute(0, 3, 1, 2)
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] // (2 * sharing):
        return images
    return images.to(device)


def _moments_of(spec: Spec, x: NDArray[Any], unit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel that images are standardized by, where the largest pixel is 1."""
    if spec.training.standardize == "weights":
        of_weights = moments_of_weights(spec.model.arch, x.shape[3])
        return np.array(of_weights[0]), np.array(of_weights[1])
    mean, deviation = _moments(x)
    return unit * mean, unit * deviation


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
    """A tensor on the device; from the host's memory by a copy that the host does not wait for."""
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


class Draws:
    """The generators of one trial's augmentation, one for each kind of change."""

    def __init__(self, seed: int, trial: int) -> None:
        self.moves, self.crops, self.holes = (
            generator(seed, purpose, trial) for purpose in ("augment", "crops", "holes")
        )


def drawn_moves(augment: Augment, draws: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Row and column (0 to 2 * crop) and coin (0 or 1) of ``count`` images, shape (count, 3).

    Drawn by the host, so that every device moves an image alike. In 64 bits: NumPy draws these one by one,
    and so they are the same however many are drawn at once.
    """
    places = 2 * augment.crop + 1
    return draws.integers(0, [places, places, 1 + augment.flip], (count, 3))


def moved(x: Tensor, chosen: Tensor, moves: Tensor, crop: int) -> Tensor:
    """Images of the given numbers, each moved over a border of zeros and flipped.

    Parameters
    ----------
    x : shape (N, C, H, W), channels last in memory
    chosen : int64, shape (B,)
        Numbers of the images.
    moves : int64, shape (B, 3)
        From :func:`drawn_moves`; 0 to ``2 * crop`` is where the image begins on one padded by ``crop``.

    Returns
    -------
    images : shape (B, C, H, W), channels last in memory
    """
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) + (moves[:, :1] - crop)
    columns = torch.arange(width, device=x.device).expand(len(moves), -1)
    columns = torch.where(moves[:, 2:].bool(), columns.flip(1), columns) + (moves[:, 1:2] - crop)
    # One gather over channels-last memory chooses, moves and flips every image; no padded copy is made.
    images = x.permute(0, 2, 3, 1)[
        chosen[:, None, None], rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    if crop:
        above, left = ((at < 0) | (at >= size) for at, size in ((rows, height), (columns, width)))
        images.masked_fill_((above[:, :, None] | left[:, None, :])[..., None], 0)
    return images.permute(0, 3, 1, 2)


def _drawn(work: Work, draws: Draws, count: int) -> NDArray[np.int64]:
    """All changes of ``count`` images: moves, then boxes to cut and to erase where asked, shape (count, 3, 7 or 11)."""
    augment, size = work.spec.sgd.augment, (work.x_train.shape[2], work.x_train.shape[3])
    found = [drawn_moves(augment, draws.moves, count)]
    if augment.random_resized_crop is not None:
        found.append(drawn_crops(augment.random_resized_crop, draws.crops, count, size))
    if augment.random_erasing is not None:
        found.append(drawn_holes(augment.random_erasing, draws.holes, count, size))
    return np.concatenate(found, axis=1) if len(found) > 1 else found[0]


def batches(work: Work, order: Tensor, draws: Sequence[Draws]) -> Iterator[tuple[Tensor, Tensor]]:
    """What S trials are fed step by step. A part of the steps is made at once: a GPU launches few kernels for it.

    Parameters
    ----------
    order : int64, shape (steps, S, B), in the host's memory
        Numbers of the training examples.
    draws
        The augmentation's generators of each trial.

    Yields
    ------
    x : float32, shape (S * B, C, H, W), on the device
        As the network gets them.
    y : int64, shape (S * B,), on the device
        Their labels.
    """
    step = order[0].numel()
    bytes_per_step = 4 * step * work.x_train[0].numel()
    for part in order.split(max(1, _PART_BYTES[work.device.type] // bytes_per_step)):
        x, y = _made(work, part, draws)
        yield from zip(x.split(step), y.split(step), strict=True)


def skip(work: Work, draws: Sequence[Draws], steps: int) -> None:
    """Draw what :func:`batches` would draw for so many steps, for trials that have taken them already."""
    augment = work.spec.sgd.augment
    if augment.is_drawn:
        for draw in draws:
            for _ in range(steps):  # a step at a time, for the memory's sake
                _drawn(work, draw, work.spec.sgd.batch_size)


def _made(work: Work, part: Tensor, draws: Sequence[Draws]) -> tuple[Tensor, Tensor]:
    """Images and labels of some steps, (steps, S, B) -> (steps * S * B, C, H, W) and (steps * S * B,)."""
    steps, _, batch = part.shape
    augment, here, chosen, x = work.spec.sgd.augment, part.flatten(), on_device(work, part.flatten()), work.x_train
    y = work.y_train.index_select(0, chosen)
    if x.device != work.device:  # the host's memory has them all: what is chosen goes up, and is numbered anew
        x = on_device(work, chosen_images(x, here))
        chosen = torch.arange(len(here), device=work.device)
    if augment.is_drawn:
        each = [_drawn(work, draw, steps * batch).reshape(steps, batch, -1) for draw in draws]
        stacked = np.stack(each, axis=1)
        changes = on_device(work, torch.from_numpy(stacked.reshape(-1, stacked.shape[-1])))
        if augment.random_resized_crop is not None:
            x = resized(x, chosen, changes[:, 3:7], changes[:, 2].bool())
        else:
            x = moved(x, chosen, changes[:, :3], augment.crop)
    elif x is work.x_train:
        x = chosen_images(x, chosen)
    x = normalized(work, x)
    return erase(x, changes[:, -4:]) if augment.random_erasing else x, y


def _stream(members: NDArray[np.intp], draws: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    assert len(members), "the plan lets no empty subset through"
    while True:
        yield draws.permutation(members)


def epochs(work: Work, masks: Mask, trials: Sequence[int], steps: int) -> Iterator[tuple[Tensor, Mask]]:
    """The order of the examples, one epoch of the longest trial at a time.

    Yields
    ------
    order : int64, shape (steps, S, B), in the host's memory
        Numbers of the training examples.
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
        yield torch.from_numpy(order), fed
