"""One example in a notebook: what it is, what trials say of it, and what it influences or is influenced by."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from memexp.brief import Brief, counted, html_table
from memexp.errors import InputError

if TYPE_CHECKING:
    import pandas

    from memexp.analysis.estimates import Estimates
    from memexp.notebook.answers import Answers

Axis = Literal["train", "test"]

_TOLD = 3  # classes that are told of what trials say instead
_LISTED = 8  # examples at each end of a list of influences that are shown


@dataclass(frozen=True)
class Shown:
    """An example: title, names and values, and its picture as a data URI (None without one)."""

    title: str
    facts: Sequence[tuple[str, str]]
    picture: str | None = None

    def __repr__(self) -> str:
        return "\n".join([self.title, *(f"  {name}: {value}" for name, value in self.facts)])

    def _repr_html_(self) -> str:
        table = html_table(self.title, self.facts)
        if self.picture is None:
            return table
        style = 'width="96" style="image-rendering: pixelated"'
        image = f'<img src="{self.picture}" alt="{html.escape(self.title)}" {style}>'
        return f'<div style="display: flex; gap: 1em">{image}{table}</div>'


@dataclass(frozen=True, repr=False)
class Influences(Brief):
    """Influences of one training example on all test examples, or on one test example of all training examples.

    Attributes
    ----------
    of
        The one example, in words.
    example : int64, shape (P,)
        The others, those that are helped (or help) most first. Where trials drew groups, one of each group.
    influence, se, low, high : float64, shape (P,)
        Estimate, standard error and 95% interval of each by itself: the first and last of so many are partly noise.
    fdr : float64, shape (P,)
        False discovery rate of the pair, where the estimates list it; else NaN.
    names
        What each of them is, in words.
    """

    of: str
    example: NDArray[np.int64]
    influence: NDArray[np.float64]
    se: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    fdr: NDArray[np.float64]
    names: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.example)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each of the other examples, in this order."""
        from memexp.analysis.tables import library

        names = ("example", "names", "influence", "se", "low", "high", "fdr")
        frame: pandas.DataFrame = library("pandas").DataFrame({name: getattr(self, name) for name in names})
        return frame.rename(columns={"names": "name"})

    def _lines(self) -> list[tuple[str, str]]:
        from memexp.report.pictures import rate_in_words

        ends = list(range(len(self)))
        ends = ends if len(ends) <= 2 * _LISTED else ends[:_LISTED] + ends[-_LISTED:]
        found = [
            (
                f"{self.names[k]} [{self.example[k]}]",
                f"{self.influence[k]:+.3f} [{self.low[k]:+.3f}, {self.high[k]:+.3f}]"
                + ("" if np.isnan(self.fdr[k]) else f", {rate_in_words(self.fdr[k])}"),
            )
            for k in ends
        ]
        if len(ends) < len(self):
            found.insert(_LISTED, ("...", f"{len(self) - len(ends):,} between"))
        return found

    def __repr__(self) -> str:
        return "\n".join([self.of, *(f"  {name}: {value}" for name, value in self._lines())])

    def _repr_html_(self) -> str:
        return html_table(self.of, self._lines())


def require_example(view: Answers, index: int, axis: str) -> int:
    """The place of an example on its axis.

    Raises
    ------
    InputError
        If there is none.
    """
    if axis not in ("train", "test"):
        raise InputError(f"there are 'train' and 'test' examples, and no {axis!r}")
    count = len(view.merged.examples[f"{axis}_label"])
    if not isinstance(index, int | np.integer) or isinstance(index, bool) or not 0 <= index < count:
        known = f"they are 0 to {count - 1:,}" if count else "there is none"
        raise InputError(f"{index!r} is no {axis} example; {known}")
    return int(index)


def names_of(view: Answers, axis: str, places: NDArray[np.intp]) -> NDArray[np.object_]:
    """Class and name of some examples, such as ``cat, 17.png``, shape (P,)."""
    from memexp.analysis.tables import ids

    examples, classes = view.merged.examples, view.run.manifest.classes
    if f"{axis}_id" in examples:
        called = ids(examples, axis)[places].tolist()
    else:
        several = axis == "test" and "test_set" in examples
        of = examples["test_set"][places].tolist() if several else [axis] * len(places)
        numbers = examples[f"{axis}_index"][places].tolist()
        called = [f"{each} #{number}" for each, number in zip(of, numbers, strict=True)]
    labels = examples[f"{axis}_label"][places].tolist()
    names = np.empty(len(places), object)
    names[:] = [f"{classes[label]}, {name}" for label, name in zip(labels, called, strict=True)]
    return names


def name_of(view: Answers, axis: str, index: int) -> str:
    """The same of one example."""
    return str(names_of(view, axis, np.array([index]))[0])


def shown(view: Answers, estimates: Estimates, index: int, axis: str) -> Shown:
    """What a run knows of an example, with its picture where there are some."""
    from memexp.analysis.grouped import group_in_words
    from memexp.analysis.tables import ids
    from memexp.report.looks import look_of
    from memexp.report.thumbnails import data_uri

    index = require_example(view, index, axis)
    examples = view.merged.examples
    label = view.run.manifest.classes[examples[f"{axis}_label"][index]]
    facts = [("label", label)] if len(view.run.manifest.classes) > 1 else []
    if axis == "train" and "train_label_flipped" in examples and examples["train_label_flipped"][index]:
        facts.append(
            ("label before it was flipped", view.run.manifest.classes[examples["train_label_original"][index]])
        )
    facts += _of_training(view, estimates, index) if axis == "train" else _of_test(view, index)
    if axis == "train" and (group := group_in_words(examples, index)):
        facts.append(("group", group))
    if axis == "test" and "test_set" in examples:
        facts.append(("test set", str(examples["test_set"][index])))
    if f"{axis}_id" in examples:
        facts.append(("name", str(ids(examples, axis)[index])))
    facts.append(("place in the data", f"{examples[f'{axis}_index'][index]:,}"))
    title = f"{axis} example {index}: {label}"
    if view.run.spec.trial is not None or view.run.is_imported:
        return Shown(title, facts)
    look = look_of(view.data)
    if words := ", ".join(look.words(axis, index)):
        facts.append(("furthest from the mean", words))
    return Shown(title, facts, data_uri((look.x_train if axis == "train" else look.x_test)[index]))


def _of_training(view: Answers, estimates: Estimates, index: int) -> list[tuple[str, str]]:
    scores, mask = estimates.scores, view.merged.rows("mask", slice(index, index + 1))[0]
    value, low, high = (getattr(scores, f"memorization{end}")[index] for end in ("", "_low", "_high"))
    word = "mean score" if view.merged.numbers else "accuracy"
    facts = [
        ("memorization", f"{value:.3f} [{low:.3f}, {high:.3f}], standard error {scores.memorization_se[index]:.3f}")
    ]
    for side in ("in", "out"):
        share, count = getattr(scores, f"{side}_accuracy")[index], getattr(scores, f"{side}_count")[index]
        facts.append((f"{word} when {side}", f"{share:.3f} of {counted(count, 'trial')}"))
    return facts + _said(view, "train", index, ~mask, "said by trials without it")


def _of_test(view: Answers, index: int) -> list[tuple[str, str]]:
    name, word = ("score", "mean score") if view.merged.numbers else ("correct", "accuracy")
    right = view.merged.rows(f"test_{name}", slice(index, index + 1))[0].astype(np.float64)
    everyone = np.ones(len(right), np.bool_)
    return [
        (word, f"{right.mean():.3f} of {counted(len(right), 'trial')}"),
        *_said(view, "test", index, everyone, "said by trials"),
    ]


def _said(view: Answers, axis: str, index: int, chosen: NDArray[np.bool_], what: str) -> list[tuple[str, str]]:
    """The classes that trials predict, the most frequent first, where they recorded them."""
    if f"{axis}_predicted" not in view.merged.matrices or not chosen.any():
        return []
    votes = np.bincount(view.merged.rows(f"{axis}_predicted", slice(index, index + 1))[0][chosen].astype(np.int64))
    first = [label for label in np.argsort(-votes, kind="stable")[:_TOLD] if votes[label]]
    told = (f"{view.run.manifest.classes[label]}: {100 * votes[label] / chosen.sum():.0f} %" for label in first)
    return [(what, ", ".join(told))]


def influences(view: Answers, estimates: Estimates, train: int | None, test: int | None) -> Influences:
    """Influences of a training example, or those on a test example.

    Raises
    ------
    InputError
        If not exactly one of both is given, or it is no example.
    """
    from memexp.analysis.estimates import trials_of
    from memexp.analysis.grouped import groups_of, representatives
    from memexp.analysis.means import ScoreTrials, difference

    if (train is None) == (test is None):
        raise InputError("give either train or test: influences(train=422), or influences(test=79)")
    if not len(view.merged.examples["test_label"]):
        raise InputError(f"{view.run.paths.root} has no test examples, and influence is on these")
    groups, scores = groups_of(view.merged.examples), estimates.scores.memorization
    if train is not None:
        axis, one = "test", require_example(view, train, "train")
        others = np.arange(len(view.merged.examples["test_label"]))
    else:
        axis, one = "train", require_example(view, -1 if test is None else test, "test")
        others = np.arange(len(scores)) if groups is None else representatives(groups, None, scores)
    mine = np.full(len(others), one)
    pair = (mine, others) if axis == "test" else (others, mine)
    trials = trials_of(view.merged)
    if isinstance(trials, ScoreTrials):
        found = difference(trials.of_pairs(*pair))
    else:
        found = trials.pair_counts(*pair).difference()
    order = np.lexsort((others, -np.nan_to_num(np.asarray(found[0]), nan=-np.inf)))
    value, se, low, high = (np.asarray(each, np.float64)[order] for each in found)
    others = others[order].astype(np.int64)
    what = "groups of training examples" if groups is not None and axis == "train" else f"{axis} examples"
    of = f"of {_called(view, one, groups)} on" if axis == "test" else f"on {name_of(view, 'test', one)} of"
    rates = _rates(view, estimates, axis, one, others)
    words = f"influence {of} {len(others):,} {what}"
    return Influences(words, others, value, se, low, high, rates, names_of(view, axis, others))


def _called(view: Answers, train: int, groups: NDArray[np.int64] | None) -> str:
    from memexp.analysis.grouped import group_in_words

    of = "" if groups is None else f" with its {group_in_words(view.merged.examples, train)}"
    return name_of(view, "train", train) + of


def _rates(view: Answers, estimates: Estimates, axis: str, one: int, others: NDArray[Any]) -> NDArray[np.float64]:
    """The false discovery rates of the pairs that the estimates list."""
    from memexp.analysis.grouped import groups_of

    pairs, groups = estimates.pairs, groups_of(view.merged.examples)
    here, there = (pairs.train, pairs.test) if axis == "test" else (pairs.test, pairs.train)
    if groups is not None:  # whose pairs name one of their examples
        one = int(groups[one]) if axis == "test" else one
        here, there = (groups[here], there) if axis == "test" else (here, groups[there])
        others = others if axis == "test" else groups[others]
    mine = here == one
    rates = np.full(1 + max(int(others.max(initial=0)), int(there.max(initial=0))), np.nan)
    rates[there[mine]] = pairs.rate[mine]
    return np.asarray(rates[others])


def places_of_class(view: Answers, name: str | int) -> NDArray[np.intp]:
    """Training examples of a class, given by its name or label.

    Raises
    ------
    InputError
        If there is no such class.
    """
    classes = view.run.manifest.classes
    if isinstance(name, str) and name in classes:
        label = classes.index(name)
    elif isinstance(name, int | np.integer) and not isinstance(name, bool) and 0 <= name < len(classes):
        label = int(name)
    else:
        raise InputError(f"{name!r} is no class; they are {', '.join(classes[:20])}, or their labels from 0")
    return np.flatnonzero(view.merged.examples["train_label"] == label)
