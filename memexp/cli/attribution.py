"""Commands on what training examples do for test examples: memexp lds, memexp datamodel."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from memexp.brief import counted
from memexp.cli.analysis import merged_of
from memexp.cli.attack import ChosenTrials
from memexp.cli.console import err, out, print_json, progress, remark, show
from memexp.cli.watch import Json, RunPath

if TYPE_CHECKING:
    from memexp.analysis.lds import Score
    from memexp.analysis.trial_table import TrialTable
    from memexp.runs.run import Run

Outcome = Annotated[
    Literal["margin", "correct"] | None,
    typer.Option(help="What is predicted.", show_default="margin where it was recorded"),
]


def lds(
    run: RunPath,
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A .npy file: scores (test, train).")],
    trials: ChosenTrials = None,
    as_json: Json = False,
) -> None:
    """How well attribution scores predict retraining: the linear datamodelling score, with its error.

    Trials that the scores were made from, by `memexp datamodel`, are left out; of others say which with --trials.
    """
    from memexp.analysis.ground_truth import without_used
    from memexp.analysis.lds import linear_datamodelling_score, open_scores

    matrix = open_scores(scores)
    opened, table = _table(run, trials)
    if opened.spec.subsets.groups is not None:
        remark("subsets are of whole groups, whose examples' scores add up: a group's influence is shared among them")
    table, used = without_used(table, opened.manifest, scores)
    table.require("test_correct")
    outcomes = [name for name in ("margin", "correct") if f"test_{name}" in table.recorded]
    found = {}
    for name in outcomes:
        with progress(f"scoring by {name}", 1, "parts") as tell:
            found[name] = linear_datamodelling_score(table, matrix, name, tell)
    if as_json:
        numbers = {name: _numbers(score) for name, score in found.items()}
        print_json({"outcome": outcomes[0]} | numbers[outcomes[0]] | numbers)
    else:
        out.say(f"{'outcome':<10}{'mean':<9}{'95 % interval':<19}{'se, tests':<11}{'se, trials':<12}tests")
        for name, score in found.items():
            interval = f"[{score.low:.4f}, {score.high:.4f}]"
            out.say(
                f"{name:<10}{score.mean:<9.4f}{interval:<19}{score.se_tests:<11.4f}{score.se_trials:<12.4f}"
                f"{score.tests:,}"
            )
    remark(
        f"on {table.n_trials:,} trials"
        + (f"; {used:,} that the scores were made from, or of their groups, are left out" if used else "")
    )


def _numbers(score: Score) -> dict[str, Any]:
    values = asdict(score)
    del values["each"]
    return values


def datamodel(
    run: RunPath,
    to: Annotated[Path, typer.Option("--out", help="The .npy file to write: weights (test, train), float32.")],
    trials: Annotated[
        str | None,
        typer.Option(
            "--trials", metavar="FIRST:END", help="Fit these; judge by other groups.", show_default="nine of ten"
        ),
    ] = None,
    outcome: Outcome = None,
    method: Annotated[
        Literal["ridge", "difference"],
        typer.Option(help="Linear models, or the difference of means, which by correctness is the paper's influence."),
    ] = "ridge",
    penalty: Annotated[
        float | None, typer.Option(min=0, help="Of ridge.", show_default="the best by leaving trials out")
    ] = None,
    as_json: Json = False,
) -> None:
    """Linear models of each test example's outcome on which training examples a trial saw; weights as .npy."""
    import numpy as np

    from memexp.analysis import datamodel as models
    from memexp.analysis.export import new_array, require_place
    from memexp.analysis.ground_truth import beside, trial_names
    from memexp.files import explain_unwritable, write_atomic

    require_place(to, (".npy",))
    opened, whole = _table(run, None)
    if opened.spec.subsets.groups is not None:
        told = "are equal and add up to the group's" if method == "ridge" else "are each the whole group's"
        remark(f"trials had groups of examples in or out as one: the weights of a group's examples {told}")
    name = outcome or ("margin" if "test_margin" in whole.recorded else "correct")
    fitted, rest = _split(whole, trials)
    with (
        explain_unwritable(to, "The trials are untouched."),
        progress("fitting", 1, "parts") as tell,
        new_array(to, np.float32, (whole.n_test, whole.n_train)) as weights,
    ):
        write = lambda tests, trains, part: weights.__setitem__((tests, trains), part)  # noqa: E731
        if method == "ridge":
            found = models.fit(fitted, name, rest, write, penalty, tell)
        else:
            models.difference(fitted, name, write, tell)
        write_atomic(beside(to), trial_names(fitted, opened.manifest))
    facts: dict[str, Any] = {"outcome": name, "trials": fitted.n_trials}
    if method == "ridge":
        facts |= {"penalty": found.penalty, "r2_left_out": _mean(found.r2)}
        if found.held_out_r2 is not None:
            facts |= {"held_out_trials": found.n_held_out, "held_out_r2": _mean(found.held_out_r2)}
    if as_json:
        print_json(facts)
    else:
        words = {"r2_left_out": "R2, left out", "held_out_r2": "R2, held out", "held_out_trials": "held out"}
        show([(words.get(key, key), f"{v:.4g}" if isinstance(v, float) else str(v)) for key, v in facts.items()])
    err.say(str(to))


def _tell_unknown(fitted: TrialTable) -> None:
    """That weights of 0 say nothing where trials tell nothing: `lds` needs a number for each."""
    from memexp.analysis.partners import count_trials_of

    count = count_trials_of(fitted)
    unknown = int(((count == 0) | (count == fitted.n_trials)).sum())
    if unknown:
        what = counted(unknown, "training example", "is", "are")
        remark(f"{what} in all of these trials or in none, so that nothing is known: the weights are 0")


def _mean(values: Any) -> float | None:
    import numpy as np

    return None if np.isnan(values).all() else float(np.nanmean(values))


def _table(run: Path, trials: str | None) -> tuple[Run, TrialTable]:
    from memexp.analysis.trial_table import chosen, table_of_merged
    from memexp.runs.run import open_run

    opened = open_run(run)
    return opened, chosen(table_of_merged(merged_of(opened), opened.spec.subsets), trials)


def _split(table: TrialTable, trials: str | None) -> tuple[TrialTable, TrialTable | None]:
    """Trials to fit and the rest, None if nothing is left; without a choice whole groups, nine of ten."""
    import numpy as np

    from memexp.analysis.trial_table import chosen

    if trials is None:
        fitted = table.only(table.group < np.ceil(0.9 * (table.group.max() + 1)))
    else:
        fitted = chosen(table, trials)
    _tell_unknown(fitted)
    rest = table.without(set(fitted.names))
    return fitted, rest if rest.n_trials else None
