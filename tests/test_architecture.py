"""Rules of the house that a reader should be able to rely on."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

FILES = sorted((ROOT / "memexp").rglob("*.py"))
LAYERS = {
    "torch": {
        "architectures",
        "batches",
        "cli",
        "cli_data",
        "cli_doctor",
        "doctor",
        "features",
        "models",
        "pilot",
        "probe",
        "products",
        "recipes",
        "time_trial",
        "training",
        "worker",
    },
    "timm": {"architectures", "training", "models", "cli_doctor"},
    "zarr": {"trials", "merged", "estimates", "dense"},
    "submitit": {"slurm"},
}


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
    assert {path.stem for path in FILES if library in imported(path)} <= LAYERS[library]


def test_import_contracts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    limit = 420 if path.name == "cli.py" else 330
    assert len(text.splitlines()) <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
