"""What both sides of a comparison have in common from the start: trials on the same subsets, or the same trials."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.merged import Merged
from memexp.analysis.sides import Indices, Outcomes
from memexp.brief import counted
from memexp.errors import InputError

_BAND = 8192  # examples at a time


def overlap_in_words(first: Outcomes | None, second: Outcomes | None) -> str:
    """How many trials of the second side are among the first one's too, or saw what these saw; nothing where none did.

    Told by masks and outcomes, whatever runs are called, and whichever they were merged from.
    """
    if first is None or second is None:
        return ""
    masks = [_digests(side.mask, side.n_trials) for side in (first, second)]
    alike = {digest: place for place, digest in enumerate(masks[0])}
    both = [(alike[digest], place) for place, digest in enumerate(masks[1]) if digest in alike]
    if not both:
        return ""
    outcomes = [_digests(side.train_correct, side.n_trials) for side in (first, second)]
    if same := sum(outcomes[0][a] == outcomes[1][b] for a, b in both):
        found = f"{counted(same, 'trial', 'is the same', 'are the same')} on both sides"
    else:
        found = f"{counted(len(both), 'trial', 'has', 'have')} the same subset on both sides, as with the same seed"
    return f"{found}: they agree more than independent runs would, and fewer examples differ"


def require_same_places(
    names: tuple[str, str], first: Sequence[Indices] | None, second: Sequence[Indices] | None
) -> None:
    """Refuse sides that took other examples of their sources, which labels alone may not tell.

    Places of one side that are simply 0, 1, ... say nothing: its source may be made of the other side's examples.

    Parameters
    ----------
    first, second
        Places of the training and of the test examples in their sources; None where they are not known.

    Raises
    ------
    InputError
        Naming the first difference.
    """
    if first is None or second is None:
        return
    for axis, a, b in zip(("training", "test"), first, second, strict=True):
        plain = np.arange(len(a))
        if a.shape != b.shape or any(np.array_equal(each, plain) for each in (a, b)) or np.array_equal(a, b):
            continue
        at = int(np.flatnonzero(a != b)[0])
        raise InputError(
            f"{names[0]} and {names[1]} have other {axis} examples of their source: the one numbered {at} is number "
            f"{a[at]} there in the first, {b[at]} in the second; compare runs with the same limit and the same test set"
        )


def require_same_examples_of(first: Merged, second: Merged) -> None:
    """Raise :class:`InputError` for two runs of other examples, as far as labels and places in their sources tell."""
    names = str(first.paths.root), str(second.paths.root)
    for axis in ("train", "test"):
        mine, theirs = (each.examples[f"{axis}_label"] for each in (first, second))
        if not np.array_equal(mine, theirs):
            raise InputError(f"{names[0]} and {names[1]} have other {axis} labels; compare runs of the same data")
    require_same_places(
        names, *([each.examples[f"{axis}_index"] for axis in ("train", "test")] for each in (first, second))
    )


def _digests(matrix: NDArray[Any], n_trials: int) -> list[bytes]:
    """Of each trial's column of a matrix, eight trials to a byte, or of numbers."""
    states = [hashlib.blake2b(digest_size=16) for _ in range(n_trials)]
    for top in range(0, len(matrix), _BAND):
        rows = matrix[top : top + _BAND]
        packed = rows.dtype == np.uint8
        columns = np.packbits(np.unpackbits(rows, axis=1, count=n_trials).T, axis=1) if packed else rows.T
        for state, column in zip(states, columns, strict=True):
            state.update(np.ascontiguousarray(column).tobytes())
    return [state.digest() for state in states]
