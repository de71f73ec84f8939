"""The search for high-influence pairs: all pairs are looked at in one pass, tile by tile.

What is kept does not depend on the tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.analysis import SHOWN_FDR
from memexp.analysis.discovery import Discoveries, Tally
from memexp.analysis.grouped import representatives
from memexp.analysis.means import ScoreTrials
from memexp.analysis.pairs import Pairs, Selection, Test
from memexp.analysis.products import Index, Tile, Trials, in_parallel, tiles
from memexp.analysis.significance import significance_of
from memexp.analysis.soft import Soft
from memexp.analysis.strongest import Candidates, best_joined, best_of_each, join

Labels = NDArray[np.int64]
Tell = Callable[[float], None]


class Found(NamedTuple):
    """What a search gives.

    Attributes
    ----------
    pairs
        The pairs kept.
    tested
        Pairs that were looked at.
    passed
        Pairs that pass the thresholds, before they were cut to the strongest.
    """

    pairs: Pairs
    tested: int
    passed: int


class Seen(NamedTuple):
    """What one tile gives to a search."""

    tested: int
    accuracy: Tally
    margins: Tally | None
    passing: Candidates
    by_test: Candidates
    by_train: Candidates


@dataclass
class Search:
    """One pass over the influence matrix.

    Parameters
    ----------
    trials, soft
        Bits or scores of all trials; what their margins say, where they recorded them.
    memorization : float32, shape (N,)
        NaN is never selected.
    """

    trials: Trials | ScoreTrials
    memorization: NDArray[np.float32]
    selection: Selection
    soft: Soft | None = None
    discoveries: Discoveries = field(default_factory=Discoveries)
    soft_discoveries: Discoveries = field(default_factory=Discoveries)
    passing: Candidates = field(default_factory=Candidates.none)
    by_test: Candidates = field(default_factory=Candidates.none)
    by_train: Candidates = field(default_factory=Candidates.none)
    tested: int = 0
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
        count = self.trials.in_count[trains]
        tested = int(((count > 0) & (count < self.trials.n_trials)).sum()) * len(tests)
        margins = None if self.soft is None else self.soft.ranks.tested(tile, tests, trains)
        return Seen(tested, self._by_accuracy(value, tests, trains), margins, found, best[0], best[1])

    def keep(self, seen: Seen) -> None:
        """Join what one tile gave to what earlier ones gave."""
        self.tested += seen.tested
        self.discoveries.add(seen.accuracy)
        if seen.margins is not None:
            self.soft_discoveries.add(seen.margins)
        self.passed += len(seen.passing)
        # The false discovery rates are known only at the end, so until then nothing may be dropped for being weak.
        most = self.selection.most if self.selection.fdr is None else None
        self.passing = join([self.passing, seen.passing]).first(most)
        self.by_test = best_joined(self.by_test, seen.by_test, self.selection.strongest, axis=1)
        self.by_train = best_joined(self.by_train, seen.by_train, self.selection.strongest, axis=0)

    def _by_accuracy(self, value: NDArray[np.float32], tests: NDArray[np.intp], trains: NDArray[np.intp]) -> Tally:
        """p-values and signs of those far enough from 0."""
        far = self._significance.far(value, tests, trains)
        far &= value != 0  # a test example that is always right has no error and no influence
        rows, columns = np.nonzero(far)
        pairs = Candidates(trains[columns], tests[rows], value[rows, columns])
        pairs = pairs.take(self._significance.in_family(pairs))
        return Tally(self._significance.family(tests, trains), self._significance.p_values(pairs), pairs.value > 0)

    def result(self) -> Found:
        """All pairs that were kept, strongest first, with their errors."""
        kept = join([self.passing, self.by_test, self.by_train]).unique()
        pairs = self._described(kept)
        passes = self.selection.passes(self.memorization[pairs.train], pairs.influence)
        if self.selection.fdr is not None:
            passes &= pairs.rate <= self.selection.fdr
            self.passed = int(passes.sum())
        passes &= passes.cumsum() <= self.selection.most
        listed = passes if not self.selection.strongest else passes | kept.among(self.by_test, self.by_train)
        pairs.selected[:] = passes
        self._widen(pairs, kept, listed & (pairs.rate <= SHOWN_FDR))
        return Found(pairs.take(listed), self.tested, self.passed)

    def _widen(self, pairs: Pairs, kept: Candidates, listed: NDArray[np.bool_]) -> None:
        """Fill in the intervals of listed pairs: of all these, 5 % are expected to miss their truth at most.

        Picked from very many, pairs are missed by their own 95 % intervals more often. At a level of 1 - .05 R / m,
        where R of m pairs that were looked at are listed, they are not (Benjamini and Yekutieli 2005).
        """
        if listed.any():
            tail = 0.025 * float(listed.sum()) / self.tested
            low, high = self._significance.bounds(kept.take(listed), tail)
            pairs.influence_listed_low[listed], pairs.influence_listed_high[listed] = low, high

    def _described(self, kept: Candidates) -> Pairs:
        counts, (_, se, low, high) = self._significance.errors(kept)
        p_value = self._significance.p_values(kept)
        fdr = self.discoveries.adjusted(p_value, kept.value > 0, self._significance.in_family(kept))
        nothing = np.full(len(kept), np.nan, np.float32)
        return Pairs(
            train=kept.train.astype(np.int64),
            test=kept.test.astype(np.int64),
            influence=kept.value,
            influence_se=se.astype(np.float32),
            influence_low=low.astype(np.float32),
            influence_high=high.astype(np.float32),
            influence_listed_low=nothing.copy(),
            influence_listed_high=nothing.copy(),
            p_value=p_value,
            fdr=fdr,
            **self._of_margins(kept),
            **{name: values.astype(np.int32) for name, values in vars(counts).items()},
            selected=np.zeros(len(kept), np.bool_),
            judged_by=self._judge,
        )

    @property
    def _judge(self) -> Test | Literal["scores"]:
        if isinstance(self.trials, ScoreTrials):
            return "scores"
        return self.selection.test or ("accuracy" if self.soft is None else "margins")

    def _of_margins(self, kept: Candidates) -> dict[str, Any]:
        """Soft influence of the pairs and how sure it is; NaN without margins."""
        if self.soft is None:
            names = ("influence_soft", "influence_soft_se", "p_value_soft", "fdr_soft")
            return dict.fromkeys(names, np.full(len(kept), np.nan, np.float32))
        test = self.soft.ranks
        soft, error = self.soft.probabilities.pair_difference(kept.train, kept.test)
        sums = test.levels.pair_sums(kept.train, kept.test).astype(np.float64)
        p_value, positive = test.p_values(kept.train, kept.test, sums)
        fdr = self.soft_discoveries.adjusted(p_value, positive, test.in_family(kept.train, kept.test))
        against = np.where(positive, kept.value < 0, kept.value > 0)
        return {
            "influence_soft": soft.astype(np.float32),
            "influence_soft_se": error.astype(np.float32),
            "p_value_soft": np.maximum(p_value, np.finfo(np.float32).tiny).astype(np.float32),
            "fdr_soft": np.where(against, 1.0, np.maximum(fdr, np.finfo(np.float32).tiny)).astype(np.float32),
        }


def select_pairs(
    trials: Trials | ScoreTrials,
    labels: tuple[Labels, Labels],
    memorization: NDArray[np.float32],
    selection: Selection,
    memory_gb: float = 1.0,
    tell: Tell = lambda _: None,
    soft: Soft | None = None,
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
        What the test examples' margins say.
    groups
        Of the training examples, shape (N,), where trials drew groups: a pair is then of a group, which its most
        memorized example (of the test example's class) stands for.
    """
    search = Search(trials, memorization, selection, soft)
    of_class = None if selection.all_classes else labels[1]
    standing = None if groups is None else representatives(groups, of_class, memorization)
    memory_gb = memory_gb if soft is None else memory_gb / 2
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
