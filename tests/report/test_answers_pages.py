"""The pages of privacy and of data values show what the commands give."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from memexp.analysis.estimates import current_estimates
from memexp.analysis.merged import open_merged
from memexp.notebook import RunView
from memexp.report.attack_page import attack_values, has_attack
from memexp.report.cards import Source
from memexp.report.classes_page import classes_values
from memexp.report.overview import _flips
from memexp.report.values_page import has_values, values_values
from memexp.runs.run import open_run
from tests.conftest import Done

pytestmark = pytest.mark.long


def test_the_pages_show_what_the_commands_give(trained_run: Path) -> None:
    run = open_run(trained_run)
    merged = open_merged(run.paths)
    source = Source(run.spec, run.manifest, merged, current_estimates(merged), run.pictures())
    assert has_attack(source)
    assert has_values(source)
    found, shown = RunView(run).attack(targets=16), attack_values(source)
    for name, numbers, _ in shown["methods"]:
        auc = found.methods[name].auc
        assert numbers[0] == f"{auc.value:.3f} [{auc.low:.3f},\u00a0{auc.high:.3f}]"
    assert shown["gallery"][0].lines[0].startswith(f"separation {np.nanmax(found.risk.separation):.2f} [")
    values, page = RunView(run).values(), values_values(source)
    (_, _, lowest), (_, _, highest) = page["ends"]
    digits = int(1 - np.floor(np.log10(np.median(values["value_se"]))))
    for cards, extreme in ((lowest, values["value"].min()), (highest, values["value"].max())):
        error = values["value_se"][list(values["value"]).index(extreme)]
        assert cards[0].lines[0] == f"value {extreme:+.{digits}f} ± {error:.{digits}f}"
        told = [card.lines[0].replace("value ", "").split(" ± ") for card in cards]
        assert {len(number.split(".")[1]) for pair in told for number in pair} == {digits}, "of all the same"


def test_the_table_of_risks_counts_places_as_all_tables_do(
    trained_run: Path, memexp: Callable[..., Done], tmp_path: Path
) -> None:
    """By the example's place in the run; where a limit took some of the source's examples that is another one there."""
    assert memexp("attack", trained_run, "--targets", 1, "--csv", "risk.csv").returncode == 0
    rows, view = list(csv.DictReader((tmp_path / "risk.csv").read_text().splitlines())), RunView(open_run(trained_run))
    examples = view.merged.examples
    assert [int(row["index"]) for row in rows] == list(range(300))
    assert [int(row["source_index"]) for row in rows] == examples["train_index"].tolist() != list(range(300))
    assert [int(row["label"]) for row in rows] == examples["train_label"].tolist()
    assert [row["flipped"] == "True" for row in rows] == examples["train_label_flipped"].tolist()
    separation = view.attack(targets=1).risk.separation
    np.testing.assert_allclose([float(row["separation"]) for row in rows], separation)


def test_flips_whose_memorization_is_undefined_count_nowhere(trained_run: Path) -> None:
    """Neither as little memorized in the means nor as ranked last."""
    run = open_run(trained_run)
    merged = open_merged(run.paths)
    found, flipped = current_estimates(merged), merged.examples["train_label_flipped"]
    values = found.scores.memorization.copy()
    values[np.flatnonzero(flipped)[:3]] = values[np.flatnonzero(~flipped)[:50]] = np.nan
    estimates = replace(found, scores=replace(found.scores, memorization=values))
    known = ~np.isnan(values)
    assert _flips(Source(run.spec, run.manifest, merged, estimates, None)) == {
        "count": f"{flipped.sum()}",
        "known": f"{flipped.sum() - 3}",
        "auroc": f"{roc_auc_score(flipped[known], values[known]):.4f}",
        "found": f"{flipped[known][np.argsort(-values[known], kind='stable')][: flipped.sum() - 3].sum()}",
        "mean_flipped": f"{np.nanmean(values[flipped]):.3f}",
        "mean_other": f"{np.nanmean(values[~flipped]):.3f}",
    }


def test_the_accuracy_of_a_class_is_that_on_the_first_test_set(trained_run: Path) -> None:
    run = open_run(trained_run)
    merged = open_merged(run.paths)
    source = Source(run.spec, run.manifest, merged, current_estimates(merged), None)
    label, right = merged.examples["test_label"], source.test_accuracy
    first = np.arange(len(label)) < len(label) // 2
    merged.examples["test_set"] = np.where(first, "test", "other").astype(object)
    shown = classes_values(source)
    place = shown["header"].index("test accuracy") - 1  # the class's name is no cell
    for of, _, cells in shown["rows"]:
        assert cells[place].text == f"{right[first & (label == of)].mean():.3f}"


def test_the_page_bounds_epsilon_where_the_command_does(trained_run: Path) -> None:
    """Each example must have been in with chance 1/2 by itself: groups toss one coin together."""
    run = open_run(trained_run)
    merged = open_merged(run.paths)
    source = Source(run.spec, run.manifest, merged, current_estimates(merged), None)
    for groups, told in ((None, True), ("groups.csv", False)):
        subsets = run.spec.subsets.model_copy(update={"design": "bernoulli", "ratio": 0.5, "groups": groups})
        facts = attack_values(replace(source, spec=run.spec.model_copy(update={"subsets": subsets})))["facts"]
        assert any(name.startswith("epsilon") for name, _ in facts) == told
