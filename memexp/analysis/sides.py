"""The two sides of a comparison: runs, halves of a run, published values."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.counts import Counts
from memexp.analysis.grouped import groups_of, representatives
from memexp.analysis.means import ScoreTrials, TrainScores
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Selection
from memexp.analysis.products import Packed, Trials, row_sums
from memexp.analysis.search import select_pairs
from memexp.errors import InputError, command

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Labels = NDArray[Any]

_NEXT = 0.01  # published lists end within so much of their threshold
_BAND = 8192  # examples whose trials are dealt at a time


@dataclass(frozen=True)
class Outcomes:
    """What a side's trials recorded, eight trials to a byte; or numbers, float32, in the place of right and wrong.

    Attributes
    ----------
    mask, train_correct : uint8, shape (N, ceil(T / 8)); numbers (N, T)
    test_correct : uint8, shape (M, ceil(T / 8)); numbers (M, T)
    n_trials
        T.
    """

    mask: Packed
    train_correct: NDArray[Any]
    test_correct: NDArray[Any]
    n_trials: int

    @property
    def numbers(self) -> bool:
        """Whether the trials gave numbers."""
        return bool(self.train_correct.dtype == np.float32)

    def memorization(self) -> Floats:
        """Of each training example, shape (N,)."""
        if not self.numbers:
            return self.counts().value()
        mask = np.unpackbits(self.mask, axis=1, count=self.n_trials).view(np.bool_)
        found = TrainScores.of(mask, self.train_correct)
        return found.inside.mean - found.outside.mean

    def counts(self) -> Counts:
        """What memorization is estimated from, shape (N,)."""
        in_correct = row_sums(self.mask & self.train_correct)
        in_count = row_sums(self.mask)
        return Counts(in_correct, in_count, row_sums(self.train_correct) - in_correct, self.n_trials - in_count)

    def trials(self) -> Trials | ScoreTrials:
        """For the influence of any pair."""
        if self.numbers:
            return ScoreTrials(self.test_correct, self.mask, self.n_trials)
        return Trials(self.test_correct, self.mask, self.n_trials)


@dataclass(frozen=True)
class Side:
    """One of the two things that are compared.

    Attributes
    ----------
    name
        For people.
    memorization : shape (N,), or None where it is not published
    pairs
        (train, test) of the selected pairs, each of shape (P,).
    of_train
        Memorization of these pairs' training examples, shape (P,).
    selection
        The rule by which they were selected: every pair that passes it is among them.
    influence
        Of pairs given as (train, test): NaN where it is not defined, -inf where it is not published. None where
        no influence is published at all.
    labels
        Of the training and the test examples; None where they are not published.
    outcomes
        What it was estimated from, or None.
    places
        Of the training and the test examples, in the data set before any limit; None where that is not known.
    groups
        Group of each training example, shape (N,), where trials drew groups; pairs are then of groups.
    """

    name: str
    memorization: Floats | None
    pairs: tuple[Indices, Indices]
    of_train: Floats
    selection: Selection
    influence: Callable[[Indices, Indices], Floats] | None
    labels: tuple[Labels | None, Labels | None] = (None, None)
    outcomes: Outcomes | None = None
    places: tuple[Indices, Indices] | None = None
    groups: Indices | None = None

    def narrowed(self, selection: Selection) -> Side:
        """With those of the pairs that pass a stricter rule."""
        if selection == self.selection or self.influence is None:
            return replace(self, selection=selection)
        chosen = selection.passes(self.of_train, self.influence(*self.pairs))
        train, test = self.pairs
        return replace(self, pairs=(train[chosen], test[chosen]), of_train=self.of_train[chosen], selection=selection)

    def of_examples(self, trains: Indices, tests: Indices) -> Side:
        """Of these examples only, numbered anew: training example k is what ``trains[k]`` was, tests likewise.

        ``trains`` has shape (N,), ``tests`` (M,); both name examples that this side has.
        """
        train, test = (_renumbered(old, index) for old, index in zip(self.pairs, (trains, tests), strict=True))
        both, influence = (train >= 0) & (test >= 0), self.influence
        of_train, of_test = self.labels
        return replace(
            self,
            memorization=None if self.memorization is None else self.memorization[trains],
            pairs=(train[both], test[both]),
            of_train=self.of_train[both],
            influence=influence and (lambda train, test: influence(trains[train], tests[test])),
            labels=(None if of_train is None else of_train[trains], None if of_test is None else of_test[tests]),
        )


def _renumbered(old: Indices, index: Indices) -> Indices:
    """Where in ``index``, values each of which occurs once, the old numbers are; -1 for those that are not."""
    order = np.argsort(index, kind="stable")
    place = np.minimum(np.searchsorted(index[order], old), len(index) - 1)
    found = order[place]
    return np.where(index[found] == old, found, -1)


def side_of_run(merged: Merged, selection: Selection) -> Side:
    """All trials of a run."""
    examples = merged.examples
    labels = examples["train_label"], examples["test_label"]
    side = side_of_outcomes(str(merged.paths.root), outcomes_of(merged), labels, selection, groups_of(examples))
    places = examples.get("train_index"), examples.get("test_index")
    return side if places[0] is None or places[1] is None else replace(side, places=(places[0], places[1]))


def outcomes_of(merged: Merged) -> Outcomes:
    """The bits or numbers of a run."""
    mask = merged.packed("mask")
    if merged.numbers:
        return Outcomes(mask, merged.whole("train_score"), merged.whole("test_score"), merged.n_trials)
    return Outcomes(mask, merged.packed("train_correct"), merged.packed("test_correct"), merged.n_trials)


def halves_of_run(merged: Merged, selection: Selection, seed: int = 0) -> tuple[Side, Side]:
    """Two random halves of a run's trials, as if they were two runs.

    Raises
    ------
    InputError
        If there are fewer than 4 trials.
    """
    if merged.n_trials < 4:
        raise InputError(
            f"{merged.paths.root} has {merged.n_trials} finished trials, and its halves need 2 each; "
            f"run `{command('resume', merged.paths.root)}`, or name a second run"
        )
    labels = merged.examples["train_label"], merged.examples["test_label"]
    groups = groups_of(merged.examples)
    sizes = merged.n_trials // 2, merged.n_trials - merged.n_trials // 2
    first, second = deal([outcomes_of(merged)], sizes, np.random.default_rng(seed))
    return (
        side_of_outcomes(f"a half of {merged.paths.root} ({sizes[0]:,} trials)", first, labels, selection, groups),
        side_of_outcomes(f"the other half ({sizes[1]:,} trials)", second, labels, selection, groups),
    )


def side_of_outcomes(
    name: str,
    outcomes: Outcomes,
    labels: tuple[Labels, Labels],
    selection: Selection,
    groups: Indices | None = None,
) -> Side:
    """Estimate what is compared: all pairs that pass, since sets cut to their strongest would differ by the cut.

    With ``groups``, shape (N,), pairs are of groups, which their first example stands for, on both sides alike.
    """
    memorization, trials = outcomes.memorization(), outcomes.trials()
    everything = replace(selection, most=sys.maxsize)
    found = select_pairs(trials, labels[::-1], memorization.astype(np.float32), everything, groups=groups)
    chosen = found.pairs.passing()

    def influence(train: Indices, test: Indices) -> Floats:
        if isinstance(trials, ScoreTrials):
            return trials.of_pairs(train, test).value
        return trials.pair_counts(train, test).value()

    of_train = memorization[chosen.train]
    train = chosen.train if groups is None else representatives(groups, None)[groups[chosen.train]]
    pairs = train, chosen.test
    there = len(labels[1]) > 0  # without a test set there is no influence to compare
    return Side(
        name, memorization, pairs, of_train, selection, influence if there else None, labels, outcomes, groups=groups
    )


def deal(pool: list[Outcomes], sizes: tuple[int, int], random: np.random.Generator) -> tuple[Outcomes, Outcomes]:
    """Shuffle the trials of all in the pool and deal them to two of the given sizes."""
    order = random.permutation(sum(each.n_trials for each in pool))
    return _dealt(pool, order[: sizes[0]]), _dealt(pool, order[sizes[0] : sum(sizes)])


def _dealt(pool: list[Outcomes], places: NDArray[np.intp]) -> Outcomes:
    """The trials at the given places of all in the pool."""

    def bands(name: str) -> Iterator[NDArray[Any]]:
        for top in range(0, len(getattr(pool[0], name)), _BAND):
            rows = slice(top, top + _BAND)
            if getattr(pool[0], name).dtype == np.float32:
                yield np.concatenate([getattr(each, name)[rows] for each in pool], axis=1)[:, places]
                continue
            bits = [np.unpackbits(getattr(each, name)[rows], axis=1, count=each.n_trials) for each in pool]
            yield np.packbits(np.concatenate(bits, axis=1)[:, places], axis=1)

    def whole(name: str) -> NDArray[Any]:  # with nothing before it, for a test set that is not there
        numbers = getattr(pool[0], name).dtype == np.float32
        none = np.empty((0, len(places) if numbers else -(-len(places) // 8)), np.float32 if numbers else np.uint8)
        return np.concatenate([none, *bands(name)])

    mask, train_correct, test_correct = (whole(name) for name in ("mask", "train_correct", "test_correct"))
    return Outcomes(mask, train_correct, test_correct, len(places))


_LISTS = ("tr_mem", "tr_labels", "tt_labels", "tr_idx", "tt_idx", "infl", "mem")


def side_of_file(path: Path, selection: Selection) -> Side:
    """Published values: a .npz with the keys of the released files (see :mod:`memexp.analysis.export`).

    Memorization is ``tr_mem``. Influence is in ``infl_matrix_classK`` with ``tr_classidx_K`` and
    ``tt_classidx_K``, or in the pairs ``tr_idx, tt_idx, infl, mem``. A list of pairs tells nothing about those
    weaker than the weakest in it, whether it was cut or selected by other thresholds: the side's ``selection``
    is then as strict as the list.

    Raises
    ------
    InputError
        If the file has none of them, or is no .npz.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is neither a run's folder nor a .npz file of published values")
    try:
        with np.load(path) as file:
            names = list(file.files)
            content = {key: np.asarray(file[key]) for key in _LISTS if key in names}
            parts = [_pairs_of_class(file, key) for key in names if key.startswith("infl_matrix_class")]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no file of published values, or damaged: {error}") from error
    memorization = content["tr_mem"].astype(np.float64) if "tr_mem" in content else None
    has_influence = bool(parts) or {"tr_idx", "tt_idx", "infl"} <= content.keys()
    if not parts and {"tr_idx", "tt_idx", "infl", "mem"} <= content.keys():
        parts = [(content["tr_idx"], content["tt_idx"], content["infl"])]
        selection = selection.stricter(_reach(selection, content["mem"], content["infl"]))
    if memorization is None and "mem" not in content:
        raise InputError(
            f"{path} has the keys {', '.join(sorted(names)[:12])}; published values need tr_mem, "
            "or tr_idx, tt_idx, infl and mem"
        )
    train, test, value = (np.concatenate([np.empty(0), *(part[k] for part in parts)]) for k in range(3))
    train, test = train.astype(np.int64), test.astype(np.int64)
    of_train = content["mem"] if memorization is None else memorization[train]
    chosen = selection.passes(of_train, value)
    labels, pairs = (content.get("tr_labels"), content.get("tt_labels")), (train[chosen], test[chosen])
    of_train = of_train[chosen].astype(np.float64)
    influence = _lookup(train, test, value) if has_influence else None
    return Side(str(path), memorization, pairs, of_train, selection, influence, labels)


def _reach(selection: Selection, memorization: Floats, influence: Floats) -> Selection:
    """The strictest rule that a list of pairs can have been selected by: its least values.

    A list whose least value is next to the threshold asked for was selected by that one.
    """
    least = (float(np.nanmin(values, initial=np.inf)) for values in (memorization, influence))
    asked = (selection.memorization, selection.influence)
    reach = [value if wanted + _NEXT < value < np.inf else wanted for value, wanted in zip(least, asked, strict=True)]
    return replace(selection, memorization=reach[0], influence=reach[1])


def _pairs_of_class(file: Any, key: str) -> tuple[Indices, Indices, Floats]:
    """All pairs of ``infl_matrix_classK``, whose shape is (train, test)."""
    name = key.removeprefix("infl_matrix_class")
    trains, tests, matrix = (np.asarray(file[each]) for each in (f"tr_classidx_{name}", f"tt_classidx_{name}", key))
    if matrix.shape != (len(trains), len(tests)):
        raise ValueError(f"{key} has the shape {matrix.shape}, its indices {(len(trains), len(tests))}")
    return np.repeat(trains, len(tests)), np.tile(tests, len(trains)), matrix.ravel()


def _lookup(train: Indices, test: Indices, value: Floats) -> Callable[[Indices, Indices], Floats]:
    """Influence of any pair, from a list of pairs; -inf where a pair is not in it."""
    width = 1 + int(test.max(initial=0))
    keys = train * width + test
    order = np.argsort(keys, kind="stable")
    keys, values = np.append(keys[order], np.iinfo(np.int64).max), np.append(value[order], -np.inf)

    def influence(train: Indices, test: Indices) -> Floats:
        wanted = np.where(test < width, train * width + test, -1)
        place = np.searchsorted(keys, wanted)
        return np.where(keys[place] == wanted, values[place], -np.inf)

    return influence
