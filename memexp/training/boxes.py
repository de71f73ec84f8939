"""Boxes of images: random ones as timm and torchvision draw them, an image from a box of another, a box erased.

Drawn by the host from numbers of which each image uses the same count, so that images have the same boxes on every
device and however many are drawn at once. Axes: B images, C, H, W; a box is (top, left, height, width) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memexp.spec.training import RandomErasing, RandomResizedCrop

_ATTEMPTS = 10  # at a box that fits, as in timm and torchvision


def drawn_crops(
    crop: RandomResizedCrop, draws: np.random.Generator, count: int, size: tuple[int, int]
) -> NDArray[np.int64]:
    """Boxes to cut from images of (H, W), shape (count, 4).

    The share of the area is uniform, the logarithm of width / height too, the place uniform among those that lie in the
    image. Where ten such shapes do not fit, the largest box in the middle whose shape is allowed.
    """
    found, fits = _fitting(crop.scale, crop.ratio, draws.random((count, 2 * _ATTEMPTS + 2)), size, at_most=0)
    found[~fits] = _central(crop.ratio, size)
    return found


def drawn_holes(
    erasing: RandomErasing, draws: np.random.Generator, count: int, size: tuple[int, int]
) -> NDArray[np.int64]:
    """Boxes to erase from images of (H, W), shape (count, 4); of size 0 in images that stay whole."""
    uniform = draws.random((count, 2 * _ATTEMPTS + 3))
    found, fits = _fitting(erasing.scale, erasing.ratio, uniform[:, 1:], size, at_most=-1)
    found[~fits | (uniform[:, 0] >= erasing.probability)] = 0
    return found


def _fitting(
    scale: Sequence[float], ratio: Sequence[float], uniform: NDArray[np.float64], size: tuple[int, int], at_most: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The first of each image's shapes that fits, at a random place, shape (B, 4); whether one does, shape (B,).

    Parameters
    ----------
    uniform : shape (B, 2 * attempts + 2)
        Numbers in [0, 1).
    at_most
        The largest height is H + ``at_most``, the largest width W + ``at_most``.
    """
    limits = np.array(size)
    share, shape = uniform[:, :-2:2], uniform[:, 1:-2:2]  # (B, attempts)
    area = limits.prod() * (scale[0] + (scale[1] - scale[0]) * share)
    aspect = np.exp(np.log(ratio[0]) + np.log(ratio[1] / ratio[0]) * shape)
    sides = np.round(np.sqrt(np.stack([area / aspect, area * aspect], axis=-1))).astype(np.int64)
    fits = ((sides > 0) & (sides <= limits + at_most)).all(axis=-1)
    chosen = sides[np.arange(len(sides)), fits.argmax(axis=1)]
    places = np.maximum(limits - chosen + 1, 1)
    corner = np.floor(uniform[:, -2:] * places).astype(np.int64)
    return np.concatenate([corner, chosen], axis=1), fits.any(axis=1)


def _central(ratio: Sequence[float], size: tuple[int, int]) -> list[int]:
    height, width = size
    if width / height < ratio[0]:
        height = round(width / ratio[0])
    elif width / height > ratio[1]:
        width = round(height * ratio[1])
    return [(size[0] - height) // 2, (size[1] - width) // 2, height, width]


def resized(x: Tensor, chosen: Tensor, boxes: Tensor, flipped: Tensor) -> Tensor:
    """A box of each chosen image as large as the image was: bilinear between pixels of the box, flipped by its coin.

    Boxes are never larger than the image, so nothing is made smaller and no pixel needs to be averaged away.

    Parameters
    ----------
    x : shape (N, C, H, W), channels last in memory
    chosen : int64, shape (B,)
        Numbers of the images.
    boxes : int64, shape (B, 4)
    flipped : bool, shape (B,)

    Returns
    -------
    images : float32, shape (B, C, H, W), channels last in memory
    """
    (rows, below, down), (columns, beside, right) = (
        _between(start, length, side)
        for start, length, side in zip(boxes[:, :2].T, boxes[:, 2:].T, x.shape[2:], strict=True)
    )
    columns, beside, right = (torch.where(flipped[:, None], each.flip(1), each) for each in (columns, beside, right))
    pixels = x.permute(0, 2, 3, 1)

    def row(at: Tensor) -> Tensor:
        one, two = (
            pixels[chosen[:, None, None], at[:, :, None], column[:, None, :]].float() for column in (columns, beside)
        )
        return one.lerp_(two, right[:, None, :, None])

    return row(rows).lerp_(row(below), down[:, :, None, None]).permute(0, 3, 1, 2)


def _between(start: Tensor, length: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``side`` places along an axis the pixels before and after it, and how near it is to the latter."""
    places = torch.arange(side, device=start.device) + 0.5
    at = (places * (length[:, None] / side) - 0.5).clamp_(min=0)
    before = at.floor()
    after = torch.minimum(before + 1, length[:, None] - 1)
    return *((start[:, None] + each.long()) for each in (before, after)), at - before  # type: ignore[return-value]


def erase(x: Tensor, holes: Tensor) -> Tensor:
    """Put 0 into a box of each image (B, C, H, W), in place."""
    top, left, height, width = (each[:, None] for each in holes.T)
    rows, columns = (torch.arange(side, device=x.device) for side in x.shape[2:])
    inside = ((rows >= top) & (rows < top + height))[:, :, None] & ((columns >= left) & (columns < left + width))[
        :, None
    ]
    return x.masked_fill_(inside[:, None], 0)
