"""attack.html: how well membership can be inferred, and which training examples give themselves away."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from memexp.analysis.attack import METHODS, Attack, attack_run, attackable
from memexp.analysis.privacy import DELTA
from memexp.analysis.roc import GRID, Curve, Mean
from memexp.analysis.trial_table import TrialTable, table_of_merged
from memexp.brief import counted
from memexp.report.cards import Card, Source, memorization_in_words, train_card
from memexp.report.figures import as_svg
from memexp.report.numbers import Numbers, PageFigure, histogram_numbers
from memexp.report.roc_figure import draw_roc, draw_separation

_TARGETS = 16  # attacked for the page: enough for intervals; `memexp attack` takes all
_SHOWN = 60
_AT = (0.0001, 0.001, 0.01, 0.1, 0.5)  # false positives in the table of the curves


def has_attack(source: Source) -> bool:
    """Whether there are margins, and trials enough to attack one by the others."""
    return "train_margin" in source.merged.matrices and attackable(_table(source))


def _table(source: Source) -> TrialTable:
    return table_of_merged(source.merged, source.spec.subsets)


def attack_values(source: Source) -> dict[str, Any]:
    """What the page's template shows."""
    table = _table(source)
    found = attack_run(source.merged, table, source.spec.subsets, min(_TARGETS, table.n_trials))
    separation = found.risk.separation
    roc = PageFigure(
        "True against false positives of each attack",
        as_svg(partial(draw_roc, found=found), 4.6, 4.0),
        "Means over the targets with 95 % bands; both axes are logarithmic.",
        *_roc_numbers(found),
    )
    shares = PageFigure(
        "Histogram of separation",
        as_svg(partial(draw_separation, separation=separation), 4.6, 4.0),
        "Training examples by separation; at 0.5 nothing gives an example away.",
        *histogram_numbers(separation, "separation"),
    )
    order = np.lexsort((found.risk.out_margin - found.risk.in_margin, -separation))
    order = order[~np.isnan(separation[order])][:_SHOWN]
    others = float(source.estimates.scores.out_count.sum()) / max(1, source.estimates.n_trials)
    fewest = {"others": f"{others:,.0f}", "rate": f"{100 / others:.2g}"} if 0 < others < 1000 else None
    return {
        "facts": _facts(found),
        "fewest": fewest,
        "methods": [(name, _row(found, name), METHODS[name]) for name in _known(found)],
        "figures": [roc, shares],
        "gallery": [_card(source, found, place) for place in order.tolist()],
    }


def _known(found: Attack) -> dict[str, Curve]:
    """The attacks that these trials allow: some need margins of test examples; all of them where none is defined."""
    known = {name: curve for name, curve in found.methods.items() if not np.isnan(curve.auc.value)}
    return known or found.methods


def _facts(found: Attack) -> list[tuple[str, str]]:
    separation = found.risk.separation
    sure = found.risk.separation_low > 0.5
    facts = [
        ("trials attacked", f"{found.n_targets:,} of {found.n_trials:,}"),
        ("best attack, AUC", _interval(max((c.auc for c in _known(found).values()), key=lambda auc: auc.value))),
        ("separation, median", f"{np.nanmedian(separation):.2f}" if not np.isnan(separation).all() else "–"),
        ("separation above 0.5 by its interval", counted(int(sure.sum()), "example")),
    ]
    if found.note:
        facts.append(("beware", found.note))
    if found.audit is not None:
        facts.append((f"epsilon at least, δ = {DELTA:g}", f"{np.median(found.audit.epsilon):.2f}"))
    return facts


def _row(found: Attack, name: str) -> list[str]:
    curve = found.methods[name]
    return [_interval(curve.auc), _interval(curve.balanced_accuracy), *(_interval(each) for each in curve.tpr.values())]


def _interval(mean: Mean) -> str:
    if np.isnan(mean.value):
        return "–"
    return f"{mean.value:.3f}" + (
        "" if np.isnan(mean.low) else f" [{max(0, mean.low):.3f},\u00a0{min(1, mean.high):.3f}]"
    )


def _roc_numbers(found: Attack) -> Numbers:
    places = [int(np.abs(GRID - fpr).argmin()) for fpr in _AT]
    header = ("attack", *(f"at {100 * fpr:g} %" for fpr in _AT))
    return Numbers(header, [(name, *(f"{c.roc[k]:.4f}" for k in places)) for name, c in _known(found).items()])


def _card(source: Source, found: Attack, place: int) -> Card:
    risk = found.risk
    low, high = risk.separation_low[place], risk.separation_high[place]
    lines = (
        f"separation {risk.separation[place]:.2f}" + ("" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"),
        f"margin in {risk.in_margin[place]:.1f}, out {risk.out_margin[place]:.1f}",
        memorization_in_words(source.estimates.scores.memorization[place]),
    )
    return train_card(source, place, lines)
