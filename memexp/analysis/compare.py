"""Compare two runs, a run with published values, or the two halves of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from memexp.analysis import SHOWN_FDR
from memexp.analysis.agreement import Agreement, Bits, Floats, agree, mean_agreement
from memexp.analysis.differences import Differences, differences_of
from memexp.analysis.overlap import overlap_in_words, require_same_places
from memexp.analysis.pairs import Selection
from memexp.analysis.sides import Indices, Side, deal, side_of_outcomes
from memexp.errors import InputError

MEMORIZATION_THRESHOLDS = np.array([0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
INFLUENCE_THRESHOLDS = np.array([0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6])
DEALS = 4


@dataclass(frozen=True)
class Curves:
    """Agreement of one quantity.

    Attributes
    ----------
    found
        What was found.
    by_chance
        If the trials of both sides are shuffled and dealt to two sides anew: the agreement of two
        runs that differ in nothing. A mean over several deals; None where a side has no trials.
    first, second
        The values compared, shape (P,); see :func:`memexp.analysis.agreement.agree`.
    """

    found: Agreement
    by_chance: Agreement | None
    first: Floats
    second: Floats


@dataclass(frozen=True)
class Comparison:
    """Agreement of memorization and of influence; None where one side does not have it.

    Attributes
    ----------
    selection
        The rule by which the pairs of both were selected.
    absent
        Why a quantity is None, by its name.
    note
        What else a reader must know of the two, or nothing.
    differences
        Of memorization, example by example, with their noise; None unless both sides have trials that give classes.
    """

    names: tuple[str, str]
    memorization: Curves | None
    influence: Curves | None
    selection: Selection
    absent: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    differences: Differences | None = None


def compare(first: Side, second: Side, deals: int = DEALS, seed: int = 0) -> Comparison:
    """Agreement of two sides over thresholds.

    Pairs are compared by the stricter rule of both sides: about weaker ones, one of them tells nothing.

    Parameters
    ----------
    deals
        How often the trials are dealt anew, to see what chance gives.

    Raises
    ------
    InputError
        If their examples are not the same, in the same order, as far as labels tell.
    """
    second, note = placed(first, second)
    require_same_examples(first, second)
    require_same_places((first.name, second.name), first.places, second.places)
    kinds = {side.outcomes.numbers for side in (first, second) if side.outcomes is not None}
    if len(kinds) > 1:
        raise InputError(
            f"the trials of one of {first.name} and {second.name} give numbers, those of the other classes: compare "
            "runs of the same kind"
        )
    selection = first.selection.stricter(second.selection)
    first, second = (side.narrowed(selection) for side in (first, second))
    chance = _by_chance(first, second, selection, deals, seed)
    memorization = None
    if first.memorization is not None and second.memorization is not None:
        values = first.memorization, second.memorization
        memorization = Curves(agree(*values, MEMORIZATION_THRESHOLDS), chance[0], *values)
    influence, unlike = None, _unlike_groups(first, second)
    both = None if unlike else _influences(first, second)
    if both is not None and len(both[0]):
        influence = Curves(_agree_on_pairs(first, second, *both), chance[1], *both)
    lacking = {
        name: f"{side.name} has none"
        for side in (first, second)
        for name in ("memorization", "influence")
        if getattr(side, name) is None
    }
    absent = {"influence": unlike or f"no pair is selected ({selection})"} | lacking if influence is None else lacking
    note = "; ".join(filter(None, (note, unlike, overlap_in_words(first.outcomes, second.outcomes))))
    each = None if unlike else differences_of(first.outcomes, second.outcomes)
    return Comparison((first.name, second.name), memorization, influence, selection, absent, note, each)


def placed(run: Side, file: Side) -> tuple[Side, str]:
    """Published values, of the run's examples only where they count those of the whole data set; and a note on that.

    A run with a limit knows its examples' places in the data set. A file that has another number of examples, or pairs
    that cannot be the run's, is taken to count that way; what its labels say then decides.
    """
    if run.places is None or file.outcomes is not None or _same_examples(run, file):
        return file, ""
    trains, tests = run.places
    limited = any(not np.array_equal(index, np.arange(len(index))) for index in run.places)
    sizes = _sizes(file)
    fits = all(size is None or index.max(initial=-1) < size for index, size in zip(run.places, sizes, strict=True))
    if not fits or not (limited or file.labels[0] is not None):
        return file, ""
    found = _with_the_labels_of(run, file.of_examples(trains, tests))
    if sizes == (None, None):
        if not len(found.pairs[0]) or not _same_examples(run, found):
            return file, ""
    else:
        require_same_examples(run, found)
    whole = " and ".join(f"{size:,} {axis}" for size, axis in zip(sizes, ("training", "test"), strict=True) if size)
    return found, (
        f"{file.name} is of {whole + ' examples' if whole else 'the whole data set'}; compared are the {len(trains):,} "
        f"training and {len(tests):,} test examples that {run.name} has. What was trained on fewer examples memorizes "
        "others, and more of them"
    )


def _unlike_groups(first: Side, second: Side) -> str:
    """Where trials drew groups of examples on one side, and others or none on the other side; in words, or nothing."""
    mine, theirs = first.groups, second.groups
    if mine is None and theirs is None:
        return ""
    if mine is not None and theirs is not None and np.array_equal(mine, theirs):
        return ""
    words = {True: "single examples", False: "groups of examples"}
    other = "other " if mine is not None and theirs is not None else ""
    return (
        f"{first.name} leaves out {words[mine is None]}, {second.name} {other}{words[theirs is None]}: an example's "
        "memorization is with what was left out together, and influences are of other things"
    )


def _sizes(side: Side) -> tuple[int | None, int | None]:
    """Numbers of training and of test examples, where they are known."""
    train = side.memorization if side.labels[0] is None else side.labels[0]
    return (None if train is None else len(train), None if side.labels[1] is None else len(side.labels[1]))


def _same_examples(first: Side, second: Side) -> bool:
    try:
        require_same_examples(first, second)
    except InputError:
        return False
    return True


def _with_the_labels_of(run: Side, file: Side) -> Side:
    """The file's labels as the run numbers them, if it kept some classes only and each is one of the file's."""
    mine, theirs = ([labels for labels in side.labels if labels is not None] for side in (run, file))
    if len(mine) < 2 or len(theirs) < 2:
        return file
    names, places = np.unique(np.concatenate(theirs), return_inverse=True)
    labels = np.concatenate(mine)
    number = np.array([np.bincount(labels[places == place]).argmax() for place in range(len(names))])
    if len(np.unique(number)) < len(number):
        return file  # several of its classes are one here: other labels, not other numbers of the same
    cut = len(theirs[0])
    return replace(file, labels=(number[places][:cut], number[places][cut:]))


def require_same_examples(first: Side, second: Side) -> None:
    """Refuse sides whose examples are not the same in the same order, as far as labels tell.

    Raises
    ------
    InputError
        Naming the first difference.
    """
    for axis, a, b in zip(("training", "test"), first.labels, second.labels, strict=True):
        if a is None or b is None:
            continue
        _require_same_number(axis, (first.name, len(a)), (second.name, len(b)))
        differ = np.flatnonzero(a != b)
        if len(differ):
            raise InputError(
                f"the {axis} labels of {first.name} and {second.name} differ in {len(differ):,} places, first at index "
                f"{differ[0]} ({a[differ[0]]} and {b[differ[0]]}): the examples are in another order, or labels were "
                "flipped; compare runs of the same data"
            )
    if first.memorization is not None and second.memorization is not None:
        _require_same_number("training", (first.name, len(first.memorization)), (second.name, len(second.memorization)))
    for one, other in ((first, second), (second, first)):
        if other.labels[0] is None or other.labels[1] is None:
            _require_pairs_of_one_class(one, other)


def _require_same_number(axis: str, a: tuple[str, int], b: tuple[str, int]) -> None:
    if a[1] != b[1]:
        raise InputError(f"{a[0]} has {a[1]:,} {axis} examples, {b[0]} {b[1]:,}: compare runs of the same data")


def _require_pairs_of_one_class(run: Side, file: Side) -> None:
    """Published pairs come without labels, but each joins two examples of one class."""
    train_label, test_label = run.labels
    if train_label is None or test_label is None:
        return
    for axis, places, labels in zip(("training", "test"), file.pairs, run.labels, strict=True):
        assert labels is not None
        if places.max(initial=0) >= len(labels):
            raise InputError(
                f"{file.name} names {axis} example {places.max():,}, but {run.name} has only {len(labels):,}: "
                "compare runs of the same data"
            )
    differ = np.flatnonzero(train_label[file.pairs[0]] != test_label[file.pairs[1]])
    if len(differ):
        i, j = (part[differ[0]] for part in file.pairs)
        raise InputError(
            f"{len(differ):,} of the {len(file.pairs[0]):,} pairs of {file.name} join examples that have different "
            f"labels in {run.name}, such as training example {i} ({train_label[i]}) and test example {j} "
            f"({test_label[j]}): the examples are in another order; compare runs of the same data"
        )


def _influence_thresholds(selection: Selection) -> Floats:
    """From the selection's own upwards: below it, pairs are not known."""
    return np.array([selection.influence, *(each for each in INFLUENCE_THRESHOLDS if each > selection.influence)])


def _influences(first: Side, second: Side) -> tuple[Floats, Floats] | None:
    """Influence on both sides of the pairs that either selects; None where a side has no influence."""
    if first.influence is None or second.influence is None:
        return None
    (train, test), _ = _either(first, second)
    return first.influence(train, test), second.influence(train, test)


def _agree_on_pairs(first: Side, second: Side, a: Floats, b: Floats) -> Agreement:
    """Agreement of the sets that each side selects, by memorization as well as by influence."""
    return agree(a, b, _influence_thresholds(first.selection), _either(first, second)[1])


def _either(first: Side, second: Side) -> tuple[Indices, tuple[Bits, Bits]]:
    """The pairs that either side selects, shape (2, P), and which of them each does."""
    both = np.concatenate([np.stack(first.pairs), np.stack(second.pairs)], axis=1)
    pairs, place = np.unique(both, axis=1, return_inverse=True)
    by_each = np.zeros((2, pairs.shape[1]), np.bool_)
    by_each[np.repeat([0, 1], [len(first.pairs[0]), len(second.pairs[0])]), place.ravel()] = True
    return pairs, (by_each[0], by_each[1])


def _by_chance(
    first: Side, second: Side, selection: Selection, deals: int, seed: int
) -> tuple[Agreement | None, Agreement | None]:
    """Agreement of memorization and of influence if the trials are dealt anew."""
    a, b = first.outcomes, second.outcomes
    train_label, test_label = first.labels
    if a is None or b is None or train_label is None or test_label is None or not deals:
        return None, None
    random = np.random.default_rng([seed, 1])
    found: tuple[list[Agreement], list[Agreement]] = [], []
    for _ in range(deals):
        one, other = (
            side_of_outcomes("", part, (train_label, test_label), selection, first.groups)
            for part in deal([a, b], (a.n_trials, b.n_trials), random)
        )
        assert one.memorization is not None
        assert other.memorization is not None
        found[0].append(agree(one.memorization, other.memorization, MEMORIZATION_THRESHOLDS))
        values = _influences(one, other)
        if values is not None:
            found[1].append(_agree_on_pairs(one, other, *values))
    return mean_agreement(found[0]), mean_agreement(found[1]) if found[1] else None


def table(curves: Curves, say: Callable[[str], None]) -> None:
    """Print the curves, a line for each threshold, within 80 columns."""
    say("           selected by      Jaccard         mean difference")
    say("threshold  each             found   chance  found   chance")
    columns = (curves.found, curves.by_chance)
    for k, threshold in enumerate(curves.found.threshold):
        jaccards, differences = (
            "  ".join(f"{_number(getattr(each, name)[k] if each else None):>6}" for each in columns)
            for name in ("jaccard", "mean_difference")
        )
        say(f"{threshold:9.2f}  {curves.found.first[k]:>7,} {curves.found.second[k]:>7,}  {jaccards}  {differences}")
    ranks = [_number(each.rank_correlation if each else None) for each in columns]
    say(f"rank correlation {ranks[0]} (chance {ranks[1]}) over {curves.found.known:,}")


def numbers(found: Comparison) -> dict[str, Any]:
    """The curves that :func:`table` prints, and how many examples differ, as numbers; None where that is unknown."""

    def curves(of: Curves) -> dict[str, Any]:
        def side(each: Agreement | None) -> dict[str, Any] | None:
            if each is None:
                return None
            rows = {name: [float(x) for x in getattr(each, name)] for name in ("jaccard", "mean_difference")}
            return rows | {"rank_correlation": float(each.rank_correlation)}

        counts = {name: [int(x) for x in getattr(of.found, name)] for name in ("first", "second")}
        known = {"threshold": [float(x) for x in of.found.threshold], "compared": int(of.found.known)}
        return known | counts | {"found": side(of.found), "chance": side(of.by_chance)}

    quantities = {"memorization": found.memorization, "influence": found.influence}
    each = found.differences
    differing = None if each is None else {"fdr": SHOWN_FDR, "examples": len(each.by_certainty(SHOWN_FDR))}
    return {"names": list(found.names), "note": found.note, "absent": dict(found.absent), "differing": differing} | {
        name: curves(of) if of is not None else None for name, of in quantities.items()
    }


def _number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.4f}"
