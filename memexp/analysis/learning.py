"""How training examples are learned, as means over the trials that saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.merged import Merged
from memexp.analysis.tables import given_columns, library
from memexp.errors import InputError, command

if TYPE_CHECKING:
    import pandas

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """Means over the trials with each example, shape (N,); NaN without such a trial. Errors are over trials.

    Attributes
    ----------
    loss, loss_se
        Cross-entropy of the label, summed over the times that a trial saw the example.
    learned, learned_se
        The pass from which it was right each time.
    forgotten, forgotten_se
        How often it was wrong though it had been right the time before.
    trials : int64
        How many trials saw it.
    """

    loss: Floats
    loss_se: Floats
    learned: Floats
    learned_se: Floats
    forgotten: Floats
    forgotten_se: Floats
    trials: NDArray[np.int64]


_ARRAYS = {"loss": "train_learning_loss", "learned": "train_learned", "forgotten": "train_forgotten"}


def learned(merged: Merged) -> Learned:
    """What the trials recorded of how they learned each example.

    Raises
    ------
    InputError
        If they recorded nothing of it.
    """
    if _ARRAYS["loss"] not in merged.matrices:
        root = merged.paths.root
        raise InputError(
            f"the trials of {root} did not record how examples are learned. Launch the spec under another name with "
            f"`record: [correct, margin, predicted, learning]`; `{command('estimate', root)}` tells which are memorized"
        )
    n_train = len(merged.examples["train_label"])
    found = {name + end: np.full(n_train, np.nan) for name in _ARRAYS for end in ("", "_se")}
    trials = np.zeros(n_train, np.int64)
    for rows, (mask, *bands) in merged.bands("mask", *_ARRAYS.values()):
        count = trials[rows] = mask.sum(axis=1)
        for name, band in zip(_ARRAYS, bands, strict=True):
            values = np.where(mask, band, 0).astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = values.sum(axis=1) / count
                off = np.where(mask, values - mean[:, None], 0)
                found[name][rows] = mean
                found[f"{name}_se"][rows] = np.sqrt((off**2).sum(axis=1) / (count - 1.0) / count)
    for name in _ARRAYS:
        found[f"{name}_se"][trials < 2] = np.nan
    return Learned(**found, trials=trials)


def learned_frame(merged: Merged, classes: list[str]) -> pandas.DataFrame:
    """The same as a pandas table, one row for each training example."""
    examples = merged.examples
    columns: dict[str, NDArray[Any]] = {"index": np.arange(len(examples["train_label"]))} | vars(learned(merged))
    frame: pandas.DataFrame = library("pandas").DataFrame(columns | given_columns(examples, classes)).set_index("index")
    return frame
