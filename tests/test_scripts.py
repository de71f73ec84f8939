"""Every script of the analysis folder runs on tiny real runs, and refuses what does not fit."""

from __future__ import annotations

import csv
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from memexp.analysis.estimates import estimate, open_estimates
from memexp.analysis.merged import open_merged
from memexp.analysis.pairs import Selection
from memexp.analysis.removal import Condition, read_conditions, select_sets
from memexp.runs.run import open_run
from memexp.spec.sweep import SweepFile, read_file
from memexp.store.trials import extend_store
from memexp.store.weights import weights_path
from tests.conftest import ROOT, Done, in_process, run_script

Runs = dict[str, Path]
Script = Callable[..., Done]


@pytest.fixture(scope="module")
def runs(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """``base``; ``removal``: without its memorized examples; ``half``: ratio 0.5; ``null``: random labels;
    ``linear``: a linear head on features; ``small``: another network; ``failed``: a removal that diverges;
    ``tail``: a mixture of subpopulations; ``cube``: the hypercube.
    """
    folder = tmp_path_factory.mktemp("scripts")
    root = shutil.copytree(trained_run, folder / "base")
    found = estimate(open_merged(open_run(root).paths), Selection(influence=0.05, memorization=0.1))
    (folder / "sets.json").write_text(json.dumps(select_sets(found, (0.2, 0.5), pairs=True)))
    (folder / "one.json").write_text(json.dumps(select_sets(found, (0.2,))))
    base = yaml.safe_load((root / "spec.yaml").read_text())
    remove = {"design": "remove", "removed": "sets.json", "control": True, "trials": 14, "seed": 0}
    noise = {"label_noise": {"fraction": 0.9, "seed": 1}}
    changes: dict[str, dict[str, Any]] = {
        "removal": {"subsets": remove},
        "one": {"subsets": remove | {"removed": "one.json", "trials": 6}},
        "half": {"subsets": base["subsets"] | {"ratio": 0.5}},
        "null": {"dataset": base["dataset"] | noise},
        "other": {"dataset": base["dataset"] | {"limit": {"train": 250, "test": 100}}},
        "linear": {"dataset": {"source": "npz", "path": "features.npz"}, "model": {"arch": "memexp_mlp", "hidden": []}},
        "small": {"model": {"arch": "memexp_mlp", "hidden": [8]}, "subsets": base["subsets"] | {"ratio": 0.5}},
        "tail": {
            "dataset": {"source": "subpopulations", "classes": 3, "kinds": 12, "train": 90, "test": 200, "dim": 16},
            "training": base["training"] | {"batch_size": 32, "epochs": 5, "min_in_accuracy": 0.0},
        },
        "cube": {
            "dataset": {"source": "hypercube", "clusters": 30, "train": 60, "test": 90, "dim": 40},
            "model": {"arch": "memexp_mlp", "hidden": []},
            "training": {"epochs": 30, "batch_size": 30, "lr": 0.1, "momentum": 0.9},
            "subsets": base["subsets"] | {"ratio": 0.5},
            "keep": {"weights": 1},
        },
        "failed": {"subsets": remove, "training": base["training"] | {"lr": 1e30}},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    command_line("features", "base.yaml", "--out", "features.npz", folder=folder)
    for name, change in changes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(base | {"name": name} | change))
        command_line("launch", f"{name}.yaml", "--workers", 0, "--yes", folder=folder, code=name == "failed")
    return {"base": root} | {name: folder / "runs" / name for name in changes}


def command_line(*words: Any, folder: Path, code: int = 0) -> None:
    done = in_process(*words, folder=folder)
    assert done.returncode == code, done.stderr


@pytest.fixture
def script(runs: Runs, tmp_path: Path) -> Script:
    """Call a script; a word that names a run stands for its folder."""

    def call(name: str, *words: Any) -> Done:
        return run_script(
            ROOT / "analysis" / name, *(runs.get(word, word) for word in words), "--out", tmp_path / "out", folder=ROOT
        )

    return call


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "words", "drawn"),
    [
        ("figure1", ("base",), True),
        ("figure2", ("removal",), True),
        ("figure3", ("base",), True),
        ("figure4", ("half",), True),
        ("figure7", ("base", "half"), True),
        ("table_high_influence", ("base", "removal"), False),
        ("table_last_layer", ("base", "linear"), False),
        ("controls", ("base", "--null", "null"), True),
        ("duplicates", ("base", "--removal", "removal", "--correlation", "0.85"), True),
        ("ratios", ("base", "half"), True),
        ("contrast", ("base", "one"), True),
        ("long_tail", ("tail",), True),
        ("irrelevant", ("cube", "--examples", "3"), True),
    ],
)
def test_scripts_write_their_numbers_and_pictures(
    name: str, words: tuple[str, ...], drawn: bool, script: Script, tmp_path: Path
) -> None:
    done = script(f"{name}.py", *words)
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()} - {"duplicates_pairs.csv"}
    written -= {"long_tail_classes.csv"}
    assert written == {f"{name}.csv"} | ({f"{name}.png", f"{name}.svg"} if drawn else set())
    assert rows_of(tmp_path / "out" / f"{name}.csv")


@pytest.mark.long
def test_figure2_tells_what_the_run_recorded(runs: Runs, script: Script, tmp_path: Path) -> None:
    assert script("figure2.py", "removal").returncode == 0
    run = open_run(runs["removal"])
    rows = rows_of(tmp_path / "out/figure2.csv")
    for row, condition in zip(rows, read_conditions(run.spec, run.store()), strict=True):
        assert float(row["accuracy"]) == pytest.approx(condition.mean, abs=1e-5)
        assert float(row["share left"]) == pytest.approx(1 - condition.removed / 300, abs=1e-4)
        assert int(row["trials"]) == len(condition.accuracy)


@pytest.mark.long
def test_histograms_leave_out_nothing_and_are_what_is_drawn(runs: Runs, script: Script, tmp_path: Path) -> None:
    """Also a memorization of exactly 1, and influences below the paper's first bin."""
    assert script("figure3.py", "base").returncode == 0
    found = open_estimates(open_run(runs["base"]).paths)
    rows = rows_of(tmp_path / "out/figure3.csv")
    for quantity, values in (("memorization", found.scores.memorization), ("influence", found.pairs.influence)):
        mine = [row for row in rows if row["quantity"] == quantity]
        assert sum(int(row["count"]) for row in mine) == np.isfinite(values).sum()
        assert [row["from"] for row in mine[1:]] == [row["to"] for row in mine[:-1]]
    assert (found.scores.memorization == 1).any()
    assert min(found.pairs.influence) < 0.15


def test_published_histograms_have_no_gap() -> None:
    for quantity, dataset in (("memorization", "imagenet"), ("influence", "cifar100"), ("influence", "mnist")):
        table = rows_of(ROOT / "analysis/published/histograms.csv")
        rows = [row for row in table if (row["quantity"], row["dataset"]) == (quantity, dataset)]
        assert len(rows) > 10
        assert [row["from"] for row in rows[1:]] == [row["to"] for row in rows[:-1]]


@pytest.mark.long
def test_figure4_shows_the_tests_that_are_influenced_most(runs: Runs, script: Script, tmp_path: Path) -> None:
    """Four each, as in the paper, whether or not the pairs are discoveries."""
    assert script("figure4.py", "half", "--rows", "2").returncode == 0
    merged = open_merged(open_run(runs["half"]).paths)
    right, seen = (np.concatenate([part for _, (part,) in merged.bands(name)]) for name in ("test_correct", "mask"))
    labels, test_labels = merged.examples["train_label"], merged.examples["test_label"]
    pairs = open_estimates(merged.paths).pairs.passing()
    rates = {(i, j): rate for i, j, rate in zip(pairs.train, pairs.test, pairs.rate, strict=True) if rate <= 0.05}
    rows = rows_of(tmp_path / "out/figure4.csv")
    drawn = [(int(row["train"]), int(row["test"])) for row in rows]
    said = [f"{rates[pair]:.2g}" if pair in rates else "" for pair in drawn]
    assert [row["false discovery rate"] for row in rows] == said
    for train in dict.fromkeys(int(row["train"]) for row in rows):
        assert train in {i for i, _ in rates}
        inside = seen[train]
        everything = right[:, inside].mean(1) - right[:, ~inside].mean(1)
        best = np.sort(everything[test_labels == labels[train]])[::-1][:4]
        mine = [row for row in rows if int(row["train"]) == train]
        assert [float(row["influence"]) for row in mine] == pytest.approx(best.tolist(), abs=1e-4)


def test_the_share_that_the_influenced_tests_explain_has_an_error() -> None:
    """As a simulation of many such runs says."""
    share_explained = load("table_high_influence").share_explained
    random, found = np.random.default_rng(0), []
    for _ in range(300):
        some = random.normal([[0.9], [0.7]], 0.01, (2, 50))  # the influenced tests, before and after
        rest = random.normal([[0.81], [0.80]], 0.01, (2, 50))
        whole = [Condition("", False, 0, 0.1 * a + 0.9 * b) for a, b in zip(some, rest, strict=True)]
        parts = [Condition("", False, 0, a) for a in some]
        found.append(share_explained(0.1, tuple(whole), tuple(parts)))
    ratios, errors = np.array(found).T
    assert ratios.mean() == pytest.approx(0.02 / 0.029, abs=0.01)
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.15)


def test_the_page_says_what_was_not_made(tmp_path: Path) -> None:
    paper = load("paper")
    for name in paper.PARTS:
        (tmp_path / f"{name}.csv").write_text("what,value\na,1\n")
        (tmp_path / f"{name}.png").write_bytes(b"")
    page = paper.write_page(tmp_path, "4,000 images.", {"figure4": "no pair <here>"}).read_text()
    assert "<strong>Not made.</strong> no pair &lt;here&gt;" in page
    assert "figure4.png" not in page  # of an earlier run
    assert page.count("<img") == len(paper.PARTS) - 1
    assert 'alt="Figure 2: marginal utility. Accuracy without' in page
    assert '<th scope="col">what</th>' in page
    assert "http" not in page


def test_all_experiments_are_valid_and_take_no_more_trials_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper, launched = load("paper"), list[Path]()

    def memexp(*words: Any) -> None:
        if words[0] == "launch":
            launched.append(Path(words[1]))
        elif words[0] == "select":
            Path(words[-1]).write_text(json.dumps({"nothing": [], "memorization >= 0.25": [1, 2, 3]}))

    monkeypatch.setattr(paper, "memexp", memexp)
    base = yaml.safe_load(paper.BASE.read_text())
    base["subsets"]["trials"] = 30
    runs = paper.train(tmp_path, base, 2)
    (tmp_path / "specs/features.npz").touch()
    trials = {}
    for path in launched:
        read = read_file(path)
        files = read.files if isinstance(read, SweepFile) else [read]
        trials |= {file.spec.name: file.spec.subsets.trials for file in files}
    assert set(runs) - {"long_tail"} <= set(trials)
    assert trials["reference"] == trials["mixture"] == 30
    assert trials["mixture_removal"] == 3 * 10  # nothing, the list and its control, five times the repeats
    assert trials["removal"] == 3 * 2
    assert max(trials.values()) == 30


def test_the_headline_tells_signs_by_their_errors(tmp_path: Path) -> None:
    headline = load("headline")
    write = {
        "contrast": "run,difference,standard error\nmixture,-8.9,0.2\nfashion_1000,0.7,0.2\nno_tail,0.2,0.1\n",
        "long_tail": "run,above by,se\na,0.3,0.001\nb,0.02,0.001\n",
        "figure2": "removed,minus control,standard error\nmemorization >= 0.1,-0.031,0.002\nhigh influence,-0.1,0.1\n",
        "table_high_influence": 'what,value,standard error\n"drop, all tests",0.020,0.003\n'
        '"drop of the random set, all tests",0.002,0.004\n',
        "figure7": "quantity,run,threshold,jaccard,jaccard by chance\nmemorization,second,0.25,0.937,0.944\n",
    }
    for name, text in write.items():
        (tmp_path / f"{name}.csv").write_text(text)
    found = [row[2:] for row in headline.tell(tmp_path)]
    assert found == [
        ("-8.90 points", "0.20", "agrees"),
        ("+0.70 points", "0.20", "does not agree"),
        ("+0.20 points", "0.10", "open"),
        ("-3.10 points", "0.20", "agrees"),
        ("+2.00 points", "0.10", "agrees"),
        ("+1.80 points", "0.50", "agrees"),
        ("0.937", "", ""),
    ]
    assert [tuple(row.values())[2:] for row in rows_of(tmp_path / "headline.csv")] == found


def test_floats_of_any_range_are_drawn_on_the_range_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([-3.0, -1.0, 1.0, 5.0], np.float32).reshape(1, 2, 2, 1)
    run = SimpleNamespace(load_data=lambda: SimpleNamespace(x_train=x, x_test=2 * x))
    data, look = load("common").read_images(run)
    assert data.x_train is x
    assert look.x_train.ravel().tolist() == [0, 63, 127, 255]
    assert look.x_test.ravel().tolist() == [0, 31, 159, 255]
    assert "-3 is black, 5 is white" in capsys.readouterr().err


def load(name: str) -> Any:
    """A script as a module."""
    sys.path.insert(0, str(ROOT / "analysis"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.mark.long
def test_controls_tell_random_labels_from_others(runs: Runs, script: Script, tmp_path: Path) -> None:
    """Nine in ten labels are wrong: nearly all of these are memorized, and few of the real ones as much."""
    assert script("controls.py", "base", "--null", "null").returncode == 0
    found = {row["what"]: row["value"] for row in rows_of(tmp_path / "out/controls.csv")}
    null, base = open_estimates(open_run(runs["null"]).paths), open_estimates(open_run(runs["base"]).paths)
    flipped = open_merged(open_run(runs["null"]).paths).examples["train_label_flipped"]
    threshold = float(found["memorization that 95 % of them reach"])
    assert np.mean(null.scores.memorization[flipped] >= threshold - 1e-4) == pytest.approx(0.95, abs=0.01)
    assert int(found["other examples that reach it"]) == int((base.scores.memorization >= threshold - 1e-4).sum())
    assert float(found["their memorization, mean"]) > 0.7
    assert float(found["other examples that reach it, share"]) < 0.3


@pytest.mark.long
@pytest.mark.parametrize(("name", "flipped"), [("base", 15), ("linear", 0)])
def test_controls_without_random_labels_are_those_that_need_none(
    name: str, flipped: int, script: Script, tmp_path: Path
) -> None:
    done = script("controls.py", name)
    assert done.returncode == 0, done.stderr
    assert f"{flipped} examples of" in done.stderr
    found = {row["what"]: row["value"] for row in rows_of(tmp_path / "out/controls.csv")}
    assert found["finished trials"] == "40"
    assert 0.5 < float(found["accuracy on their own training examples, mean"]) <= 1
    assert -1 <= float(found["rank correlation of memorization and fractional score"]) <= 1
    assert not any("random" in what for what in found)
    assert not (tmp_path / "out/controls.png").exists()


@pytest.mark.long
def test_ratios_are_sorted_and_agree_with_themselves(script: Script, tmp_path: Path) -> None:
    assert script("ratios.py", "base", "half").returncode == 0
    first, last = rows_of(tmp_path / "out/ratios.csv")
    assert (first["ratio"], last["ratio"]) == ("0.5", "0.7")
    assert float(last["jaccard at 0.25 with it"]) == 1
    assert 0 < float(first["jaccard at 0.25 with it"]) < 1


@pytest.mark.long
def test_long_tail_counts_what_each_trial_saw(runs: Runs, script: Script, tmp_path: Path) -> None:
    assert script("long_tail.py", "tail").returncode == 0
    (row,) = rows_of(tmp_path / "out/long_tail.csv")
    store = open_run(runs["tail"]).store()
    examples, rows = store.examples(), {"singletons": [], "unfitted": [], "seen 1": [], "bound": []}
    share = np.tile(1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum() / 3, 3)
    for block in range(store.layout.n_blocks):
        content = store.read_block(block)
        for mask, fit, right in zip(content["mask"], content["train_correct"], content["test_correct"], strict=True):
            kinds = examples["train_subpopulation"]
            seen = np.array([(kinds[mask] == kind).sum() for kind in range(36)])
            alone = [i for i in np.flatnonzero(mask) if seen[kinds[i]] == 1]
            once = [right[j] for j in range(len(right)) if seen[examples["test_subpopulation"][j]] == 1]
            unfitted = sum(not fit[i] for i in alone)
            tau = (share**2 * (1 - share) ** 62).sum() / (share * (1 - share) ** 62).sum()
            for name, value in zip(
                rows,
                (len(alone), unfitted, np.mean(once), 2 / 3 * share[seen == 0].sum() + tau * unfitted),
                strict=True,
            ):
                rows[name].append(value)
    for name, values in rows.items():
        assert float(row[name]) == pytest.approx(np.mean(values), abs=0.051), name
    assert float(row["memorization"]) == pytest.approx(np.nanmean(read_memorization(runs["tail"])), abs=1e-4)


@pytest.mark.long
def test_irrelevant_bits_come_back_from_kept_weights(runs: Runs, script: Script, tmp_path: Path) -> None:
    """Of a linear network both attacks give the bit that raises the label's logit over all others, as ten lines say."""
    assert script("irrelevant.py", "cube", "--examples", 100).returncode == 0
    (row,) = rows_of(tmp_path / "out/irrelevant.csv")
    run = open_run(runs["cube"])
    data, mask = run.load_data(), run.store().read_block(0)["mask"][0]
    (weights,) = (value for value in load_file(weights_path(run.paths, 0)).values() if value.ndim == 2)
    alone = [i for i in np.flatnonzero(mask) if (data.y_train[mask] == data.y_train[i]).sum() == 1]
    assert int(row["examples"]) == len(alone)
    others = weights - weights.mean(0)
    simple = [(np.sign(others[data.y_train[i]]) == data.x_train[i, 0, 0]).mean() for i in alone]
    for attack in ("sign", "ascent"):
        assert float(row[attack]) == pytest.approx(np.mean(simple), abs=0.05)
        assert float(row[attack]) > 0.75
    assert float(row["unseen"]) == 0


def read_memorization(root: Path) -> np.ndarray:
    return open_estimates(open_run(root).paths).scores.memorization


@pytest.mark.long
def test_pairs_that_are_noise_are_not_drawn(runs: Runs, script: Script) -> None:
    done = script("figure4.py", "base")
    sure = open_estimates(open_run(runs["base"]).paths).pairs.passing().rate <= 0.05
    assert done.returncode == (0 if sure.any() else 2)
    assert ("train more trials" in done.stderr) != sure.any()


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("figure1.py", "removal"), "is a run of 'design: remove', which estimates nothing"),
        (("figure1.py", "nowhere"), "nowhere does not exist; give the folder that `memexp launch` made"),
        (("figure2.py", "base"), "conditions are those of 'design: remove'"),
        (("figure2.py", "failed"), "has no finished trial of 'nothing', 'memorization >= 0.2', "),
        (("figure2.py", "removal", "--published", "cifar"), "the dataset can be imagenet, cifar100, mnist"),
        (("figure3.py", "base", "--published", "mnist"), "the dataset can be cifar100, imagenet"),
        (("figure1.py", "linear"), "are 64 features each, which cannot be drawn"),
        (("figure1.py", "base", "--classes", "0"), "0 is too few; give 1 or more"),
        (("figure7.py", "base", "other"), "examples"),
        (("figure7.py", "base", "half", "base"), "is among the others, and agrees with itself"),
        (("table_high_influence.py", "other", "removal"), "are over different data (x_train, y_train differ)"),
        (("table_last_layer.py", "base", "other"), "are over different data (y_train differ)"),
        (("table_last_layer.py", "base", "half"), "is on the same inputs as"),
        (("controls.py", "other", "--null", "null"), "are over different data (x_train differ)"),
        (("controls.py", "base", "--null", "base"), "15 examples with random labels are too few"),
        (("controls.py", "linear", "--null", "linear"), "has no random labels; give --null a run"),
        (("duplicates.py", "base", "--correlation", "1.5"), "use more than 0, at most 1"),
        (("duplicates.py", "base", "--correlation", "1"), "no training and test image correlate at 1; lower"),
        (("contrast.py", "base"), "1 folders: give pairs"),
        (("contrast.py", "base", "removal"), "has 3 lists with a random control; give a removal of one list"),
        (("irrelevant.py", "tail"), "its examples are no bits; give runs of `source: hypercube`"),
        (("long_tail.py", "base"), "the frequencies of its subpopulations are not known"),
        (("ratios.py", "base", "base"), "all runs have the ratio 0.7; give runs of several ratios"),
        (("ratios.py", "base", "other"), "are over different data"),
        (("ratios.py", "base", "small"), "differ in more than the ratio: model.hidden ([8], [64])"),
    ],
)
def test_runs_that_do_not_fit_are_refused(words: tuple[str, ...], said: str, script: Script) -> None:
    done = script(*words)
    assert done.returncode == (1 if "failed" in words else 2), done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_reports_show_a_comparison_and_what_removal_costs(runs: Runs, memexp: Callable[..., Any]) -> None:
    done = memexp("report", runs["base"], "--compare", runs["half"], "--removal", runs["removal"])
    assert done.returncode == 0, done.stderr
    page = (runs["base"] / "report/index.html").read_text()
    assert f"Compared with {runs['half'].name}<" in page
    assert "Influence, agreement over the threshold" in page
    assert "<td>memorization ≥\u00a00.5</td>" in page
    assert page.count("<svg") == 3 + 4 + 1
    assert "trained otherwise" not in done.stderr + page
    done = memexp("report", runs["base"], "--removal", runs["failed"])
    page = (runs["base"] / "report/index.html").read_text()
    for text in (done.stderr, page):
        assert f"{runs['failed']} was trained otherwise than {runs['base']}: training.lr (0.05, 1e+30)" in text
    assert memexp("report", runs["removal"]).returncode == 0
    page = (runs["removal"] / "report/index.html").read_text()
    run = open_run(runs["removal"])
    whole = read_conditions(run.spec, run.store())[0]
    assert f"<td>{100 * whole.mean:.2f} ±\u00a0{100 * whole.deviation:.2f}\u00a0%</td>" in page
    assert "Most memorized" not in page
    for wrong in (("base", "--removal", "other"), ("removal", "--compare", "base"), ("base", "--compare", "other")):
        refused = memexp("report", *(runs.get(word, word) for word in wrong))
        assert refused.returncode == 2, wrong
        assert "Traceback" not in refused.stderr


@pytest.mark.long
def test_a_table_refuses_a_removal_of_other_examples(runs: Runs, script: Script) -> None:
    """The estimates have changed since the lists were selected."""
    merged = open_merged(open_run(runs["base"]).paths)
    estimate(merged, Selection(influence=0.3))
    try:
        refused = [
            script("table_high_influence.py", "base", "removal"),
            script("duplicates.py", "base", "--removal", "removal", "--correlation", "0.85"),
        ]
    finally:
        estimate(merged, Selection(influence=0.05, memorization=0.1))
    for done in refused:
        assert done.returncode == 2
        assert "other examples as its list 'high influence'" in done.stderr


@pytest.mark.long
def test_an_incomplete_run_is_refused_unless_accepted(runs: Runs, script: Script, tmp_path: Path) -> None:
    root = shutil.copytree(runs["base"], tmp_path / "grown")
    run = open_run(root)
    extend_store(run.paths.trials, 50)
    spec = yaml.safe_load(run.paths.spec.read_text())
    spec["subsets"]["trials"] = 50
    run.paths.spec.write_text(yaml.safe_dump(spec))
    done = script("figure1.py", root)
    assert done.returncode == 3
    assert "10 trials are missing" in done.stderr
    assert f"memexp resume {root}" in done.stderr
    assert script("figure1.py", root, "--incomplete").returncode == 0
