"""Small pictures of examples: one at a time as data URIs, thousands at a time as sprite sheets."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHEET_COLUMNS = 32
PER_SHEET = SHEET_COLUMNS**2
_LARGEST = 96  # pixels; larger images are reduced
_LARGEST_TILE = 48  # in a sheet
_QUALITIES = (90, 80, 70, 55, 40)


@dataclass(frozen=True)
class Sheets:
    """Sprite sheets in a folder: ``{prefix}-{number:03d}.webp`` with square tiles, row by row.

    Attributes
    ----------
    prefix
        Of the files' names.
    tile
        Side of a tile, pixels.
    side
        Side of the square in the middle of a tile that the image fills.
    columns, per_sheet
        Tiles in a row, and in a sheet.
    count
        Tiles in all sheets.
    """

    prefix: str
    tile: int
    side: int
    count: int
    columns: int = SHEET_COLUMNS
    per_sheet: int = PER_SHEET

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def data_uri(image: NDArray[Any]) -> str:
    """A PNG of one image (H, W, C), uint8 or float in 0..1, as a data URI."""
    picture = _picture(image)
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def write_sheets(
    images: NDArray[Any], order: NDArray[np.intp], folder: Path, prefix: str, budget_mb: float, threads: int = 2
) -> Sheets:
    """Write the images at ``order`` as sprite sheets.

    Parameters
    ----------
    images
        Shape (N, H, W, C), uint8 or float in 0..1.
    order
        Which images, in the sheets' order.
    budget_mb
        The picture quality is lowered, in steps, until all sheets together are expected to be smaller.
    """
    side = min(max(images.shape[1:3]), _LARGEST_TILE)
    tile = -(-side // 16) * 16  # whole blocks of the encoder, so that neighbours do not bleed
    parts = [order[start : start + PER_SHEET] for start in range(0, len(order), PER_SHEET)]
    if not parts:
        return Sheets(prefix, tile, side, 0)
    quality = _fitting_quality(_sheet(images, parts[0], side, tile), len(order) / len(parts[0]), budget_mb)

    def write(number: int) -> None:
        sheet = Image.fromarray(_sheet(images, parts[number], side, tile))
        (folder / f"{prefix}-{number:03d}.webp").write_bytes(_encode(sheet, quality))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(len(parts))))
    return Sheets(prefix, tile, side, len(order))


def _fitting_quality(sheet: NDArray[np.uint8], sheets: float, budget_mb: float) -> int:
    picture = Image.fromarray(sheet)
    for quality in _QUALITIES:
        if len(_encode(picture, quality)) * sheets <= budget_mb * 1e6:
            return quality
    return _QUALITIES[-1]


def _encode(sheet: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=quality, method=1)
    return stream.getvalue()


def _sheet(images: NDArray[Any], order: NDArray[np.intp], side: int, tile: int) -> NDArray[np.uint8]:
    """One sheet, shape (rows * tile, columns * tile, 3)."""
    rows = -(-len(order) // SHEET_COLUMNS)
    tiles = np.zeros((rows * SHEET_COLUMNS, tile, tile, 3), np.uint8)
    for place, pixels in enumerate(_reduced(images, order, side)):
        top, left = ((tile - length) // 2 for length in pixels.shape[:2])
        tiles[place, top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    grid = tiles.reshape(rows, SHEET_COLUMNS, tile, tile, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * tile, SHEET_COLUMNS * tile, 3))


def _reduced(images: NDArray[Any], order: NDArray[np.intp], side: int) -> Iterable[NDArray[np.uint8]]:
    """The images in colour, none larger than ``side``."""
    if max(images.shape[1:3]) <= side:
        pixels = _as_bytes(images[order])
        return np.broadcast_to(pixels[..., :1], (*pixels.shape[:3], 3)) if pixels.shape[-1] < 3 else pixels[..., :3]
    found = []
    for place in order:
        picture = _picture(images[place]).convert("RGB")
        picture.thumbnail((side, side))
        found.append(np.asarray(picture))
    return found


def shown(image: NDArray[Any]) -> NDArray[np.uint8]:
    """What is shown of an image (H, W, C), uint8 or float in 0..1: shape (H, W, 3), or (H, W, 1) if C < 3."""
    pixels = _as_bytes(image)
    return pixels[..., :1] if pixels.shape[-1] < 3 else pixels[..., :3]


def _picture(image: NDArray[Any]) -> Image.Image:
    pixels = shown(image)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(pixels * 255, 0, 255).astype(np.uint8) if pixels.dtype.kind == "f" else np.asarray(pixels)
