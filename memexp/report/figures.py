"""Figures: functions that draw on given Axes, and their way into an HTML page."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.compare import Comparison, Curves
from memexp.analysis.estimates import Memorization
from memexp.analysis.removal import Condition
from memexp.errors import InputError

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"
COUNTED = {"memorization": "examples", "influence": "pairs"}  # what has such an estimate
COLOURS = (BLUE, ORANGE, "#2f855a", "#b83280", "#805ad5", "#744210")  # of several runs, or attacks
_DENSITY = LinearSegmentedColormap.from_list("density", ["#bee3f8", BLUE, "#1a365d"])
_COUNTS = "{x:,.0f}"  # of an axis that counts: 1,000 instead of a power of ten


def draw_histogram(axes: Axes, memorization: NDArray[np.float32], flipped: NDArray[np.bool_] | None) -> Axes:
    """Histogram of memorization on a logarithmic count axis; planted flips in their own colour."""
    defined = memorization[~np.isnan(memorization)]
    edges = np.linspace(float(defined.min(initial=-0.2)), float(defined.max(initial=1.0)), 41)
    draw_counts(axes, memorization, edges, flipped)
    axes.set_xlabel("memorization")
    return axes


def draw_counts(
    axes: Axes, values: NDArray[np.floating], edges: NDArray[np.floating], flipped: NDArray[np.bool_] | None
) -> None:
    """How many of the values (N,) are between the edges, on a logarithmic axis; planted flips before the others.

    Not on top of them: on a logarithmic axis only what stands on the ground can be read.
    """
    defined = ~np.isnan(values)
    planted = np.zeros(len(values), np.bool_) if flipped is None else flipped
    axes.hist(values[defined & ~planted], edges.tolist(), color=BLUE, label="label as in the source")
    if planted.any():
        axes.hist(
            values[defined & planted], edges.tolist(), label="flipped",
            histtype="stepfilled", facecolor=(ORANGE, 0.6), edgecolor=ORANGE, linewidth=1.3,
        )  # fmt: skip
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, columnspacing=1)
    count_logarithmically(axes, bool(defined.any()))
    axes.set_ylabel("training examples")


def draw_accuracies(axes: Axes, accuracies: dict[str, NDArray[np.float32]], measure: str = "accuracy") -> Axes:
    """One dot for each trial and kind of accuracy (or ``measure``), the mean as a line; the first kind on top."""
    spread = np.random.default_rng(0)
    for place, values in enumerate(accuracies.values()):
        height = place + spread.uniform(-0.25, 0.25, len(values))
        axes.plot(values, height, ".", color=BLUE, alpha=0.35, markersize=3)
        axes.plot([np.mean(values)] * 2, [place - 0.35, place + 0.35], color=ORANGE, linewidth=2)
    axes.set_yticks(range(len(accuracies)), [f"{name}\n{np.mean(values):.3f}" for name, values in accuracies.items()])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(accuracies) - 0.5, -0.5)
    axes.set_xlabel(f"{measure} of each trial")
    return axes


def draw_in_out(axes: Axes, scores: Memorization, measure: str = "accuracy") -> Axes:
    """Where the examples lie: accuracy (or ``measure``) when in against when out; memorization is the difference."""
    _draw_density(axes, scores.out_accuracy, scores.in_accuracy, 25, "training examples")
    axes.set(xlabel=f"{measure} when out", ylabel=f"{measure} when in")
    return axes


def draw_out(axes: Axes, out_accuracy: NDArray[np.float32]) -> Axes:
    """Histogram of accuracy without the example, on a logarithmic count axis."""
    known = out_accuracy[~np.isnan(out_accuracy)]
    axes.hist(known, np.linspace(0, 1, 41).tolist(), color=BLUE)
    count_logarithmically(axes, bool(len(known)))
    axes.set(xlabel="accuracy when out", ylabel="training examples")
    return axes


def count_logarithmically(axes: Axes, there: bool) -> None:
    """A logarithmic axis of counts; none if there is nothing to count."""
    if there:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)  # a single one is a bar too, and no bar begins above it
        axes.yaxis.set_major_formatter(_COUNTS)
    else:
        axes.set_yticks([])


def _draw_density(axes: Axes, x: NDArray[Any], y: NDArray[Any], most: int, what: str) -> None:
    """How many of the points (P,) lie in each field from 0 to 1, or as far as they go; logarithmic, none is blank.

    At most ``most`` fields in a row, none narrower than the values' steps: few trials would leave stripes.
    """
    known = np.isfinite(x) & np.isfinite(y)
    low = min(float(values[known].min(initial=0)) for values in (x, y))
    high = max(float(values[known].max(initial=1)) for values in (x, y))
    steps = (np.diff(np.unique(values[known].round(6))).min(initial=high - low) for values in (x, y))
    bins = [int(min(most, round((high - low) / step) + 1)) for step in steps]
    counts, x_edges, y_edges = np.histogram2d(x[known], y[known], bins=bins, range=[[low, high]] * 2)
    norm = LogNorm(1, max(10.0, counts.max()))
    mesh = axes.pcolormesh(x_edges, y_edges, np.ma.masked_equal(counts.T, 0), cmap=_DENSITY, norm=norm, rasterized=True)
    axes.figure.colorbar(mesh, ax=axes, label=what, format=_COUNTS, shrink=0.7)
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
    axes.set_aspect("equal")


def draw_marginal_utility(axes: Axes, kept: Axes, conditions: Sequence[Condition], n_train: int) -> Axes:
    """Accuracy after removing memorized examples and after removing random ones; below, the share that is left.

    Error bars are the standard deviation over trials; the legend says of how many.

    Parameters
    ----------
    axes, kept
        The upper and the lower panel.
    conditions
        Of a `remove` run with random controls; drawn are those that have a threshold.
    n_train
        Training examples before any is removed.
    """
    by_threshold = sorted((c for c in conditions if c.threshold is not None), key=_threshold)
    if not by_threshold:
        raise InputError(
            "this run left out no examples by memorization; launch one with the lists that `memexp select` writes, or "
            "state the least memorization of your lists under removed_thresholds"
        )
    without, at_random = ([c for c in by_threshold if c.control == control] for control in (False, True))
    whole = next((c for c in conditions if not c.removed), None)
    _draw_conditions(axes, without, ORANGE, "memorized removed")
    _draw_conditions(axes, at_random, BLUE, "as many at random")
    kept.plot([_threshold(c) for c in without], [1 - c.removed / n_train for c in without], color=ORANGE, marker=".")
    if whole is not None:
        axes.axhline(whole.mean, color=GREY, linewidth=0.8, label=f"nothing removed, {_trials([whole])}")
    axes.set_ylabel("test accuracy")
    axes.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.45, 1))
    for each in (axes, kept):
        each.spines[["top", "right"]].set_visible(False)
    kept.set(ylim=(0, 1.05), ylabel="share left", xlabel="memorization of the removed at least")
    return axes


def _threshold(condition: Condition) -> float:
    """Least memorization of what was left out, of a condition that has one."""
    assert condition.threshold is not None
    return condition.threshold


def _draw_conditions(axes: Axes, conditions: Sequence[Condition], colour: str, name: str) -> None:
    """Accuracy over the threshold with its deviation over trials."""
    if conditions:
        means, deviations = ([getattr(c, key) for c in conditions] for key in ("mean", "deviation"))
        label = f"{name}, ± standard deviation, {_trials(conditions)}"
        axes.errorbar([_threshold(c) for c in conditions], means, deviations, color=colour, capsize=2, label=label)


def _trials(conditions: Sequence[Condition]) -> str:
    """How many trials each of the conditions has: 6 trials, or 5 to 6 trials."""
    counts = sorted({len(c.accuracy) for c in conditions})
    return f"{' to '.join(str(n) for n in sorted({counts[0], counts[-1]}))} trials"


def draw_images(axes: NDArray[Any], images: Sequence[NDArray[Any] | None], titles: Sequence[str]) -> None:
    """Images (H, W, C) into Axes of the same number, a title above each; None leaves a gap."""
    for place, image, title in zip(axes.ravel(), images, titles, strict=True):
        place.axis("off")
        if image is not None:
            place.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray")
            place.set_title(title, fontsize=7, pad=2)


def as_svg(draw: Callable[[Axes], Any], width: float = 5.2, height: float = 3.0) -> str:
    """Draw on a fresh figure and give it as an ``<svg>`` element."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    return svg_of(figure)


def svg_of(figure: Figure) -> str:
    """A figure as an ``<svg>`` element."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "memexp"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def draw_scatter(
    axes: Axes, first: NDArray[Any], second: NDArray[Any], names: tuple[str, str], what: str = "examples"
) -> Axes:
    """The two estimates of each of ``what``, examples or pairs, both of shape (P,); darker is more."""
    _draw_density(axes, first, second, 60, what)
    axes.set(xlabel=names[0], ylabel=names[1])
    return axes


def draw_agreement(axes: Axes, curves: Curves) -> Axes:
    """Jaccard index and mean difference over the threshold; dashed: the trials of both dealt anew."""
    for found, style in ((curves.found, "-"), (curves.by_chance, "--")):
        if found is not None:
            axes.plot(found.threshold, found.jaccard, style, color=BLUE, label="Jaccard index")
            axes.plot(found.threshold, found.mean_difference, style, color=ORANGE, label="mean difference")
    axes.set(xlabel="threshold", ylim=(0, 1))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[:2], labels[:2], frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return axes


def save_comparison(found: Comparison, path: Path) -> Path:
    """Scatter and curves of a comparison; the format is that of the file's ending."""
    rows = [(name, curves) for name, curves in (("memorization", found.memorization), ("influence", found.influence))]
    shown = [(name, curves) for name, curves in rows if curves is not None]
    if not shown:
        raise InputError(
            f"{found.names[0]} and {found.names[1]} have nothing in common to draw; train more trials of both"
        )
    figure = Figure(figsize=(9, 4 * len(shown)), layout="constrained")
    places = figure.subplots(len(shown), 2, squeeze=False)
    for (name, curves), (left, right) in zip(shown, places, strict=True):
        draw_scatter(left, curves.first, curves.second, found.names, COUNTED[name]).set_title(name)
        draw_agreement(right, curves)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write {path}: {error}; give --figure a path that ends in .svg, .png or .pdf"
        ) from error
    return path
