"""True against false positives of attacks, both axes logarithmic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.roc import GRID
from memexp.report.figures import BLUE, COLOURS, GREY, count_logarithmically

if TYPE_CHECKING:
    from memexp.analysis.attack import Attack


def draw_roc(axes: Axes, found: Attack) -> Axes:
    """Mean curve of each attack, with a band of 95 % over the targets."""
    shown = np.array([])
    for (name, curve), colour in zip(found.methods.items(), COLOURS, strict=True):
        if np.isnan(curve.auc.value):  # one that needs test margins
            continue
        axes.plot(GRID, curve.roc, color=colour, linewidth=1.4, label=f"{name}, AUC {curve.auc.value:.3f}")
        half = 1.96 * np.nan_to_num(curve.roc_se)
        axes.fill_between(GRID, np.maximum(curve.roc - half, 1e-9), curve.roc + half, color=colour, alpha=0.15, lw=0)
        shown = np.append(shown, curve.roc[curve.roc > 0])
    axes.plot(GRID, GRID, color=GREY, linestyle=":", linewidth=1, label="chance")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(GRID[0], 1)
    axes.set_ylim(max(1e-5, 0.5 * float(np.append(shown, 1).min())), 1.05)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.legend(frameon=False, fontsize=8.5, loc="lower right", labelspacing=0.3)
    return axes


def draw_separation(axes: Axes, separation: NDArray[np.float64]) -> Axes:
    """Histogram of the examples' separation, (N,), on a logarithmic count axis."""
    defined = separation[~np.isnan(separation)]
    axes.hist(defined, np.linspace(min(0.4, float(defined.min(initial=1))), 1, 31).tolist(), color=BLUE)
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
    count_logarithmically(axes, bool(len(defined)))
    axes.set_xlabel("separation")
    axes.set_ylabel("training examples")
    return axes


def save_roc(found: Attack, path: Path) -> Path:
    """Write the curves as a picture."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    draw_roc(figure.subplots(), found)
    figure.savefig(path)
    return path
