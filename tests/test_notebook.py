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
from memexp.answers import Answers
from memexp.errors import Incomplete, InputError
from memexp.report.pictures import pair_rows
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
    assert table["fdr"].is_monotonic_increasing
    assert (table["train_class_name"] == table["test_class_name"]).all()
    data = view.to_xarray("pairs", fdr=1)
    assert data.sizes == {"pair": len(pairs)}
    assert {"train", "test"} <= set(data.coords)
    np.testing.assert_array_equal(data.influence, pairs.influence)


def test_pairs_that_are_no_discoveries_are_left_out_unless_they_are_asked_for(view: memexp.RunView) -> None:
    pairs = view.estimates.pairs.passing()
    sure = int((pairs.fdr <= 0.05).sum())
    assert 0 < sure < len(pairs)
    assert len(view.pairs()) == view.to_xarray("pairs").sizes["pair"] == sure
    assert (view.pairs()["fdr"] <= 0.05).all()
    assert f"{sure} pairs of high influence at a false discovery rate of 0.05, {len(pairs)} at any" in str(
        view._repr_html_()
    )
    assert len(view.pairs(fdr=0.2)) == int((pairs.fdr <= 0.2).sum()) > sure
    drawn = sum(bool(each.get_images()) for each in view.plot_pairs(rows=9)[:, 0])
    assert drawn == len(np.unique(pairs.train[pairs.fdr <= 0.05]))


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


def test_pairs_are_drawn_row_by_row(view: memexp.RunView) -> None:
    pairs = view.estimates.pairs.passing().by_certainty()
    rows = pair_rows(pairs, 3)
    assert rows[0].fdr[0] == pairs.fdr.min()
    assert len({row.train[0] for row in rows}) == 3
    grid = view.plot_pairs(rows=3, fdr=1)
    assert grid.shape == (3, 5)
    for line, row in zip(grid, rows, strict=True):
        assert f"{row.influence[0]:.2f}\nFDR {row.fdr[0]:.2g}" in line[1].get_title()
        np.testing.assert_array_equal(line[0].get_images()[0].get_array(), view.data.x_train[row.train[0], ..., 0])
        np.testing.assert_array_equal(line[1].get_images()[0].get_array(), view.data.x_test[row.test[0], ..., 0])
    assert view.plot_pairs(Figure().subplots(1, 3)).shape == (1, 3), "one row of Axes is a row"
    many = view.plot_pairs(rows=len(np.unique(pairs.train)) + 1, fdr=1)
    assert not many[-1, 0].get_images(), "Axes without a pair stay empty"


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
