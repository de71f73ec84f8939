"""Training without some examples: conditions take turns, controls have the same size, and the scripts show it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memexp.analysis.controls import near_duplicates
from memexp.analysis.estimates import estimate, open_estimates
from memexp.analysis.merged import open_merged
from memexp.analysis.pairs import Selection
from memexp.analysis.removal import Condition, difference, read_conditions, select_sets
from memexp.errors import InputError, SpecError
from memexp.report.removal_report import removal_section
from memexp.runs.run import Run, open_run
from memexp.spec.designs import draw_masks
from memexp.spec.index_sets import LABELS, pack, read_digest, unpack
from memexp.spec.reading import read_spec
from memexp.spec.reading import write_spec as as_yaml
from memexp.spec.spec import Subsets
from memexp.store.receipts import receipt_files
from memexp.store.trials import extend_store
from memexp.training.block import count_steps
from tests.conftest import make_spec, untrain

SETS = {"nothing": [], "few": [3, 5], "many": list(range(40, 140))}


def removing(**more: Any) -> dict[str, Any]:
    return {"design": "remove", "ratio": None, "trials": 10, "removed": SETS, "control": True, **more}


@given(st.sets(st.integers(0, 5000)))
def test_packed_indices_come_back(indices: set[int]) -> None:
    packed = pack(list(indices))
    assert unpack(packed).tolist() == sorted(indices)
    assert pack(packed) == packed
    assert read_digest(packed) == read_digest(pack(sorted(indices, reverse=True)))


@pytest.mark.parametrize("wrong", [[-1], [1.5], [True], [10**12], "17", "bits:AAAA", {"a": 1}])
def test_what_is_no_index_list_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="list of training example indices"):
        pack(wrong)


def test_conditions_take_turns_and_controls_are_as_large_and_always_new() -> None:
    subsets = Subsets.model_validate(removing())
    names = [("nothing", False), ("few", False), ("few", True), ("many", False), ("many", True)]
    assert subsets.conditions == names
    outs = ~draw_masks(subsets, 200, range(20))
    assert outs.sum(1).tolist() == [0, 2, 2, 100, 100] * 4
    for trial in (1, 6, 11):
        assert np.flatnonzero(outs[trial]).tolist() == [3, 5]
    controls = outs[4::5]
    assert len({row.tobytes() for row in controls}) == 4
    np.testing.assert_array_equal(draw_masks(subsets, 200, [14])[0], ~outs[14])  # alone as among others
    rate = (~draw_masks(subsets, 200, range(4, 5000, 5))).mean(0)
    np.testing.assert_allclose(rate, 0.5, atol=0.07)  # every example is as likely in a control


def test_each_trial_trains_for_its_own_number_of_epochs(new_run: Callable[..., Run]) -> None:
    """A trial alone gives the bits that it gives beside trials of other sizes."""
    import torch

    from memexp.runs.worker import Trainer

    spec = make_spec(subsets=removing())
    assert [count_steps(spec, 200, trial) for trial in range(5)] == [19, 19, 19, 10, 10]
    torch.set_num_threads(1)
    trainer = Trainer(new_run(subsets=removing()), "cpu")
    together = trainer.retrain(list(range(10)))
    assert [int((~outcome.arrays["mask"]).sum()) for outcome in together] == [0, 2, 2, 100, 100] * 2
    for trial, stack in ((3, [3, 4, 8, 9]), (0, [0, 1, 2])):
        again = trainer.retrain(stack)[0]
        np.testing.assert_array_equal(again.arrays["train_correct"], together[trial].arrays["train_correct"])


@pytest.mark.long
def test_a_spec_names_a_file_of_lists_and_the_run_keeps_them(
    memexp: Callable[..., Any], tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    (tmp_path / "sets.json").write_text(json.dumps(SETS))
    path = write_spec(subsets=removing(removed="sets.json"))
    spec = read_spec(path).spec
    assert spec.subsets.removed == {name: pack(indices) for name, indices in SETS.items()}
    assert yaml.safe_load(as_yaml(spec))["subsets"]["removed"]["few"].startswith("bits:")
    done = memexp("launch", path, "--executor", "local", "--yes", "--workers", 0)
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "runs/tiny")
    (tmp_path / "sets.json").unlink()  # the run needs it no more
    conditions = read_conditions(run.spec, run.store())
    right = np.concatenate([run.store().read_block(number)["test_correct"] for number in range(1)])
    for place, condition in enumerate(conditions):
        assert condition.removed == len(SETS[condition.name])
        np.testing.assert_allclose(condition.accuracy, right[place::5].mean(1))
    half = np.arange(0, 60, 2)
    np.testing.assert_allclose(
        read_conditions(run.spec, run.store(), half)[1].accuracy, right[1::5, ::2].mean(1)
    )  # only some tests
    assert memexp("report", run.paths.root).returncode == 0
    assert {len(row) for row in removal_section(conditions, 200)["rows"]} == {6}
    alone = removal_section([each for each in conditions if not each.control], 200)
    few = [replace(each, accuracy=each.accuracy[:k]) for k, each in enumerate(conditions[:2])]
    cells = [removal_section([replace(each, control=False)], 200)["rows"][0][3] for each in few]
    assert cells == ["–", f"{100 * few[1].mean:.2f}\u00a0%"], "no trial, and one: no error is told"
    assert (alone["controls"], {len(row) for row in alone["rows"]}) == (False, {4}), "no empty columns"
    (tmp_path / "sets.json").write_text(json.dumps(SETS | {"few": [3, 6]}))
    refused = memexp("launch", path, "--executor", "local", "--yes")
    assert refused.returncode == 2
    assert "subsets.removed" in refused.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file"),
        ("{", "is no JSON file"),
        ("[1, 2]", "has no named lists"),
        ('{"a": ["x"]}', "integers from 0"),
        ('{"sha256 of the training labels": 3, "a": [1]}', "delete the key"),
    ],
)
def test_a_wrong_file_of_lists_is_a_fault_of_the_spec(
    content: str | None, said: str, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    if content is not None:
        (tmp_path / "sets.json").write_text(content)
    with pytest.raises(SpecError) as error:
        read_spec(write_spec(subsets=removing(removed="sets.json")))
    assert said in str(error.value)
    assert "memexp select" in str(error.value)


@pytest.mark.process  # scikit-learn asks for the processors
def test_select_writes_what_the_estimates_say(run_copy: Run, memexp: Callable[..., Any], tmp_path: Path) -> None:
    done = memexp("select", run_copy.paths.root, "--memorization", "0.25,0.5,2", "--out", "sets.json")
    assert done.returncode == 0, done.stderr
    assert "no example has a memorization of 2 or more: no list for that" in done.stderr
    memorization = open_estimates(run_copy.paths).scores.memorization
    sets = json.loads((tmp_path / "sets.json").read_text())
    assert sets.pop(LABELS) == run_copy.manifest.data["y_train"]
    assert list(sets) == ["nothing", "memorization >= 0.25", "memorization >= 0.5"]  # nothing reaches 2
    assert sets["memorization >= 0.5"] == np.flatnonzero(memorization >= 0.5).tolist()
    assert memexp("select", run_copy.paths.root, "--memorization", "high", "--out", "x.json").returncode == 2
    assert memexp("select", run_copy.paths.root, "--out", "no/x.json").returncode == 2
    empty = memexp("select", run_copy.paths.root, "--memorization", "2", "--out", "x.json")
    assert empty.returncode == 2
    assert "no example has a memorization of 2 or more (the highest is" in empty.stderr
    assert memexp("select", run_copy.paths.root, "--duplicates", "0.9", "--out", "twins.json").returncode == 0
    data = run_copy.load_data()
    twins = json.loads((tmp_path / "twins.json").read_text())["near duplicates"]
    assert twins == near_duplicates(data.x_train, data.x_test, 0.9).trains.tolist()
    merged = open_merged(run_copy.paths)
    found = estimate(merged, Selection(influence=0.05, memorization=0.1))
    assert select_sets(found, (), pairs=True)["high influence"] == sorted(set(found.pairs.train.tolist()))
    with pytest.raises(InputError, match="no pair passes"):
        select_sets(estimate(merged, Selection(memorization=2)), (), pairs=True)


@pytest.mark.long
def test_lists_of_other_data_are_refused(
    memexp: Callable[..., Any], run_copy: Run, write_spec: Callable[..., Path]
) -> None:
    """Their indices would name other examples."""
    assert memexp("select", run_copy.paths.root, "--out", "sets.json").returncode == 0
    dataset = yaml.safe_load(run_copy.paths.spec.read_text())["dataset"]
    assert memexp("plan", write_spec(dataset=dataset, subsets=removing(removed="sets.json"))).returncode == 0
    other = dataset | {"label_noise": {"fraction": 0.05, "seed": 2}}
    refused = memexp("plan", write_spec(dataset=other, subsets=removing(removed="sets.json")))
    assert refused.returncode == 2
    assert "subsets.removed: these lists were selected from a run on other training examples" in refused.stderr


@pytest.mark.long
def test_what_a_merged_run_of_another_cluster_has_is_not_missing(
    memexp: Callable[..., Any], run_copy: Run, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(run_copy.paths.root, tmp_path / "elsewhere")
    for receipt in receipt_files(run_copy.paths, 0):
        receipt.unlink()
    untrain(run_copy, 0)
    select = ("select", run_copy.paths.root, "--out", "sets.json")
    assert memexp(*select).returncode == 3
    merged = memexp("merge", run_copy.paths.root, elsewhere)
    assert "40 trials done, 0 failed, 0 missing" in merged.stdout, merged.stderr
    assert memexp(*select).returncode == 0


@pytest.mark.long
def test_an_incomplete_or_unsuitable_source_is_refused(
    memexp: Callable[..., Any], new_run: Callable[..., Run], run_copy: Run
) -> None:
    yaml_text = run_copy.paths.spec.read_text()
    grown = yaml.safe_load(yaml_text)
    grown["subsets"]["trials"] = 50
    extend_store(run_copy.paths.trials, 50)
    run_copy.paths.spec.write_text(yaml.safe_dump(grown))
    refused = memexp("select", run_copy.paths.root, "--out", "sets.json")
    assert refused.returncode == 3
    assert "10 trials are missing" in refused.stderr
    assert f"memexp resume {run_copy.paths.root}" in refused.stderr
    assert memexp("select", run_copy.paths.root, "--out", "sets.json", "--incomplete").returncode == 0
    removal = new_run(name="removal", subsets=removing())
    assert memexp("resume", removal.paths.root, "--executor", "local", "--workers", 0).returncode == 0
    chosen = removal.paths.root
    for command in (
        ("select", chosen, "--out", "sets.json"),
        ("export", chosen, "--format", "csv", "--out", "scores.csv"),
        ("export", chosen, "--format", "cleanlab", "--out", "cleanlab"),
        ("compare", chosen),
        ("compare", run_copy.paths.root, chosen),
    ):
        refused = memexp(*command)
        assert refused.returncode == 2, command
        assert "is a run of 'design: remove', which estimates nothing" in refused.stderr


def test_differences_have_welchs_standard_error() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0.8, 0.01, 2000), random.normal(0.7, 0.03, 500)
    gap, error = difference(Condition("a", False, 1, first), Condition("a", True, 1, second))
    assert gap == pytest.approx(first.mean() - second.mean())
    assert error == pytest.approx(np.hypot(0.01 / np.sqrt(2000), 0.03 / np.sqrt(500)), rel=0.1)
    assert np.isnan(Condition("a", False, 1, np.empty(0)).mean)
    assert np.isnan(Condition("a", False, 1, np.ones(1)).se)
