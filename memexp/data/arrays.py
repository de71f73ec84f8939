"""Arrays that somebody else made: images or rows of features, and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.data.grouping import names_of_groups
from memexp.data.raw import Ids, RawData, as_ids, as_nhwc, number_labels
from memexp.errors import DataError

WANTED = ("x_train", "y_train")
TEST = ("x_test", "y_test")
OPTIONAL = ("classes", "id_train", "id_test", "features", "groups")


def from_arrays(where: str, given: Mapping[str, Any]) -> RawData:
    """Images (N, H, W), (N, H, W, C) or features (N, D), and labels that are integers or text.

    Parameters
    ----------
    where
        For messages.
    given
        ``x_train``, ``y_train``; ``x_test``, ``y_test`` where there is a test set; and, if it has them, ``classes``
        (names of the labels), ``id_train``, ``id_test`` (names of the examples), ``features`` (names of the columns),
        ``groups`` (of the training examples).

    Raises
    ------
    DataError
        If they are something else.
    """
    names = (*WANTED, *(TEST if given.get("x_test") is not None else ()))
    arrays = {name: given[name] for name in names}
    labels = number_labels(where, arrays["y_train"], arrays.get("y_test"), given.get("classes"))
    features = arrays["x_train"].ndim == 2
    images = {name: as_nhwc(_values(arrays[name])) for name in names if name[0] == "x"}
    for name, x in images.items():
        _refuse_channels_first(f"{where}: {name}", x)
    if len(images) > 1 and images["x_train"].ndim == images["x_test"].ndim == 4:
        require_one_scale(where, images["x_train"], images["x_test"])
    return RawData(
        images["x_train"],
        labels.train,
        images.get("x_test"),
        labels.test,
        labels.classes,
        id_train=_ids(where, "id_train", given, len(images["x_train"])),
        id_test=_ids(where, "id_test", given, len(images.get("x_test", ()))),
        features=_feature_names(where, given, images["x_train"].shape[-1]) if features else (),
        groups=_groups(where, given, len(images["x_train"])),
    )


def _groups(where: str, given: Mapping[str, Any], count: int) -> Ids | None:
    return None if given.get("groups") is None else names_of_groups(f"{where}: groups", given["groups"], count)


def _ids(where: str, name: str, given: Mapping[str, Any], count: int) -> Any:
    values = given.get(name)
    if values is None:
        return None
    listed = np.asarray(values)
    if listed.shape != (count,):
        raise DataError(f"{where}: {name} has shape {listed.shape}; it must name each of the {count} examples")
    return as_ids(listed.tolist())


def _feature_names(where: str, given: Mapping[str, Any], count: int) -> tuple[str, ...]:
    values = given.get("features")
    if values is None:
        return ()
    if len(values) != count:
        raise DataError(f"{where}: features has {len(values)} names for {count} columns; give one for each")
    return tuple(str(name) for name in values)


def _refuse_channels_first(name: str, x: NDArray[Any]) -> None:
    """Refuse (N, C, H, W): few channels before two larger axes, or another length before a square."""
    if x.ndim != 4:
        return
    _, first, second, third = x.shape
    few = first <= 4 < min(second, third)
    before_a_square = second == third != first and second >= 4
    if few or before_a_square:
        plain = name.rpartition(" ")[2]
        raise DataError(
            f"{name} has shape {x.shape}, which looks like channels first; images must be (N, H, W, C): "
            f"np.moveaxis({plain}, 1, -1). If they are so and only this high, exchange height and width: "
            f"np.swapaxes({plain}, 1, 2)"
        )


def require_one_scale(where: str, x_train: NDArray[Any], x_test: NDArray[Any], most: float = 50.0) -> None:
    """Refuse images whose values mean something else in training than in test: 0..1 and 0..255, for example."""
    if x_train.dtype != x_test.dtype:
        raise DataError(
            f"{where}: x_train is {x_train.dtype}, x_test {x_test.dtype}; they must have one type and one scale "
            "(uint8 enters the network divided by 255, floating point as it is)"
        )
    few = [x[:: max(1, len(x) // 500)] for x in (x_train, x_test)]  # a copy of all may not fit in memory
    train, test = (float(np.abs(x).mean(dtype=np.float64)) if x.size else 0.0 for x in few)
    if 0 < most * train < test or 0 < most * test < train:
        raise DataError(
            f"{where}: the values of x_train are {train:.3g} on average (without their signs), those of x_test "
            f"{test:.3g}; scale both alike"
        )


def _values(images: NDArray[Any]) -> NDArray[Any]:
    """uint8 as it is; floating point, and any number of a table, as float32; anything else is refused."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f" or (images.ndim == 2 and images.dtype.kind in "iub"):
        return images.astype(np.float32)
    raise DataError(f"images are {images.dtype}; they must be uint8 (0..255) or floating point")
