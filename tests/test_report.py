"""The report: whole, offline, escaped; opened in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from memexp.analysis.estimates import estimate, open_estimates
from memexp.analysis.merged import open_merged
from memexp.analysis.pairs import Selection
from memexp.analysis.report import Source, write_report
from memexp.run import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make(run: Run) -> tuple[Path, str]:
    source = Source(run.spec, run.manifest, open_merged(run.paths), open_estimates(run.paths), run.load_data())
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


def test_the_report_needs_no_network_and_every_image_has_words(run_copy: Run) -> None:
    _, text = make(run_copy)
    page = Collector()
    page.feed(text)
    assert all(source.startswith(("data:image/png", "#")) for source in page.sources)
    assert "script" not in page.tags
    assert not re.search(r"url\((?!#)", text)
    assert len(page.alts) >= 60
    assert all(page.alts)
    assert "AUROC" in text


def test_the_gallery_shows_the_most_memorized_first(run_copy: Run) -> None:
    _, text = make(run_copy)
    scores = open_estimates(run_copy.paths).scores
    shown = re.findall(r"train #(\d+)", text.split('id="memorized"')[1].split('id="pairs"')[0])
    places = open_merged(run_copy.paths).examples["train_index"]
    index = [int(np.flatnonzero(places == int(place))[0]) for place in shown]
    assert len(index) == 60
    assert (np.diff(scores.memorization[index]) <= 0).all()
    assert scores.memorization[index[0]] == scores.memorization.max()


def test_hostile_names_are_text(run_copy: Run) -> None:
    from dataclasses import replace

    hostile = ["</figcaption><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "猫 & \n'quote'"]
    manifest = replace(run_copy.manifest, classes=hostile + run_copy.manifest.classes[3:])
    run = Run(run_copy.paths, run_copy.spec, manifest)
    _, text = make(run)
    page = Collector()
    page.feed(text)
    assert "script" not in page.tags
    assert "onerror" not in re.sub(r"&lt;img src=x onerror=alert\(1\)&gt;", "", text)
    assert "猫 &amp;" in text


def test_a_run_without_flips_pairs_or_defined_scores_has_a_report_too(run_copy: Run) -> None:
    merged = open_merged(run_copy.paths)
    estimate(merged, Selection(influence=0.9999, memorization=1.1))
    _, text = make(run_copy)
    assert "No pair passes both thresholds" in text
    group = zarr.open_group(run_copy.paths.merged, mode="r+")
    for name in ("train_label_flipped", "train_label_original"):
        del group[name]
    mask = group["mask"]
    assert isinstance(mask, zarr.Array)
    mask[:5] = np.ones((5, mask.shape[1]), bool)
    merged = open_merged(run_copy.paths)
    estimate(merged, Selection())
    _, text = make(run_copy)
    assert "AUROC" not in text
    assert "5 examples were never in or never out" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_shows_it(width: int, run_copy: Run, tmp_path: Path) -> None:
    path, _ = make(run_copy)
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", f"--window-size={width},3000",
            f"--screenshot={picture}", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert picture.exists(), done.stderr
    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape[1] == width
    orange = (abs(pixels - [221, 107, 32]) < 12).all(-1)
    assert orange.sum() > 500  # flips are outlined
    assert pixels[2000:].std() > 20
    assert (pixels.min(-1) < 60).mean() > 0.01
