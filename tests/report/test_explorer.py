"""All examples in a browser: by test example too, what trials say instead, figures that filter, what is taken away."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from memexp.analysis.estimates import Estimates, estimate, open_estimates
from memexp.analysis.merged import Merged, open_merged
from memexp.analysis.pairs import Selection
from memexp.report.cards import Source
from memexp.report.report import write_report
from memexp.runs.run import Run, open_run
from memexp.spec.index_sets import LABELS, read_sets, unpack
from tests.conftest import in_process, made_once
from tests.report.test_report import browser, count, indices, page, shown  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def looked_at(trained_run: Path, shared_folder: Path) -> tuple[Run, Merged, Estimates]:
    """A run with more pairs than pass the paper's thresholds, and its report beside it."""

    def explore(folder: Path) -> None:
        run = open_run(shutil.copytree(trained_run, folder / "run"))
        merged = open_merged(run.paths)
        found = estimate(merged, Selection(influence=0.05, memorization=0.0, strongest=3))
        write_report(Source(run.spec, run.manifest, merged, found, run.load_data()), run.paths.report)

    run = open_run(made_once(shared_folder / "explored", explore) / "run")
    return run, open_merged(run.paths), open_estimates(run.paths)


def address(run: Run, file: str) -> str:
    return (run.paths.report.parent / file).as_uri()


def votes(run: Run, merged: Merged, axis: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For each example the share of trials without it that say each class, brute force; and the labels."""
    store = run.store()
    blocks = [store.read_block(number) for number in range(store.layout.n_blocks)]
    predicted = np.concatenate([block[f"{axis}_predicted"] for block in blocks])
    mask = np.concatenate([block["mask"] for block in blocks])
    shares = []
    for i in range(predicted.shape[1]):
        heard = predicted[:, i][~mask[:, i]] if axis == "train" else predicted[:, i]
        shares.append([np.mean(heard == k) for k in range(10)])
    return np.array(shares), merged.examples[f"{axis}_label"]


def test_what_a_test_example_depends_on(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    run, merged, found = looked_at
    page.goto(address(run, "tests.html") + "#order=influence&uncertain=1")
    assert count(page) == 100
    order = found.pairs.by_certainty()
    first = list(dict.fromkeys(order.test.tolist()))
    places = merged.examples["test_index"]
    assert indices(page)[:8] == places[first[:8]].tolist()
    page.locator("#space .cell").nth(2).click()
    mine = order.take(order.test == first[2])
    told = page.locator("#influences figure figcaption a").all_inner_texts()
    wanted = [*mine.train[mine.influence > 0][:60], *mine.train[mine.influence < 0][:60]]
    assert told == [f"train #{merged.examples['train_index'][i]}" for i in wanted]
    assert f"#open={places[first[2]]}" in page.url.replace("order=influence&uncertain=1&", "").replace(
        "uncertain=1&", ""
    )
    page.locator("#influences figure a").first.click()  # to the training example's own window
    page.wait_for_selector("dialog[open]")
    assert f"#{merged.examples['train_index'][wanted[0]]}" in page.inner_text("#subject")
    assert page.url.split("#")[0].endswith("examples.html")


@pytest.mark.parametrize(("axis", "file"), [("train", "examples.html"), ("test", "tests.html")])
def test_what_trials_without_an_example_say_instead(
    axis: str,
    file: str,
    looked_at: tuple[Run, Merged, Estimates],
    page: Any,  # noqa: F811
) -> None:
    run, merged, _ = looked_at
    shares, labels = votes(run, merged, axis)
    places = merged.examples[f"{axis}_index"].tolist()
    off = np.where(np.arange(10) == labels[:, None], -1, shares)
    other, most = off.argmax(1), off.max(1)
    page.goto(address(run, file) + "#order=said")
    for cell in page.locator("#space .cell").all()[:30]:
        i = places.index(int(cell.get_attribute("title").rsplit(" ", 1)[1]))
        said = cell.locator(".lines").inner_text().split("\n")[-1]
        assert (said == f"says {other[i]}: {np.floor(100 * most[i] + 0.5):.0f} %") == (most[i] > 0)
    assert most[places.index(indices(page)[0])] == most.max()
    page.check("#disputed")
    own = shares[np.arange(len(labels)), labels]
    assert count(page) == int((most > own).sum()) > 0
    page.uncheck("#disputed")
    page.select_option("#says", "3")
    assert count(page) == int(((other == 3) & (most > 0)).sum()) > 0
    page.locator("#space .cell").first.click()
    assert "3: " in page.inner_text("#subject")


def test_a_link_opens_one_example_and_its_neighbours(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    run, merged, _ = looked_at
    page.goto(address(run, "examples.html") + "#order=index&class=3")
    inside = indices(page)
    page.goto(address(run, "examples.html") + f"#order=index&class=3&open={inside[1]}")
    page.reload()
    assert f"#{inside[1]}\n" in page.inner_text("#subject") + "\n"
    assert page.inner_text("#where") == f"2 of {count(page)}"
    page.click("#next")
    assert f"#{inside[2]}\n" in page.inner_text("#subject") + "\n"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert f"open={inside[0]}" in page.url
    assert page.is_disabled("#previous")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "open=" not in url)
    assert page.evaluate("document.activeElement.dataset.position") == "0"
    hidden = next(int(i) for i in merged.examples["train_index"] if int(i) not in inside)
    page.goto(address(run, "examples.html") + f"#class=3&open={hidden}")
    page.reload()
    assert f"#{hidden}\n" in page.inner_text("#subject") + "\n", "a link opens an example that the filters hide"


def test_figures_filter(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    run, _, found = looked_at
    values, outside, inside = (getattr(found.scores, name) for name in ("memorization", "out_accuracy", "in_accuracy"))
    page.goto(address(run, "examples.html"))
    page.click("#figures summary")
    bars = page.locator("#charts .chart").first.locator("button")
    for bar in (bars.nth(bars.count() - 1), bars.nth(bars.count() // 2)):
        words = bar.get_attribute("aria-label")  # memorization 0.95 to 1.00: 12
        low, high = (np.float32(each) for each in words.split(":")[0].split()[1::2])
        wanted = int(((values >= low) & ((values < high) | ((high == 1) & (values == 1)))).sum())
        assert int(words.split(": ")[1]) == wanted
        bar.click()
        assert count(page) == wanted
        assert page.input_value("#least") == f"{low:.2f}"
        page.locator("#charts [aria-pressed=true]").first.click()
        assert count(page) == 300
    assert sum(int(each.get_attribute("aria-label").split(": ")[1]) for each in bars.all()) == 300
    page.locator("canvas").click(position={"x": 2, "y": 2})  # out from 0 to 0.05, in from 0.95 to 1
    low, high = np.float32(0.05), np.float32(0.95)
    assert count(page) == int(((outside < low) & (inside >= high)).sum()) > 0
    assert "infrom=0.95" in page.url


def test_what_is_chosen_can_be_taken_away(looked_at: tuple[Run, Merged, Estimates], page: Any, tmp_path: Path) -> None:  # noqa: F811
    run, merged, found = looked_at
    page.goto(address(run, "examples.html") + "#from=0.5&flipped=1")
    flipped = merged.examples["train_label_flipped"]
    wanted = np.flatnonzero((found.scores.memorization >= 0.5) & flipped).tolist()
    page.click("#takeaway summary")
    taken = {}
    for kind in ("json", "csv"):
        with page.expect_download() as waiting:
            page.click(f"#{kind}")
        taken[kind] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(taken[kind])
    assert taken["json"].name == "tiny-train-shown.json"
    content = json.loads(taken["json"].read_text(encoding="utf-8"))
    assert content == {LABELS: run.manifest.data["y_train"], "chosen in the report": wanted}
    assert unpack(read_sets(taken["json"])["removed"]["chosen in the report"]).tolist() == wanted
    spec = yaml.safe_load((run.paths.root / "spec.yaml").read_text(encoding="utf-8"))
    spec |= {"name": "without", "subsets": {"design": "remove", "removed": str(taken["json"]), "trials": 2}}
    (tmp_path / "without.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = in_process("plan", "without.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with taken["csv"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(int(row["index"]) for row in rows) == wanted
    for row in rows:
        i = int(row["index"])
        assert np.float32(row["memorization"]) == found.scores.memorization[i]
        assert row["true_class_name"] == str(merged.examples["train_label_original"][i])
        assert int(row["source_index"]) == merged.examples["train_index"][i]


def test_marks_stay_and_are_copied(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    run, merged, _ = looked_at
    page.goto(address(run, "examples.html") + "#order=index")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    page.locator("#space .cell").nth(3).click()
    page.click("#mark")
    assert page.get_attribute("#mark", "aria-pressed") == "true"
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "open=" not in url)
    page.reload()
    page.check("#onlymarked")
    order = np.argsort(merged.examples["train_index"])
    assert indices(page) == merged.examples["train_index"][order[[0, 3]]].tolist()
    page.click("#takeaway summary")
    page.select_option("#which", "marked")
    page.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    page.click("#indices")
    assert page.inner_text("#told") == "2 indices copied"
    assert page.evaluate("window.copied") == ", ".join(str(i) for i in sorted(order[[0, 3]]))
    page.click("#unmark")
    assert page.locator(".marked").count() == 0
