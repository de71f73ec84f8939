"""Compare two runs, a run with published values, or the two halves of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.agreement import Accuracies, Agreement, agree, agree_by_chance, rank_correlation
from memexp.analysis.counts import Bits, count_train
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Selection, select_pairs
from memexp.analysis.products import Trials
from memexp.errors import InputError

MEMORIZATION_THRESHOLDS = np.array([0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
INFLUENCE_THRESHOLDS = np.array([0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6])

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """One of the two things that are compared.

    Attributes
    ----------
    name
        For people.
    memorization : shape (N,), or None where it is not published
    pairs
        (train, test) of the selected pairs, and their influence.
    labels
        Of the training and the test examples, or None.
    accuracies
        What memorization was estimated from, or None.
    trials
        To estimate the influence of any pair, or None.
    """

    name: str
    memorization: Floats | None
    pairs: tuple[Indices, Indices, Floats]
    labels: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None)
    accuracies: Accuracies | None = None
    trials: Trials | None = None


@dataclass(frozen=True)
class Curves:
    """Agreement of one quantity.

    Attributes
    ----------
    found, by_chance
        What was found, and what binomial noise alone would give (None if the numbers of trials are not known).
    first, second
        The values compared, shape (P,).
    rank_correlation
        Spearman's.
    """

    found: Agreement
    by_chance: Agreement | None
    first: Floats
    second: Floats
    rank_correlation: float


@dataclass(frozen=True)
class Comparison:
    """Agreement of memorization and of influence; None where one side does not have it."""

    names: tuple[str, str]
    memorization: Curves | None
    influence: Curves | None


def side_of_run(merged: Merged, chosen: NDArray[np.bool_] | None = None, name: str = "") -> Side:
    """A run, or those of its trials that are ``chosen`` (bool, shape (T,))."""
    chosen = np.ones(merged.n_trials, np.bool_) if chosen is None else chosen
    parts = [count_train(mask[:, chosen], right[:, chosen]) for _, (mask, right) in merged.bands(*_TRAIN)]
    names = ("in_correct", "in_count", "out_correct", "out_count")
    accuracies = Accuracies(*(np.concatenate([getattr(part, each) for part in parts]) for each in names))
    packed = [_packed(merged, matrix, chosen) for matrix in ("test_correct", "mask")]
    trials = Trials(packed[0], packed[1], int(chosen.sum()))
    memorization = accuracies.difference()
    labels = merged.examples["train_label"], merged.examples["test_label"]
    selection = Selection(influence=float(INFLUENCE_THRESHOLDS.min()))
    pairs, _ = select_pairs(trials, labels[::-1], memorization.astype(np.float32), selection)
    found = pairs.train, pairs.test, pairs.influence.astype(np.float64)
    return Side(name or str(merged.paths.root), memorization, found, labels, accuracies, trials)


_TRAIN = ("mask", "train_correct")


def _packed(merged: Merged, name: str, chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.concatenate([np.packbits(band[:, chosen], axis=1) for _, (band,) in merged.bands(name)])


def halves_of_run(merged: Merged, seed: int = 0) -> tuple[Side, Side]:
    """Two random halves of a run's trials, as if they were two runs."""
    if merged.n_trials < 4:
        raise InputError(f"{merged.paths.root} has {merged.n_trials} finished trials; halves need at least 4")
    order = np.random.default_rng(seed).permutation(merged.n_trials)
    chosen: Bits = np.zeros(merged.n_trials, np.bool_)
    chosen[order[: merged.n_trials // 2]] = True
    return side_of_run(merged, chosen, "first half"), side_of_run(merged, ~chosen, "second half")


def side_of_file(path: Path) -> Side:
    """Published values: a .npz with ``tr_mem`` (and ``tr_labels``), or with the pairs ``tr_idx, tt_idx, infl``.

    Raises
    ------
    InputError
        If the file has neither.
    """
    try:
        with np.load(path) as file:
            content = {key: np.asarray(file[key]) for key in file.files if not key.startswith("infl_matrix_")}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is neither a run's folder nor a readable .npz file ({error})") from error
    memorization = content["tr_mem"].astype(np.float64) if "tr_mem" in content else None
    if {"tr_idx", "tt_idx", "infl"} <= content.keys():
        pairs = content["tr_idx"].astype(np.int64), content["tt_idx"].astype(np.int64), content["infl"].astype(float)
    elif memorization is None:
        raise InputError(
            f"{path} has the keys {', '.join(sorted(content))}; "
            "published values need tr_mem, or tr_idx, tt_idx and infl"
        )
    else:
        pairs = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    return Side(str(path), memorization, pairs, (content.get("tr_labels"), content.get("tt_labels")))


def compare(first: Side, second: Side) -> Comparison:
    """Agreement of two sides over thresholds.

    Raises
    ------
    InputError
        If their examples are not the same, in the same order, as far as labels tell.
    """
    _require_same_examples(first, second)
    memorization = None
    if first.memorization is not None and second.memorization is not None:
        chance = _chance(first.accuracies, second.accuracies, MEMORIZATION_THRESHOLDS)
        memorization = _curves(first.memorization, second.memorization, MEMORIZATION_THRESHOLDS, chance)
    return Comparison((first.name, second.name), memorization, _compare_pairs(first, second))


def _require_same_examples(first: Side, second: Side) -> None:
    for axis, a, b in zip(("training", "test"), first.labels, second.labels, strict=True):
        if a is None or b is None:
            continue
        if len(a) != len(b):
            raise InputError(
                f"{first.name} has {len(a):,} {axis} examples, {second.name} {len(b):,}: compare runs of the same data"
            )
        differ = np.flatnonzero(a != b)
        if len(differ):
            raise InputError(
                f"the {axis} labels of {first.name} and {second.name} differ in {len(differ):,} places, first at index "
                f"{differ[0]} ({a[differ[0]]} and {b[differ[0]]}): the examples are in another order, or labels were "
                "flipped; compare runs of the same data"
            )
    for axis, places, labels in zip(("training", "test"), second.pairs[:2], first.labels, strict=True):
        if labels is not None and len(places) and places.max() >= len(labels):
            raise InputError(
                f"{second.name} names {axis} example {places.max():,}, but {first.name} has only {len(labels):,}"
            )


def _compare_pairs(first: Side, second: Side) -> Curves | None:
    """Influence on the pairs that either side selects."""
    if not len(first.pairs[0]) or not len(second.pairs[0]):
        return None
    union = np.unique(np.concatenate([np.stack(side.pairs[:2]) for side in (first, second)], axis=1), axis=1)
    a, b = _influence_of(first, union), _influence_of(second, union)
    chance = None
    if first.trials is not None and second.trials is not None:
        one, other = (Accuracies(*trials.pair_counts(*union)) for trials in (first.trials, second.trials))
        chance = _chance(one, other, INFLUENCE_THRESHOLDS)
    return _curves(a, b, INFLUENCE_THRESHOLDS, chance)


def _influence_of(side: Side, wanted: Indices) -> Floats:
    """Influence of the pairs (train, test), shape (2, P); 0 where a file does not list the pair."""
    if side.trials is not None:
        return Accuracies(*side.trials.pair_counts(*wanted)).difference()
    listed = {(i, j): value for i, j, value in zip(*(part.tolist() for part in side.pairs), strict=True)}
    return np.array([listed.get((i, j), 0.0) for i, j in wanted.T.tolist()])


def _chance(first: Accuracies | None, second: Accuracies | None, thresholds: Floats) -> Agreement | None:
    return agree_by_chance(first, second, thresholds) if first is not None and second is not None else None


def _curves(first: Floats, second: Floats, thresholds: Floats, chance: Agreement | None) -> Curves:
    return Curves(agree(first, second, thresholds), chance, first, second, rank_correlation(first, second))


def table(curves: Curves, say: Callable[[str], None]) -> None:
    """Print the curves, a line for each threshold."""
    say("threshold  selected by each     Jaccard  by chance  mean difference  by chance")
    found, chance = curves.found, curves.by_chance
    for k, threshold in enumerate(found.threshold):
        by_chance = (
            f"{v[k]:.4f}" if chance else "-" for v in ((chance or found).jaccard, (chance or found).mean_difference)
        )
        jaccard, difference = by_chance
        say(
            f"{threshold:9.2f}  {found.first[k]:>8,} {found.second[k]:>8,}  {found.jaccard[k]:9.4f}  {jaccard:>9}  "
            f"{found.mean_difference[k]:15.4f}  {difference:>9}"
        )
    say(f"rank correlation {curves.rank_correlation:.4f} over {len(curves.first):,}")
