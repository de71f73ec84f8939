"""The documentation cannot lie: commands, specs and files that it names exist, and the demo does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memexp.analysis.estimates import open_estimates
from memexp.analysis.merged import open_merged
from memexp.cli import app
from memexp.spec_file import read_spec
from memexp.store.paths import RunPaths

from .conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_exists(page: Path) -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    shown = re.findall(r"^\s*\$? ?memexp ([a-z]+)", page.read_text(), re.MULTILINE)
    assert set(shown) <= known
    if page.name == "README.md":
        assert known == set(re.findall(r"`memexp ([a-z]+)", page.read_text())), "README's table of commands"


def test_the_spec_in_the_readme_is_the_demos() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    path = ROOT / "specs/digits.yaml"
    shown = path.with_name(".readme.yaml")
    try:
        shown.write_text(block)
        assert read_spec(shown).spec == read_spec(path).spec
    finally:
        shown.unlink()


def test_the_demo_finds_the_flipped_labels(tmp_path: Path) -> None:
    """`make demo` without the installation: 500 trials, AUROC of the flips at least 0.98."""
    from sklearn.metrics import roc_auc_score

    command = [sys.executable, "-m", "memexp"]
    spec = ROOT / "specs/digits.yaml"
    subprocess.run(
        [*command, "launch", spec, "--yes", "--runs", tmp_path, "--device", "cpu"], check=True, capture_output=True
    )
    subprocess.run([*command, "report", tmp_path / "digits"], check=True, capture_output=True)
    paths = RunPaths.of_run(tmp_path / "digits")
    assert paths.report.stat().st_size > 100_000
    merged, scores = open_merged(paths), open_estimates(paths).scores
    assert merged.n_trials == 500
    assert np.isfinite(scores.memorization).all()
    assert roc_auc_score(merged.examples["train_label_flipped"], scores.memorization) >= 0.98
