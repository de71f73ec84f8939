"""merged.zarr: the finished trials of one or several runs, transposed: trials are the fast axis.

A merge appends what is new and reads nothing else of trials.zarr. Of what trials record of every
example, that is merged which all of the runs have. The trials are kept in the order of their arrival;
``trial`` and ``seed`` name them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from memexp.analysis.arrivals import (
    Arrivals,
    Source,
    best_states,
    common_matrices,
    read_source,
    require_known,
    require_same_experiment,
)
from memexp.analysis.slabs import append, create_merged
from memexp.analysis.sums import SUMS, write_sums
from memexp.errors import Incomplete, InputError, MemexpError, StoreError, command
from memexp.files import explain_unwritable, link
from memexp.store.derived import derived_lock, replacing
from memexp.store.layout import PER_TRIAL, PROBABILITY_STEPS
from memexp.store.paths import RunPaths
from memexp.store.sealed import EVERY_CHUNK, NotWhole, Sealed, read_attributes, read_metadata, seal
from memexp.store.trials import DONE, FAILED, MISSING

MERGED_SCHEMA = 5

_BAND_BYTES = 32 << 20

_MERGED_FROM = "merged_from"  # the names of the runs once more, for when the root's attributes are damaged

Tell = Callable[[float], None]


def merge(paths: RunPaths, others: Sequence[RunPaths] = (), tell: Tell = lambda _: None) -> Merged:
    """Bring the first run's merged.zarr up to date with the finished trials of all runs, and open it.

    Parameters
    ----------
    paths
        The run whose merged.zarr is written.
    others
        Further runs of the same experiment: copies from other clusters that trained more of its
        trials, or runs with another seed. A trial (seed and number) that several have counts once.
    tell
        Takes the share done.

    Raises
    ------
    RunMismatch
        If a run is another experiment.
    Incomplete
        If no trial is done yet.
    MemexpError
        If all trials failed.
    StoreError
        If a block is damaged.
    """
    with derived_lock(paths):
        return _merge([read_source(each) for each in (paths, *others)], tell, trusting=False)


def _merge(sources: list[Source], tell: Tell, trusting: bool) -> Merged:
    """Merge, under the lock; ``trusting``: what was merged before is not read again."""
    paths = sources[0].paths
    require_same_experiment(sources)
    states = best_states(sources)
    if not (states == DONE).any():
        if not (states == MISSING).any():
            raise MemexpError(
                f"all trials of {paths.root} failed, for the reasons that `{command('status', paths.root)}` shows; "
                "change the spec, give it another name, and launch it"
            )
        raise Incomplete(f"{paths.root} has no finished trial to merge; run `{command('resume', paths.root)}`")
    old = _reusable(paths, sources, trusting)
    if old is not None and old.trials_digest == _digest(sources):
        return old
    kept = "The trials are untouched."
    with explain_unwritable(paths.merged, kept), replacing(paths.merged) as building, zarr.config.set(EVERY_CHUNK):
        if old is None:
            create_merged(building, sources)
        else:  # files are replaced, never changed, so the copy may share them with the store in use
            shutil.copytree(old.paths.merged, building, copy_function=link)
        group = zarr.open_group(building, mode="r+", use_consolidated=False)
        append(group, Arrivals(sources, set() if old is None else old.names), tell)
        group.attrs.update(_attributes(sources))
        write_sums(group, sources)
        group["trial"].attrs[_MERGED_FROM] = [*_receipts(sources)]
        finish_store(building)
    return Merged(paths)


def open_merged(paths: RunPaths, tell: Tell = lambda _: None) -> Merged:
    """The run's merged.zarr with all trials that have arrived in the runs it is made from."""
    try:
        merged = Merged(paths)
        if merged.trials_digest == _digest([read_source(each) for each in (paths, *_merged_before(paths))]):
            return merged
    except NotWhole:  # absent, damaged or of another version
        pass
    with derived_lock(paths):
        return _merge([read_source(each) for each in (paths, *_merged_before(paths))], tell, trusting=True)


def _merged_before(paths: RunPaths) -> list[RunPaths]:
    """The other runs that merged.zarr was made from, even one of another version.

    Raises
    ------
    InputError
        If one of them is not there any more.
    StoreError
        If merged.zarr is so damaged that it does not tell.
    """
    if not paths.merged.exists():
        return []
    try:
        try:
            roots = read_attributes(paths.merged)["receipts"]
        except NotWhole:
            roots = read_metadata(paths.merged / "trial")["attributes"][_MERGED_FROM]
        others = [RunPaths(paths.root / root) for root in roots if root != "."]
    except (NotWhole, KeyError, TypeError) as error:
        raise StoreError(
            f"{paths.merged} is damaged and does not tell any more which runs it was merged from; make it again with "
            f"`{command('merge', paths.root)}`, and name the other runs too, if there were any"
        ) from error
    absent = [str(other.root) for other in others if not other.manifest.is_file()]
    if absent:
        raise InputError(
            f"{paths.merged} was merged from {', '.join(absent)} too, which is not there any more. Bring it back, "
            f"or run `{command('merge', paths.root)}` to go on with this run's own trials"
        )
    return others


class Merged:
    """An existing merged.zarr.

    Attributes
    ----------
    n_trials, n_failed, n_missing
        Trials merged, trials that failed, trials not trained yet. One that several runs have counts once, by
        its best state: what failed or is missing in one run and is done in another is done.
    names
        (seed, number) of each merged trial.
    receipts
        Of each run that it was merged from, by its folder as seen from here: sha256 of each receipt.
    matrices
        Names of mask, train_correct, test_correct and whatever else all trials record of every example.
    has_probabilities
        Whether all of its runs recorded them.
    examples
        Arrays of the examples: train_label, test_label, train_index, ...
    """

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths
        again = f"make it again with `{command('merge', paths.root)}`"
        self._store = Sealed(paths.merged, ("memexp_merged_schema", MERGED_SCHEMA), again)
        self.group = self._store.group
        attributes = self._store.attributes
        self.trials_digest: str = attributes["trials_digest"]
        self.receipts: dict[str, dict[str, str]] = attributes["receipts"]
        self.n_failed: int = attributes["failed"]
        self.n_missing: int = attributes["missing"]
        self.names = set(zip(self._read("seed").tolist(), self._read("trial").tolist(), strict=True))
        self.n_trials: int = len(self.names)
        self.matrices: list[str] = attributes["matrices"]
        skipped = {"trial", "seed", *self.matrices, *PER_TRIAL, *SUMS}
        self.has_probabilities = SUMS[0] in self._store.names
        names = sorted(set(self._store.names) - skipped)
        self.examples: dict[str, NDArray[Any]] = {name: self._read(name) for name in names}

    def __repr__(self) -> str:
        outcomes = ", ".join(self.matrices)
        return f"Merged({str(self.paths.merged)!r}: {self.n_trials:,} trials, {self.n_failed:,} failed; {outcomes})"

    def _array(self, name: str) -> Any:
        return self._store.array(name)

    def _read(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        return self._store.read(name, rows)

    def read_everything(self) -> None:
        """Raise :class:`NotWhole` if anything in it is damaged."""
        for name in self.matrices:
            for _ in self.bands(name):
                pass
        for name in (*PER_TRIAL, *(SUMS if self.has_probabilities else ())):
            self._read(name)

    @property
    def accuracies(self) -> tuple[str, ...]:
        """Of what accuracies there are: in, out and, where there is a test set, test."""
        return ("in", "out", "test") if len(self.examples["test_label"]) else ("in", "out")

    def per_trial(self, name: str) -> NDArray[np.float32]:
        """A number of each merged trial (in_accuracy, seconds, ...), shape (T,)."""
        return self._read(name)

    def bands(self, *names: str) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
        """Matrices of one axis, each (rows, T), in bands of rows; yields (rows, bands)."""
        arrays = [self._array(name) for name in names]
        n_rows, chunk = arrays[0].shape[0], arrays[0].chunks[0]
        row = max(1, self.n_trials) * max(array.dtype.itemsize for array in arrays)
        step = max(1, _BAND_BYTES // row // chunk) * chunk
        for start in range(0, n_rows, step):
            rows = slice(start, min(start + step, n_rows))
            yield rows, [self.rows(name, rows) for name in names]

    def rows(self, name: str, rows: slice) -> NDArray[Any]:
        """Rows of a matrix, shape (rows, T)."""
        require_known(self.paths, self.examples, name)
        return self._read(name, rows)

    def probabilities(self, axis: str, rows: slice) -> NDArray[np.float64]:
        """Mean probability of each class in the trials that did not see the example, shape (rows, K); NaN without."""
        sums, count = self._read(f"{axis}_probabilities", rows), self._read(f"{axis}_probabilities_trials", rows)
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / (PROBABILITY_STEPS * count[:, None].astype(np.float64)))

    def packed(self, name: str) -> NDArray[np.uint8]:
        """A whole matrix, eight trials to a byte: mask (N, ceil(T / 8)), test_correct (M, ceil(T / 8))."""
        packed = np.empty((self._array(name).shape[0], -(-self.n_trials // 8)), np.uint8)
        for rows, (band,) in self.bands(name):
            packed[rows] = np.packbits(band, axis=1)
        return packed

    @property
    def numbers(self) -> bool:
        """Whether the trials gave a number for each example instead of a class: ``train_score``, ``test_score``."""
        return "train_score" in self.matrices

    @property
    def measure(self) -> str:
        """What the means of outcomes are called."""
        return "score" if self.numbers else "accuracy"

    def whole(self, name: str) -> NDArray[Any]:
        """A whole matrix as it is stored, such as test_score (M, T)."""
        return self._read(name)


def finish_store(path: Path) -> None:
    """The last steps of writing a store: what lets xarray open it in one look, and its seal."""
    with warnings.catch_warnings():  # readers that do not know consolidated metadata read the rest
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        zarr.consolidate_metadata(path)
    seal(path)


def _reusable(paths: RunPaths, sources: list[Source], trusting: bool) -> Merged | None:
    """The store in use, if everything that it holds still stands in the sources."""
    try:
        old = Merged(paths)
        if not trusting:
            old.read_everything()
    except NotWhole:
        return None
    now = _receipts(sources)
    same = all(receipts.items() <= now.get(root, {}).items() for root, receipts in old.receipts.items())
    done = {name for source in sources for name in source.done_names()}
    return old if same and old.names <= done and old.matrices == list(common_matrices(sources)) else None


def _attributes(sources: list[Source]) -> dict[str, Any]:
    states = best_states(sources)
    return {
        "memexp_merged_schema": MERGED_SCHEMA,
        "trials_digest": _digest(sources),
        "receipts": _receipts(sources),
        "matrices": [*common_matrices(sources)],
        "failed": int((states == FAILED).sum()),
        "missing": int((states == MISSING).sum()),
    }


def _receipts(sources: list[Source]) -> dict[str, dict[str, str]]:
    home = sources[0].paths.root
    return {os.path.relpath(source.paths.root, home): source.receipts for source in sources}


def _digest(sources: list[Source]) -> str:
    """Changes whenever a trial arrives or a block is trained again: states and receipts of all blocks."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.status.tobytes() + repr(sorted(source.receipts.items())).encode())
    return digest.hexdigest()
