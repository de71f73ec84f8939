"""The command that makes a run of trials that were trained elsewhere: memexp import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memexp.cli.console import out, progress, remark, show
from memexp.errors import InputError

ArrayFile = Annotated[Path | None, typer.Option(metavar="FILE", help="(trials, training examples).")]
TestFile = Annotated[Path | None, typer.Option(metavar="FILE", help="The same of test examples.")]


def import_(
    to: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the new run.")],
    masks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="(trials, training examples): true where the trial saw the example."),
    ] = None,
    margins: ArrayFile = None,
    correct: ArrayFile = None,
    logits: Annotated[Path | None, typer.Option(metavar="FILE", help="(trials, training examples, classes).")] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Of the training examples, from 0.")] = None,
    test_margins: TestFile = None,
    test_correct: TestFile = None,
    test_logits: TestFile = None,
    test_labels: TestFile = None,
    left_out: Annotated[bool, typer.Option("--left-out", help="The masks mark what each trial did not see.")] = False,
    aux_arrays: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Instead of masks: the aux_arrays.npz of the paper's models.")
    ] = None,
) -> None:
    """Make a run of trials that were trained elsewhere: of masks, outcomes and labels in .npy or .npz files.

    Margins are log p - log(1 - p) of the label, or any score that is above 0 where the label wins. FILE.npz:NAME is
    one array of several.
    """
    from memexp.runs.imported import import_trials
    from memexp.runs.table_files import read_array, read_published
    from memexp.runs.tables import make_tables

    train = {"margins": margins, "correct": correct, "logits": logits}
    test = {"margins": test_margins, "correct": test_correct, "logits": test_logits}
    halves = [{name: read_array(file) for name, file in half.items() if file is not None} for half in (train, test)]
    if aux_arrays is not None:
        if masks is not None or halves[0] or halves[1]:
            raise InputError("--aux-arrays brings masks and correctness; give it with --labels and --test-labels only")
        mask, *halves = read_published(aux_arrays)
    elif masks is None:
        raise InputError("--masks is missing: which training examples each trial saw, (trials, training examples)")
    else:
        mask = read_array(masks)
    known, tests = (None if file is None else read_array(file) for file in (labels, test_labels))
    tables = make_tables(mask, halves[0], halves[1], known, tests, left_out)
    with progress("importing", tables.n_trials, "trials") as tell:
        found = import_trials(to, tables, lambda share: tell(share * tables.n_trials))
    rows = [
        ("imported", f"{tables.n_trials:,} trials, which saw {100 * found.share:.1f} % of {tables.n_train:,} examples"),
        ("of training examples", tables.train.words()),
        ("of test examples", tables.test.words()),
    ]
    show(rows)
    for line in found.remarks():
        remark(line)
    out.say(str(to))
