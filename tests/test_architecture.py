"""Rules of the house that a reader should be able to rely on."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "memexp").rglob("*.py"))
LAYERS = {
    "torch": {
        "analysis.products",
        "cli.data",
        "cli.doctor",
        "cli.launch",
        "launch.doctor",
        "runs.pilot",
        "runs.time_trial",
        "runs.worker",
        "slurm.probe",
        "training.architectures",
        "training.batches",
        "training.block",
        "training.devices",
        "training.features",
        "training.models",
        "training.recipes",
    },
    "timm": {"cli.doctor", "training.architectures", "training.block", "training.models"},
    "zarr": {"analysis.dense", "analysis.estimates", "analysis.merged", "store.trials"},
    "submitit": {"slurm.submit"},
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "memexp").with_suffix("").parts)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("library", LAYERS)
def test_heavy_libraries_stay_at_the_edge(library: str) -> None:
    assert {module(path) for path in FILES if library in imported(path)} <= LAYERS[library]


def test_the_root_has_rooms_and_the_ground_only() -> None:
    ground = {"__init__", "__main__", "errors", "files", "notebook", "seeds", "version"}
    assert {path.stem for path in (ROOT / "memexp").glob("*.py")} == ground


def test_import_contracts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 330
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
