"""What has arrived in the runs to be merged, and which of it is new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError, RunMismatch, command
from memexp.store.layout import PER_TRIAL, Kinds
from memexp.store.manifest import Manifest, read_manifest
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_committed, read_states
from memexp.store.trials import DONE, FAILED, TrialStore


@dataclass(frozen=True)
class Source:
    """One run to be merged.

    Attributes
    ----------
    manifest, store
        What it is, and its trials.
    status
        uint8, shape (T,).
    receipts
        sha256 of each receipt, by file name.
    """

    paths: RunPaths
    manifest: Manifest
    store: TrialStore
    status: NDArray[np.uint8]
    receipts: dict[str, str]

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which trials are done, shape (T,)."""
        return np.asarray(self.status == DONE)

    @property
    def seed(self) -> int:
        """Seed of the subsets: with its number it names a trial. See :func:`stored_seed`."""
        return stored_seed(int(self.manifest.science["subsets"]["seed"]))

    def done_names(self) -> list[tuple[int, int]]:
        """(seed, number) of each trial that is done."""
        return [(self.seed, int(number)) for number in np.flatnonzero(self.done)]


def read_source(paths: RunPaths) -> Source:
    """Read a run's states and receipts, no outcomes."""
    receipts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.blocks.glob("*.json")}
    store = TrialStore(paths.trials)
    status, _ = read_states(paths, store)
    return Source(paths, read_manifest(paths), store, status, receipts)


def best_states(sources: list[Source]) -> NDArray[np.uint8]:
    """State of each trial over all runs that have it, in any order: done over failed over missing; shape (trials,)."""
    best: dict[int, NDArray[np.uint8]] = {}
    for source in sources:
        longer, shorter = sorted((source.status, best.get(source.seed, source.status[:0])), key=len, reverse=True)
        states = longer.copy()
        head = states[: len(shorter)]
        for state in (FAILED, DONE):  # the better one last
            head[(shorter == state) & (head != DONE)] = state
        best[source.seed] = states
    return np.concatenate(list(best.values()))


def common_matrices(sources: list[Source]) -> Kinds:
    """Second axis and type of the masks and of what the trials of all runs record; two runs may record different."""
    first, *others = (source.store.layout.matrices() for source in sources)
    return {name: array for name, array in first.items() if all(other.get(name) == array for other in others)}


def require_same_experiment(sources: list[Source]) -> None:
    """Refuse runs that differ in anything but the seed and what they record.

    Raises
    ------
    RunMismatch
        With the differences, field by field.
    """
    first = sources[0]
    for other in sources[1:]:
        try:
            _unseeded(first.manifest).require_same(_unseeded(other.manifest), str(first.paths.root))
        except RunMismatch as error:
            differences = "\n".join(line for line in str(error).splitlines() if line.startswith("  "))
            raise RunMismatch(
                f"{first.paths.root} and {other.paths.root} are different experiments and cannot be merged; "
                f"nothing was changed. Differences (first run there, second in this spec):\n{differences}\n"
                "Only the seed and the number of trials may differ; leave that run out, or compare the two with "
                f"`{command('compare', first.paths.root, other.paths.root)}`"
            ) from error
        if first.seed == other.seed and first.manifest.masks != other.manifest.masks:
            raise RunMismatch(
                f"{first.paths.root} and {other.paths.root} have the same seed {first.seed} but drew other masks; "
                "they were made by incompatible versions of memexp and cannot be merged; leave one of them out"
            )


def require_known(paths: RunPaths, examples: Container[str], name: str) -> None:
    """Raise :class:`InputError` for outcomes of examples (``train_...``, ``test_...``) of which an import had none."""
    if name.startswith("test_") and "test_unknown" in examples:  # as an earlier version imported
        raise InputError(
            f"{paths.root} was imported with labels of test examples and without outcomes on them, so there is no "
            "influence; import it again with --test-margins or --test-correct, or without --test-labels"
        )
    if name.startswith("train_") and "train_unknown" in examples:
        raise InputError(
            f"{paths.root} was imported without outcomes on training examples, so there is no memorization; "
            "`memexp lds` and `memexp datamodel` work on it, or import it again with --margins or --correct"
        )


def _unseeded(manifest: Manifest) -> Manifest:
    record = manifest.science["record"] if "trial" in manifest.science else []  # numbers are no classes
    science = manifest.science | {"subsets": manifest.science["subsets"] | {"seed": 0}, "record": record}
    return replace(manifest, science=science, masks="")


def experiment_of(manifest: Manifest) -> str:
    """The same digest for all runs that may be merged: with it, seed and number name a trial wherever it is."""
    return _unseeded(manifest).identity


def stored_seed(seed: int) -> int:
    """A seed in 64 bits: itself below 2^63; a larger one, such as NumPy draws, as a negative digest of it."""
    if seed < 2**63:
        return seed
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
    return -1 - (int.from_bytes(digest, "little") >> 1)


@dataclass(frozen=True)
class Slab:
    """Trials to append together.

    Attributes
    ----------
    columns
        trial, seed and the numbers kept for each trial, shape (count,).
    matrices
        Shape (count, examples), of booleans eight examples to a byte: (count, ceil(examples / 8)).
    """

    columns: dict[str, NDArray[Any]]
    matrices: dict[str, NDArray[Any]]

    @property
    def count(self) -> int:
        """Trials."""
        return len(self.columns["trial"])


class Arrivals:
    """Finished trials that are not merged yet.

    Parameters
    ----------
    sources
        The runs; of a trial that several have, the first one's outcome counts.
    known
        (seed, number) of the trials merged before.
    """

    def __init__(self, sources: list[Source], known: set[tuple[int, int]]) -> None:
        self._known = set(known)
        self._names = list(common_matrices(sources))
        self._wanted: list[tuple[Source, int, NDArray[np.intp]]] = []
        for source in sources:
            for number in range(source.store.layout.n_blocks):
                trials = source.store.layout.block(number)
                new = [t for t in trials if source.status[t] == DONE and (source.seed, t) not in self._known]
                self._known.update((source.seed, t) for t in new)
                if new:
                    self._wanted.append((source, number, np.array(new) - trials.start))

    def slabs(self, first: int, size: int, tell: Callable[[float], None]) -> Iterator[Slab]:
        """Slabs of ``size`` trials, the first of ``first``, the last of what remains."""
        waiting: list[Slab] = []
        room = first
        for done, (source, number, rows) in enumerate(self._wanted, 1):
            block = _read_block(source, number, rows, self._names)
            while block.count >= room:
                head, block = _cut(block, room)
                yield _join([*waiting, head])
                waiting, room = [], size
            waiting.append(block)
            room -= block.count
            tell(done / len(self._wanted))
        if sum(slab.count for slab in waiting):
            yield _join(waiting)


def _read_block(source: Source, number: int, rows: NDArray[np.intp], names: list[str]) -> Slab:
    content, _ = read_committed(source.paths, source.store, number)
    trial = source.store.layout.block(number).start + rows
    columns = {"trial": trial.astype(np.int64), "seed": np.full(len(rows), source.seed, np.int64)}
    columns |= {name: content[name][rows] for name in PER_TRIAL}
    matrices = {name: content[name][rows] for name in names}
    return Slab(columns, {name: _packed(values) for name, values in matrices.items()})


def _packed(values: NDArray[Any]) -> NDArray[Any]:
    return np.packbits(values, axis=1) if values.dtype == np.bool_ else values


def _cut(slab: Slab, at: int) -> tuple[Slab, Slab]:
    head, tail = slice(None, at), slice(at, None)
    parts = (
        Slab(
            {name: values[part] for name, values in slab.columns.items()},
            {name: values[part] for name, values in slab.matrices.items()},
        )
        for part in (head, tail)
    )
    first, second = parts
    return first, second


def _join(slabs: list[Slab]) -> Slab:
    return Slab(
        {name: np.concatenate([slab.columns[name] for slab in slabs]) for name in slabs[0].columns},
        {name: np.concatenate([slab.matrices[name] for slab in slabs]) for name in slabs[0].matrices},
    )
