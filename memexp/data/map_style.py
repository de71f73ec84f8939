"""Map-style data sets, such as those of PyTorch: ``dataset[number]`` is an image and its label."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.images import pixels_of
from memexp.errors import DataError

_ASKED_TWICE = 8


def is_map_style(value: Any) -> bool:
    """Whether it has a length and examples of (image, label), and is no array or list of numbers."""
    if hasattr(value, "__array__") or isinstance(value, list | tuple | dict | str | bytes):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def read_examples(where: str, dataset: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """The images and labels of a map-style data set.

    A tensor of three axes is (C, H, W), as PyTorch's images are; an array is (H, W, C), and a tensor or an array of
    one axis a row of features.

    Raises
    ------
    DataError
        If an example is no pair, gives another image when it is asked for again, or a label that is neither an
        integer nor text; or if the images differ in size.
    """
    images, labels = [], []
    for number in range(len(dataset)):
        image, label = _pair(where, number, dataset[number])
        labels.append(_label(where, number, label))
        try:
            images.append(_pixels(image))
        except (ValueError, OSError) as error:
            raise DataError(f"{where}[{number}]: {error}") from error
    if len({image.shape for image in images}) > 1:
        raise DataError(f"{where}: images differ in size or channels; use 'source: folder' with a size")
    for number in range(0, len(images), max(1, len(images) // _ASKED_TWICE)):
        if not np.array_equal(images[number], _pixels(_pair(where, number, dataset[number])[0]), equal_nan=False):
            raise DataError(
                f"{where}[{number}] is another image each time it is asked for; take random transforms out of the data "
                "set (training.augment draws crops and flips)"
            )
    if len({type(label) for label in labels}) > 1:
        raise DataError(f"{where}: some labels are integers and some are text; give all of them in one way")
    if not images:
        return np.zeros((0, 1, 1, 1), np.uint8), np.zeros(0, np.int64)
    return np.stack(images), np.asarray(labels)


def _pair(where: str, number: int, example: Any) -> tuple[Any, Any]:
    if isinstance(example, tuple | list) and len(example) >= 2:
        return example[0], example[1]
    what = f"a dict of {', '.join(map(str, example))}" if isinstance(example, dict) else type(example).__name__
    raise DataError(f"{where}[{number}] is {what}; it must be (image, label)")


def _label(where: str, number: int, label: Any) -> int | str:
    if isinstance(label, str):
        return str(label)
    try:
        return operator.index(label)
    except TypeError:
        pass
    try:  # an array or a tensor of one integer
        return operator.index(np.asarray(label).item())
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}[{number}]: its label is {label!r}; labels must be integers or text") from error


def _pixels(image: Any) -> NDArray[Any]:
    found = pixels_of(image)
    if hasattr(image, "detach") and found.ndim == 3 and found.shape[0] <= 4:
        return np.ascontiguousarray(np.moveaxis(found, 0, -1))
    return found
