"""Runs whose trials have groups of examples in or out as one: what then is estimated, and what stands for a group.

An example's memorization is the accuracy on it in the trials with its group minus that in the trials without: what its
group does for it. All examples of a group have the same influences, so a pair is (group, test example); it names the
group by one of its examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.brief import counted

Groups = NDArray[np.int64]
Places = NDArray[np.intp]


def groups_of(examples: Mapping[str, NDArray[Any]]) -> Groups | None:
    """Group of each training example, shape (N,), 0, 1, ...; None where trials drew examples one by one."""
    return examples.get("train_group")


def representatives(
    groups: Groups, labels: NDArray[Any] | None, memorization: NDArray[np.float32] | None = None
) -> Places:
    """One example of each group, ascending.

    Parameters
    ----------
    groups
        Shape (N,).
    labels
        Of the examples: one of each group and class. None: one of each group.
    memorization
        The most memorized example stands for its group, of equal ones the first; None: the first one.
    """
    keys = groups if labels is None else groups * (1 + int(labels.max(initial=0))) + labels
    order = np.arange(len(keys)) if memorization is None else np.argsort(-memorization, kind="stable")
    _, first = np.unique(keys[order], return_index=True)
    return np.sort(order[first])


def describe_groups(examples: Mapping[str, NDArray[Any]]) -> str | None:
    """That scores are of groups, in words; None where they are not."""
    groups = groups_of(examples)
    if groups is None:
        return None
    sizes = np.bincount(groups)
    return (
        f"{len(sizes):,} groups of {sizes.min():,} to {sizes.max():,} examples were in or out as one: an example's "
        "memorization is what its group does for it, a pair is a group and a test example"
    )


def whole_groups(sets: Mapping[str, Sequence[int]], groups: Groups | None) -> dict[str, list[int]]:
    """Lists of training examples with all examples of every group that has one in them."""
    if groups is None:
        return {name: list(indices) for name, indices in sets.items()}
    taken = {name: np.unique(groups[np.asarray(indices, np.int64)]) for name, indices in sets.items()}
    return {name: np.flatnonzero(np.isin(groups, of)).tolist() for name, of in taken.items()}


def group_columns(examples: Mapping[str, NDArray[Any]], places: NDArray[Any] | slice = slice(None)) -> dict[str, Any]:
    """The name of each example's group, and how many examples that has, as columns of a table; none without groups."""
    groups = groups_of(examples)
    if groups is None:
        return {}
    return {"group": examples["train_group_name"][places], "group_size": np.bincount(groups)[groups][places]}


def group_in_words(examples: Mapping[str, NDArray[Any]], example: int) -> str:
    """Name and size of a training example's group; nothing without groups."""
    return groups_in_words(examples, [example])[0] if groups_of(examples) is not None else ""


def groups_in_words(examples: Mapping[str, NDArray[Any]], places: Sequence[int] | Places) -> list[str]:
    """The same of several training examples, where there are groups."""
    sizes, names = np.bincount(examples["train_group"]), examples["train_group_name"]
    of = [(names[place], int(sizes[examples["train_group"][place]])) for place in places]
    return [f"group {name} ({counted(size, 'example')})" for name, size in of]
