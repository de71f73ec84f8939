"""High-influence pairs: which training example changes the accuracy on which test example.

The paper's rule: training example i and test example j of one class, memorization of i at least
0.25 and influence of i on j at least 0.15. All pairs are looked at in one pass, tile by tile; what is
kept does not depend on the tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.analysis import SHOWN_FDR
from memexp.analysis.discovery import Discoveries
from memexp.analysis.grouped import representatives
from memexp.analysis.levels import Levels
from memexp.analysis.means import ScoreTrials
from memexp.analysis.products import Index, Tile, Trials, in_parallel, tiles
from memexp.analysis.significance import significance_of
from memexp.analysis.strongest import Candidates, best_joined, best_of_each, join
from memexp.brief import Brief

Labels = NDArray[np.int64]
Tell = Callable[[float], None]


@dataclass(frozen=True)
class Selection:
    """Which pairs to keep.

    Attributes
    ----------
    memorization, influence
        Least values of the training example and of the pair.
    most
        Of the pairs that pass, at most so many: the strongest.
    all_classes
        Pairs of different classes too.
    strongest
        Beside the pairs that pass: the so many most positive and most negative pairs of each test
        example and of each training example.
    fdr
        Pairs pass only if they are discoveries of their sign at this false discovery rate; None asks nothing.
    """

    memorization: float = 0.25
    influence: float = 0.15
    most: int = 100_000
    all_classes: bool = False
    strongest: int = 0
    fdr: float | None = None

    def changed(self, **given: Any) -> Selection:
        """With the given values in place of its own; None keeps its own, a false discovery rate of 1 asks nothing."""
        kept = replace(self, **{name: value for name, value in given.items() if value is not None})
        return replace(kept, fdr=None) if kept.fdr == 1 else kept

    def __str__(self) -> str:
        classes = "all classes" if self.all_classes else "one class"
        discoveries = "" if self.fdr is None else f", false discovery rate <= {self.fdr:g}"
        return f"{classes}, memorization >= {self.memorization:.4g}, influence >= {self.influence:.4g}{discoveries}"

    def passes(self, memorization: NDArray[Any], influence: NDArray[Any]) -> NDArray[np.bool_]:
        """The rule on pairs of a class, given the training example's memorization: both of shape (P,).

        Compared as float32, in which estimates are stored, so that a value printed as the threshold passes.
        """
        values = zip((memorization, influence), (self.memorization, self.influence), strict=True)
        memorized, influential = (value.astype(np.float32) >= np.float32(least) for value, least in values)
        return np.asarray(memorized & influential)

    def stricter(self, other: Selection) -> Selection:
        """The greater of the thresholds of both."""
        memorization, influence = (
            max(getattr(s, name) for s in (self, other)) for name in ("memorization", "influence")
        )
        return replace(self, memorization=memorization, influence=influence)


@dataclass(frozen=True, repr=False)
class Pairs(Brief):
    """Pairs, strongest first; all of shape (P,).

    Attributes
    ----------
    train, test : int64
        Indices of the training and the test example.
    influence, influence_se, influence_low, influence_high : float32
        Estimate, standard error, 95% interval of each pair by itself.
    influence_soft, influence_soft_se : float32
        The same of the probability of the label, a quantity of its own; NaN where trials recorded no margins.
    p_value, fdr : float64
        Of the two-sided permutation test of no influence, and adjusted over all pairs that were looked at:
        the false discovery rate at which the pair would be a discovery among those of its sign.
    in_count, out_count, in_correct, out_correct : int32
        Trials with and without the training example, and how many of those got the test example right.
    selected : bool
        Whether the pair passes the selection's thresholds; others are among the strongest of an example.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    influence: NDArray[np.float32]
    influence_se: NDArray[np.float32]
    influence_low: NDArray[np.float32]
    influence_high: NDArray[np.float32]
    influence_soft: NDArray[np.float32]
    influence_soft_se: NDArray[np.float32]
    p_value: NDArray[np.float64]
    fdr: NDArray[np.float64]
    in_count: NDArray[np.int32]
    out_count: NDArray[np.int32]
    in_correct: NDArray[np.int32]
    out_correct: NDArray[np.int32]
    selected: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.train)

    def take(self, order: NDArray[np.intp] | NDArray[np.bool_]) -> Pairs:
        """The pairs at the given places."""
        return Pairs(*(getattr(self, column.name)[order] for column in fields(self)))

    def passing(self) -> Pairs:
        """The pairs that pass the thresholds."""
        return self.take(self.selected)

    def discoveries(self, fdr: float = SHOWN_FDR) -> Pairs:
        """The pairs at a false discovery rate of at most ``fdr`` (1: all), most certain first."""
        return self.take(self.fdr <= fdr).by_certainty()

    def by_certainty(self) -> Pairs:
        """All of them, lowest false discovery rate first; among equals the lowest p-value, then the strongest."""
        return self.take(np.lexsort((-np.abs(self.influence), self.p_value, self.fdr)))


class Found(NamedTuple):
    """What a search gives.

    Attributes
    ----------
    pairs
        The pairs kept.
    tested
        Pairs that were looked at: the family of the false discovery rates.
    passed
        Pairs that pass the thresholds, before they were cut to the strongest.
    """

    pairs: Pairs
    tested: int
    passed: int


class Seen(NamedTuple):
    """What one tile gives to a search."""

    tested: int
    p_values: NDArray[np.float64]
    positive: NDArray[np.bool_]
    passing: Candidates
    by_test: Candidates
    by_train: Candidates


@dataclass
class Search:
    """One pass over the influence matrix.

    Parameters
    ----------
    trials, soft
        Bits or scores of all trials; probabilities of the test examples' labels, where trials recorded margins.
    memorization : float32, shape (N,)
        NaN is never selected.
    """

    trials: Trials | ScoreTrials
    memorization: NDArray[np.float32]
    selection: Selection
    soft: Levels | None = None
    discoveries: Discoveries = field(default_factory=Discoveries)
    passing: Candidates = field(default_factory=Candidates.none)
    by_test: Candidates = field(default_factory=Candidates.none)
    by_train: Candidates = field(default_factory=Candidates.none)
    passed: int = 0

    def __post_init__(self) -> None:
        self._significance = significance_of(self.trials)

    def look_at(self, tile: Tile) -> Seen:
        """What is worth keeping of one tile; changes nothing, so that tiles can be looked at side by side."""
        value = self.trials.influence(tile)
        tests, trains = (np.arange(n)[part] for n, part in zip(self.trials.shape, tile, strict=True))
        rows, columns = np.nonzero(value >= np.float32(self.selection.influence))
        memorized = self.memorization[trains[columns]] >= np.float32(self.selection.memorization)
        rows, columns = rows[memorized], columns[memorized]
        found = Candidates(trains[columns], tests[rows], value[rows, columns])
        k = self.selection.strongest
        best = [best_of_each(value, tests, trains, k, axis) if k else Candidates.none() for axis in (1, 0)]
        return Seen(*self._hypotheses(value, tests, trains), found, best[0], best[1])

    def keep(self, seen: Seen) -> None:
        """Join what one tile gave to what earlier ones gave."""
        self.discoveries.add(seen.tested, seen.p_values, seen.positive)
        self.passed += len(seen.passing)
        # The false discovery rates are known only at the end, so until then nothing may be dropped for being weak.
        most = self.selection.most if self.selection.fdr is None else None
        self.passing = join([self.passing, seen.passing]).first(most)
        self.by_test = best_joined(self.by_test, seen.by_test, self.selection.strongest, axis=1)
        self.by_train = best_joined(self.by_train, seen.by_train, self.selection.strongest, axis=0)

    def _hypotheses(
        self, value: NDArray[np.float32], tests: NDArray[np.intp], trains: NDArray[np.intp]
    ) -> tuple[int, NDArray[np.float64], NDArray[np.bool_]]:
        """How many pairs are tested, and p-values and signs of those far enough from 0."""
        count, total = self.trials.in_count[trains], self.trials.n_trials
        far = self._significance.far(value, tests, trains)
        far &= value != 0  # a test example that is always right has no error and no influence
        rows, columns = np.nonzero(far)
        tested = int(((count > 0) & (count < total)).sum()) * len(tests)
        pairs = Candidates(trains[columns], tests[rows], value[rows, columns])
        return tested, self._significance.p_values(pairs), pairs.value > 0

    def result(self) -> Found:
        """All pairs that were kept, strongest first, with their errors."""
        kept = join([self.passing, self.by_test, self.by_train]).unique()
        pairs = self._described(kept)
        passes = self.selection.passes(self.memorization[pairs.train], pairs.influence)
        if self.selection.fdr is not None:
            passes &= pairs.fdr <= self.selection.fdr
            self.passed = int(passes.sum())
        passes &= passes.cumsum() <= self.selection.most
        listed = passes if not self.selection.strongest else passes | kept.among(self.by_test, self.by_train)
        pairs.selected[:] = passes
        return Found(pairs.take(listed), self.discoveries.tested, self.passed)

    def _described(self, kept: Candidates) -> Pairs:
        counts, (_, se, low, high) = self._significance.errors(kept)
        p_value = self._significance.p_values(kept)
        nothing = np.full(len(p_value), np.nan)
        soft, soft_se = (nothing, nothing) if self.soft is None else self.soft.pair_difference(kept.train, kept.test)
        return Pairs(
            train=kept.train.astype(np.int64),
            test=kept.test.astype(np.int64),
            influence=kept.value,
            influence_se=se.astype(np.float32),
            influence_low=low.astype(np.float32),
            influence_high=high.astype(np.float32),
            influence_soft=soft.astype(np.float32),
            influence_soft_se=soft_se.astype(np.float32),
            p_value=p_value,
            fdr=self.discoveries.adjusted(p_value, kept.value > 0),
            **{name: values.astype(np.int32) for name, values in vars(counts).items()},
            selected=np.zeros(len(p_value), np.bool_),
        )


def select_pairs(
    trials: Trials | ScoreTrials,
    labels: tuple[Labels, Labels],
    memorization: NDArray[np.float32],
    selection: Selection,
    memory_gb: float = 1.0,
    tell: Tell = lambda _: None,
    soft: Levels | None = None,
    groups: Labels | None = None,
) -> Found:
    """Look at all pairs (of one class, if the selection says so) and keep the selected ones.

    Parameters
    ----------
    trials
        Bits or scores of all trials.
    labels
        Of the test and the training examples, shape (M,) and (N,).
    memorization
        Shape (N,); NaN is never selected.
    memory_gb
        What tiles may take.
    soft
        Probabilities of the test examples' labels.
    groups
        Of the training examples, shape (N,), where trials drew groups: a pair is then of a group, which its most
        memorized example (of the test example's class) stands for.
    """
    search = Search(trials, memorization, selection, soft)
    of_class = None if selection.all_classes else labels[1]
    standing = None if groups is None else representatives(groups, of_class, memorization)
    rectangles = list(_rectangles(labels, selection.all_classes, standing))
    area = sum(_length(tests, trials.shape[0]) * _length(trains, trials.shape[1]) for tests, trains in rectangles)
    done = 0
    parts = (tile for tests, trains in rectangles for tile in tiles(trials, tests, trains, memory_gb))
    for pairs_in_tile, seen in in_parallel(
        lambda tile: (_length(tile.tests, 0) * _length(tile.trains, 0), search.look_at(tile)), parts
    ):
        search.keep(seen)
        done += pairs_in_tile
        tell(done / area)
    return search.result()


def _rectangles(
    labels: tuple[Labels, Labels], all_classes: bool, trains: NDArray[np.intp] | None
) -> Iterator[tuple[Index, Index]]:
    """Rectangles of pairs to look at, of these training examples or of all: one for each class, or all in one."""
    test_label, train_label = labels
    if all_classes:
        yield slice(None), slice(None) if trains is None else trains
        return
    by_label = np.argsort(train_label, kind="stable")
    by_label = by_label if trains is None else by_label[np.isin(by_label, trains)]
    ordered = train_label[by_label]
    for label in np.unique(test_label):
        first, last = np.searchsorted(ordered, [label, label + 1])
        if last > first:
            yield np.flatnonzero(test_label == label), by_label[first:last]


def _length(part: Index, whole: int) -> int:
    return whole if isinstance(part, slice) else len(part)
