"""One image file as pixels of 8 bits: upright, composed on white. What would be lost in reading is refused by name."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.open_files import printable, require_file
from memexp.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

READING = 2  # what an image file's pixels are; another number where another memexp reads one otherwise

_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_HEAD = 1 << 16  # bytes in which a header is looked for


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Decode one image: the centred square, resized; shape (size, size, 3).

    Raises
    ------
    DataError
        If the file cannot be read, is no whole image, or holds what 8 bits a channel and one picture cannot.
    """
    return read_sized(path, printable(path), size)


def read_as_it_is(file: Path | bytes, name: str) -> NDArray[np.uint8]:
    """Decode one image, a file or its bytes, in its own size; shape (H, W, 1) or (H, W, 3).

    Raises
    ------
    DataError
        As :func:`read_image`.
    """
    with _opened(file, name) as image:
        pixels = np.asarray(flat(image))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_sized(file: Path | bytes, name: str, size: int) -> NDArray[np.uint8]:
    """As :func:`read_image`, from a file or its bytes."""
    from PIL import ImageOps

    with _opened(file, name) as image:
        image.draft("RGB", (2 * size, 2 * size))  # JPEG is decoded at a fraction of its size where that suffices
        return np.asarray(ImageOps.fit(flat(image).convert("RGB"), (size, size)))


@contextmanager
def _opened(file: Path | bytes, name: str) -> Iterator[Image.Image]:
    """An image file, or its bytes, in Pillow; each fault is a DataError with its name."""
    from PIL import Image

    try:
        if isinstance(file, Path):
            require_file(file)
        with Image.open(file if isinstance(file, Path) else io.BytesIO(file)) as image:
            require_shown_bits(file, image)
            yield image
    except (PermissionError, FileNotFoundError, IsADirectoryError) as error:
        raise DataError(f"{name} cannot be read ({error.strerror}); give yourself the right, or remove it") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} cannot be read as an image ({error}); mend or remove it") from error


def flat(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB: turned as its EXIF data say, and composed on white where it is transparent.

    Raises
    ------
    ValueError
        If it has more than 8 bits a channel, or several pictures.
    """
    from PIL import Image, ImageOps

    _require_eight_bits(image)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a phone's JPEG, whose further pictures are made of the first
        raise ValueError(f"it holds {frames} pages or frames; save each as a file of its own")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _ALPHA or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):
            image = image.convert(image.mode.upper())
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _require_eight_bits(image: Image.Image) -> None:
    """Refuse what Pillow would cut off at 255, or to the high byte."""
    advice = "save it with values 0..255, or give floating point images by 'source: npz'"
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode}: more than 8 bits of grey; {advice}")
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        raw = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        wide_text = tile[0].startswith("ppm") and len(arguments) > 1 and arguments[1] > 255
        if wide_text or re.search(r"(?<!BGR);(16|32)", raw):
            raise ValueError(f"it has more than 8 bits of colour; {advice}")


def require_shown_bits(file: Path | bytes, image: Image.Image) -> None:
    """Refuse more than 8 bits in formats of which Pillow does not tell the depth: JPEG 2000 and AVIF."""
    if image.format not in ("JPEG2000", "AVIF"):
        return
    with file.open("rb") if isinstance(file, Path) else io.BytesIO(file) as stream:
        head = stream.read(_HEAD)
    if image.format == "AVIF":
        place = head.find(b"av1C")
        deep = 0 <= place < len(head) - 6 and bool(head[place + 6] & 0x40)  # high_bitdepth
    else:
        place = head.find(b"\xff\x4f\xff\x51")  # the codestream's size marker: depths follow, three bytes a channel
        depths = head[place + 42 : place + 42 + 3 * len(image.getbands()) : 3] if place >= 0 else b""
        deep = any((depth & 0x7F) + 1 > 8 for depth in depths)
    if deep:
        raise ValueError("it has more than 8 bits of colour; save it with values 0..255")


def pixels_of(image: Any) -> NDArray[Any]:
    """An element of a torchvision data set as an array: a Pillow image as :func:`flat` reads it, others as they are."""
    from PIL import Image

    return np.asarray(flat(image)) if isinstance(image, Image.Image) else np.asarray(image)
