"""What a run has found, in a few lines: the name of each and its text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from memexp.analysis import SHOWN_FDR
from memexp.analysis.estimates import Estimates, Memorization
from memexp.analysis.grouped import Groups, describe_groups, groups_of
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Pairs, Selection
from memexp.analysis.paper import PairFacts, pair_facts
from memexp.analysis.removal import Condition
from memexp.analysis.tested import accuracy_by_set, places_of
from memexp.analysis.worth import worth_of_memorized
from memexp.brief import counted

Rows = list[tuple[str, str]]


def summarize(merged: Merged, estimates: Estimates) -> Rows:
    """Accuracies, memorization and high-influence pairs."""
    accuracies = (f"{name} {merged.per_trial(f'{name}_accuracy').mean():.4f}" for name in merged.accuracies)
    accuracy = f"{', '.join(accuracies)} (mean of {counted(merged.n_trials, 'trial')})"
    rows = [
        ("mean score" if merged.numbers else "accuracy", accuracy),
    ]
    for name, found in accuracy_by_set(merged).items():
        rows.append(("", f"on {name} {found.mean():.4f}, {counted(len(places_of(merged.examples, name)), 'example')}"))
    rows.append(("memorization", describe_memorization(estimates.scores)))
    if groups := describe_groups(merged.examples):
        rows.append(("groups", groups))
    if np.isnan(estimates.scores.memorization).all():
        return rows
    if "test" not in merged.accuracies:
        return [*rows, ("influence", "none: there is no test set")]
    worth = None if merged.numbers else worth_of_memorized(merged)
    told = [("", str(worth))] if worth is not None and worth.known else []
    return [*rows, *told, *_describe_pairs(estimates, groups_of(merged.examples))]


def numbers(merged: Merged, estimates: Estimates) -> dict[str, Any]:
    """The same as numbers: NaN where nothing is defined; pairs absent without a test set."""
    scores = estimates.scores
    known = scores.memorization[~np.isnan(scores.memorization)]
    found: dict[str, Any] = {
        "trials": merged.n_trials,
        "accuracy": {name: float(merged.per_trial(f"{name}_accuracy").mean()) for name in merged.accuracies},
        "memorization": {
            "mean": float(known.mean()) if len(known) else math.nan,
            "memorized": int((known >= 0.25).sum()),
            "median_se": float(np.nanmedian(scores.memorization_se)) if len(known) else math.nan,
            "undefined": len(scores.memorization) - len(known),
        },
    }
    if len(known) and "test" in merged.accuracies:
        groups, passing = groups_of(merged.examples), estimates.pairs.passing()
        facts = _facts(passing.discoveries(), groups)
        found["pairs"] = {
            "tested": estimates.tested, "fdr": SHOWN_FDR, "discoveries": facts.pairs, "passing": estimates.passed,
            "kept": len(passing),
            "training_examples" if groups is None else "groups": facts.unique_trains,
            "test_examples": facts.unique_tests,
        }  # fmt: skip
    return found


def describe_memorization(scores: Memorization) -> str:
    """Its mean, how many examples are memorized, and the error."""
    values = scores.memorization
    if np.isnan(values).all():
        return "undefined: no example is in for some trials and out for others"
    memorized, error = counted(int((values >= 0.25).sum()), "example"), np.nanmedian(scores.memorization_se)
    return f"mean {np.nanmean(values):.4f}, {memorized} at 0.25 or more, median standard error {error:.3f}"


def _facts(pairs: Pairs, groups: Groups | None) -> PairFacts:
    """What is counted of pairs; of groups, where trials drew these, in the place of training examples."""
    return pair_facts(pairs.train if groups is None else groups[pairs.train], pairs.test)


def _describe_pairs(estimates: Estimates, groups: Groups | None) -> Rows:
    passing = estimates.pairs.passing()
    sure = passing.discoveries()
    facts = _facts(sure, groups)
    found = f"{facts.pairs:,} of high influence at a false discovery rate of {SHOWN_FDR:g}"
    rows = [("pairs", f"{found} (test of {passing.judged_by}), among {estimates.tested:,}")]
    if facts.pairs:
        what = "training example" if groups is None else "group"
        trains = counted(facts.unique_trains, what, "influences", "influence")
        tests = counted(facts.unique_tests, "test example")
        rows.append(("", f"{trains} {tests}, {facts.single_influencers:,} with one influencer only"))
    if uncertain := len(passing) - len(sure):
        rows.append(("", f"{uncertain:,} more pass the thresholds, but many of these are noise"))
    if str(estimates.selection) != str(Selection()):
        rows.append(("", f"selected by: {estimates.selection}"))
    if cut := estimates.cut():
        rows.append(("", cut))
    return rows


def summarize_removal(conditions: Sequence[Condition]) -> Rows:
    """Accuracy of each condition of a `remove` run, beside its control."""
    rows = []
    for condition in conditions:
        what = "as many at random" if condition.control else f"without {counted(condition.removed, 'example')}"
        accuracy = f"{condition.mean:.4f} +/- {condition.deviation:.4f}"
        text = f"{what:<24} {accuracy}  ({counted(len(condition.accuracy), 'trial')})"
        rows.append(("" if condition.control else condition.name, text))
    return rows
