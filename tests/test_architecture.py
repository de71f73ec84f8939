"""Rules of the house that a reader should be able to rely on."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "memexp").rglob("*.py"))
LAYERS = {
    "torch": {
        "analysis.ground_truth",
        "analysis.levels",
        "analysis.products",
        "notebook.answers",
        "cli.data",
        "cli.doctor",
        "launch.where",
        "launch.doctor",
        "runs.arithmetic",
        "runs.attempt",
        "runs.kept_weights",
        "runs.pilot",
        "runs.worker",
        "slurm.probe",
        "training.architectures",
        "training.batches",
        "training.block",
        "training.boxes",
        "training.checkpoint",
        "training.compiled",
        "training.devices",
        "training.evaluation",
        "training.features",
        "training.gpu_check",
        "training.learning",
        "training.models",
        "training.optimizers",
        "training.own_trial",
        "training.precision",
        "training.pretrained",
        "training.tryout",
        "training.recipes",
        "training.rehearsal",
        "training.sgd",
        "training.timm_networks",
        "training.weights_file",
    },
    "timm": {"cli.doctor", "training.models", "training.optimizers", "training.timm_networks"},
    "zarr": {
        "analysis.dense",
        "analysis.estimates",
        "analysis.merged",
        "analysis.slabs",
        "analysis.sums",
        "store.sealed",
        "store.trials",
    },
    "submitit": {"slurm.sbatch"},
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "memexp").with_suffix("").parts)


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Imports, functions and calls of a file: taken apart once for all rules."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Call)
    return tuple(node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds))


def imported(path: Path) -> set[str]:
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("library", LAYERS)
def test_heavy_libraries_stay_at_the_edge(library: str) -> None:
    assert {module(path) for path in FILES if library in imported(path)} <= LAYERS[library]


def test_the_root_has_rooms_and_the_ground_only() -> None:
    ground = {"__init__", "__main__", "brief", "errors", "files", "seeds", "version"}
    assert {path.stem for path in (ROOT / "memexp").glob("*.py")} == ground


def test_the_lowest_versions_tested_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tools = ("dev", "docs")  # not imported by memexp
    optional = project["optional-dependencies"].items()
    extras = [each for name, wanted in optional if name not in tools for each in wanted]
    wanted = {each.replace(">=", "==") for each in (*project["dependencies"], *extras)}
    lines = (ROOT / "tests/lowest.txt").read_text("utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} == wanted


@pytest.mark.process
def test_import_contracts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 330
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def text_without_encoding(tree: Iterable[ast.AST]) -> list[int]:
    """Lines of the calls that read or write text in whatever encoding the locale has."""
    found = []
    for node in tree:
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        words = [word.value for word in (*node.args, *keywords.values()) if isinstance(word, ast.Constant)]
        of_other_kind = isinstance(owner, ast.Name) and owner.id in {
            "os",
            "Image",
            "tarfile",
            "gzip",
            "archive",
        }  # bytes
        opens = name in {"open", "fdopen"} and not (of_other_kind and name == "open")
        binary = any(isinstance(word, str) and re.fullmatch(r"[rwxa]?\+?b\+?|[rwxa]\+?b", word) for word in words)
        as_text = any(
            isinstance(keywords.get(key), ast.Constant) and keywords[key].value
            for key in ("text", "universal_newlines")
        )
        reads = name == "read_text" and not node.args  # whose first argument is the encoding
        if reads or name == "write_text" or (opens and not binary) or as_text:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("folder", ["memexp", "analysis", "benchmarks", "slurm", "docs"])
def test_text_is_read_and_written_as_utf_8_whatever_the_locale(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in text_without_encoding(nodes(path))
    ]
    assert not found


def test_each_kind_of_text_without_an_encoding_is_seen() -> None:
    for call in (
        "open(p)", "open(p, 'w')", "p.open()", "p.open('a', newline='')", "os.fdopen(1, 'w')", "p.read_text()",
        "p.read_text(errors='replace')", "p.write_text('rb')", "subprocess.run([], text=True)",
        "Popen([], universal_newlines=True)",
    ):  # fmt: skip
        assert text_without_encoding(ast.walk(ast.parse(call))) == [1], call
    for call in (
        "open(p, 'rb')", "p.open('r+b')", "open(p, 'xb')", "os.open(p, 0)", "Image.open(p)", "p.read_text('utf-8')",
        "p.write_text('', encoding='utf-8')", "subprocess.run([])", "subprocess.run([], text=True, encoding='utf-8')",
    ):  # fmt: skip
        assert text_without_encoding(ast.walk(ast.parse(call))) == [], call
