"""The examples of a trial of the user's own: how many there are, and what sizes() tells of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.data.class_names import require_names
from memexp.data.dataset import Data, load_data
from memexp.data.grouping import names_of_groups, read_groups
from memexp.data.raw import Ids, as_ids
from memexp.errors import DataError, InputError
from memexp.spec.python_files import blamed, function_in
from memexp.spec.sections import UserTrial
from memexp.spec.spec import Spec
from memexp.spec.subsets import names_file

UNLABELLED = ("all",)  # the one class of examples that have no labels

_SIZES = "sizes(), which returns the numbers of training and of test examples, or the labels of both"
_KEYS = ("train", "test", "classes", "id_train", "id_test", "groups")


def load_examples(spec: Spec) -> Data:
    """What a spec's trials train and are tested on; without images where they are trials of the user's own.

    Raises
    ------
    DataError
        If files are missing, cut or mislabelled, or sizes() fails or returns something else.
    """
    groups = spec.subsets.groups
    return load_data(spec.dataset, groups) if spec.trial is None else _examples_of(spec.trial, groups)


class _Axis(NamedTuple):
    """Labels (N,), and whether sizes() gave them rather than a number."""

    labels: NDArray[np.int64]
    given: bool


def _examples_of(trial: UserTrial, groups: str | None) -> Data:
    try:
        function = function_in(trial.code, "sizes", _SIZES)
    except InputError as error:
        raise DataError(str(error)) from error
    with blamed(DataError):
        found = function(**_taken(function, trial.arguments))
    where = f"{trial.code.name}, line {line_of(function)}: sizes()"
    given = _named(where, found)
    train, test = (_axis(where, name, given.get(name, 0)) for name in ("train", "test"))
    if not len(train.labels):
        raise DataError(f"{where} gives no training example; there must be at least one")
    if len(test.labels) and train.given != test.given:
        raise DataError(f"{where} gives labels of one side only; give those of both, or two numbers")
    count = 1 + max(int(axis.labels.max(initial=0)) for axis in (train, test))
    classes = given.get("classes") or (tuple(map(str, range(count))) if train.given else UNLABELLED)
    if len(classes) < count:
        raise DataError(f"{where} gives {len(classes)} classes, but a label {count - 1}; give a name for each")
    none = np.empty((0, 0, 0), np.float32)  # there are no images
    return Data(
        x_train=np.broadcast_to(none, (len(train.labels), 0, 0, 0)),
        y_train=train.labels,
        x_test=np.broadcast_to(none, (len(test.labels), 0, 0, 0)),
        y_test=test.labels,
        classes=require_names(f"{where}: classes", [*classes]),
        train_index=np.arange(len(train.labels), dtype=np.int64),
        test_index=np.arange(len(test.labels), dtype=np.int64),
        id_train=_ids(where, given, "id_train", len(train.labels)),
        id_test=_ids(where, given, "id_test", len(test.labels)),
        group_names=None if groups is None else _groups(where, given, groups, len(train.labels)),
    )


def _groups(where: str, given: Mapping[str, Any], groups: str, count: int) -> Ids:
    """Names of the training examples' groups, from a file or from sizes()."""
    if names_file(groups):
        return read_groups(Path(groups), count, _ids(where, given, "id_train", count))
    if given.get("groups") is None:
        raise DataError(
            f"{where} gives no groups, which subsets.groups = {groups!r} asks for; name a file, or add them"
        )
    return names_of_groups(f"{where}: groups", given["groups"], count)


def line_of(function: Any) -> int:
    """The line where a function of the user's begins; 1 where Python does not tell."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return 1 if code is None else int(code.co_firstlineno)


def _taken(function: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the block's keys that sizes() names, since most concern the training alone."""
    names = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in names.values()):
        return arguments
    return {key: value for key, value in arguments.items() if key in names}


def _named(where: str, found: Any) -> dict[str, Any]:
    """What sizes() returned, by name."""
    if isinstance(found, Mapping):
        if "train" not in found or not found.keys() <= {*_KEYS}:
            raise DataError(
                f"{where} returns a dict with {', '.join(map(str, found)) or 'nothing'}; wanted are train and test, "
                "and perhaps classes, id_train, id_test and groups"
            )
        return dict(found)
    if isinstance(found, tuple) and len(found) == 2:
        return dict(zip(("train", "test"), found, strict=True))
    if isinstance(found, tuple):
        raise DataError(f"{where} returns a tuple of {len(found)}; wanted are two: training and test examples")
    return {"train": found}


def _axis(where: str, name: str, value: Any) -> _Axis:
    """The labels of one side, all 0 where sizes() gives a number of examples only."""
    labels = np.asarray(value)
    whole = labels.dtype.kind in "iu" and labels.ndim <= 1
    if not whole or labels.min(initial=0) < 0:
        raise DataError(
            f"{where} gives {type(value).__name__} of type {labels.dtype} and shape {labels.shape} for {name}; wanted "
            "is the number of examples, or their labels: integers from 0 in one axis"
        )
    if labels.ndim == 0:
        return _Axis(np.zeros(int(labels), np.int64), False)
    return _Axis(labels.astype(np.int64), True)


def _ids(where: str, given: Mapping[str, Any], name: str, count: int) -> Ids | None:
    if given.get(name) is None:
        return None
    ids = as_ids(list(given[name]))
    if len(ids) != count:
        raise DataError(f"{where} gives {len(ids):,} of {name} for {count:,} examples; give one each")
    return ids
