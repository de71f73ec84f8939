"""The explorer: every training example in the browser, with the tests it helps and hurts; no network.

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
from memexp.analysis.estimates import Estimates, Memorization
from memexp.analysis.grouped import groups_in_words, groups_of
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Pairs
from memexp.analysis.tables import ids
from memexp.report.looks import Images, Look, look_of
from memexp.report.thumbnails import write_sheets

MOST_EXAMPLES = 100_000
MOST_PAIRS = 100_000
_BUDGET_MB = {"train": 20.0, "test": 5.0}
_SHOWN = (
    "memorization", "memorization_low", "memorization_high", "in_accuracy", "out_accuracy", "in_count", "out_count"
)  # fmt: skip
_LIKELY = (
    "memorization_posterior", "memorization_posterior_low", "memorization_posterior_high", "probability_memorized"
)  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """What the explorer shows.

    Attributes
    ----------
    train : shape (R,)
        Training examples, most memorized first, undefined ones last.
    test : shape (S,)
        Test examples of the pairs, those of the most certain pairs first.
    pairs
        Pairs of these, most certain first.
    left_out
        Training examples that are not shown: the least memorized of very many.
    """

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    pairs: Pairs
    left_out: int


def rank(scores: Memorization) -> NDArray[np.intp]:
    """Examples, most memorized first; equal ones by the interval's lower end, then by index; undefined last."""
    return np.lexsort((-scores.memorization_low, -scores.memorization))


def choose(estimates: Estimates, most: int = MOST_EXAMPLES) -> Contents:
    """What fits into a page: the ``most`` memorized examples, and the most certain pairs of them."""
    order = rank(estimates.scores)
    train = order[:most]
    ordered = estimates.pairs.by_certainty()
    pairs = ordered.take(np.flatnonzero(np.isin(ordered.train, train))[:MOST_PAIRS])
    _, first = np.unique(pairs.test, return_index=True)
    return Contents(train, pairs.test[np.sort(first)].astype(np.intp), pairs, len(order) - len(train))


def write_explorer(
    folder: Path, name: str, classes: list[str], merged: Merged, estimates: Estimates, images: Images | None
) -> Contents:
    """Write data.js, and the sprite sheets where there are images, into a folder."""
    contents, look = choose(estimates), None if images is None else look_of(images)
    sheets = {} if look is None else _write_sprites(contents, look, folder / "sprites")
    data = {
        "name": name,
        "classes": classes,
        "sheets": sheets,
        "caption": look.caption if look is not None else "",
        "leftOut": contents.left_out,
        "shownRate": SHOWN_FDR,
        "threshold": estimates.selection.memorization,
        "train": _packed(_train_columns(contents, merged, estimates)),
        "test": _packed(_test_columns(contents, merged)),
        "pairs": _packed(_pair_columns(contents)),
        "texts": {axis: _texts(contents, axis, merged, look) for axis in ("train", "test")},
        "folder": look.link("") if look is not None else None,
    }
    text = f"window.MEMEXP = {json.dumps(data, ensure_ascii=True, allow_nan=False)};\n"
    (folder / "data.js").write_text(text, encoding="utf-8")
    return contents


def _write_sprites(contents: Contents, images: Images, folder: Path) -> dict[str, dict[str, Any]]:
    """Pictures of what is shown; where to find them, for JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        axis: write_sheets(pixels, order, folder, axis, _BUDGET_MB[axis]).as_dict()
        for axis, pixels, order in (
            ("train", images.x_train, contents.train), ("test", images.x_test, contents.test)
        )
    }  # fmt: skip


def _train_columns(contents: Contents, merged: Merged, estimates: Estimates) -> dict[str, NDArray[Any]]:
    examples, shown = merged.examples, contents.train
    flipped = examples.get("train_label_flipped")
    none = np.full(len(shown), -1)
    columns = {key: getattr(estimates.scores, key)[shown] for key in _SHOWN}
    columns |= {key: getattr(estimates.posterior, key)[shown] for key in _LIKELY}
    return columns | {
        "index": examples["train_index"][shown],
        "label": examples["train_label"][shown],
        "truth": none if flipped is None else np.where(flipped, examples["train_label_original"], -1)[shown],
    }


def _texts(contents: Contents, axis: str, merged: Merged, look: Look | None) -> dict[str, list[str]]:
    """Names of what is shown, where the data have them; what is told of rows of features, and of groups."""
    shown: NDArray[np.intp] = getattr(contents, axis)
    texts = {"id": ids(merged.examples, axis)[shown].tolist()} if f"{axis}_id" in merged.examples else {}
    if look is not None and look.table is not None:
        texts["words"] = [look.words(axis, int(example)) for example in shown]
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


def _test_columns(contents: Contents, merged: Merged) -> dict[str, NDArray[Any]]:
    examples = merged.examples
    return {"index": examples["test_index"][contents.test], "label": examples["test_label"][contents.test]}


def _pair_columns(contents: Contents) -> dict[str, NDArray[Any]]:
    """Pairs with places in the shown lists instead of indices, grouped by training example, most certain first."""
    pairs = contents.pairs
    train, test = _places(contents.train)[pairs.train], _places(contents.test)[pairs.test]
    order = np.argsort(train, kind="stable")
    return {
        "train": train[order],
        "test": test[order],
        "influence": pairs.influence[order],
        "influence_low": pairs.influence_listed_low[order],
        "influence_high": pairs.influence_listed_high[order],
        "fdr": pairs.rate[order],
    }


def _places(shown: NDArray[np.intp]) -> NDArray[np.intp]:
    """Place of each index in ``shown``."""
    places = np.full(1 + int(shown.max(initial=0)), -1, np.intp)
    places[shown] = np.arange(len(shown))
    return places


def _packed(columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Columns as ["f4" or "i4", base64]."""
    packed = {}
    for name, values in columns.items():
        kind = "f4" if values.dtype.kind == "f" else "i4"
        packed[name] = [kind, base64.b64encode(values.astype(f"<{kind}").tobytes()).decode()]
    return packed
