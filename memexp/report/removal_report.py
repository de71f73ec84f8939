"""Report of a `remove` run: one page with what leaving examples out costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from memexp.analysis.removal import Condition, difference
from memexp.brief import counted
from memexp.report.figures import draw_marginal_utility, svg_of
from memexp.report.numbers import PageFigure
from memexp.report.pages import render
from memexp.report.report import replace_report
from memexp.spec.spec import Spec
from memexp.store.manifest import Manifest
from memexp.store.paths import RunPaths

_NONE = "–"


def write_removal_report(
    spec: Spec, manifest: Manifest, conditions: Sequence[Condition], missing: int, run: RunPaths, path: Path
) -> Path:
    """Write the report's folder, replacing an older one, and return ``path``, its index.html.

    ``missing``: trials not trained yet.
    """
    warnings = [f"{counted(missing, 'trial', 'is', 'are')} missing; the numbers will still move."] if missing else []
    page = render(
        "removal_report.html.j2",
        spec,
        manifest,
        warnings=warnings,
        removal=removal_section(conditions, manifest.n_train),
    )
    return replace_report(run, path, lambda folder: (folder / path.name).write_text(page, encoding="utf-8"))


def removal_section(conditions: Sequence[Condition], n_train: int, note: str = "") -> dict[str, Any]:
    """Figure (None without thresholds on memorization), rows, whether there are controls, and a note of the section."""
    figure, controls = None, {c.name: c for c in conditions if c.control}
    if any(c.threshold is not None for c in conditions):
        drawn = Figure(figsize=(5.2, 4.6), layout="constrained")
        axes, removed = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        draw_marginal_utility(axes, removed, conditions, n_train)
        beside = ", and without as many random ones" if controls else ""
        caption = (
            f"Without the examples that are memorized at least so much{beside}: mean and standard deviation over "
            "trials; below, the share of the training set that is left."
        )
        figure = PageFigure("Test accuracy without examples, also in the table", svg_of(drawn), caption)
    rows = [_row(c, controls) for c in conditions if not c.control]
    return {"figure": figure, "controls": bool(controls), "rows": rows, "note": note}


def _row(condition: Condition, controls: Mapping[str, Condition]) -> list[str]:
    """Cells of a row; those of controls only where the run has any."""
    control = controls.get(condition.name)
    ours = condition.threshold is not None  # otherwise the name is the user's
    first = [
        condition.name.replace(">= ", "≥\u00a0") if ours else condition.name,
        f"{condition.removed:,}",
        f"{len(condition.accuracy):,}",
        _accuracy(condition),
    ]
    if control is None:
        return [*first, "", ""] if controls else first
    gap, error = difference(condition, control)
    return [*first, _accuracy(control), _give_or_take(f"{100 * gap:+.2f}", 100 * error)]


def _accuracy(condition: Condition) -> str:
    found = _give_or_take(f"{100 * condition.mean:.2f}", 100 * condition.deviation)
    return found if found == _NONE else f"{found}\u00a0%"


def _give_or_take(value: str, error: float) -> str:
    """A value with its error, where there are trials, and more than one."""
    if "nan" in value:
        return _NONE
    return value if math.isnan(error) else f"{value} ±\u00a0{error:.2f}"
