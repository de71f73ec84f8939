"""What an installation has to hold, wherever one then works."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.process
def test_a_clone_in_the_working_directory_is_not_taken_for_the_package(tmp_path: Path) -> None:
    """`python -m memexp.runs.worker` looks there first, and a clone is a folder called memexp too."""
    pytest.importorskip("setuptools", minversion="77")
    clone = tmp_path / "memexp"
    shutil.copytree(ROOT / "memexp", clone / "memexp")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build = "from setuptools import build_meta; build_meta.build_editable('..')"
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True, capture_output=True)
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path / "site")
    program = "import site; site.addsitedir('site'); import memexp; print(memexp.__file__)"
    found = subprocess.check_output([sys.executable, "-S", "-c", program], cwd=tmp_path, env={})
    assert Path(found.decode().strip()) == clone / "memexp/__init__.py"
