"""values.html: what each training example is worth to the test accuracy, the lowest and the highest of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from memexp.analysis.values import Values, data_values
from memexp.report.cards import Card, Source, memorization_in_words, train_card
from memexp.report.figures import as_svg
from memexp.report.labels_figure import draw_values
from memexp.report.numbers import Numbers, PageFigure

_SHOWN = 40  # at each end
_QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)


def has_values(source: Source) -> bool:
    """Whether there are test examples, and outcomes of training examples in classes."""
    known = "train_correct" in source.merged.matrices and "train_unknown" not in source.merged.examples
    return known and source.manifest.n_test > 0


def values_values(source: Source) -> dict[str, Any]:
    """What the page's template shows."""
    found = data_values(source.merged, source.spec.subsets)
    flipped = source.merged.examples.get("train_label_flipped")
    order = np.argsort(found.value, kind="stable")
    order = order[~np.isnan(found.value[order])]
    count = min(_SHOWN, len(order) // 2)
    digits = _digits(found)
    return {
        "value_name": found.name,
        "facts": _facts(found),
        "figures": [
            PageFigure(
                "Histogram of the values",
                as_svg(partial(draw_values, values=found, flipped=flipped), 5.0, 3.3),
                "Training examples by value.",
                *_quantiles(found),
            )
        ],
        "ends": [
            (end, f"{end.capitalize()} values", [_card(source, found, place, digits) for place in places.tolist()])
            for end, places in (("lowest", order[:count]), ("highest", order[::-1][:count]))
        ],
    }


def _digits(found: Values) -> int:
    """Places behind the point of every value on the page: two figures of the median error, none below it."""
    error = float(np.nanmedian(found.value_se)) if np.isfinite(found.value_se).any() else 0.0
    return max(2, int(1 - np.floor(np.log10(error)))) if error > 0 else 4


def _facts(found: Values) -> list[tuple[str, str]]:
    known = ~np.isnan(found.value_se)
    if not known.any():
        return [("values", "none is defined yet")]
    value, error = found.value[known], found.value_se[known]
    spread = float(value.var())
    digits = _digits(found)
    real = max(0.0, 1 - float((error**2).mean()) / spread) if spread else 0.0
    return [
        ("examples with a value", f"{int((~np.isnan(found.value)).sum()):,}"),
        ("standard deviation of the values", f"{value.std():.{digits}f}"),
        ("standard error, median", f"{np.median(error):.{digits}f}"),
        ("share of their variance that is no sampling error", f"{100 * real:.0f} %"),
    ]


def _quantiles(found: Values) -> Numbers:
    defined = found.value[~np.isnan(found.value)]
    digits = _digits(found)
    rows = [(f"{100 * q:g} %", f"{np.quantile(defined, q):+.{digits}f}") for q in _QUANTILES] if len(defined) else []
    return Numbers(("share of the examples below", "value"), rows)


def _card(source: Source, found: Values, place: int, digits: int) -> Card:
    lines = (
        f"value {found.value[place]:+.{digits}f} ± {found.value_se[place]:.{digits}f}".replace("nan", "–"),
        f"C-score {found.c_score[place]:.2f}".replace("nan", "–"),
        memorization_in_words(source.estimates.scores.memorization[place]),
    )
    return train_card(source, place, lines)
