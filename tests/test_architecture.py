"""Rules of the house that a reader should be able to rely on."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .conftest import ROOT

FILES = sorted((ROOT / "memexp").rglob("*.py"))
LAYERS = {
    "torch": {
        "analysis.products",
        "architectures",
        "batches",
        "cli.data",
        "cli.doctor",
        "cli.launch",
        "devices",
        "doctor",
        "features",
        "models",
        "pilot",
        "recipes",
        "slurm.probe",
        "time_trial",
        "training",
        "worker",
    },
    "timm": {"architectures", "cli.doctor", "models", "training"},
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


def test_every_module_is_under_a_contract() -> None:
    """A new module is either one that the analysis may use, or forbidden to it; and the other way round."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    analysis_reads, makers_do_not_read = contracts
    rooms = {"memexp." + module(path).split(".")[0] for path in FILES} - {"memexp.__init__", "memexp.__main__"}
    reader = {f"memexp.{name}" for name in ("errors", "files", "index_sets", "precision", "spec", "spec_python")}
    forbidden = {name for name in analysis_reads["forbidden_modules"] if name.count(".") == 1}
    assert forbidden == rooms - reader - {"memexp.analysis", "memexp.store"}
    skins = {"memexp.cli", "memexp.notebook"}
    assert set(makers_do_not_read["source_modules"]) == rooms - skins - {"memexp.analysis"}


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
