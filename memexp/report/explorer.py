"""The explorer: every training example in the browser, with the tests it helps and hurts, and every test example.

Numbers travel as base64 of little-endian arrays in one script file, because a page opened from a disk
may load scripts and images but may not fetch anything else. Pictures are sprite sheets in the order of
memorization, so that the first screen needs one of them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis import SHOWN_FDR
from memexp.analysis.estimates import Estimates
from memexp.analysis.grouped import groups_in_words, groups_of
from memexp.analysis.labels import Judged
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Pairs
from memexp.analysis.tables import ids
from memexp.analysis.worth import MEMORIZED
from memexp.report.cards import Source
from memexp.report.looks import Look
from memexp.report.pictures import rank
from memexp.report.thumbnails import write_sheets
from memexp.spec.index_sets import LABELS

HIGH_ACCURACY = 0.96  # when in: with it an example counts as right
_FEW = 0.01  # a map whose points but this share are all in its highest row is one row
MOST_EXAMPLES = 100_000
MOST_PAIRS = 100_000
_BUDGET_MB = {"train": 20.0, "test": 5.0}
_SHOWN = (
    "memorization", "memorization_low", "memorization_high", "in_accuracy", "out_accuracy", "in_count", "out_count"
)  # fmt: skip
_LIKELY = (
    "memorization_posterior", "memorization_posterior_low", "memorization_posterior_high", "probability_memorized"
)  # fmt: skip
_INTEGERS = ("u1", "i1", "u2", "i2", "i4")


@dataclass(frozen=True)
class Contents:
    """What the explorer shows.

    Attributes
    ----------
    train : shape (R,)
        Training examples, most memorized first, undefined ones last.
    test : shape (S,)
        Test examples, those of the most certain pairs first, those without a pair last.
    pairs
        Pairs of these, most certain first.
    left_out
        Training examples that are not shown: the least memorized of very many.
    """

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    pairs: Pairs
    left_out: int


def choose(estimates: Estimates, n_test: int, most: int = MOST_EXAMPLES) -> Contents:
    """What fits into a page: the ``most`` memorized examples, and the most certain pairs of them."""
    order = rank(estimates.scores)
    train = order[:most]
    ordered = estimates.pairs.by_certainty()
    pairs = ordered.take(np.flatnonzero(np.isin(ordered.train, train))[:MOST_PAIRS])
    _, first = np.unique(pairs.test, return_index=True)
    paired = pairs.test[np.sort(first)].astype(np.intp)
    rest = np.setdiff1d(np.arange(n_test), paired)[: max(0, most - len(paired))]
    return Contents(train, np.concatenate([paired, rest]), pairs, len(order) - len(train))


def is_one_row(source: Source) -> bool:
    """Whether nearly all examples are right when in: a map of accuracies out and in would be one row."""
    inside = source.estimates.scores.in_accuracy
    return not source.merged.numbers and int((inside < HIGH_ACCURACY).sum()) <= _FEW * len(inside)


def write_explorer(folder: Path, source: Source) -> None:
    """Write data.js, and the sprite sheets where there are images, into a folder."""
    merged, estimates, look, manifest = source.merged, source.estimates, source.look, source.manifest
    contents = choose(estimates, len(merged.examples["test_index"]))
    judged = source.labels.judged if source.has_labels else {}
    sheets = {} if look is None else _write_sprites(contents, look, folder / "sprites")
    data = {
        "name": source.spec.name,
        "classes": manifest.classes,
        "sheets": sheets,
        "caption": look.caption if look is not None else "",
        "leftOut": contents.left_out,
        "shownRate": SHOWN_FDR,
        "high": MEMORIZED,
        "oneRow": is_one_row(source) or merged.numbers,
        "measure": source.merged.measure,
        "threshold": estimates.selection.memorization,
        "identity": manifest.identity[:16],  # under which a browser keeps what was marked
        "removed": {LABELS: manifest.data["y_train"]},  # by which a spec knows lists of its examples
        "trials": estimates.n_trials,
        "train": _packed(_train_columns(contents, merged, estimates) | _said(contents.train, judged.get("train"))),
        "test": _packed(_test_columns(contents, source) | _said(contents.test, judged.get("test"))),
        "pairs": _packed(_pair_columns(contents)),
        "texts": {axis: _texts(contents, axis, merged, look) for axis in ("train", "test")},
        "folder": look.link("") if look is not None else None,
    }
    text = f"window.MEMEXP = {json.dumps(data, ensure_ascii=True, allow_nan=False)};\n"
    (folder / "data.js").write_text(text, encoding="utf-8")


def _write_sprites(contents: Contents, look: Look, folder: Path) -> dict[str, dict[str, Any]]:
    """Pictures of what is shown; where to find them, for JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        axis: write_sheets(pixels, order, folder, axis, _BUDGET_MB[axis]).as_dict()
        for axis, pixels, order in (
            ("train", look.x_train, contents.train), ("test", look.x_test, contents.test)
        )
    }  # fmt: skip


def _train_columns(contents: Contents, merged: Merged, estimates: Estimates) -> dict[str, NDArray[Any]]:
    examples, shown = merged.examples, contents.train
    flipped = examples.get("train_label_flipped")
    none = np.full(len(shown), -1)
    columns = {key: getattr(estimates.scores, key)[shown] for key in _SHOWN}
    if np.isfinite(estimates.posterior.memorization_posterior).any():
        columns |= {key: getattr(estimates.posterior, key)[shown] for key in _LIKELY}
    return columns | {
        "place": shown,
        "index": examples["train_index"][shown],
        "label": examples["train_label"][shown],
        "truth": none if flipped is None else np.where(flipped, examples["train_label_original"], -1)[shown],
    }


def _texts(contents: Contents, axis: str, merged: Merged, look: Look | None) -> dict[str, list[str]]:
    """Names of what is shown, where the data have them; what is told of rows of features, and of groups."""
    shown: NDArray[np.intp] = getattr(contents, axis)
    texts = {"id": ids(merged.examples, axis)[shown].tolist()} if f"{axis}_id" in merged.examples else {}
    if look is not None and look.table is not None:
        texts["words"] = [", ".join(look.words(axis, int(example))) for example in shown]
    if axis == "test" and "test_set" in merged.examples:
        texts["set"] = merged.examples["test_set"][shown].tolist()
    if axis == "train" and groups_of(merged.examples) is not None:
        texts["group"] = _of_groups(contents, merged.examples)
    return texts


def _of_groups(contents: Contents, examples: Mapping[str, NDArray[Any]]) -> list[str]:
    """Each example's group, and with which example of it the group's influences are shown."""
    group, label = examples["train_group"], examples["train_label"]
    stands = {(group[train], label[train]): train for train in np.unique(contents.pairs.train).tolist()}
    told = groups_in_words(examples, contents.train)
    for place, example in enumerate(contents.train.tolist()):
        standing = stands.get((group[example], label[example]), example)
        if standing != example:
            told[place] += f", whose influences are shown with train #{examples['train_index'][standing]}"
    return told


def _test_columns(contents: Contents, source: Source) -> dict[str, NDArray[Any]]:
    examples, shown = source.merged.examples, contents.test
    return {
        "place": shown,
        "index": examples["test_index"][shown],
        "label": examples["test_label"][shown],
        "accuracy": source.test_accuracy[shown].astype(np.float32),
    }


def _said(shown: NDArray[np.intp], judged: Judged | None) -> dict[str, NDArray[Any]]:
    """What trials that did not see the examples say instead of the label, and how many do."""
    return {} if judged is None else {"other": judged.other[shown], "otherVotes": judged.votes_other[shown]}


def _pair_columns(contents: Contents) -> dict[str, NDArray[Any]]:
    """Pairs, most certain first, with places in the shown lists instead of indices."""
    pairs = contents.pairs
    return {
        "train": _places(contents.train)[pairs.train],
        "test": _places(contents.test)[pairs.test],
        "influence": pairs.influence,
        "influence_low": pairs.influence_listed_low,
        "influence_high": pairs.influence_listed_high,
        "fdr": pairs.rate,
    }


def _places(shown: NDArray[np.intp]) -> NDArray[np.intp]:
    """Place of each index in ``shown``."""
    places = np.full(1 + int(shown.max(initial=0)), -1, np.intp)
    places[shown] = np.arange(len(shown))
    return places


def _packed(columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Columns as [type, base64]: little-endian float32, or the narrowest integers that hold the values."""
    packed = {}
    for name, values in columns.items():
        kind = "f4" if values.dtype.kind == "f" else _integers(values)
        packed[name] = [kind, base64.b64encode(values.astype(f"<{kind}").tobytes()).decode()]
    return packed


def _integers(values: NDArray[Any]) -> str:
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    return next(kind for kind in _INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
