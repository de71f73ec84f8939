"""The documentation as a site: built strictly, and looked at in a browser without a network."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from playwright.sync_api import sync_playwright

from tests.conftest import ROOT
from tests.documents import PAGES, blocks, name_of, tokens

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pages_of(nav: list[dict[str, object]]) -> list[str]:
    """The files that a navigation names, in order."""
    found: list[str] = []
    for entry in nav:
        for value in entry.values():
            found += [value] if isinstance(value, str) else pages_of(value)  # type: ignore[arg-type]
    return found


def test_every_page_is_in_the_navigation_once() -> None:
    named = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted([*map(name_of, PAGES), "CONTRIBUTING.md", "CHANGELOG.md"])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_blocks_fit_a_laptop_and_columns_have_names(page: Path) -> None:
    """A line of code has room for 112 characters at 1280 pixels; a screen reader says a column's name at each cell."""
    for block in blocks(page):
        assert block.language.startswith("text") or max(map(len, block.text.splitlines())) <= 112, block
    flow = tokens(page)
    assert all(flow[k + 1].content for k, token in enumerate(flow) if token.type == "th_open")


class Parts(HTMLParser):
    """How many blocks, cells, points, headings and pictures there are in a page."""

    COUNTED = ("pre", "td", "th", "li", "h1", "h2", "h3", "h4", "strong", "em", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += tag in self.COUNTED


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("Zensical is not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("repository")
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("docs", "analysis", "benchmarks", "slurm", "specs", "memexp"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return folder


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.browser
def test_the_site_is_built_strictly_and_searched_without_a_network(site: Path, tmp_path: Path) -> None:
    build = [sys.executable, site / "docs/make_site.py", "--out", tmp_path / "out"]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = site / "build/pages"
    for each in pages.rglob("*.md"):  # a block for whoever reads the Markdown is a block on the site
        made = tmp_path / "out" / each.relative_to(pages).with_suffix(".html")
        made = made if each.name != "README.md" else made.with_name("index.html")
        article = re.search(r"<article.*</article>", made.read_text("utf-8"), re.DOTALL)
        assert article
        text = re.sub(r"\A---\n.*?\n---\n", "", each.read_text("utf-8"), flags=re.DOTALL)  # what the search leaves out
        meant = MarkdownIt("commonmark").enable("table").render(text)
        assert Parts(article[0]).found == Parts(meant).found, each
    html = [path.read_text("utf-8") for path in (tmp_path / "out").rglob("*.html")]
    assert len(html) > len(PAGES)
    loaded = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"')
    assert not {url for page in html for url in loaded.findall(page)}
    if CHROMIUM is None:
        pytest.skip("no Chromium to open the site with")
    with served(tmp_path / "out") as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if not request.url.startswith(base) else None)
        page.goto(base + "index.html")
        page.wait_for_load_state("networkidle")  # its scripts and the index
        page.get_by_role("button", name="Search").first.click()
        page.get_by_role("combobox").or_(page.locator("input[type=text]")).first.fill("keep_logs")
        page.get_by_text("The profile, key by key").first.wait_for()
        assert not faults
        browser.close()
    (site / "docs/slurm.md").write_text("# Cluster\n\n[away](nowhere.md)\n")  # the check can fail
    assert subprocess.run(build, capture_output=True, text=True).returncode != 0
