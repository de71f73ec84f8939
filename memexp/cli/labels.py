"""Commands that ask the trials about single examples: memexp labels, memexp values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memexp.cli.console import out, print_json, progress, remark
from memexp.cli.results import Csv, Drawn, open_trials, write_result
from memexp.cli.watch import Json, RunPath

if TYPE_CHECKING:
    from memexp.analysis.labels import Labels
    from memexp.analysis.tables import Columns


def labels(
    run: RunPath,
    csv: Csv = None,
    to: Drawn = None,
    top: Annotated[int, typer.Option(min=1, help="Show so many of each set.")] = 10,
    as_json: Json = False,
) -> None:
    """Labels that are probably wrong: what trials say of training and test examples that they did not see."""
    from memexp.analysis.export import write_csv
    from memexp.analysis.labels import judge_labels, table
    from memexp.analysis.votes import Votes

    opened, merged = open_trials(run, csv, to)
    votes, classes = Votes(merged, len(opened.manifest.classes)), opened.manifest.classes
    with progress("comparing labels", 1, "parts") as tell:
        found = judge_labels(votes, tell)
    if as_json:
        print_json(_numbers(found, classes, top, merged.n_trials, merged.examples))
    else:
        _show(found, classes, top, merged.examples)
    if csv is not None:
        write_result(csv, partial(write_csv, table(found, merged.examples, classes)))
    if to is not None:
        from memexp.report.labels_figure import save_confusion

        write_result(to, partial(save_confusion, found, classes))


def _show(found: Labels, classes: list[str], top: int, examples: Columns) -> None:
    width = max(9, *(min(16, len(name)) for name in classes))
    for axis, judged in found.judged.items():
        words = {"train": "training", "test": "test"}[axis]
        differ, wrong = int(judged.differs.sum()), found.expected[axis]
        known = int((judged.trials > 0).sum())
        unknown = f"; {len(judged.given) - known:,} are in every trial" if known < len(judged.given) else ""
        out.say(f"{words} labels: about {wrong:,} of {known:,} are probably wrong{unknown}")
        out.say(f"for {differ:,} most trials that did not see the example say another class")
        first = judged.order[:top].tolist()
        called = [_name(examples, axis, place) or str(place) for place in first]
        heading, align = ("name", "<") if f"{axis}_id" in examples else ("index", ">")
        place_in = f"{align}{max(7, *map(len, called))}"
        labelled = f"{'given':<{width}}  {'suggested':<{width}}"
        out.say(f"{'rank':>6} {heading:{place_in}}  {labelled}  share given  share suggested")
        for place, name in zip(first, called, strict=True):
            given, suggested = (_short(classes, int(each[place]), width) for each in (judged.given, judged.suggested))
            shares = f"{judged.share_given[place]:>11.2f}  {judged.share_suggested[place]:>15.2f}"
            out.say(f"{judged.rank[place]:>6} {name:{place_in}}  {given:<{width}}  {suggested:<{width}}  {shares}")
        out.say()
    remark(
        f"counted by {found.counted_by}; shares of the trials that did not see the example, --csv has their intervals"
    )


def _name(examples: Columns, axis: str, place: int) -> str | None:
    """What the data call an example, such as an image's file; None where they have no names."""
    return str(examples[f"{axis}_id"][place]) if f"{axis}_id" in examples else None


def _short(classes: list[str], label: int, width: int) -> str:
    name = classes[label] if label >= 0 else "-"
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _numbers(found: Labels, classes: list[str], top: int, trials: int, examples: Columns) -> dict[str, Any]:
    """Everything but the table, for JSON."""
    result: dict[str, Any] = {"trials": trials, "counted_by": found.counted_by, "classes": classes}
    for axis, judged in found.judged.items():
        first = judged.order[:top]
        result[axis] = {
            "labels": len(judged.given),
            "expected_wrong": found.expected[axis],
            "suggested_differs": int(judged.differs.sum()),
            "without_votes": int((judged.trials == 0).sum()),
            "pairs": [{"given": g, "suggested": s, "count": n} for g, s, n in judged.pairs()],
            "first": [
                {
                    "index": int(place),
                    "id": _name(examples, axis, place),
                    "given": int(judged.given[place]),
                    "suggested": int(judged.suggested[place]),
                    "share_given": float(judged.share_given[place]),
                    "share_suggested": float(judged.share_suggested[place]),
                }
                for place in first
            ],
        }
    return result


def values(
    run: RunPath,
    csv: Csv = None,
    to: Drawn = None,
    top: Annotated[int, typer.Option(min=1, help="Show so many of the lowest and of the highest.")] = 5,
    as_json: Json = False,
) -> None:
    """What each training example is worth to the test accuracy; with `design: bernoulli, ratio: 0.5` Banzhaf values."""
    import numpy as np

    from memexp.analysis.export import write_csv
    from memexp.analysis.values import data_values, table

    opened, merged = open_trials(run, csv, to)
    with progress("valuing", 1, "parts") as tell:
        found = data_values(merged, opened.spec.subsets, tell)
    columns = table(found, merged.examples, opened.manifest.classes)
    order = np.argsort(found.value, kind="stable")
    order = order[~np.isnan(found.value[order])]
    ends = {"lowest": order[:top], "highest": order[::-1][:top]}
    if as_json:
        names = ("index", "value", "value_se", "c_score", "label")
        rows = {
            end: [
                {name: columns[name][place].item() for name in names} | {"id": _name(merged.examples, "train", place)}
                for place in places
            ]
            for end, places in ends.items()
        }
        defined = {"examples": len(found.value), "undefined": len(found.value) - len(order)}
        print_json({"name": found.name, "trials": merged.n_trials} | defined | rows)
    else:
        out.say(found.name)
        width = max(5, *(min(24, len(name)) for name in opened.manifest.classes))
        heading = f"{'label':<{width}}  {'name' if 'train_id' in merged.examples else ''}".rstrip()
        for end, places in ends.items():
            out.say(f"{end:<8}{'index':>9}{'value':>11}{'error':>10}{'C-score':>9}  {heading}")
            for place in places.tolist():
                name = _short(opened.manifest.classes, int(columns["label"][place]), 24)
                numbers = f"{found.value[place]:>11.5f}{found.value_se[place]:>10.5f}{found.c_score[place]:>9.2f}"
                row = f"{'':8}{place:>9}{numbers}  {name:<{width}}  {_name(merged.examples, 'train', place) or ''}"
                out.say(row.rstrip())
    if csv is not None:
        write_result(csv, partial(write_csv, columns))
    if to is not None:
        from memexp.report.labels_figure import save_values

        write_result(to, partial(save_values, found, merged.examples.get("train_label_flipped")))
