"""Runs in a notebook: docs/notebook.md from top to bottom, tables and plots against the stores, a light import."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import memexp
from memexp.errors import Incomplete, InputError
from memexp.notebook.answers import Answers
from memexp.report.pictures import pair_rows, rate_in_words
from memexp.runs.run import Run
from memexp.store.commit import commit
from memexp.store.trials import DONE, FAILED
from tests.conftest import ROOT, untrain

PAGE = ROOT / "docs/notebook.md"


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield
    pyplot.close("all")


@pytest.fixture
def view(run_copy: Run) -> memexp.RunView:
    return memexp.open_run(run_copy.paths.root)


@pytest.mark.long
def test_the_document_runs(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("digits", "digits_wide"):
        shutil.copytree(trained_run, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) > 5
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert (tmp_path / "pairs.png").stat().st_size > 1000
    assert names["trials"].sizes == {"trial": 40, "train": 300, "test": 100}
    assert names["suspects"]["flipped"].sum() > 10, "flipped labels are the most memorized"


def test_every_public_name_is_in_the_document() -> None:
    text = PAGE.read_text()
    for name in vars(memexp.RunView) | vars(Answers):
        if not name.startswith("_") and name not in ("merged", "run", "data"):
            assert name in text


@pytest.mark.process
def test_importing_memexp_is_light() -> None:
    code = (
        "import sys, memexp; heavy = {'torch', 'zarr', 'numpy', 'pandas', 'xarray', 'matplotlib', 'pydantic'}; "
        "before = heavy & set(sys.modules); from memexp import open_run; "
        "print(sorted(before), 'torch' in sys.modules, 'matplotlib' in sys.modules, 'open_run' in dir(memexp))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False False True\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'memexp' has no attribute 'opn_run'"):
        memexp.opn_run  # type: ignore[attr-defined]  # noqa: B018


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run directory \(it has no manifest.json\)"):
        memexp.open_run(str(tmp_path))


def test_a_run_without_trials_can_be_looked_at(new_run: Callable[..., Run]) -> None:
    view = memexp.open_run(new_run().paths.root)
    assert "0 trials done, 0 failed, 20 missing; 200 training and 60 test examples; memexp_mlp" in repr(view)
    assert "not estimated yet; .estimates does it" in view._repr_html_()
    assert view.status.missing == 20
    with pytest.raises(Incomplete, match="no finished trial to merge"):
        _ = view.estimates
    assert view.to_xarray("trials").sizes["trial"] == 0


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += [data.strip()] if data.strip() else []


def test_what_a_notebook_shows_is_true_and_escaped(trained_run: Path, tmp_path: Path) -> None:
    root = tmp_path / "<script>&amp;"
    shutil.copytree(trained_run, root)
    view = memexp.open_run(root)
    cells = Cells()
    cells.feed(view._repr_html_())
    assert "script" not in cells.tags
    facts = dict(zip(cells.text[1::2], cells.text[2::2], strict=True))
    assert (cells.text[0], facts["folder"], facts["model"]) == ("tiny", str(root), "memexp_mlp")
    assert facts["data"] == "digits: 300 training and 100 test examples, 10 classes"
    assert facts["trials"] == "40 trials done, 0 failed, 0 missing"
    accuracy = view.merged.per_trial("test_accuracy").mean()
    assert f"test {accuracy:.4f} (mean of the trials done)" in facts["accuracy"]
    high = int((view.memorization >= 0.25).sum())
    assert f"mean {view.memorization.mean():.4f}, {high} examples at 0.25 or more" in facts["memorization"]
    assert "(40 trials)" in facts["memorization"]


@pytest.mark.long
def test_showing_a_run_computes_and_writes_nothing(view: memexp.RunView) -> None:
    shutil.rmtree(view.run.paths.merged)
    shutil.rmtree(view.run.paths.estimates)
    assert "not estimated yet" in view._repr_html_()
    assert repr(view).startswith("RunView('/")
    assert not view.run.paths.merged.exists()
    assert view.estimates.n_trials == 40, "made when it is asked for"
    assert view.run.paths.estimates.exists()


def test_the_table_of_examples_is_the_store_s(view: memexp.RunView) -> None:
    table = view.to_pandas()
    examples, data = view.merged.examples, view.data
    assert (table.index.name, len(table)) == ("train", 300)
    np.testing.assert_array_equal(table["memorization"], view.memorization)
    np.testing.assert_array_equal(table["label"], data.y_train)
    np.testing.assert_array_equal(table["flipped"], examples["train_label_flipped"])
    flipped = table[table["flipped"]]
    assert (flipped["class_name"] != flipped["original_class_name"]).all()
    assert list(table["class_name"]) == [data.classes[label] for label in data.y_train]


def test_the_table_of_pairs_is_the_store_s(view: memexp.RunView) -> None:
    table, pairs = view.pairs(fdr=1), view.estimates.pairs.passing().by_certainty()
    np.testing.assert_array_equal(table[["train", "test"]].to_numpy(), np.stack([pairs.train, pairs.test], 1))
    assert table["fdr_soft"].is_monotonic_increasing
    assert view.pairs(fdr=1, test="accuracy")["fdr"].is_monotonic_increasing
    assert (table["train_class_name"] == table["test_class_name"]).all()
    data = view.to_xarray("pairs", fdr=1)
    assert data.sizes == {"pair": len(pairs)}
    assert {"train", "test"} <= set(data.coords)
    np.testing.assert_array_equal(data.influence, pairs.influence)


@pytest.mark.long
def test_pairs_that_are_no_discoveries_are_left_out_unless_they_are_asked_for(view: memexp.RunView) -> None:
    pairs = view.estimates.pairs.passing()
    assert pairs.judged_by == "margins"
    sure = int((pairs.rate <= 0.05).sum())
    assert len(view.pairs(test="accuracy")) == int((pairs.fdr <= 0.05).sum())
    assert 0 < sure < len(pairs)
    assert len(view.pairs()) == view.to_xarray("pairs").sizes["pair"] == sure
    assert (view.pairs()["fdr_soft"] <= 0.05).all()
    assert f"{sure} pairs of high influence at a false discovery rate of 0.05, {len(pairs)} at any" in str(
        view._repr_html_()
    )
    assert len(view.pairs(fdr=0.2)) == int((pairs.rate <= 0.2).sum()) > sure
    drawn = sum(bool(each.get_images()) for each in view.plot_pairs(rows=9)[:, 0])
    assert drawn == len(np.unique(pairs.train[pairs.rate <= 0.05]))


def test_estimates_can_be_made_again_from_the_trials_as_xarray(view: memexp.RunView) -> None:
    """The definition in three lines of xarray, against the estimator."""
    trials, estimates = view.to_xarray("trials"), view.to_xarray()
    right = trials.train_correct.astype(float)
    found = right.where(trials["mask"]).mean("trial") - right.where(~trials["mask"]).mean("trial")
    np.testing.assert_allclose(found, estimates.memorization, atol=1e-6)
    assert list(found.coords["train"]) == list(range(300))
    assert set(estimates.dims) == {"train"}
    assert {"label", "class_name", "source_index", "flipped"} <= set(estimates.coords)


def test_trials_that_are_not_done_are_left_out(view: memexp.RunView) -> None:
    store = view.run.store(writable=True)
    block = {name: values.copy() for name, values in store.read_block(1).items()}
    block["status"][3] = FAILED
    numbers = list(store.layout.block(1))
    untrain(view.run, 1)
    commit(view.run.paths, store, 1, block, trained=numbers, failures={numbers[3]: "lost"}, seconds=1.0, made_by={})
    trials = view.to_xarray("trials")
    failed = store.layout.block(1)[3]
    assert (store.status() == DONE).sum() == 39 == trials.sizes["trial"]
    assert failed not in trials.trial.values
    last = trials.sel(trial=39).train_correct.values
    np.testing.assert_array_equal(last, store.read_block(store.layout.n_blocks - 1)["train_correct"][-1])


def test_a_run_on_chosen_subsets_estimates_nothing(run_copy: Run) -> None:
    """As on the command line: differences of chosen subsets are no memorization."""
    spec = run_copy.spec.model_copy(update={"subsets": run_copy.spec.subsets.model_copy(update={"design": "remove"})})
    view = memexp.RunView(Run(run_copy.paths, spec, run_copy.manifest))
    for ask in (view.estimate, view.report, view.to_pandas, lambda: view.show(0), lambda: view.memorization):
        with pytest.raises(InputError, match="is a run of 'design: remove', which estimates nothing"):
            ask()
    assert view.plot_accuracies().has_data()


def test_another_word_is_refused(view: memexp.RunView) -> None:
    with pytest.raises(InputError, match=r"to_xarray\('tirals'\): there are 'estimates', 'pairs' and 'trials'"):
        view.to_xarray("tirals")  # type: ignore[arg-type]


@pytest.mark.parametrize(("library", "call"), [("pandas", "to_pandas"), ("pandas", "pairs"), ("xarray", "to_xarray")])
def test_a_missing_library_is_named(
    view: memexp.RunView, library: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"needs {library}, which is not installed; run `pip install 'memexp\[note"):
        getattr(view, call)()


def test_plots_draw_on_the_axes_given_and_return_them(view: memexp.RunView) -> None:
    for draw in (view.plot_memorization, view.plot_in_out, view.plot_accuracies, lambda a: view.plot_against(view, a)):
        axes = Figure().subplots()
        assert draw(axes) is axes
        assert axes.has_data()
        axes.figure.canvas.draw()
    assert isinstance(view.plot_memorization(), Axes)
    assert view.plot_against(view).get_xlabel() == "tiny"


def test_each_example_lies_in_one_field_and_few_trials_leave_no_stripes(view: memexp.RunView) -> None:
    axes = view.plot_in_out(Figure().subplots())
    mesh = axes.collections[0]
    counts = np.ma.filled(mesh.get_array(), 0).reshape(len(mesh.get_coordinates()) - 1, -1)
    assert counts.sum() == len(view.memorization)
    assert counts.shape[1] == 1 + view.estimates.scores.out_count.max() < 25
    assert (counts.sum(0) > 0).sum() == len(np.unique(view.estimates.scores.out_accuracy))
    assert [other.get_ylabel() for other in axes.figure.axes if other is not axes] == ["training examples"]


def test_the_gallery_shows_the_most_memorized(view: memexp.RunView) -> None:
    grid = Figure().subplots(2, 3)
    assert view.plot_most_memorized(grid) is grid
    best = int(np.argmax(view.memorization))
    values = sorted(view.memorization, reverse=True)
    assert [place.get_title().split(": ")[1] for place in grid.ravel()] == [f"{value:.2f}" for value in values[:6]]
    (shown,) = grid[0, 0].get_images()
    same = [np.array_equal(shown.get_array(), view.data.x_train[i, ..., 0]) for i in range(300)]
    assert view.memorization[np.flatnonzero(same)[0]] == view.memorization[best]
    assert view.plot_most_memorized(count=10).shape == (2, 8)


@pytest.mark.long
def test_pairs_are_drawn_row_by_row(view: memexp.RunView) -> None:
    pairs = view.estimates.pairs.passing().by_certainty()
    rows = pair_rows(pairs, 3)
    assert rows[0].rate[0] == pairs.rate.min()
    assert len({row.train[0] for row in rows}) == 3
    grid = view.plot_pairs(rows=3, fdr=1)
    assert grid.shape == (3, 5)
    for line, row in zip(grid, rows, strict=True):
        assert f"{row.influence[0]:.2f}\n{rate_in_words(row.rate[0])}" in line[1].get_title()
        np.testing.assert_array_equal(line[0].get_images()[0].get_array(), view.data.x_train[row.train[0], ..., 0])
        np.testing.assert_array_equal(line[1].get_images()[0].get_array(), view.data.x_test[row.test[0], ..., 0])
    assert view.plot_pairs(Figure().subplots(1, 3)).shape == (1, 3), "one row of Axes is a row"
    many = view.plot_pairs(rows=len(np.unique(pairs.train)) + 1, fdr=1)
    assert not many[-1, 0].get_images(), "Axes without a pair stay empty"


@pytest.mark.long
def test_runs_of_other_data_are_not_drawn_against_each_other(
    view: memexp.RunView, new_run: Callable[..., Run], memexp: Callable[..., Any]
) -> None:
    import memexp as package

    other = new_run()
    memexp("resume", other.paths.root, "--device", "cpu", "--workers", 0)
    with pytest.raises(InputError, match="have other train labels; compare runs of the same data"):
        view.plot_against(package.open_run(other.paths.root))


def test_the_extra_is_declared() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {re.split("[>=]", name)[0] for name in project["optional-dependencies"]["notebook"]}
    assert extra == {"pandas", "xarray"}
    assert json.dumps(project["dependencies"]).count("pandas") == 0


@pytest.mark.long
def test_an_example_is_shown_with_what_is_told_of_it_elsewhere(view: memexp.RunView) -> None:
    i = int(np.flatnonzero(view.merged.examples["train_label_flipped"])[0])
    shown = view.show(i)
    facts = dict(shown.facts)
    scores, row = view.estimates.scores, view.to_pandas().loc[i]
    assert facts["label"] == row["class_name"]
    assert facts["label before it was flipped"] == row["original_class_name"]
    low, high = scores.memorization_low[i], scores.memorization_high[i]
    assert facts["memorization"].startswith(f"{row['memorization']:.3f} [{low:.3f}, {high:.3f}]")
    assert facts["accuracy when out"] == f"{row['out_accuracy']:.3f} of {row['out_count']} trials"
    trials = view.to_xarray("trials")
    out = ~trials["mask"].sel(train=i).values
    said = np.bincount(trials["train_predicted"].sel(train=i).values[out])
    assert facts["said by trials without it"].startswith(f"{said.argmax()}: {100 * said.max() / out.sum():.0f} %")
    assert repr(shown).splitlines()[1] == f"  label: {row['class_name']}"
    cells = Cells()
    cells.feed(shown._repr_html_())
    assert cells.tags.count("img") == 1
    assert f"train example {i}: {row['class_name']}" in cells.text
    test = dict(view.show(7, "test").facts)
    assert test["accuracy"] == f"{trials.test_correct.sel(test=7).mean().item():.3f} of 40 trials"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda view: view.show(300), "300 is no train example; they are 0 to 299"),
        (lambda view: view.show(True), "True is no train example"),
        (lambda view: view.show(3, "tests"), "no 'tests'"),
        (lambda view: view.influences(), "give either train or test"),
        (lambda view: view.influences(train=1, test=1), "give either train or test"),
        (lambda view: view.influences(test=100), "100 is no test example; they are 0 to 99"),
        (lambda view: view.plot_class("cat"), "'cat' is no class; they are 0, 1"),
        (lambda view: view.plot_class(10), "10 is no class"),
    ],
)
def test_examples_and_classes_that_are_not_there_are_named(view: memexp.RunView, call: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        call(view)


def test_influences_of_one_example_are_those_of_a_loop(view: memexp.RunView) -> None:
    trials = view.to_xarray("trials")
    mask, right = trials["mask"].values, trials.test_correct.values

    def loop(i: int, j: int) -> float:
        return float(right[mask[:, i], j].mean() - right[~mask[:, i], j].mean())

    i = int(view.memorization.argmax())
    on_tests, of_trains = view.influences(train=i), view.influences(test=7)
    assert (len(on_tests), len(of_trains)) == (100, 300)
    np.testing.assert_allclose(on_tests.influence, [loop(i, j) for j in on_tests.example], atol=1e-6)
    np.testing.assert_allclose(of_trains.influence, [loop(k, 7) for k in of_trains.example], atol=1e-6)
    assert (np.diff(of_trains.influence) <= 0).all()
    pairs = view.estimates.pairs
    listed = {(k, j): rate for k, j, rate in zip(pairs.train, pairs.test, pairs.rate, strict=True)}
    for found, key in ((on_tests, lambda j: (i, j)), (of_trains, lambda k: (k, 7))):
        for example, rate in zip(found.example, found.fdr, strict=True):
            assert listed.get(key(example), np.nan) == pytest.approx(rate, nan_ok=True)
    assert on_tests.to_pandas()["example"].tolist() == on_tests.example.tolist()
    text = repr(on_tests)
    assert text.startswith(f"influence of {view._names('train')[i]}, train #")
    assert "84 between" in text
    assert len(text.splitlines()) == 18


def test_the_plot_of_one_class_shows_its_most_memorized(view: memexp.RunView) -> None:
    grid = view.plot_class("3", Figure().subplots(1, 4))
    threes = np.sort(view.memorization[view.merged.examples["train_label"] == 3])[::-1]
    assert [place.get_title() for place in grid.ravel()] == [f"3: {value:.2f}" for value in threes[:4]]
    assert view.plot_class(3, count=10).shape == (2, 8)


def test_what_is_below_a_run_shows_itself_in_short(view: memexp.RunView) -> None:
    for part in (view.estimates, view.estimates.scores, view.estimates.pairs, view.merged, view.data):
        assert len(repr(part)) < 1500, type(part)
        assert "..." not in repr(part)
    low, high = view.memorization.min(), view.memorization.max()
    assert f"memorization=float32 (300,), {low:.4g} to {high:.4g}" in repr(view.estimates.scores)
    assert "scores=Memorization (300,)" in repr(view.estimates)
    cells = Cells()
    cells.feed(view.estimates.pairs._repr_html_())
    assert cells.text[0] == "Pairs"
    assert "influence" in cells.text


@pytest.mark.long
def test_groups_features_and_numbers_are_shown_too(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    x = draws.normal(size=(60, 3))
    y = (x[:, 0] > 0).astype(int)
    spec = {
        "name": "groups",
        "model": {"arch": "memexp_mlp", "hidden": [8]},
        "training": {"epochs": 5, "batch_size": 8, "lr": 0.1},
        "subsets": {"ratio": 0.5, "trials": 20, "groups": "groups"},
    }
    data = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:], "groups": np.arange(40) // 4}
    view = memexp.launch(spec, data=data, runs=tmp_path, workers=0)
    facts = dict(view.show(5).facts)
    assert facts["group"] == "group 1 (4 examples)"
    assert facts["furthest from the mean"].startswith("feature ")
    assert len(view.influences(test=0)) == 10, "one of each group"
    assert "with its group 1 (4 examples) on 20 test examples" in repr(view.influences(train=5))
    (tmp_path / "own.py").write_text(
        "def sizes():\n    return 20, 5\n\ndef trial(mask, seed):\n    return mask * 1.0 + seed % 7, [seed % 5] * 5\n"
    )
    own = {"name": "own", "trial": {"file": str(tmp_path / "own.py")}, "subsets": {"ratio": 0.5, "trials": 20}}
    numbers = memexp.launch(own, runs=tmp_path, workers=0)
    assert dict(numbers.show(3).facts)["mean score when in"].endswith("of 10 trials")
    assert numbers.show(3).picture is None
    trials = numbers.to_xarray("trials")
    mask, score = trials["mask"].values[:, 3], trials.test_score.values[:, 0]
    assert numbers.influences(train=3).influence[0] == pytest.approx(score[mask].mean() - score[~mask].mean(), abs=1e-6)
