"""The explorer of a made-up run of MNIST's size: processor time to build it, weight, and how soon it is seen.

    python benchmarks/explorer.py [--against CHECKOUT] [--examples 60000] [--builds 5] [--times 15]

CHECKOUT is another state of this repository (`git worktree add CHECKOUT COMMIT`); both then take turns, each with its
own made-up run, and ratios of the medians are told. "first paint" is the browser's first contentful paint, "cells" the
time until the first examples are on the screen. Needs Chromium and playwright (`pip install '.[dev]'`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent.parent
MEASURES = ("build, s of processor", "weight, MB", "first paint, ms", "cells, ms")
BUILD = """
import sys, time
from pathlib import Path
try:
    from tests.report.test_report import made_up_report
except ModuleNotFoundError:
    from tests.test_report import made_up_report
made_up_report(Path(sys.argv[1]) / "warm", 100)  # imports what is imported at first use
start = time.process_time()
made_up_report(Path(sys.argv[1]), int(sys.argv[2]))
print(time.process_time() - start)
"""
SEEN = """
new MutationObserver((changes, observer) => {
  if (!document.querySelector("#space .cell")) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.cellsAt = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""


def build(checkout: Path, folder: Path, examples: int) -> float:
    """Write the explorer of a checkout into a new folder; seconds of processor time, imports not counted."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "warm").mkdir(parents=True)
    command, own = [sys.executable, "-c", BUILD, str(folder), str(examples)], {"PYTHONPATH": str(checkout)}
    seconds = subprocess.check_output(command, cwd=checkout, env=os.environ | own)
    shutil.rmtree(folder / "warm")
    return float(seconds)


def look(browser: Any, folder: Path) -> tuple[float, float]:
    """Open a page as for the first time: milliseconds to the first contentful paint, and to the first cells."""
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.add_init_script(SEEN)
    page.goto((folder / "examples.html").as_uri())
    page.wait_for_function("window.cellsAt !== undefined")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    cells = page.evaluate("window.cellsAt")
    page.close()
    return paint, cells


def measure(checkouts: list[Path], examples: int, builds: int, times: int) -> list[dict[str, list[float]]]:
    """Of each checkout the values of each measure, taken in turns."""
    found: list[dict[str, list[float]]] = [defaultdict(list) for _ in checkouts]
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folders = [Path(name) / str(number) for number in range(len(checkouts))]
        for _ in range(builds):
            for checkout, folder, values in zip(checkouts, folders, found, strict=True):
                values[MEASURES[0]].append(build(checkout, folder, examples))
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for round_number in range(times + 1):
            for folder, values in zip(folders, found, strict=True):
                seen = look(browser, folder)
                if round_number:  # the first one starts the browser's own parts
                    for measure_name, value in zip(MEASURES[2:], seen, strict=True):
                        values[measure_name].append(value)
        browser.close()
        for folder, values in zip(folders, found, strict=True):
            values[MEASURES[1]] = [sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6]
    return found


def main() -> None:
    """Print a row for each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--builds", type=int, default=5)
    parser.add_argument("--times", type=int, default=15)
    asked = parser.parse_args()
    checkouts = [HERE, *([asked.against.resolve()] if asked.against else [])]
    found = measure(checkouts, asked.examples, asked.builds, asked.times)
    for name in MEASURES:
        medians = [statistics.median(values[name]) for values in found]
        told = f"{name:<23} {medians[0]:8.2f}"
        if asked.against:
            told += f"   against {medians[1]:8.2f}   ratio {medians[0] / medians[1]:.3f}"
        print(told)


if __name__ == "__main__":
    main()
