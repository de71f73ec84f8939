"""The examples of a run: what its store says of each of them, beside what trials record."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from memexp.data import Data


def example_arrays(data: Data) -> dict[str, NDArray[Any]]:
    """What the store holds of the examples."""
    arrays: dict[str, NDArray[Any]] = {
        "train_label": data.y_train,
        "test_label": data.y_test,
        "train_index": data.train_index,
        "test_index": data.test_index,
    }
    ids = {"train_id": data.id_train, "test_id": data.id_test}
    arrays |= {name: values for name, values in ids.items() if values is not None}
    if data.test_set is not None:
        arrays["test_set"] = data.test_set
    if data.groups is not None and data.group_names is not None:
        arrays |= {"train_group": data.groups, "train_group_name": data.group_names}
    if data.y_original is not None and data.flipped is not None:
        arrays |= {"train_label_flipped": data.flipped, "train_label_original": data.y_original}
    if data.subpopulations is not None:
        arrays |= dict(zip(("train_subpopulation", "test_subpopulation"), data.subpopulations, strict=True))
    return arrays
