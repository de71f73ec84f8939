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


def memorized_card(source: Source, index: int) -> Card:
    """A training example with its memorization."""
    estimates, examples = source.estimates, source.merged.examples
    scores, likely = estimates.scores, estimates.posterior
    flipped = "train_label_flipped" in examples and bool(examples["train_label_flipped"][index])
    label = class_name(source, examples["train_label"][index])
    original = f", truly {class_name(source, examples['train_label_original'][index])}" if flipped else ""
    return Card(
        data_uri(source.look.x_train[index]) if source.look else None,
        f"{label}{original}",
        (
            _bounded(scores.memorization[index], scores.memorization_low[index], scores.memorization_high[index]),
            *_likely(likely, index),
            f"in {scores.in_accuracy[index]:.2f} (n = {scores.in_count[index]:,})",
            f"out {scores.out_accuracy[index]:.2f} (n = {scores.out_count[index]:,})",
            f"train #{examples['train_index'][index]}",
            *([group] if (group := group_in_words(examples, index)) else []),
            *told(source, "train", index),
        ),
        flipped,
        *name_of(source, "train", index),
    )


def _bounded(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _likely(found: Posterior, index: int) -> list[str]:
    """What memorization is likely to be, given all other examples; nothing where that is undefined."""
    value, low, high = (
        float(each[index])
        for each in (found.memorization_posterior, found.memorization_posterior_low, found.memorization_posterior_high)
    )
    return [] if np.isnan(value) else [f"likely {_bounded(value, low, high)}"]


def told(source: Source, axis: str, example: int) -> list[str]:
    """What is told of a row of features."""
    words = source.look.words(axis, example) if source.look else ""
    return [words] if words else []


def name_of(source: Source, axis: str, example: int) -> tuple[str, str | None]:
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
    examples, test = source.merged.examples, pairs.test[k]
    sure = pairs.rate[k] <= SHOWN_FDR
    interval = f" [{pairs.influence_listed_low[k]:.2f}, {pairs.influence_listed_high[k]:.2f}]" if sure else ""
    return Card(
        data_uri(source.look.x_test[test]) if source.look else None,
        class_name(source, examples["test_label"][test]),
        (
            f"{pairs.influence[k]:.2f}{interval}",
            rate_in_words(pairs.rate[k]),
            f"{examples['test_set'][test] if 'test_set' in examples else 'test'} #{examples['test_index'][test]}",
            *told(source, "test", int(test)),
        ),
        False,
        *name_of(source, "test", int(test)),
    )
