"""Groups: examples that are in or out as one; every number of them against a second computation."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import memexp as package
from memexp.analysis.grouped import representatives
from memexp.analysis.pairs import Selection
from memexp.analysis.products import Trials
from memexp.analysis.search import select_pairs
from memexp.analysis.tables import given_columns
from memexp.data import load_data
from memexp.data.grouping import numbered_groups, read_groups
from memexp.errors import DataError, SpecError
from memexp.runs.plan import make_plan
from memexp.runs.run import open_run
from memexp.spec.datasets import Table
from memexp.spec.designs import draw_masks, subset_sizes
from memexp.spec.reading import read_spec
from memexp.spec.spec import Subsets
from tests.conftest import Done, changed, made_once, make_spec

# 30 points with labels at random, each with a copy that is nearly it: of one group where the place is even, and in a
# group of another 15 where it is odd. The nearest neighbour in training answers; tests are the points once more.
NEAREST = """
import numpy as np
draws = np.random.default_rng(0)
points, labels = draws.normal(size=(30, 5)), draws.integers(0, 2, 30)
x, y = np.concatenate([points, points + 1e-3]), np.tile(labels, 2)
groups = [f"p{k % 30}" if k % 2 == 0 else f"p{k}" for k in range(60)]

def sizes():
    return {"train": y, "test": labels, "groups": groups}

def trial(mask, seed):
    near = lambda each: y[mask][((each[:, None] - x[mask]) ** 2).sum(2).argmin(1)]
    return near(x), near(points - 1e-3)
"""
SPEC = "name: near\ntrial: {file: near.py}\nsubsets: {design: %s, ratio: 0.7, trials: 120%s}\n"


def launch(folder: Path, name: str, groups: str, design: str = "balanced") -> None:
    from tests.conftest import in_process

    (folder / "near.py").write_text(NEAREST)
    (folder / "spec.yaml").write_text(SPEC.replace("near\n", f"{name}\n", 1) % (design, groups))
    done = in_process("launch", "spec.yaml", "--workers", 0, folder=folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(shared_folder: Path) -> Path:
    """Runs ``one`` by one example, ``grouped`` by groups."""

    def make(folder: Path) -> None:
        launch(folder, "one", "")
        launch(folder, "grouped", ", groups: groups")

    return made_once(shared_folder / "groups", make) / "runs"


def space() -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(NEAREST, found)
    return found


def subsets(design: str, groups: str | None = None) -> Subsets:
    return Subsets.model_validate({"design": design, "ratio": 0.7, "trials": 10, "seed": 4, "groups": groups})


@pytest.mark.parametrize("design", ["uniform", "balanced", "bernoulli"])
def test_groups_are_drawn_as_examples_are(design: str) -> None:
    groups = np.random.default_rng(0).integers(0, 40, 300)
    groups = numbered_groups(np.array([f"g{k}" for k in groups], object))
    masks = draw_masks(subsets(design, "patient"), 300, range(200), groups)
    of_groups = draw_masks(subsets(design), groups.max() + 1, range(200))
    for example, group in enumerate(groups):
        np.testing.assert_array_equal(masks[:, example], of_groups[:, group])
    fewest, most = subset_sizes(subsets(design, "patient"), 300, groups)
    assert fewest <= masks.sum(1).min() <= masks.sum(1).max() <= most
    alone = np.arange(300)
    assert fewest <= subset_sizes(subsets(design), 300)[0], "the bounds know that groups spread more"
    np.testing.assert_array_equal(
        draw_masks(subsets(design, "patient"), 300, range(3), alone), draw_masks(subsets(design), 300, range(3))
    )
    with pytest.raises(AssertionError):
        draw_masks(subsets(design, "patient"), 300, [0])  # a caller that forgets the groups draws nothing wrong


def test_what_groups_are_called_is_no_part_of_the_identity_but_who_belongs_together_is(tmp_path: Path) -> None:
    assert "groups" not in make_spec().science()["subsets"]
    (tmp_path / "near.py").write_text(NEAREST)

    def manifest(text: str, name: str = "g.txt") -> Any:
        from memexp.runs.run import describe

        (tmp_path / name).write_text(text)
        (tmp_path / "spec.yaml").write_text(SPEC % ("balanced", f", groups: {name}"))
        plan = make_plan(read_spec(tmp_path / "spec.yaml"))
        return describe(plan.spec, plan.data, 10)

    first = manifest("\n".join(f"a{k // 2}" for k in range(60)))
    assert first.identity == manifest("\n".join(f"z{99 - k // 2}" for k in range(60)), "other.txt").identity
    other = manifest("\n".join(f"a{k // 3}" for k in range(60)))
    assert [name for name, *_ in first.differences(other)] == ["data.groups", "masks"]


@pytest.mark.long
def test_memorization_is_that_of_a_loop_and_a_group_of_copies_hides_nothing(runs: Path) -> None:
    run = package.open_run(runs / "grouped")
    nearest = space()
    names = np.array(nearest["groups"], object)
    masks = draw_masks(run.spec.subsets, 60, range(120), numbered_groups(names))
    right = np.array([nearest["trial"](mask, 0)[0] for mask in masks]) == nearest["y"]
    loop = [right[mask, i].mean() - right[~mask, i].mean() for i, mask in enumerate(masks.T)]
    np.testing.assert_allclose(run.memorization, loop, rtol=1e-6)
    one = package.open_run(runs / "one").memorization
    together = np.isin(names, [f"p{k}" for k in range(0, 30, 2)])
    # with a copy that is in for seven of ten trials, three tenths are left of what there is to memorize
    assert run.memorization[together].mean() > 2.5 * one[together].mean()
    assert run.memorization[~together].mean() == pytest.approx(one[~together].mean(), abs=0.09)
    assert run.run.store().examples()["train_group"].tolist() == numbered_groups(names).tolist()


@pytest.mark.long
def test_pairs_are_of_groups_and_so_is_the_family_of_tests(runs: Path) -> None:
    run = package.open_run(runs / "grouped")
    examples, pairs = run.merged.examples, run.estimates.pairs
    groups, label, test_label = (examples[name] for name in ("train_group", "train_label", "test_label"))
    listed = list(zip(groups[pairs.train].tolist(), pairs.test.tolist(), strict=True))
    assert len(set(listed)) == len(listed) > 10
    of_class = [len(np.unique(groups[label == each])) * (test_label == each).sum() for each in (0, 1)]
    assert run.estimates.tested == sum(of_class)
    # the same from a table with one column a group
    trains = representatives(groups, label, run.memorization)
    alone = Trials(run.merged.packed("test_correct"), run.merged.packed("mask")[trains], 120)
    found = select_pairs(alone, (test_label, label[trains]), run.memorization[trains], Selection())
    np.testing.assert_array_equal(trains[found.pairs.train], pairs.train)
    for name in ("test", "influence", "p_value", "fdr", "in_count"):
        np.testing.assert_array_equal(getattr(found.pairs, name), getattr(pairs, name))
    table = run.pairs()
    assert set(table["train_group_size"]) <= {1, 2}
    own = table[table["train_group"] == "p" + table["test"].astype(str)]
    assert len(own) >= 7, "groups help the test example that is nearly theirs"


def test_a_group_of_several_classes_has_a_pair_with_tests_of_each() -> None:
    groups, label = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 0, 1])
    memorized = np.array([0.1, 0.3, 0.9, 0.5, np.nan], np.float32)
    assert representatives(groups, label, memorized).tolist() == [0, 2, 3, 4]
    assert representatives(groups, None, memorized).tolist() == [2, 3, 4]
    assert representatives(groups, None).tolist() == [0, 3, 4]


@pytest.mark.long
def test_everything_downstream_says_group(runs: Path, tmp_path: Path, memexp: Callable[..., Done]) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    run = tmp_path / "runs/grouped"
    words = "45 groups of 1 to 2 examples were in or out as one"
    assert words in " ".join(memexp("estimate", run).stderr.split())
    told = json.loads(memexp("estimate", run, "--json").stdout)["pairs"]
    found = package.open_run(run)
    sure = found.estimates.pairs.passing().discoveries()
    assert told["groups"] == len(np.unique(found.merged.examples["train_group"][sure.train]))
    assert memexp("export", run, "--format", "csv", "--out", "out.csv").returncode == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [(row["group"], row["group_size"]) for row in rows[:3]] == [("p0", "2"), ("p1", "1"), ("p2", "2")]
    pairs = list(csv.DictReader((tmp_path / "out-pairs.csv").read_text().splitlines()))
    assert {row["train_group_size"] for row in pairs} == {"1", "2"}
    assert memexp("report", run).returncode == 0
    assert words in (run / "report/index.html").read_text("utf-8")
    assert "group p0 (2 examples)" in (run / "report/index.html").read_text("utf-8")
    assert '"group": ["group ' in (run / "report/data.js").read_text("utf-8")
    assert memexp("verify", run, "--retrain", 3).returncode == 0
    halves = memexp("compare", run, "--deals", 1)
    assert "influence (one class" in halves.stdout
    both = memexp("compare", run, tmp_path / "runs/one", "--deals", 0)
    assert "influence: " in both.stdout
    assert "leaves out groups of examples" in both.stdout
    assert {"group", "group_size"} <= set(given_columns(found.merged.examples, ["0", "1"]))
    values = memexp("values", run)
    assert "of the example's group" in values.stdout + values.stderr
    assert memexp("select", run, "--values", "--out", "lists.json").returncode == 0
    lists = {
        name: each for name, each in yaml.safe_load((tmp_path / "lists.json").read_text()).items() if "sha" not in name
    }
    names = np.array(space()["groups"])
    for name, indices in lists.items():
        assert set(np.flatnonzero(np.isin(names, names[indices]))) == set(indices), f"{name} parts a group"


@pytest.mark.long
def test_groups_of_each_source_and_of_each_kind_of_file(tmp_path: Path) -> None:
    import pandas

    count = 30
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(count, 2)), columns=["a", "b"])
    frame = frame.assign(kind=["x", "y"] * 15, patient=[f"{k // 3:03d}" for k in range(count)])
    spec = changed(name="t", dataset={}) | {"training": {"epochs": 2, "batch_size": 5, "lr": 0.1}}
    spec["subsets"] = {"ratio": 0.7, "trials": 10, "groups": "patient"}
    section = {"label": "kind", "features": "rest", "test": {"fraction": 0.2}}
    run = package.launch(spec | {"dataset": section}, data=frame, runs=tmp_path, workers=0)
    assert run.data.features == ("a", "b"), "the patient is no feature"
    patients = frame["patient"].to_numpy()
    tested, trained = (set(patients[index]) for index in (run.data.test_index, run.data.train_index))
    assert len(tested) == 2, "a fifth of ten patients"
    assert not tested & trained, "no patient is trained and tested on"
    assert run.to_pandas()["group"].tolist() == patients[run.data.train_index].tolist()
    arrays = {
        "x_train": frame[["a", "b"]].to_numpy(),
        "y_train": frame["kind"].to_numpy(str),
        "groups": patients.astype(str),
    }
    arrayed = spec | {
        "name": "arrays",
        "dataset": {"limit": {"train": 24}},
        "subsets": spec["subsets"] | {"groups": "groups"},
    }
    mine = package.launch(arrayed, data=arrays, runs=tmp_path, workers=0)
    assert mine.to_pandas()["group"].tolist() == patients[mine.data.train_index].tolist()
    ids = np.array([f"i{k}" for k in range(4)], object)
    (tmp_path / "g.csv").write_text("group,id\ntwins,i1\ntwins,i3\n")
    assert numbered_groups(read_groups(tmp_path / "g.csv", 4, ids)).tolist() == [0, 1, 2, 1]
    (tmp_path / "g.csv").write_text("id,group\ni1,i0 alone\ni3,i2 alone too\n")
    assert numbered_groups(read_groups(tmp_path / "g.csv", 4, ids)).tolist() == [0, 1, 2, 3], "no name is taken"
    np.save(tmp_path / "g.npy", [7, 7, 2, 7])
    assert numbered_groups(read_groups(tmp_path / "g.npy", 4, None)).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("groups", ["id", "y"])
def test_a_test_table_has_the_columns_that_also_give_groups(tmp_path: Path, groups: str) -> None:
    rows = {"id": "pqrs", "y": "0101", "a": "1234"}
    for name, columns in (("train.csv", list(rows)), ("test.csv", [each for each in rows if each != groups])):
        lines = [columns, *zip(*(rows[column] for column in columns), strict=True)]
        (tmp_path / name).write_text("".join(f"{','.join(line)}\n" for line in lines))
    paths = {"path": str(tmp_path / "train.csv"), "test_path": str(tmp_path / "test.csv")}
    block = Table.model_validate({"source": "table", "label": "y", "features": ["a"], "id": "id"} | paths)
    with pytest.raises(DataError, match=f"test.csv lacks the columns {groups}, "):
        load_data(block, groups)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("g.txt", "a\n" * 60, "all training examples are of one group"),
        ("g.txt", "a\n" * 59, "has 59 names; it must name the group of each of the 60"),
        ("g.txt", "a\n" * 40 + "\n" + "b\n" * 19, "example 40 has no group"),
        ("g.csv", "id,group\n70,a\n", "names '70' .*, which is no training example; examples are called like '0'"),
        ("g.csv", "id,group\n7,a\n7,b\n", "line 3: '7' must have one group"),
        ("g.csv", "id,set\n7,a\n", "it must have id and group"),
        ("absent.txt", None, r"absent.txt cannot be read \(No such file or directory\); correct the path or the file"),
        ("g.npy", "no array", r"g.npy cannot be read \(it is no array of text or integers\)"),
    ],
)
def test_groups_that_make_no_sense_are_refused(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    (tmp_path / "near.py").write_text(NEAREST)
    if text is not None:
        (tmp_path / name).write_text(text)
    (tmp_path / "spec.yaml").write_text(SPEC % ("balanced", f", groups: {name}"))
    with pytest.raises(SpecError, match=words) as refused:
        make_plan(read_spec(tmp_path / "spec.yaml"))
    assert "line 3: subsets.groups: " in str(refused.value)
    assert str(refused.value).count("subsets.groups") == 1


def test_a_ratio_that_leaves_no_group_and_designs_without_draws_are_refused(tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text(NEAREST)
    (tmp_path / "g.txt").write_text("a\n" * 30 + "b\n" * 30)
    path = tmp_path / "spec.yaml"
    path.write_text((SPEC % ("uniform", ", groups: g.txt")).replace("0.7", "0.9"))
    with pytest.raises(SpecError, match=r"0\.9 of 2 groups leaves no group out"):
        make_plan(read_spec(path))
    path.write_text(SPEC % ("uniform", ", groups: g.txt"))
    notes = " ".join(make_plan(read_spec(path)).notes)
    assert "2 groups are in or out as one: of 30 to 30 examples" in notes
    assert "the largest group is 50 % of the training set" in notes
    with pytest.raises(ValueError, match="groups are drawn, and 'design: remove' draws nothing"):
        Subsets.model_validate({"design": "remove", "removed": [1], "trials": 3, "groups": "g"})
    path.write_text(SPEC % ("uniform", ", groups: patient"))
    with pytest.raises(SpecError, match="digits|no columns"):
        make_plan(read_spec(_on_digits(tmp_path)))


def _on_digits(folder: Path) -> Path:
    spec = changed(subsets={"groups": "patient"})
    (folder / "digits.yaml").write_text(yaml.safe_dump(spec))
    return folder / "digits.yaml"


@pytest.mark.long
def test_a_run_with_groups_is_another_experiment_than_one_without(runs: Path, tmp_path: Path, memexp: Any) -> None:
    shutil.copytree(runs / "one", tmp_path / "runs/near")
    (tmp_path / "near.py").write_text(NEAREST)
    (tmp_path / "spec.yaml").write_text(SPEC % ("balanced", ", groups: groups"))
    refused = memexp("launch", "spec.yaml", "--workers", 0)
    assert refused.returncode == 2
    assert "subsets.groups: (absent) there, True in this spec" in " ".join(refused.stderr.split())
    assert open_run(tmp_path / "runs/near").spec.subsets.groups is None


def test_masked_names_of_groups_are_told_apart_from_numbers() -> None:
    from memexp.data.grouping import names_of_groups

    with pytest.raises(DataError, match="float64; groups are named by text or integers"):
        names_of_groups("here", np.array([0.5, 1.0]), 2)


@pytest.mark.long
@pytest.mark.parametrize("groups", [None, "groups"])
def test_no_epsilon_is_told_of_groups_which_toss_one_coin_together(groups: str | None, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    x = draws.normal(size=(140, 3))
    data = {"x_train": x[:120], "y_train": np.arange(120) % 2, "x_test": x[120:], "y_test": np.arange(20) % 2}
    spec = {
        "name": "coin",
        "model": {"arch": "memexp_mlp", "hidden": [8]},
        "training": {"epochs": 5, "batch_size": 2, "lr": 0.1},
        "subsets": {"design": "bernoulli", "ratio": 0.5, "trials": 12, "groups": groups},
    }
    run = package.launch(spec, data=data | {"groups": np.arange(120) // 2}, runs=tmp_path, workers=0)
    assert (run.attack().audit is None) == (groups is not None)
