"""A run's numbers as pandas tables and xarray data sets, with names for axes and examples."""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.estimates import Estimates
from memexp.analysis.grouped import group_columns
from memexp.analysis.pairs import Pairs
from memexp.analysis.tested import set_columns
from memexp.errors import InputError
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_states
from memexp.store.trials import DONE, TrialStore

if TYPE_CHECKING:
    import pandas
    import xarray

Columns = dict[str, NDArray[Any]]


def ids(examples: Columns, axis: str) -> NDArray[Any]:
    """What the source calls each example of an axis, as text; where it has no names, its place there."""
    named = examples.get(f"{axis}_id")
    return examples[f"{axis}_index"].astype(str).astype(object) if named is None else named


def example_columns(examples: Columns, classes: list[str]) -> Columns:
    """Of each training example, shape (N,): name, label, its class's name, place in the source, planted flips.

    Parameters
    ----------
    examples
        The store's arrays of the examples.
    classes
        Names of the labels.
    """
    names = np.array(classes)
    columns = {"id": ids(examples, "train"), "label": examples["train_label"]}
    columns["class_name"] = names[examples["train_label"]]
    columns["source_index"] = examples["train_index"]
    columns |= group_columns(examples)
    if "train_label_flipped" in examples:
        columns["flipped"] = examples["train_label_flipped"]
        columns["original_class_name"] = names[examples["train_label_original"]]
    return columns


def given_columns(examples: Columns, classes: list[str]) -> Columns:
    """The same for the end of a table, as far as it is known, also of imported trials."""
    columns = {"label": examples["train_label"], "class_name": np.array(classes)[examples["train_label"]]}
    columns |= {"id": ids(examples, "train")} if "train_index" in examples else {}
    columns |= group_columns(examples)
    known = {"source_index": "train_index", "flipped": "train_label_flipped"}
    return columns | {name: examples[key] for name, key in known.items() if key in examples}


def pair_columns(pairs: Pairs, examples: Columns, classes: list[str]) -> Columns:
    """Of each pair, shape (P,): both examples' indices, names and class names, then the estimates."""
    columns = pairs.columns()
    names = np.array(classes)
    named = {f"{axis}_id": ids(examples, axis)[columns[axis]] for axis in ("train", "test")}
    named |= {f"{axis}_class_name": names[examples[f"{axis}_label"][columns[axis]]] for axis in ("train", "test")}
    named |= {f"train_{name}": values for name, values in group_columns(examples, columns["train"]).items()}
    named |= set_columns(examples, columns["test"])
    return {"train": columns.pop("train"), "test": columns.pop("test")} | named | columns


def memorization_columns(estimates: Estimates) -> Columns:
    """The estimates of each training example, shape (N,)."""
    records = (estimates.scores, estimates.posterior, estimates.calibrated)
    return {field.name: getattr(record, field.name) for record in records for field in fields(record)}


def examples_frame(estimates: Estimates, examples: Columns, classes: list[str]) -> pandas.DataFrame:
    """One row for each training example."""
    columns = example_columns(examples, classes) | memorization_columns(estimates)
    frame: pandas.DataFrame = library("pandas").DataFrame(columns)
    return frame.rename_axis("train")


def pairs_frame(pairs: Pairs, examples: Columns, classes: list[str]) -> pandas.DataFrame:
    """One row for each pair, in the order given."""
    frame: pandas.DataFrame = library("pandas").DataFrame(pair_columns(pairs, examples, classes))
    return frame


def estimates_dataset(estimates: Estimates, examples: Columns, classes: list[str]) -> xarray.Dataset:
    """Memorization along ``train``, with what the examples are as coordinates."""
    module = library("xarray")
    coordinates = {"train": np.arange(len(examples["train_label"]))} | example_columns(examples, classes)
    data: xarray.Dataset = module.Dataset(
        {name: ("train", values) for name, values in memorization_columns(estimates).items()},
        {name: ("train", values) for name, values in coordinates.items()},
        {"trials": estimates.n_trials},
    )
    return data


def pairs_dataset(pairs: Pairs, examples: Columns, classes: list[str]) -> xarray.Dataset:
    """Pairs along ``pair``; the two examples are coordinates."""
    columns = {name: ("pair", values) for name, values in pair_columns(pairs, examples, classes).items()}
    told = (f"{axis}{what}" for axis in ("train", "test") for what in ("", "_id", "_class_name"))
    coordinates = {name: columns.pop(name) for name in told}
    data: xarray.Dataset = library("xarray").Dataset(columns, coordinates)
    return data


def trials_dataset(paths: RunPaths) -> xarray.Dataset:
    """The finished trials of trials.zarr, read when they are used; coordinates name trials and examples.

    Trials that failed or are missing are left out, because their rows are no outcomes.
    """
    store = TrialStore(paths.trials)
    states, _ = read_states(paths, store)
    store.examples()
    store.require_present()  # the data set reads chunks later, and an absent one as zeros
    done = np.flatnonzero(states == DONE)
    data: xarray.Dataset = library("xarray").open_zarr(paths.trials, consolidated=False, chunks=None)
    numbers = {axis: np.arange(data.sizes[axis]) for axis in ("trial", "train", "test")}
    examples = [name for name, values in data.data_vars.items() if values.dims[0] != "trial"]
    return data.assign_coords(numbers).set_coords(examples).isel(trial=done).drop_vars("status")


def library(name: str) -> Any:
    """Import pandas or xarray, or say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"this needs {name}, which is not installed; run `pip install 'memexp[notebook]'`") from error
