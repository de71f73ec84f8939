"""Margins of merged trials, trials as the fast axis, in a temporary file: merged.zarr holds correctness only."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memexp.store.paths import RunPaths
from memexp.store.receipts import read_committed
from memexp.store.trials import DONE

if TYPE_CHECKING:
    from memexp.analysis.merged import Merged


class Margins:
    """train_margin (N, T) and test_margin (M, T) of merged trials, read from the runs that they come from.

    Attributes
    ----------
    recorded
        Whether all of these runs recorded margins.
    """

    def __init__(self, merged: Merged) -> None:
        from memexp.analysis.arrivals import read_source

        roots = [RunPaths(merged.paths.root / root) for root in merged.receipts]
        self._sources = [read_source(paths) for paths in roots]
        seed, number = (merged.per_trial(name).astype(np.int64).tolist() for name in ("seed", "trial"))
        self._columns = {name: column for column, name in enumerate(zip(seed, number, strict=True))}
        self.recorded = all("train_margin" in source.store.layout.outcome_arrays() for source in self._sources)
        self._arrays: dict[str, NDArray[Any]] = {}

    def rows(self, name: str, rows: slice) -> NDArray[Any]:
        """Rows of ``train_margin`` or ``test_margin``, shape (rows, T)."""
        if not self._arrays:
            self._read()
        return np.asarray(self._arrays[name][rows])

    def _read(self) -> None:
        layout = self._sources[0].store.layout
        for name, length in (("train_margin", layout.n_train), ("test_margin", layout.n_test)):
            with tempfile.TemporaryFile(prefix="memexp-") as file:  # without a name: it goes when nothing maps it
                self._arrays[name] = np.memmap(file, np.float16, "w+", shape=(length, len(self._columns)))
        waiting = dict(self._columns)
        for source in self._sources:
            for number in range(source.store.layout.n_blocks):
                trials = source.store.layout.block(number)
                wanted = [t for t in trials if source.status[t] == DONE and (source.seed, t) in waiting]
                if not wanted:
                    continue
                content, _ = read_committed(source.paths, source.store, number)
                columns = [waiting.pop((source.seed, trial)) for trial in wanted]
                rows = np.array(wanted) - trials.start
                for name, array in self._arrays.items():
                    array[:, columns] = content[name][rows].T
