"""The long-tail theory, measured: what unfitted rare examples cost, and what seeing one example is worth.

    memexp launch specs/sweeps/long_tail.yaml      # a mixture of subpopulations, over the number of epochs
    python analysis/long_tail.py runs/long_tail [--out figures]

Runs (or folders of sweeps) on data whose subpopulations are recorded, which differ in anything that limits
memorization. Above left the test error over the theory's bound, opt + tau_1 * (singletons that a trial does not
fit): no learner is below the diagonal on average. Above right the accuracy on test examples by how many training
examples of their subpopulation a trial saw. Below memorization of examples that are alone in their subpopulation,
and of the others, in the last run; and test error and bound over the share of singletons that is not fitted.
Error bars: two standard errors over trials.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, given_runs, print_table, read, save, standard_error, write_csv
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.long_tail import Multiplicity, cost_of_not_fitting, read_multiplicity
from memexp.cli.console import explained, out, remark
from memexp.data.generated import frequencies
from memexp.errors import InputError
from memexp.report.figures import BLUE, ORANGE
from memexp.runs.run import Run

HEAD = ("run", "trials", "trained on", "singletons", "unfitted", "test error", "se", "bound", "above by", "opt",
        "seen 0", "seen 1", "seen 2", "seen more", "memorization", "of singletons", "of others",
        "gap", "gap se")  # fmt: skip


@explained
def main() -> None:
    """Draw it, and print the numbers."""
    options = arguments(__doc__ or "", runs=["run..."])
    rows, measured, last, theory = [], [], None, dict[str, str]()
    for root in given_runs(options):
        run, merged, estimates = read(root, options)
        found = read_multiplicity(run.paths, run.store(), _frequencies(run), len(run.manifest.classes))
        memorization = estimates.scores.memorization.astype(np.float64)
        kinds = merged.examples["train_subpopulation"]
        alone = np.bincount(kinds)[kinds] == 1
        gap = merged.per_trial("in_accuracy") - merged.per_trial("test_accuracy")
        last = (root, memorization, alone)
        measured.append((root, found))
        rows.append((_name(root), len(found.error), round(found.n), *map(_short, _numbers(found)),
                     *(f"{value:.4f}" for value in (np.nanmean(memorization), np.nanmean(memorization[alone]),
                       np.nanmean(memorization[~alone]), gap.mean(), standard_error(gap)))))  # fmt: skip
        theory.setdefault(_theory(run, found), _name(root))
    assert last is not None
    for line, name in theory.items():
        out.say(line if len(theory) == 1 else f"{name}: {line}")
    _print(rows)
    _draw(measured, last, options.out)
    write_csv(options.out / "long_tail.csv", HEAD, rows)
    _write_classes(measured, options.out / "long_tail_classes.csv")


def _frequencies(run: Run) -> NDArray[np.float64]:
    dataset = run.spec.dataset
    if dataset.source not in ("subpopulations", "hypercube") or dataset.limit is not None:
        raise InputError(
            f"{run.paths.root}: the frequencies of its subpopulations are not known; give runs of `source: "
            "subpopulations` or `source: hypercube` without a limit"
        )
    if getattr(dataset, "ambiguous", 0) or dataset.label_noise is not None:
        remark(f"{run.paths.root}: some labels are moved, whose errors the bound does not count")
    return frequencies(dataset)


def _theory(run: Run, found: Multiplicity) -> str:
    classes = len(run.manifest.classes)
    cost = cost_of_not_fitting(_frequencies(run), round(found.n), classes)
    return (
        f"in theory {cost.singletons:.1f} singletons among {found.n:,.0f} examples, tau_1 n = "
        f"{cost.tau1 * found.n:.3f}; "
        f"opt {cost.opt:.4f}, fitting no singleton costs {cost.cost:.4f}"
    )


def _numbers(found: Multiplicity) -> list[float]:
    error, bound = found.error.mean(), found.bound.mean()
    seen = np.nanmean(found.accuracy, axis=0)
    return [found.singletons.mean(), found.unfitted.mean(), error, standard_error(found.error), bound, error - bound,
            found.opt.mean(), *seen]  # fmt: skip


def _short(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.1f}"


def _name(root: Path) -> str:
    return root.resolve().name


def _print(rows: list[tuple[Any, ...]]) -> None:
    """Two tables, each narrow enough for a terminal."""
    picked = [0, 1, 3, 4, 5, 6, 7, 8]
    print_table([[row[k] for k in picked] for row in [HEAD, *rows]])
    out.say("accuracy by how often a trial saw the subpopulation; memorization, and what it must equal")
    picked = [0, 10, 11, 12, 13, 14, 15, 16, 17, 18]
    print_table([[row[k] for k in picked] for row in [HEAD, *rows]])


def _draw(measured: list[tuple[Path, Multiplicity]], last: tuple[Path, Any, Any], folder: Path) -> None:
    figure = Figure(figsize=(9, 7), layout="constrained")
    (bound, seen), (histogram, costs) = figure.subplots(2, 2)
    x = np.array([found.bound.mean() for _, found in measured])
    y = np.array([found.error.mean() for _, found in measured])
    bound.errorbar(x, y, [2 * standard_error(found.error) for _, found in measured], fmt="o", color=BLUE)
    for (root, _), place in zip(measured, zip(x, y, strict=True), strict=True):
        bound.annotate(_name(root), place, xytext=(0, 7), textcoords="offset points", fontsize=8, ha="center")
    bound.margins(0.1)
    ends = [min(x.min(), y.min()) * 0.95, max(x.max(), y.max()) * 1.05]
    bound.plot(ends, ends, color="0.5", linewidth=1)
    bound.set(xlabel="opt + tau_1 x unfitted singletons", ylabel="test error", title="No learner is below the line")
    for root, found in measured:
        seen.plot(np.nanmean(found.accuracy, axis=0), marker="o", label=_name(root))
    seen.set_xticks(range(4), ["0", "1", "2", "more"])
    seen.set(xlabel="training examples of the subpopulation", ylabel="accuracy on test examples", ylim=(0, 1.02),
             title="What seeing one example is worth")  # fmt: skip
    seen.legend(fontsize=8)
    root, memorization, alone = last
    edges = np.linspace(-0.1, 1, 23).tolist()
    for values, label, color in ((memorization[alone], "alone", ORANGE), (memorization[~alone], "others", BLUE)):
        histogram.hist(values[~np.isnan(values)], edges, label=label, color=color, alpha=0.7, density=True)
    histogram.set(xlabel="memorization", ylabel="density", title=f"Singletons are memorized ({_name(root)})")
    histogram.legend(fontsize=8)
    share = [100 * found.unfitted.mean() / max(1e-9, found.singletons.mean()) for _, found in measured]
    costs.errorbar(
        share,
        100 * y,
        [200 * standard_error(found.error) for _, found in measured],
        fmt="o",
        color=BLUE,
        label="measured",
    )
    costs.plot(share, 100 * x, "s", color=ORANGE, label="bound")
    costs.set(
        xlabel="% of singletons unfitted", ylabel="test error, %", title="Not fitting rare examples costs accuracy"
    )
    costs.legend(fontsize=8)
    save(figure, folder / "long_tail")


def _write_classes(measured: list[tuple[Path, Multiplicity]], path: Path) -> None:
    """The cost by subgroup: error and singletons of each class."""
    rows = [
        (_name(root), label, f"{error:.4f}", f"{alone:.2f}")
        for root, found in measured
        for label, (error, alone) in enumerate(zip(found.class_error, found.class_singletons, strict=True))
    ]
    write_csv(path, ("run", "class", "test error", "singletons"), rows)


if __name__ == "__main__":
    main()
