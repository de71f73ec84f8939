"""High-influence pairs: which training example changes the accuracy on which test example.

The paper's rule: training example i and test example j of one class, memorization of i at least
0.25 and influence of i on j at least 0.15. :mod:`memexp.analysis.search` looks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memexp.analysis import SHOWN_FDR
from memexp.brief import Brief
from memexp.errors import InputError

Test = Literal["margins", "accuracy"]


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
    test
        Whose false discovery rates say what a discovery is; None: that of margins where trials recorded them.
    """

    memorization: float = 0.25
    influence: float = 0.15
    most: int = 100_000
    all_classes: bool = False
    strongest: int = 0
    fdr: float | None = None
    test: Test | None = None

    def changed(self, **given: Any) -> Selection:
        """With the given values in place of its own; None keeps its own, a false discovery rate of 1 asks nothing."""
        kept = replace(self, **{name: value for name, value in given.items() if value is not None})
        return replace(kept, fdr=None) if kept.fdr == 1 else kept

    def __str__(self) -> str:
        classes = "all classes" if self.all_classes else "one class"
        discoveries = "" if self.fdr is None else f", false discovery rate <= {self.fdr:g}"
        test = "" if self.test is None else f", test of {self.test}"
        thresholds = f"memorization >= {self.memorization:.4g}, influence >= {self.influence:.4g}"
        return f"{classes}, {thresholds}{discoveries}{test}"

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
    """Pairs, strongest first; all but the last of shape (P,).

    Attributes
    ----------
    train, test : int64
        Indices of the training and the test example.
    influence, influence_se, influence_low, influence_high : float32
        Estimate, standard error, 95% interval of each pair by itself.
    influence_listed_low, influence_listed_high : float32
        Interval of a pair that is listed as a discovery, wider because it was picked from many; NaN of the others.
    influence_soft, influence_soft_se : float32
        The same of the probability of the label, a quantity of its own; NaN where trials recorded no margins.
    p_value, fdr : float64
        Of the two-sided permutation test of no influence, and adjusted over all pairs that were looked at:
        the false discovery rate at which the pair would be a discovery among those of its sign.
    p_value_soft, fdr_soft : float32
        The same of the test of margins; NaN where trials recorded none. The rate is 1 where margins move the other
        way than influence.
    in_count, out_count, in_correct, out_correct : int32
        Trials with and without the training example, and how many of those got the test example right.
    selected : bool
        Whether the pair passes the selection's thresholds; others are among the strongest of an example.
    judged_by
        The test that tells which pairs are discoveries: of margins, of accuracy, or of the scores that trials of the
        user's own give.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    influence: NDArray[np.float32]
    influence_se: NDArray[np.float32]
    influence_low: NDArray[np.float32]
    influence_high: NDArray[np.float32]
    influence_listed_low: NDArray[np.float32]
    influence_listed_high: NDArray[np.float32]
    influence_soft: NDArray[np.float32]
    influence_soft_se: NDArray[np.float32]
    p_value: NDArray[np.float64]
    fdr: NDArray[np.float64]
    p_value_soft: NDArray[np.float32]
    fdr_soft: NDArray[np.float32]
    in_count: NDArray[np.int32]
    out_count: NDArray[np.int32]
    in_correct: NDArray[np.int32]
    out_correct: NDArray[np.int32]
    selected: NDArray[np.bool_]
    judged_by: Test | Literal["scores"] = "accuracy"

    def __len__(self) -> int:
        return len(self.train)

    @classmethod
    def names(cls) -> list[str]:
        """Of what there is of each pair, in order."""
        return [column.name for column in fields(cls) if column.name != "judged_by"]

    def columns(self) -> dict[str, NDArray[Any]]:
        """What there is of each pair, by its name."""
        return {name: getattr(self, name) for name in self.names()}

    @property
    def rate(self) -> NDArray[np.floating[Any]]:
        """False discovery rates by the test that pairs are judged by, shape (P,)."""
        return self.fdr_soft if self.judged_by == "margins" else self.fdr

    def judged(self, test: Test | None) -> Pairs:
        """The same pairs, judged by another test; None: as they are.

        Raises
        ------
        InputError
            If the trials recorded no margins to test.
        """
        if test == "margins" and np.isnan(self.fdr_soft).any():
            raise InputError("the trials recorded no margins, so there is no test of them; take test='accuracy'")
        return self if test is None else replace(self, judged_by=test)

    def take(self, order: NDArray[np.intp] | NDArray[np.bool_]) -> Pairs:
        """The pairs at the given places."""
        columns: dict[str, Any] = {name: values[order] for name, values in self.columns().items()}
        return replace(self, **columns)

    def passing(self) -> Pairs:
        """The pairs that pass the thresholds."""
        return self.take(self.selected)

    def discoveries(self, fdr: float = SHOWN_FDR) -> Pairs:
        """The pairs at a false discovery rate of at most ``fdr`` (1: all), most certain first."""
        return self.take(self.rate <= fdr).by_certainty()

    def by_certainty(self) -> Pairs:
        """All of them, lowest false discovery rate first; among equals the lowest p-value, then the strongest."""
        p_value = self.p_value_soft if self.judged_by == "margins" else self.p_value
        return self.take(np.lexsort((-np.abs(self.influence), p_value, self.rate)))
