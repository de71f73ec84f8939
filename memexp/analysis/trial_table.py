"""The outcomes of chosen trials, example by example: what attacks, attribution and linear models are computed from.

Rows are examples and columns trials, in the order of (seed, number), whatever order they arrived in. Trials
whose subsets were drawn together (a group of the balanced design) have the same group number: of such trials
one tells what the others saw, so whatever leaves a trial out, or resamples trials, treats a group as one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError
from memexp.spec.sampling_error import balanced_group

if TYPE_CHECKING:
    from memexp.analysis.merged import Merged
    from memexp.spec.subsets import Subsets

Ints = NDArray[np.int64]

_CHUNK = 1024  # examples in a chunk of merged.zarr
_VALUES = 2 << 20  # of a matrix in memory at a time


@dataclass(frozen=True)
class TrialTable:
    """Trials as columns.

    Attributes
    ----------
    seed, number : int64, shape (T,)
        Names of the trials.
    group : int64, shape (T,)
        Equal for trials whose subsets were drawn together.
    n_train, n_test
        N and M.
    recorded
        Names of what the trials recorded: ``train_correct``, ``test_margin``, ...
    read
        Rows of a matrix (mask, train_margin, test_correct, ...), shape (rows, T).
    """

    seed: Ints
    number: Ints
    group: Ints
    n_train: int
    n_test: int
    recorded: frozenset[str]
    read: Callable[[str, slice], NDArray[Any]]

    @property
    def n_trials(self) -> int:
        """T."""
        return len(self.number)

    @property
    def names(self) -> list[tuple[int, int]]:
        """Seed and number of each trial."""
        return list(zip(self.seed.tolist(), self.number.tolist(), strict=True))

    def without(self, names: Collection[tuple[int, int]]) -> TrialTable:
        """The same table of all trials but these and those of their groups, which tell what these saw."""
        named = np.array([name in names for name in self.names], np.bool_)
        return self.only(np.isin(self.group, self.group[named], invert=True))

    def bands(self, *names: str) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
        """Matrices of one axis in bands of rows: (rows, a band of each), each (rows, T)."""
        n_rows = self.n_test if names[0].startswith("test_") else self.n_train
        step = max(1, _VALUES // max(1, self.n_trials))
        for top in range(0, n_rows, _CHUNK):
            chunk = slice(top, min(top + _CHUNK, n_rows))
            whole = [self.read(name, chunk) for name in names]
            for start in range(0, chunk.stop - top, step):
                part = slice(start, min(start + step, chunk.stop - top))
                yield slice(top + part.start, top + part.stop), [values[part] for values in whole]

    def only(self, columns: NDArray[Any]) -> TrialTable:
        """The same table of some trials: their places, or a boolean of shape (T,)."""
        places = np.flatnonzero(columns) if columns.dtype == np.bool_ else columns

        def read(name: str, rows: slice) -> NDArray[Any]:
            return self.read(name, rows)[:, places]

        return replace(self, seed=self.seed[places], number=self.number[places], group=self.group[places], read=read)

    def require(self, *names: str) -> None:
        """Raise :class:`InputError` unless the trials recorded all of these: ``test_margin``, ..."""
        for name in names:
            axis, _, outcome = name.partition("_")
            if name in self.recorded:
                continue
            if any(each.startswith(f"{axis}_") for each in self.recorded):
                if f"{axis}_score" in self.recorded:
                    raise InputError(f"these trials gave numbers, no classes, so there is no '{outcome}' of them")
                known = ", ".join(sorted({each.partition("_")[2] for each in self.recorded}))
                raise InputError(
                    f"these trials did not record '{outcome}', only {known}; launch the spec under another name with "
                    f"`record: [correct, {outcome}]`"
                )
            raise InputError(
                "there are no test examples, and this is about them"
                if axis == "test"
                else "these trials were imported without outcomes on training examples; import those too"
            )


def table_of_merged(merged: Merged, subsets: Subsets) -> TrialTable:
    """The merged trials of a run."""
    seed, number = (merged.per_trial(name).astype(np.int64) for name in ("seed", "trial"))
    unknown = {axis for axis in ("train", "test") if f"{axis}_unknown" in merged.examples}
    unknown |= set() if len(merged.examples["test_label"]) else {"test"}
    recorded = frozenset(name for name in merged.matrices if name != "mask" and name.partition("_")[0] not in unknown)
    n_train, n_test = (len(merged.examples[f"{axis}_label"]) for axis in ("train", "test"))
    group = groups(subsets, seed, number)
    table = TrialTable(seed, number, group, n_train, n_test, recorded, merged.rows)
    return table.only(np.lexsort((number, seed)))


def groups(subsets: Subsets, seed: Ints, number: Ints) -> Ints:
    """Group of each trial: of the balanced design those that share out the examples among them."""
    size = 1
    if subsets.design == "balanced":
        found = balanced_group(subsets.ratio or 0.0)
        assert found is not None, "the spec's check lets only ratios with a group through"
        size = found[0]
    return np.unique(np.stack([seed, number // size]), axis=1, return_inverse=True)[1].ravel()


def chosen(table: TrialTable, words: str | None, option: str = "--trials") -> TrialTable:
    """The trials that an option names: ``FIRST:END`` as in Python, by number; None for all.

    Raises
    ------
    InputError
        If the option does not read so, or no trial is there.
    """
    if words is None:
        return table
    try:
        first, end = (int(each) if each else None for each in words.split(":"))
    except ValueError as error:
        raise InputError(f"{option} {words}: give FIRST:END, such as 0:512 (END itself is left out)") from error
    wanted = (table.number >= (first or 0)) & (table.number < (np.iinfo(np.int64).max if end is None else end))
    if not wanted.any():
        last = int(table.number.max(initial=-1))
        raise InputError(f"{option} {words}: no finished trial has such a number; they go from 0 to {last}")
    return table.only(wanted)
