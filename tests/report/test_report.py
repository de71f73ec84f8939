"""The report: whole, offline, escaped; opened in a real browser where there is one."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image
from playwright.sync_api import sync_playwright

from memexp.analysis.calibrated import no_calibrated
from memexp.analysis.estimates import Estimates, Memorization, estimate, open_estimates
from memexp.analysis.labels import judge_labels
from memexp.analysis.merged import finish_store, open_merged
from memexp.analysis.pairs import Pairs, Selection
from memexp.analysis.posterior import no_posterior
from memexp.analysis.votes import Votes
from memexp.report.cards import Source
from memexp.report.explorer import write_explorer
from memexp.report.looks import Images, look_of
from memexp.report.pages import render
from memexp.report.pictures import rate_in_words
from memexp.report.report import PAGES, write_report
from memexp.report.thumbnails import data_uri, write_sheets
from memexp.report.thumbnails import shown as drawn
from memexp.runs.run import Run
from tests.conftest import Done, make_spec

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make(run: Run, images: Images | None = None) -> tuple[Path, str]:
    shown = images or run.load_data()
    source = Source(run.spec, run.manifest, open_merged(run.paths), open_estimates(run.paths), shown)
    path = write_report(source, run.paths.report)
    return path, path.read_text()


class Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.sources += [values[key] or "" for key in ("src", "href", "xlink:href") if key in values]
        if tag == "img":
            self.alts.append(values.get("alt") or "")


@pytest.mark.long
def test_the_report_needs_no_network_and_every_image_has_words(run_copy: Run) -> None:
    _, text = make(run_copy)
    page = Collector()
    page.feed(text)
    own = tuple(each.file for each in PAGES)
    assert all(source.startswith(("data:image/png", "#", *own)) for source in page.sources)
    assert "script" not in page.tags
    assert not re.search(r"url\((?!#)", text)
    assert len(page.alts) >= 60
    assert all(page.alts)
    assert "AUROC" in text


@pytest.mark.long
def test_the_gallery_shows_the_most_memorized_first(run_copy: Run) -> None:
    _, text = make(run_copy)
    scores = open_estimates(run_copy.paths).scores
    shown = re.findall(r"train #(\d+)", text.split('id="memorized"')[1].split('id="pairs"')[0])
    places = open_merged(run_copy.paths).examples["train_index"]
    index = [int(np.flatnonzero(places == int(place))[0]) for place in shown]
    assert len(index) == 60
    assert (np.diff(scores.memorization[index]) <= 0).all()
    assert scores.memorization[index[0]] == scores.memorization.max()


@pytest.mark.long
def test_hostile_names_are_text(run_copy: Run) -> None:
    from dataclasses import replace

    hostile = ["</figcaption><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "猫 & \n'quote'"]
    manifest = replace(run_copy.manifest, classes=hostile + run_copy.manifest.classes[3:])
    run = Run(run_copy.paths, run_copy.spec, manifest)
    _, text = make(run, run_copy.load_data())
    page = Collector()
    page.feed(text)
    assert "script" not in page.tags
    assert "onerror" not in re.sub(r"&lt;img src=x onerror=alert\(1\)&gt;", "", text)
    assert "猫 &amp;" in text


@pytest.mark.long
def test_a_run_without_flips_pairs_or_defined_scores_has_a_report_too(run_copy: Run) -> None:
    merged = open_merged(run_copy.paths)
    estimate(merged, Selection(influence=0.9999, memorization=1.1))
    _, text = make(run_copy)
    assert "No pair passes the thresholds" in text
    group = zarr.open_group(run_copy.paths.merged, mode="r+")
    for name in ("train_label_flipped", "train_label_original"):
        del group[name]
    mask = group["mask"]
    assert isinstance(mask, zarr.Array)
    mask[:5] = np.ones((5, mask.shape[1]), bool)
    finish_store(run_copy.paths.merged)
    merged = open_merged(run_copy.paths)
    estimate(merged, Selection())
    _, text = make(run_copy)
    assert "AUROC" not in text
    assert "5 examples were never in or never out" in text
    mask[:] = np.ones(mask.shape, bool)
    finish_store(run_copy.paths.merged)
    estimate(open_merged(run_copy.paths), Selection())
    _, text = make(run_copy)  # no warning of NumPy or matplotlib
    assert "median –, at worst" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails the test on any console message, any error, and any request beyond the disk."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
    )
    page.on("requestfailed", lambda request: faults.append(f"failed {request.url}"))
    page.still_open = []
    page.on("request", lambda request: page.still_open.append(request))
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda request: request in page.still_open and page.still_open.remove(request))
    yield page
    settle(page)
    assert not faults  # before the page closes, which breaks off what it still loads
    page.close()


def settle(page: Any) -> None:
    """Wait until all that was asked for has been loaded.

    Playwright's own "networkidle" never comes where a busy machine runs a page's script for half a second between two
    requests.
    """
    for _ in range(300):
        page.wait_for_timeout(100)
        if not page.still_open:
            return
    raise AssertionError(f"still loading: {[request.url for request in page.still_open]}")


def shown(page: Any) -> list[str]:
    """Titles of the cells, in the order of the page."""
    cells = page.locator("#space .cell").all()
    return [cell.get_attribute("title") for cell in sorted(cells, key=lambda c: int(c.get_attribute("data-position")))]


def indices(page: Any) -> list[int]:
    return [int(title.rsplit(" ", 1)[1]) for title in shown(page)]


def count(page: Any) -> int:
    return int(page.inner_text("#count").split(" of ")[0].replace(",", ""))


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_overview_in_a_browser(width: int, scheme: str, run_copy: Run, browser: Any, tmp_path: Path) -> None:
    path, _ = make(run_copy)
    page = browser.new_page(viewport={"width": width, "height": 3800}, color_scheme=scheme)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    page.close()
    orange = (abs(pixels - [221, 107, 32]) < 12).all(-1)
    assert orange.sum() > 500  # flips are outlined
    assert pixels[2000:].std() > 20
    dark = (pixels.max(-1) < 60).mean()
    assert (dark > 0.3) == (scheme == "dark")


def test_the_overview_explains_its_numbers(run_copy: Run, page: Any) -> None:
    """Every link within the page leads somewhere, and each number of the demo has its unit, n and error."""
    path, text = make(run_copy)
    merged, found = open_merged(run_copy.paths), open_estimates(run_copy.paths)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path.as_uri())
    for link in page.locator("nav a").all():
        target = link.get_attribute("href")
        assert (path.parent / target).is_file() if target[0] != "#" else page.locator(target).count() == 1
    accuracy = merged.per_trial("out_accuracy")
    assert f"{accuracy.mean():.4f} ± {accuracy.std(ddof=1):.4f}" in text
    first = int(np.lexsort((-found.scores.memorization_low, -found.scores.memorization))[0])
    assert f"(n = {found.scores.out_count[first]})" in page.locator("#memorized ~ .cards .card").first.inner_text()
    likely = found.posterior.memorization_posterior[first], found.posterior.memorization_posterior_low[first]
    assert "likely {:.2f} [{:.2f}, ".format(*likely) in page.locator("#memorized ~ .cards .card").first.inner_text()
    discoveries = int((found.pairs.passing().rate <= 0.05).sum())
    assert f"{discoveries} pairs of one class" in page.inner_text("body")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for table in page.locator("table").all():
        name = table.locator("th").first.bounding_box()
        assert name["width"] > name["height"], "a heading is broken letter by letter"


def test_filters_find_what_the_estimates_say(run_copy: Run, page: Any) -> None:
    path, _ = make(run_copy)
    scores, examples = open_estimates(run_copy.paths).scores, open_merged(run_copy.paths).examples
    page.goto(path.with_name("examples.html").as_uri())
    order = np.lexsort((-scores.memorization_low, -scores.memorization))
    assert count(page) == 300
    assert indices(page)[:8] == examples["train_index"][order[:8]].tolist()
    page.check("#flipped")
    assert count(page) == int(examples["train_label_flipped"].sum())
    assert all("truly" in title for title in shown(page))
    page.uncheck("#flipped")
    page.fill("#least", "0.5")
    page.select_option("#label", "3")
    assert count(page) == int(((scores.memorization >= 0.5) & (examples["train_label"] == 3)).sum())
    assert "class=3" in page.url
    page.click("#all")
    assert count(page) == 300
    page.fill("#search", "17, 204, 999999")
    assert sorted(indices(page)) == [17, 204]
    assert page.is_hidden("#none")
    for nothing in ("999999", "seventeen"):
        page.fill("#search", nothing)
        assert count(page) == 0
        assert "No training example fits" in page.inner_text("#grid")
    page.fill("#search", "")
    page.select_option("#order", "likely")
    posterior = open_estimates(run_copy.paths).posterior
    (place,) = np.flatnonzero(examples["train_index"] == indices(page)[0])
    assert posterior.memorization_posterior[place] == posterior.memorization_posterior.max()
    page.locator("#space .cell").first.click()
    told = page.inner_text("#subject")
    assert f"{posterior.memorization_posterior[place]:.2f} [{posterior.memorization_posterior_low[place]:.2f}, " in told
    assert f"≥ 0.25\n{posterior.probability_memorized[place]:.2f}" in told
    page.keyboard.press("Escape")
    page.select_option("#order", "out")
    first = indices(page)[0]
    assert scores.out_accuracy[examples["train_index"] == first][0] == scores.out_accuracy.min()


def test_class_pages_open_from_the_overview(run_copy: Run, page: Any) -> None:
    path, _ = make(run_copy)
    page.goto(path.as_uri())
    page.click("#classes ~ div a >> text='7'")
    page.wait_for_selector("#space .cell")
    assert count(page) == int((open_merged(run_copy.paths).examples["train_label"] == 7).sum())
    assert all(title.startswith("7") for title in shown(page))


def test_the_keyboard_opens_an_example_with_its_pairs(run_copy: Run, page: Any) -> None:
    merged = open_merged(run_copy.paths)
    found = estimate(merged, Selection(influence=0.05, memorization=0.0, strongest=3))
    path, _ = make(run_copy)
    page.goto(path.with_name("examples.html").as_uri() + "#order=influence&paired=1&uncertain=1")
    assert count(page) == len(np.unique(found.pairs.train))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    index = int(page.inner_text("#subject").split("#")[1].split()[0])
    mine = found.pairs.train == np.flatnonzero(merged.examples["train_index"] == index)[0]
    cards = page.locator("#influences figure").count()
    assert cards == min(60, int((found.pairs.influence[mine] > 0).sum())) + int((found.pairs.influence[mine] < 0).sum())
    text = page.inner_text("#influences")
    assert text.count("FDR") == cards, "each pair has its false discovery rate"
    assert text.count("[") == int((found.pairs.rate[mine] <= 0.05).sum()), "only discoveries have an interval"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")  # Chromium closes it after the key, not with it
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


def test_pairs_that_are_no_discoveries_are_hidden_until_they_are_asked_for(run_copy: Run, page: Any) -> None:
    path, text = make(run_copy)
    pairs = open_estimates(run_copy.paths).pairs.passing()
    sure = pairs.discoveries()
    assert 0 < len(sure) < len(pairs)
    assert "look at the lower end" not in text
    found, rest = re.split("<details>", text.split('id="pairs"')[1])
    rates = [html.unescape(rate) for rate in re.findall(r"<br>(FDR [^<]*)<br>test", found)]
    trains = list(dict.fromkeys(sure.train.tolist()))[:12]
    wanted = [rate for train in trains for rate in sure.rate[sure.train == train][:4]]
    assert rates == [rate_in_words(rate) for rate in wanted], "the most certain first, each with its rate"
    assert len(re.findall(r"\[[^]]*\]<br>FDR", found)) == len(wanted)
    assert not re.search(r"\[[^]]*\]<br>FDR", rest), "an interval of such a pair does not hold what it promises"
    page.goto(path.as_uri())
    hidden = page.locator("details .pair")
    assert not hidden.first.is_visible()
    page.click("#pairs ~ details summary")
    assert hidden.first.is_visible()

    page.goto(path.with_name("examples.html").as_uri() + "#order=influence&paired=1")
    assert count(page) == len(np.unique(sure.train))
    page.locator("#space .cell").first.click()
    page.wait_for_selector("dialog[open]")
    places, first = open_merged(run_copy.paths).examples["train_index"], sure.train[0]
    assert f"#{places[first]}" in page.inner_text("#subject"), "the most certain pair is the first one's"
    assert page.locator("#influences figure").count() == int((sure.train == first).sum())
    page.keyboard.press("Escape")
    page.goto(path.with_name("examples.html").as_uri() + "#order=index")
    doubtful = int(np.setdiff1d(pairs.train, sure.train)[0])
    page.fill("#search", str(places[doubtful]))
    page.locator("#space .cell").first.click()
    assert "is a discovery" in page.inner_text("#influences")
    assert page.locator("#influences figure").count() == 0
    page.click("#influences button")
    assert page.locator("#influences figure").count() == int((pairs.train == doubtful).sum())
    assert "uncertain=1" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_fields_can_be_told_from_the_page(scheme: str, run_copy: Run, page: Any) -> None:
    """WCAG AA: text has a contrast of 4.5 to what is behind it, the edge of a field 3."""
    path, _ = make(run_copy)
    page.emulate_media(color_scheme=scheme)
    for name, fields in (("index.html", 0), ("examples.html", 11)):
        page.goto(path.with_name(name).as_uri())
        texts = page.evaluate(
            CONTRASTS, ["p, dt, dd, figcaption, a, th, td, label, pre, .cell span, .warning", "color"]
        )
        assert len(texts) > 20
        assert min(texts) >= 4.5
        edges = page.evaluate(CONTRASTS, ["select, input:not([type=checkbox]), button#all", "border-top-color"])
        assert len(edges) == fields
        assert min(edges, default=3) >= 3


CONTRASTS = """([selector, property]) => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return numbers(colour)[3] === 0 ? behind(element.parentElement) : colour;
  };
  return [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility()).map((element) => {
    const of = property === "color" ? element : element.parentElement;
    const pair = [light(getComputedStyle(element)[property]), light(behind(of))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  });
}"""


def test_tiles_are_the_pictures_of_their_examples(run_copy: Run, page: Any) -> None:
    path, _ = make(run_copy)
    page.goto(path.with_name("examples.html").as_uri())
    settle(page)
    images, places = run_copy.load_data().x_train, open_merged(run_copy.paths).examples["train_index"]
    for cell in page.locator("#space .cell").all()[:20]:
        index = int(cell.get_attribute("title").rsplit(" ", 1)[1])
        picture = Image.open(io.BytesIO(cell.locator(".tile").screenshot())).convert("L")
        seen = np.asarray(picture.crop((3, 3, 93, 93)).resize((8, 8), Image.Resampling.BOX)).astype(float)
        wanted = images[np.flatnonzero(places == index)[0], ..., 0].astype(float)
        assert np.corrcoef(seen.ravel(), wanted.ravel())[0, 1] > 0.95


def test_sixty_thousand_examples_scroll_without_blanks(tmp_path: Path, page: Any) -> None:
    """A made-up run of the size of MNIST: within 30 MB, first paint within 2 s, pictures wherever one scrolls."""
    folder = made_up_report(tmp_path, 60_000)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 30e6
    page.add_init_script(
        "const decode = atob; window.decoded = 0; window.atob = (text) => { decoded++; return decode(text); }"
    )
    page.goto((folder / "examples.html").as_uri())
    columns = page.evaluate("[MEMEXP.train, MEMEXP.test, MEMEXP.pairs].flatMap(Object.keys).length")
    assert 0 < page.evaluate("decoded") < columns, "columns that nobody sees wait"
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint after {paint:.0f} ms")
    assert count(page) == 60_000
    for share in (0.1, 0.5, 0.73, 1.0, 0.99):
        page.evaluate(f"const g = document.getElementById('grid'); g.scrollTop = {share} * g.scrollHeight")
        page.wait_for_timeout(400)
        middle = Image.open(io.BytesIO(page.locator("#grid").screenshot())).convert("L")
        rows = np.asarray(middle).reshape(-1, middle.width).std(1)
        assert (rows > 3).mean() > 0.5
        assert page.locator("#space .cell").count() < 400  # only what is near the window exists
        places = page.eval_on_selector_all("#space .cell", "cells => cells.map(cell => Number(cell.dataset.position))")
        assert places == sorted(places)  # so that the Tab key goes through them in order


def made_up_report(tmp_path: Path, n: int) -> Path:
    """The explorer of made-up numbers and noise for images."""
    random = np.random.default_rng(0)
    scores = random.random((5, n), np.float32)
    scores[:3].sort(axis=0)
    counts = np.full(n, 70, np.int32)
    low, value, high = scores[:3]
    memorization = Memorization(value, value / 9, low, high, scores[3], scores[4], counts, counts)
    empty = {name: np.empty(0, np.int64) for name in Pairs.names()}
    beside = no_posterior(n), no_calibrated(n)
    estimates = Estimates(memorization, Pairs(**empty), Selection(), 100, 0, 0, *beside)  # type: ignore[arg-type]
    examples = {"train_index": np.arange(n), "train_label": random.integers(0, 10, n)}
    examples |= {"test_index": np.arange(1), "test_label": np.zeros(1, np.int64)}
    merged = SimpleNamespace(examples=examples, numbers=False, measure="accuracy")
    smooth = random.integers(0, 256, (n, 7, 7, 1), np.uint8).repeat(4, 1).repeat(4, 2)
    images = SimpleNamespace(x_train=smooth, x_test=smooth[:1])
    manifest = SimpleNamespace(classes=[str(label) for label in range(10)], identity="", data={"y_train": ""})
    source = SimpleNamespace(spec=make_spec(name="made-up"), manifest=manifest, merged=merged, estimates=estimates)
    vars(source).update(look=look_of(images), has_labels=False, test_accuracy=np.zeros(1))
    write_explorer(tmp_path, source)  # type: ignore[arg-type]
    told = {"axis": "train", "measure": "accuracy"}
    told |= dict.fromkeys(("no_pictures", "untrusted", "one_class", "has_labels"), False)
    (tmp_path / "examples.html").write_text(render("examples.html.j2", source.spec, manifest, **told))  # type: ignore[arg-type]
    return tmp_path


def test_hostile_names_do_nothing_in_the_browser(run_copy: Run, page: Any) -> None:
    hostile = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "猫 & \n'quote'\u2028"]
    manifest = dataclasses.replace(run_copy.manifest, classes=hostile + run_copy.manifest.classes[3:])
    path, _ = make(Run(run_copy.paths, run_copy.spec, manifest), run_copy.load_data())
    page.goto(path.with_name("examples.html").as_uri() + "#class=1")
    assert shown(page)[0].startswith('"><img src=x onerror=alert(1)>')
    page.locator(".cell").first.click()
    assert page.inner_text("#subject h2").startswith('"><img')
    settle(page)  # a page left early breaks off the loading of its pictures
    page.goto(path.as_uri())
    assert page.locator("#classes ~ div a").first.inner_text() == hostile[0]


@pytest.mark.long
def test_images_of_any_size_become_tiles(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for shape, tile in (((8, 8, 1), 16), ((28, 20, 1), 32), ((32, 32, 3), 32), ((224, 160, 3), 48)):
        images = random.integers(0, 256, (40, *shape), np.uint8)
        sheets = write_sheets(images, np.arange(39, -1, -1), tmp_path, f"s{tile}-{shape[0]}", 5.0)
        assert sheets.tile == tile
        with Image.open(tmp_path / f"s{tile}-{shape[0]}-000.webp") as sheet:
            assert sheet.size == (32 * tile, 2 * tile)
    smooth = random.random((3000, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    sizes = []
    for prefix, budget in (("wide", 9.0), ("tight", 1.0)):
        assert write_sheets(smooth, np.arange(3000), tmp_path, prefix, budget).count == 3000
        sizes.append(sum(file.stat().st_size for file in tmp_path.glob(f"{prefix}-*")) / 1e6)
    assert sizes[1] < 1.05 < sizes[0] < 9


@pytest.mark.parametrize("features", [1, 3, 20, 64, 4000])
def test_features_are_shown_as_squares_of_their_values_and_not_blank(features: int, tmp_path: Path) -> None:
    """A table's row has no picture; its values are drawn line by line, each feature's smallest black, largest white."""
    rows = np.linspace(-3, 5, 40 * features, dtype=np.float32).reshape(40, 1, 1, features)[:, :, :, ::-1].copy()
    look = look_of(SimpleNamespace(x_train=rows, x_test=rows[:1]))
    side = int(np.ceil(np.sqrt(features)))
    for row, grey in ((0, 0), (20, 130), (39, 255)):
        picture = drawn(look.x_train[row])
        assert picture.shape == (side, side, 1)
        np.testing.assert_allclose(picture.ravel()[:features].astype(int), grey, atol=1)
        assert not picture.ravel()[features:].any()
    sheets = write_sheets(look.x_train, np.arange(40), tmp_path, "train", budget_mb=9)
    with Image.open(tmp_path / "train-000.webp") as sheet:
        assert sheet.size == (sheets.tile * sheets.columns, sheets.tile * 2)
        assert np.asarray(sheet).max() > 200
    uri = data_uri(look.x_train[39])
    assert uri.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.getpixel((0, 0)) == 255


# -------------------------------------------------------------------------------------------- labels


def test_suspicious_labels_are_shown_by_pair_in_a_browser(run_copy: Run, page: Any) -> None:
    path, overview = make(run_copy)
    assert "labels.html" in overview
    judged = judge_labels(Votes(open_merged(run_copy.paths), 10)).judged
    page.goto(f"file://{path.parent}/labels.html")
    cards = page.locator("[data-pair]:visible")
    differing = {axis: int(each.differs.sum()) for axis, each in judged.items()}
    assert cards.count() == sum(min(150, n) for n in differing.values()) > 10
    first = judged["train"].order[judged["train"].differs[judged["train"].order]][0]
    given, suggested = int(judged["train"].given[first]), int(judged["train"].suggested[first])
    assert f"given {given}\n" in cards.first.inner_text()
    assert f"suggested {suggested}\n" in cards.first.inner_text()
    page.select_option("#pair", f"{given}-{suggested}")
    count = sum({(g, s): n for g, s, n in each.pairs()}.get((given, suggested), 0) for each in judged.values())
    assert cards.count() == count < sum(differing.values())
    assert page.locator("#count").inner_text() == f"{count} shown"
    page.reload()  # the pair is in the address
    assert cards.count() == count
    page.select_option("#pair", "")
    assert cards.count() == sum(differing.values())


@pytest.mark.long
def test_a_run_that_predicts_nothing_has_no_page_of_labels(run_copy: Run) -> None:
    for axis in ("train", "test"):
        shutil.rmtree(run_copy.paths.merged / f"{axis}_predicted")
    group = zarr.open_group(run_copy.paths.merged, mode="r+")
    group.attrs["matrices"] = [name for name in group.attrs["matrices"] if "predicted" not in name]  # type: ignore[union-attr]
    finish_store(run_copy.paths.merged)
    path, overview = make(run_copy)
    assert "labels.html" not in overview
    assert not (path.parent / "labels.html").exists()


@pytest.mark.long
def test_a_report_goes_where_it_is_told_and_replaces_reports_only(
    trained_run: Path, tmp_path: Path, memexp: Callable[..., Done]
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    for _ in range(2):  # the second replaces the first
        done = memexp("report", run, "--out", tmp_path / "pages")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(tmp_path / "pages/index.html")
    assert {path.name for path in (tmp_path / "pages").iterdir()} >= {"index.html", "examples.html", "data.js"}
    assert not (run / "report").exists()
    (tmp_path / "pages/thesis.tex").write_text("years")
    done = memexp("report", run, "--out", tmp_path / "pages")
    assert done.returncode == 2
    assert "holds thesis.tex, which no report has" in done.stderr
    assert (tmp_path / "pages/thesis.tex").read_text() == "years"
    assert memexp("report", run, "--out", tmp_path / "no/pages").returncode == 2
