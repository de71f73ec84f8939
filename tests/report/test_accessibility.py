"""Whoever cannot see a page, or the mouse, or prints it, gets the same: axe finds nothing, figures have numbers."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from memexp.analysis.estimates import Estimates, Memorization
from memexp.analysis.labels import judge_labels
from memexp.analysis.merged import Merged
from memexp.analysis.votes import Votes
from memexp.report.figures import draw_histogram, draw_in_out
from memexp.report.numbers import confusion_numbers, histogram_numbers, map_numbers
from memexp.report.report import PAGES
from memexp.runs.run import Run
from tests.report.test_explorer import address, looked_at  # noqa: F401 (fixture)
from tests.report.test_report import browser, page  # noqa: F401 (fixtures)

LONG_NAMES = """for (const each of document.querySelectorAll("select")) {
  each.append(new Option("a class of many words ".repeat(9)));
}"""


def violations(page: Any) -> list[str]:  # noqa: F811
    """What axe finds on the page that is open, in words."""
    pytest.importorskip("axe_playwright_python", reason="axe is not installed; pip install '.[dev]' brings it")
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    return [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(
    scheme: str,
    looked_at: tuple[Run, Merged, Estimates],  # noqa: F811
    page: Any,  # noqa: F811
) -> None:
    """Everything unfolded; nothing sticks out on a phone."""
    pages = sorted(looked_at[0].paths.report.parent.glob("*.html"))
    assert {each.name for each in pages} == {each.file for each in PAGES}
    page.emulate_media(color_scheme=scheme)
    for each in pages:
        page.set_viewport_size({"width": 1280, "height": 844})
        page.goto(each.as_uri())
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert not violations(page), each.name
        page.set_viewport_size({"width": 390, "height": 844})
        page.evaluate(LONG_NAMES)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, each.name
    for name in ("examples.html", "tests.html"):
        page.goto(pages[0].with_name(name).as_uri())
        assert page.locator("#grid").bounding_box()["height"] > 600, "the filters leave room on a phone"
        page.locator("#space .cell").first.click()
        page.wait_for_selector("dialog[open]")
        assert not violations(page), name


def test_classes_sort_and_filter(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    run, merged, found = looked_at
    scores, labels = found.scores, merged.examples["train_label"]
    means = np.array([scores.memorization[labels == label].mean() for label in range(10)])
    page.goto(address(run, "classes.html"))
    page.click("th:has-text('mean memorization') button")
    names = page.locator("#classes tbody tr td:first-child")
    assert [int(name) for name in names.all_inner_texts()] == np.argsort(-means, kind="stable").tolist()
    assert page.locator("th:has-text('mean memorization')").get_attribute("aria-sort") == "descending"
    page.click("th:has-text('mean memorization') button")
    assert [int(name) for name in names.all_inner_texts()] == np.argsort(means, kind="stable").tolist()
    confusion = judge_labels(Votes(merged, 10)).confusion["train"]
    np.fill_diagonal(confusion, 0)
    row = page.locator("#classes tbody tr:has(a[href$='class=3'])").inner_text().split("\t")
    assert row[-2:] == [str(confusion[3].argmax()), f"{100 * confusion[3].max():.1f}\u00a0%"]
    page.fill("#named", "3")
    assert page.locator("#classes tbody tr:visible").count() == 1
    assert page.inner_text("#fitting") == "1 of 10"


def test_pages_print_on_paper_of_their_length(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    """Of all examples the first are printed, not blank pages in the place of the rest, and as many from any window."""
    run, _, _ = looked_at
    for name, most in (("index.html", 14), ("examples.html", 6), ("classes.html", 5)):
        sheets = []
        for height in (800, 300):
            page.set_viewport_size({"width": 1200, "height": height})
            page.goto(address(run, name))
            sheets.append(len(re.findall(rb"/Type\s*/Page\b", page.pdf())))
        assert 1 <= sheets[0] == sheets[1] <= most, name
        page.emulate_media(media="print")
        assert page.locator("nav:visible").count() == 0
        page.emulate_media(media="screen")


def test_the_first_examples_are_printed(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    page.goto(address(looked_at[0], "examples.html"))
    page.evaluate("document.getElementById('grid').scrollTop = 1e6")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#space .cell").count() == 120
    assert page.locator("#space .cell").first.get_attribute("data-position") == "0"
    assert "of 300 training examples" in page.inner_text("#count")
    assert page.inner_text("#count").endswith("printed are the first 120")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert "printed" not in page.inner_text("#count")
    assert page.locator("#space .cell").last.get_attribute("data-position") == "299"


def test_a_share_is_none_or_all_only_where_it_is(page: Any) -> None:  # noqa: F811
    script = files("memexp.report").joinpath("templates/explorer_data.js").read_text(encoding="utf-8")
    percent = re.search(r"const percent = (.*?^});$", script, re.DOTALL | re.MULTILINE)
    assert percent is not None
    shares = "0", "0.0001", "0.00499", "0.005", "0.5", "0.9949", "0.995", "0.9999", "1", "NaN"
    words = page.evaluate(f"[{', '.join(shares)}].map({percent[1]})")
    assert words == ["0 %", "< 1 %", "< 1 %", "1 %", "50 %", "99 %", "> 99 %", "> 99 %", "100 %", "–"]


def test_axe_would_find_something(page: Any) -> None:  # noqa: F811
    page.set_content("<html><body><img src='data:image/png;base64,'><p style='color: #ccc'>pale</p></body></html>")
    assert {each.split(":")[0] for each in violations(page)} >= {"image-alt", "color-contrast", "html-has-lang"}


def test_every_page_has_one_frame(looked_at: tuple[Run, Merged, Estimates], page: Any) -> None:  # noqa: F811
    """The same navigation, one main part, one first heading; it says where one is."""
    path = looked_at[0].paths.report
    navigations = set()
    for each in path.parent.glob("*.html"):
        page.goto(each.as_uri())
        assert page.locator("main").count() == page.locator("h1").count() == 1
        links = page.locator("nav[aria-label=pages] a")
        navigations.add(tuple(link.get_attribute("href") for link in links.all()))
        assert page.locator("[aria-current=page]").get_attribute("href") == each.name
    assert len(navigations) == 1
    assert {(path.parent / name).is_file() for name in navigations.pop()} == {True}


def test_figures_show_every_value_on_any_scale() -> None:
    """Scores of trials may be below 0 and above 1; bars stand on the ground, flips before the others."""
    draws = np.random.default_rng(1)
    out, inside = draws.normal(0.3, 2, (2, 500)).astype(np.float32)
    flipped = draws.random(500) < 0.1
    axes = draw_histogram(Figure().subplots(), inside - out, flipped)
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert sum(heights) == (~flipped).sum()
    assert axes.get_ylim()[0] < 1
    steps = next(each for each in axes.patches if isinstance(each, Polygon)).get_xy()
    assert steps[:, 1].max() == np.histogram((inside - out)[flipped], np.unique(steps[:, 0]))[0].max()
    scores = Memorization(*[inside] * 4, inside, out, *[np.ones(500, np.int32)] * 2)
    shown = draw_in_out(Figure().subplots(), scores, "score").collections[0].get_array()
    assert shown is not None
    assert shown.sum() == 500


def test_figures_have_their_numbers_as_tables() -> None:
    draws = np.random.default_rng(0)
    values = draws.uniform(-0.13, 1, 500).astype(np.float32)
    values[:7] = np.nan
    flipped = draws.random(500) < 0.1
    header, rows = histogram_numbers(values, "memorization", flipped)
    assert header == ("memorization", "examples", "of these flipped")
    assert [row[0] for row in rows] == [
        "-0.2 to -0.1",
        "-0.1 to 0.0",
        *(f"{k / 10:.1f} to {(k + 1) / 10:.1f}" for k in range(10)),
    ]
    for name, count, planted in rows:
        low, high = (float(each) for each in name.split(" to "))
        inside = [low <= value < high for value in values]
        assert int(count) == sum(inside)
        assert int(planted) == sum(a and b for a, b in zip(inside, flipped.tolist(), strict=True))
    x, y = draws.random((2, 400))
    header, rows = map_numbers(x, y, ("out", "in"))
    assert header[:2] == ("in \\ out", "0.0 to 0.2")
    assert rows[0][0] == "0.8 to 1.0"
    assert int(rows[0][2]) == sum(0.2 <= a < 0.4 and b >= 0.8 for a, b in zip(x, y, strict=True))
    assert sum(int(n) for row in rows for n in row[1:]) == 400
    assert sum(int(count) for _, count in histogram_numbers(30 * values - 7, "score")[1]) == 493, "on any scale"
    assert sum(int(n) for row in map_numbers(x, 5 - 9 * y, ("out", "in"))[1] for n in row[1:]) == 400
    confusion = np.array([[0.8, 0.15, 0.05], [0.3, 0.7, 0.0], [np.nan] * 3])
    _, rows = confusion_numbers(confusion, ["cat", "dog", "emu"])
    assert rows == [("dog", "cat", "30.00 %"), ("cat", "dog", "15.00 %"), ("cat", "emu", "5.00 %")]
