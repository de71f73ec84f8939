"""A folder to work in, with the command line in this process: quicker than a process for each command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from memexp.runs.plan import make_plan
from memexp.runs.run import Run, open_run, prepare_run
from memexp.spec.reading import read_spec
from tests.conftest import changed, command_line


class Place:
    """A folder with a finished run, its spec, and the command line in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self._capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)

    @property
    def run(self) -> Run:
        return open_run(Path("runs/tiny"))

    def spec(self, **blocks: Any) -> str:
        Path("spec.yaml").write_text(yaml.safe_dump(changed(**blocks), sort_keys=False))
        return "spec.yaml"

    def new_run(self, **blocks: Any) -> Run:
        made = make_plan(read_spec(Path(self.spec(name="other", **blocks))))
        return prepare_run(made.spec, made.data, Path("runs"))

    def memexp(self, *arguments: str) -> tuple[int, str]:
        """Exit code and what was printed."""
        self._capsys.readouterr()
        try:
            command_line()(list(arguments))
        except SystemExit as end:
            code = end.code
        printed = self._capsys.readouterr()
        assert isinstance(code, int)
        return code, printed.out + printed.err
