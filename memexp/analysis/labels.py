"""Labels that are probably wrong: what trials say of examples that they did not see, against the label given.

Every example is out of sample in many trials (a test example in all), which is what confident learning
(Northcutt, Jiang and Chuang, JAIR 2021) asks for and cross-validation gives once. Examples are ranked by
the mean probability of their given label (its self-confidence); where neither probabilities nor margins are recorded
by its share of the votes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.confident import count_by_cleanlab
from memexp.analysis.counts import Counts
from memexp.analysis.estimates import count_trials
from memexp.analysis.intervals import wilson
from memexp.analysis.tables import ids, library
from memexp.analysis.votes import Band, Floats, Ints, Votes

if TYPE_CHECKING:
    import pandas

Tell = Callable[[float], None]
Bools = NDArray[np.bool_]

_SLACK = 1e-6  # of a share above its threshold, against rounding


@dataclass(frozen=True)
class Judged:
    """What the trials say of the labels of one axis; all of shape (examples,).

    Attributes
    ----------
    given, suggested : int64
        The label, and the class of most votes: of equal ones the given label, then the lowest; -1 without votes.
    trials : int64
        Votes: trials that did not see the example.
    share_given, share_given_low, share_given_high : float64
        Share of the votes for the given label with a 95% interval (Wilson); NaN without votes.
    share_suggested, share_suggested_low, share_suggested_high : float64
        The same for the suggested one. It was picked as the largest, so with few trials its share is a little high.
    other : int64
        What they say instead: the class of most votes beside the given label, of equal ones the lowest; -1 if none.
    votes_other : int64
        How many votes it has.
    confidence : float64
        Mean probability of the given label in these trials; NaN where neither probabilities nor margins are recorded.
    memorization : float64
        Of a training example; NaN of a test example.
    rank : int64
        1 for the label that is most probably wrong; examples without votes last.
    issue : bool
        Whether the label counts as wrong: the votes are confidently for another class.
    """

    given: Ints
    suggested: Ints
    trials: Ints
    share_given: Floats
    share_given_low: Floats
    share_given_high: Floats
    share_suggested: Floats
    share_suggested_low: Floats
    share_suggested_high: Floats
    other: Ints
    votes_other: Ints
    confidence: Floats
    memorization: Floats
    rank: Ints
    issue: Bools

    @property
    def order(self) -> Ints:
        """Places, the most suspicious label first."""
        return np.argsort(self.rank).astype(np.int64)

    @property
    def differs(self) -> Bools:
        """Where another label is suggested."""
        return np.asarray((self.suggested != self.given) & (self.suggested >= 0))

    def pairs(self) -> list[tuple[int, int, int]]:
        """(given, suggested, examples) of every pair of labels that differ, the most frequent first."""
        differ = self.differs
        names, count = np.unique(np.stack([self.given[differ], self.suggested[differ]]), axis=1, return_counts=True)
        order = np.argsort(-count, kind="stable")
        return [(int(names[0, k]), int(names[1, k]), int(count[k])) for k in order]


@dataclass(frozen=True)
class Labels:
    """What the trials of a run say of its labels.

    Attributes
    ----------
    judged
        By axis: ``train``, and ``test`` where there is a test set.
    confusion : float64, shape (K, K)
        By axis: for each given label (rows) the mean share of the votes for each class (columns), out of
        sample; NaN for a class without examples.
    expected : int
        By axis: how many labels are expected to be wrong.
    counted_by
        What expects it.
    """

    judged: dict[str, Judged]
    confusion: dict[str, Floats]
    expected: dict[str, int]
    counted_by: str


def judge_labels(votes: Votes, tell: Tell = lambda _: None) -> Labels:
    """Compare every given label with what trials without the example say.

    Parameters
    ----------
    tell
        Takes the share done.
    """
    judged, confusion, expected = {}, {}, {}
    counts = count_trials(votes.merged)
    sizes = {axis: len(votes.labels(axis)) for axis in votes.axes}
    whole, before = 2 * sum(sizes.values()), 0
    for axis in votes.axes:

        def told(done: int, start: int = before) -> None:
            tell((start + done) / whole)

        found, confusion[axis], threshold = _judged(votes, axis, counts if axis == "train" else None, told)
        issue = _issues(votes, axis, found, threshold, partial(told, start=before + sizes[axis]))
        judged[axis], expected[axis] = replace(found, issue=issue), int(issue.sum())
        before += 2 * sizes[axis]
    by_cleanlab = {axis: count_by_cleanlab(votes, axis) for axis in votes.axes}
    counted = {axis: found[0] for axis, found in by_cleanlab.items() if found is not None}
    version = next((found[1] for found in by_cleanlab.values() if found is not None), None)
    counted_by = "the votes" if version is None else f"cleanlab {version}"
    return Labels(judged, confusion, expected | counted, counted_by)


def table(labels: Labels, examples: dict[str, NDArray[Any]], classes: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of one row for each example: training examples by rank, then test examples by rank.

    Parameters
    ----------
    examples
        The store's arrays of the examples.
    classes
        Names of the labels.
    """
    names = np.array([*classes, ""])  # the last is of -1
    parts = []
    for axis, judged in labels.judged.items():
        order = judged.order
        columns: dict[str, NDArray[Any]] = {"split": np.full(len(order), axis), "index": order}
        if f"{axis}_index" in examples:
            columns |= {"id": ids(examples, axis)[order], "source_index": examples[f"{axis}_index"][order]}
        columns |= {field.name: getattr(judged, field.name)[order] for field in fields(Judged)}
        columns |= {f"{name}_class_name": names[columns[name]] for name in ("given", "suggested", "other")}
        planted = axis == "train" and "train_label_flipped" in examples
        if "train_label_flipped" in examples:
            columns["flipped"] = examples["train_label_flipped"][order] if planted else np.full(len(order), False)
        parts.append(columns)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def labels_frame(votes: Votes, classes: list[str]) -> pandas.DataFrame:
    """The same as a pandas table."""
    columns = table(judge_labels(votes), votes.merged.examples, classes)
    frame: pandas.DataFrame = library("pandas").DataFrame(columns)
    return frame


def _judged(
    votes: Votes, axis: str, counts: Counts | None, tell: Callable[[int], None]
) -> tuple[Judged, Floats, Floats]:
    """What trials say of each label, the confusion, and for each class the mean of what it gets of its own, (K,)."""
    given = votes.labels(axis)
    parts: list[tuple[Ints | Floats, ...]] = []
    confusion = np.zeros((votes.n_classes, votes.n_classes))
    classes, own = np.zeros(votes.n_classes), np.zeros(votes.n_classes)
    for band in votes.bands(axis):
        label = given[band.rows]
        parts.append((*_suggested(band, label), *_other(band, label), band.confidence))
        known = band.n > 0
        np.add.at(confusion, label[known], band.shares[known])
        np.add.at(classes, label[known], 1)
        np.add.at(own, label[known], band.said[known, label[known]])
        tell(band.rows.stop)
    suggested, k_given, k_suggested, n, other, k_other, confidence = map(np.concatenate, zip(*parts, strict=True))
    columns: dict[str, Floats] = {}
    for name, k in (("given", k_given), ("suggested", k_suggested)):
        columns |= dict(zip((f"share_{name}", f"share_{name}_low", f"share_{name}_high"), wilson(k, n), strict=True))
    memorization = np.full(len(given), np.nan)
    if counts is not None:
        memorization = counts.value().astype(np.float32).astype(np.float64)  # as estimates.zarr has it
    score = np.where(np.isnan(confidence), columns["share_given"], confidence)
    rank = np.empty(len(given), np.int64)
    rank[np.lexsort((np.arange(len(given)), columns["share_given"], score))] = np.arange(1, len(given) + 1)
    with np.errstate(invalid="ignore"):
        confusion /= classes[:, None]
    none = np.zeros(len(given), np.bool_)
    found = Judged(
        given, suggested, n, **columns, other=other, votes_other=k_other, confidence=confidence,
        memorization=memorization, rank=rank, issue=none,
    )  # fmt: skip
    return found, confusion, np.divide(own, classes, out=np.full(len(own), np.inf), where=classes > 0)


def _suggested(band: Band, label: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Class of most votes, votes for the given label, for the suggested one, and all; each (B,)."""
    row = np.arange(len(label))
    suggested = band.votes.argmax(axis=1)
    most, mine = band.votes[row, suggested], band.votes[row, label]
    suggested = np.where(most == mine, label, suggested)
    return np.where(band.n > 0, suggested, -1), mine, most, band.n


def _other(band: Band, label: Ints) -> tuple[Ints, Ints]:
    """Class of most votes beside the given label, or -1, and its votes; each (B,)."""
    row = np.arange(len(label))
    votes = band.votes.copy()
    votes[row, label] = -1
    other = votes.argmax(axis=1)
    most = np.maximum(votes[row, other], 0)
    return np.where(most > 0, other, -1), most


def _issues(votes: Votes, axis: str, judged: Judged, threshold: Floats, tell: Callable[[int], None]) -> Bools:
    """Labels whose examples are confidently of another class: the off-diagonal of the confident joint; (examples,).

    An example is confidently of the class with the largest mean probability (without probabilities: share of the
    votes) among those where it is at least ``threshold``, the mean that this class has of the examples labelled so.
    """
    parts = []
    for band in votes.bands(axis):
        share = np.where(band.said >= threshold - _SLACK, band.said, -1)
        confident = share.argmax(axis=1)
        label = judged.given[band.rows]
        parts.append((share.max(axis=1) >= 0) & (confident != label) & judged.differs[band.rows])
        tell(band.rows.stop)
    return np.concatenate(parts)
