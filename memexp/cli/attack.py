"""The command that attacks a run's trials: memexp attack."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memexp.brief import counted
from memexp.cli.console import out, print_json, progress, remark, show
from memexp.cli.results import Drawn, open_trials, write_result
from memexp.cli.watch import Json, RunPath

if TYPE_CHECKING:
    from memexp.analysis.attack import Attack
    from memexp.analysis.roc import Mean

ChosenTrials = Annotated[
    str | None, typer.Option("--trials", metavar="FIRST:END", help="Only trials of these numbers.", show_default="all")
]


def attack(
    run: RunPath,
    targets: Annotated[int | None, typer.Option(min=1, help="Attack so many trials.", show_default="all")] = None,
    trials: ChosenTrials = None,
    csv: Annotated[Path | None, typer.Option(help="Write the risk of each training example there.")] = None,
    to: Drawn = None,
    as_json: Json = False,
) -> None:
    """Membership inference: each trial attacked with the others as shadow models; needs `record: [..., margin]`."""
    from memexp.analysis.attack import attack_run
    from memexp.analysis.grouped import describe_groups
    from memexp.analysis.trial_table import chosen, table_of_merged

    opened, merged = open_trials(run, csv, to)
    subsets = opened.spec.subsets
    table = chosen(table_of_merged(merged, subsets), trials)
    if (groups := describe_groups(merged.examples)) is not None:
        remark(f"{groups}. A member is an example whose group was in; no epsilon is told, which needs a coin for each")
    with progress("attacking", 1, "parts") as tell:
        found = attack_run(merged, table, subsets, targets, tell)
    if as_json:
        print_json(numbers(found))
    else:
        _show(found)
    for line in _remarks(found):
        remark(line)
    if csv is not None:
        import numpy as np

        from memexp.analysis.export import write_csv
        from memexp.analysis.tables import given_columns

        columns = {"index": np.arange(table.n_train)}
        columns |= {each.name: getattr(found.risk, each.name) for each in fields(found.risk)}
        columns |= given_columns(merged.examples, opened.manifest.classes)
        write_result(csv, partial(write_csv, columns))
    if to is not None:
        from memexp.report.roc_figure import save_roc

        write_result(to, partial(save_roc, found))


def numbers(found: Attack) -> dict[str, Any]:
    """Everything but single examples, for JSON."""

    def interval(name: str, mean: Mean) -> dict[str, float]:
        return {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}

    result: dict[str, Any] = {}
    for name, curve in found.methods.items():
        rows = interval("auc", curve.auc) | interval("balanced_accuracy", curve.balanced_accuracy)
        for fpr, mean in curve.tpr.items():
            rows |= interval(f"tpr_at_fpr_{fpr:g}", mean)
        result[name] = rows | {"undefined_scores": curve.undefined}
    epsilon = None if found.audit is None else found.audit.epsilon.tolist()
    return result | {
        "targets": found.n_targets,
        "trials": found.n_trials,
        "left_out_with_each_target": found.left_out,
        "epsilon_lower_bounds": epsilon,
        "note": found.note,
    }


def _show(found: Attack) -> None:
    from memexp.analysis.attack import METHODS

    out.say(f"{'':14}{'AUC':<22}{'accuracy':<10}{'TPR at FPR 0.1 %':<18}at 1 %")
    for name, curve in found.methods.items():
        low = curve.tpr[0.001]
        out.say(
            f"{name:<14}{_interval(curve.auc):<22}{curve.balanced_accuracy.value:<10.3f}"
            f"{_half(low):<18}{_half(curve.tpr[0.01])}"
        )
    out.say()
    show([(name, what) for name, what in METHODS.items()])


def _interval(mean: Mean) -> str:
    return f"{mean.value:.3f}" + ("" if mean.low != mean.low else f" [{mean.low:.3f}, {mean.high:.3f}]")


def _half(mean: Mean) -> str:
    return f"{mean.value:.4f}" + ("" if mean.low != mean.low else f" ± {mean.high - mean.value:.4f}")


def _remarks(found: Attack) -> list[str]:
    import numpy as np

    from memexp.analysis.privacy import DELTA

    others = "one trial of the other side for each example" if found.balanced_over_all else "its group"
    left = f"; with each, {others} is left out too" if found.left_out > 1 else ""
    said = [f"{found.n_targets:,} of {counted(found.n_trials, 'trial')} attacked, 95 % intervals over these{left}"]
    if undefined := max(curve.undefined for curve in found.methods.values()):
        scores = counted(undefined, "score", "is", "are")
        said.append(f"{scores} undefined: the example is in or out for no other trial; left out")
    said += [found.note] if found.note else []
    if found.audit is not None:
        epsilon = found.audit.epsilon
        said.append(
            f"epsilon is at least {np.median(epsilon):.2f} at delta {DELTA:g} (median over targets of bounds of "
            "which each holds with 95 % confidence)"
        )
    return said
