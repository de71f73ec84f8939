"""Cards of a report: an example or a pair of high influence, its picture and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memexp.analysis import SHOWN_FDR
from memexp.analysis.compare import Comparison
from memexp.analysis.estimates import Estimates
from memexp.analysis.grouped import group_in_words
from memexp.analysis.labels import Labels, judge_labels
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Pairs
from memexp.analysis.posterior import Posterior
from memexp.analysis.products import row_sums
from memexp.analysis.tables import ids
from memexp.analysis.votes import Votes
from memexp.report.looks import Images, Look, look_of
from memexp.report.pictures import pair_rows, rate_in_words
from memexp.report.thumbnails import data_uri
from memexp.spec.spec import Spec
from memexp.store.manifest import Manifest

_PAIR_ROWS = 12
_TESTS_PER_ROW = 4


class Card(NamedTuple):
    """One image with its words; None is no image. ``name``: what the data call it; ``link``: its file."""

    image: str | None
    title: str
    lines: Sequence[str]
    flipped: bool = False
    name: str = ""
    link: str | None = None


@dataclass(frozen=True)
class Source:
    """Everything that a report shows.

    ``images``: None leaves out all pictures, see :meth:`memexp.runs.run.Run.pictures`. ``comparison``: with another
    run. ``removal``: what leaving out memorized examples costs, from
    :func:`memexp.report.removal_report.removal_section`.
    """

    spec: Spec
    manifest: Manifest
    merged: Merged
    estimates: Estimates
    images: Images | None
    comparison: Comparison | None = None
    removal: dict[str, object] | None = None

    @property
    def untrusted(self) -> bool:
        """Whether pictures are left out because a Python file, which makes them, was not to be executed."""
        return self.images is None and self.spec.trial is None and self.spec.dataset.source == "python"

    @cached_property
    def look(self) -> Look | None:
        """What is drawn of the images."""
        return None if self.images is None else look_of(self.images)

    @cached_property
    def test_accuracy(self) -> NDArray[Any]:
        """Share of the trials that get each test example right, shape (M,); of numbers, their mean."""
        if self.merged.numbers:
            return np.asarray(self.merged.whole("test_score").mean(1))
        return np.asarray(row_sums(self.merged.packed("test_correct")) / self.merged.n_trials)

    @property
    def one_class(self) -> bool:
        """Whether all examples are of one class, which then says nothing: trials that give numbers need no labels."""
        return len(self.manifest.classes) == 1

    @property
    def has_labels(self) -> bool:
        """Whether the trials recorded which class they predicted."""
        return "train_predicted" in self.merged.matrices

    @cached_property
    def labels(self) -> Labels:
        """What the trials say of the labels, where they recorded which class they predicted."""
        return judge_labels(Votes(self.merged, len(self.manifest.classes)))


def class_name(source: Source, label: int) -> str:
    """Name of a label."""
    return source.manifest.classes[int(label)]


def card_of(source: Source, axis: str, place: int, title: str, lines: Sequence[str]) -> Card:
    """An example with its picture and its name, and what is said of it."""
    examples = source.merged.examples
    flipped = axis == "train" and "train_label_flipped" in examples and bool(examples["train_label_flipped"][place])
    picture = data_uri(getattr(source.look, f"x_{axis}")[place]) if source.look else None
    return Card(picture, title, lines, flipped, *_name_of(source, axis, place))


def train_card(source: Source, place: int, lines: Sequence[str]) -> Card:
    """A training example: its label, what is said of it, and what it is."""
    examples = source.merged.examples
    flipped = "train_label_flipped" in examples and examples["train_label_flipped"][place]
    original = f", truly {class_name(source, examples['train_label_original'][place])}" if flipped else ""
    group = group_in_words(examples, place)
    told = (*([group] if group else []), *told_of(source, "train", place))
    if source.one_class:
        return card_of(source, "train", place, number_of(source, "train", place), (*lines, *told))
    title = f"{class_name(source, examples['train_label'][place])}{original}"
    return card_of(source, "train", place, title, (*lines, number_of(source, "train", place), *told))


def memorized_card(source: Source, place: int) -> Card:
    """A training example with its memorization."""
    scores = source.estimates.scores
    lines = (
        _bounded(scores.memorization[place], scores.memorization_low[place], scores.memorization_high[place]),
        *_likely(source.estimates.posterior, place),
        f"in {scores.in_accuracy[place]:.2f} (n = {scores.in_count[place]:,})",
        f"out {scores.out_accuracy[place]:.2f} (n = {scores.out_count[place]:,})",
    )
    return train_card(source, place, lines)


def memorization_in_words(value: float) -> str:
    """Memorization on a card of something else."""
    return f"memorization {value:z.2f}".replace("nan", "–")


def _bounded(value: float, low: float, high: float) -> str:
    return f"{value:z.2f} [{low:z.2f}, {high:z.2f}]"


def _likely(found: Posterior, index: int) -> list[str]:
    """What memorization is likely to be, given all other examples; nothing where that is undefined."""
    value, low, high = (
        float(each[index])
        for each in (found.memorization_posterior, found.memorization_posterior_low, found.memorization_posterior_high)
    )
    return [] if np.isnan(value) else [f"likely {_bounded(value, low, high)}"]


def number_of(source: Source, axis: str, place: int) -> str:
    """The set that an example is of, and its place there: ``train #17``."""
    examples = source.merged.examples
    of = examples["test_set"][place] if axis == "test" and "test_set" in examples else axis
    return f"{of} #{examples[f'{axis}_index'][place]}"


def told_of(source: Source, axis: str, example: int) -> list[str]:
    """What is told of a row of features, a line for each."""
    return [words.replace(" sd)", "\u00a0sd)") for words in source.look.words(axis, example)] if source.look else []


def _name_of(source: Source, axis: str, example: int) -> tuple[str, str | None]:
    """What the data call an example, and the address of its file; nothing where they have no names."""
    if f"{axis}_id" not in source.merged.examples:
        return "", None
    name = str(ids(source.merged.examples, axis)[example])
    return name, source.look.link(name) if source.look else None


def pairs_section(source: Source) -> dict[str, Any]:
    """How many pairs are discoveries and how many are not, and rows of the most certain of both."""
    passing = source.estimates.pairs.passing().by_certainty()
    sure = passing.rate <= SHOWN_FDR
    found, rest = passing.take(sure), passing.take(~sure)
    return {
        "rate": f"{SHOWN_FDR:g}",
        "test": f"test of {passing.judged_by}",
        "found": f"{len(found):,}",
        "rest": f"{len(rest):,}" if len(rest) else "",
        "rows": _pair_rows(source, found),
        "rest_rows": _pair_rows(source, rest),
    }


def _pair_rows(source: Source, pairs: Pairs) -> list[tuple[Card, list[Card]]]:
    """Training examples with the most certain of the pairs, each with the test examples that it helps."""
    rows = []
    for mine in pair_rows(pairs, _PAIR_ROWS):
        tests = [_pair_card(source, mine, k) for k in range(min(len(mine), _TESTS_PER_ROW))]
        rows.append((memorized_card(source, int(mine.train[0])), tests))
    return rows


def _pair_card(source: Source, pairs: Pairs, k: int) -> Card:
    """With an interval where the pair is a discovery, the one of listed pairs."""
    test, sure = int(pairs.test[k]), pairs.rate[k] <= SHOWN_FDR
    low, high = pairs.influence_listed_low[k], pairs.influence_listed_high[k]
    number = number_of(source, "test", test)
    title = number if source.one_class else class_name(source, source.merged.examples["test_label"][test])
    value = pairs.influence[k]
    lines = [_bounded(value, low, high) if sure else f"{value:.2f}", rate_in_words(pairs.rate[k])]
    if not source.one_class:
        lines.append(number)
    return card_of(source, "test", test, title, [*lines, *told_of(source, "test", test)])
