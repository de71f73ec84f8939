"""index.html: the overview of a run, whole by itself, with no script and no other file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.analysis import SHOWN_FDR
from memexp.analysis.compare import Comparison
from memexp.analysis.grouped import describe_groups
from memexp.analysis.tested import accuracy_by_set
from memexp.analysis.worth import MEMORIZED, worth_of_memorized
from memexp.brief import counted
from memexp.report.cards import Source, memorized_card, pairs_section, train_card
from memexp.report.classes_page import class_header, class_rows
from memexp.report.explorer import HIGH_ACCURACY, is_one_row
from memexp.report.figures import (
    COUNTED,
    as_svg,
    draw_accuracies,
    draw_agreement,
    draw_histogram,
    draw_in_out,
    draw_out,
    draw_scatter,
)
from memexp.report.numbers import PageFigure, accuracy_numbers, curve_numbers, histogram_numbers, map_numbers
from memexp.report.pictures import rank, rate_in_words
from memexp.spec.sampling_error import lemma_bound, worst_case_se

_GALLERY = 60
_ROW = 6
_DIFFERING = 24


def overview_values(source: Source) -> dict[str, Any]:
    """What the page's template shows."""
    return {
        "facts": _facts(source),
        "warnings": _warnings(source),
        "figures": _figures(source),
        "class_header": class_header(source),
        "classes": [] if source.one_class else class_rows(source),
        "gallery": [memorized_card(source, int(i)) for i in _most_memorized(source)],
        "pairs": pairs_section(source) if source.manifest.n_test else None,
        "selection": source.estimates.selection,
        "cut": source.estimates.cut(),
        "flips": _flips(source),
        "worth": _worth(source),
        "has_posterior": bool(np.isfinite(source.estimates.posterior.memorization_posterior).any()),
        "comparison": _comparison(source),
        "removal": source.removal,
        "groups": describe_groups(source.merged.examples),
    }


def _worth(source: Source) -> str | None:
    """What memorized examples are worth to the test set; None where trials do not tell."""
    if source.merged.numbers or "test" not in source.merged.accuracies:
        return None
    worth = worth_of_memorized(source.merged)
    return str(worth) if worth.known else None


def _comparison(source: Source) -> dict[str, object] | None:
    found = source.comparison
    if found is None:
        return None
    figures, ranks, names = [], [], _short(found.names)
    for name, curves in (("memorization", found.memorization), ("influence", found.influence)):
        if curves is not None:
            agreement = as_svg(partial(draw_agreement, curves=curves))
            both = partial(draw_scatter, first=curves.first, second=curves.second, names=names)
            scatter = as_svg(partial(both, what=COUNTED[name]), 4.4, 3.4)
            values = (each.rank_correlation if each else np.nan for each in (curves.found, curves.by_chance))
            ranks.append((name, *("–" if np.isnan(value) else f"{value:.3f}" for value in values)))
            title = f"{name.capitalize()}, agreement over the threshold"
            figures.append(PageFigure(title, agreement, title, *curve_numbers(curves)))
            title, of_both = f"{name.capitalize()}, both estimates", map_numbers(curves.first, curves.second, names)
            figures.append(PageFigure(title, scatter, title, *of_both))
    told = {
        "name": names[1],
        "note": found.note,
        "figures": figures,
        "selection": str(found.selection).replace(">=", "≥"),
        "ranks": ranks,
    }
    return told | {"rate": f"{SHOWN_FDR:g}", "differing": _differing(source, found)}


def _short(names: tuple[str, str]) -> tuple[str, str]:
    """Names of the runs' folders, where they tell them apart: whoever reads a report knows no paths."""
    first, second = (Path(name).name for name in names)
    return names if first == second else (first, second)


def _differing(source: Source, found: Comparison) -> dict[str, object] | None:
    """The examples that both memorize differently, the most certain first; None where that cannot be told."""
    each, curves = found.differences, found.memorization
    if each is None or curves is None:
        return None
    order = each.by_certainty(SHOWN_FDR)
    cards = []
    for i in order[:_DIFFERING].tolist():
        lines = (
            f"{curves.first[i]:z.2f} here, {curves.second[i]:z.2f} there",
            f"{each.value[i]:+.2f} [{each.low[i]:+.2f}, {each.high[i]:+.2f}]",
            rate_in_words(each.fdr[i]),
        )
        cards.append(train_card(source, i, lines))
    cut = str(_DIFFERING) if len(order) > _DIFFERING else ""
    return {"found": f"{len(order):,}", "all": f"{int((~np.isnan(each.value)).sum()):,}", "cards": cards, "cut": cut}


def _of_defined(statistic: Callable[[NDArray[np.float32]], Any], values: NDArray[np.float32]) -> str:
    defined = values[~np.isnan(values)]
    return f"{statistic(defined):.3f}" if len(defined) else "–"


def _facts(source: Source) -> list[tuple[str, str]]:
    """Name and value of the numbers at the top."""
    merged, scores, subsets = source.merged, source.estimates.scores, source.spec.subsets
    by_set = accuracy_by_set(merged)
    facts = [
        ("trials", f"{merged.n_trials:,} done, {merged.n_failed:,} failed, {merged.n_missing:,} missing"),
        ("training examples", f"{source.manifest.n_train:,}"),
        ("test examples", f"{source.manifest.n_test:,}" if source.manifest.n_test else "none"),
        *(
            (f"{source.merged.measure}, {name}", _mean_and_deviation(merged.per_trial(f"{name}_accuracy")))
            for name in merged.accuracies
        ),
        *(
            (f"{source.merged.measure} on {name}", _mean_and_deviation(each))
            for name, each in by_set.items()
            if name != "test"
        ),
        ("memorization, mean", _of_defined(np.mean, scores.memorization)),
        (f"examples with memorization ≥ {MEMORIZED:g}", f"{int((scores.memorization >= MEMORIZED).sum()):,}"),
    ]
    error = f"median {_of_defined(np.median, scores.memorization_se)}"
    if subsets.ratio is None or merged.numbers:  # numbers may spread as they like
        return [*facts, ("standard error of memorization", error)]
    worst, bound = (rule(subsets.ratio, merged.n_trials) for rule in (worst_case_se, lemma_bound))
    return [
        *facts,
        ("standard error of memorization", f"{error}, at worst {worst:.3f}"),
        ("the paper's bound of it (Lemma 2.1)", f"{bound:.3f}"),
    ]


def _mean_and_deviation(values: NDArray[np.floating]) -> str:
    return f"{values.mean():.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


def _warnings(source: Source) -> list[str]:
    merged, scores = source.merged, source.estimates.scores
    undefined = int(np.isnan(scores.memorization).sum())
    in_accuracy = float(np.mean(merged.per_trial("in_accuracy")))
    warnings = []
    if merged.n_missing:
        warnings.append(f"{counted(merged.n_missing, 'trial', 'is', 'are')} missing; the numbers will still move.")
    if merged.n_failed:
        failed = counted(merged.n_failed, "failed trial", "is", "are")
        warnings.append(f"{failed} left out; memexp status has the reasons.")
    if undefined:
        never = counted(undefined, "example", "was", "were")
        warnings.append(f"{never} never in or never out: more trials define their memorization.")
    if in_accuracy < 0.98 and not merged.numbers:
        warnings.append(
            f"The models get only {100 * in_accuracy:.1f} % of their own training examples right: what they did not "
            "have time to fit does not count as memorized. More epochs, in a spec of another name, fit more."
        )
    return warnings


def _figures(source: Source) -> list[PageFigure]:
    scores = source.estimates.scores
    flipped = source.merged.examples.get("train_label_flipped")
    accuracies = {name: source.merged.per_trial(f"{name}_accuracy") for name in source.merged.accuracies}
    caption = f"Memorization of {len(scores.memorization):,} training examples; the axis of counts is logarithmic."
    return [
        PageFigure(
            "Histogram of memorization",
            as_svg(lambda axes: draw_histogram(axes, scores.memorization, flipped), 4.0, 3.3),
            caption,
            *histogram_numbers(scores.memorization, "memorization", flipped),
        ),
        _accuracies_of_examples(source),
        PageFigure(
            f"{source.merged.measure.capitalize()} of each trial",
            as_svg(lambda axes: draw_accuracies(axes, accuracies, source.merged.measure), 4.0, 3.3),
            "Each dot is a trial, the line the mean.",
            *accuracy_numbers(accuracies, source.merged.measure),
        ),
    ]


def _accuracies_of_examples(source: Source) -> PageFigure:
    """Where the examples lie in the plane of both accuracies; where that would be one row, a histogram of the other."""
    inside, outside = source.estimates.scores.in_accuracy, source.estimates.scores.out_accuracy
    if not is_one_row(source):
        return PageFigure(
            f"{source.merged.measure.capitalize()} with and without each example",
            as_svg(lambda axes: draw_in_out(axes, source.estimates.scores, source.merged.measure), 4.0, 3.3),
            f"Each training example by its mean {source.merged.measure} out and in; memorization is the height above "
            "the diagonal.",
            *map_numbers(outside, inside, ("out", "in")),
        )
    below = int((inside < HIGH_ACCURACY).sum())
    return PageFigure(
        "Histogram of accuracy without each example",
        as_svg(lambda axes: draw_out(axes, outside), 4.0, 3.3),
        "Accuracy of the trials without each training example. With it, "
        f"{'all' if not below else f'all but {below:,}'} are right in at least {100 * HIGH_ACCURACY:.0f} % of their "
        "trials, so that memorization is nearly what is missing here; the axis of counts is logarithmic.",
        *histogram_numbers(outside, "accuracy when out"),
    )


def _most_memorized(source: Source) -> NDArray[np.intp]:
    """Those that are memorized at all, and at least a row of the first."""
    order, memorization = rank(source.estimates.scores), source.estimates.scores.memorization
    order = order[~np.isnan(memorization[order])]
    return order[: min(_GALLERY, max(_ROW, int((memorization > 0).sum())))]


def _flips(source: Source) -> dict[str, str] | None:
    """How well memorization finds the labels that were flipped on purpose, among examples where it is defined."""
    flipped = source.merged.examples.get("train_label_flipped")
    if flipped is None:
        return None
    from sklearn.metrics import roc_auc_score

    known = ~np.isnan(source.estimates.scores.memorization)
    scores, planted = source.estimates.scores.memorization[known], flipped[known]
    top = np.argsort(-scores, kind="stable")[: planted.sum()]
    return {
        "count": f"{int(flipped.sum()):,}",
        "known": f"{len(top):,}",
        "auroc": f"{roc_auc_score(planted, scores):.4f}" if 0 < len(top) < len(scores) else "–",
        "found": f"{int(planted[top].sum()):,}",
        "mean_flipped": _of_defined(np.mean, scores[planted]),
        "mean_other": _of_defined(np.mean, scores[~planted]),
    }
