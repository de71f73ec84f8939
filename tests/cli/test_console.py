"""What the command line looks like: on a terminal of 80 columns, in a pipe, and to a shell that completes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from memexp.cli.console import size
from memexp.runs.run import Run
from tests.conftest import ROOT

Memexp = Callable[..., "subprocess.CompletedProcess[str]"]
SHOWN = [
    ["plan", str(ROOT / "specs/digits.yaml")],
    ["status", "copy"],
    ["estimate", "copy"],
    ["compare", "copy", "--deals", "1"],
]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(folder: Path, *arguments: str, columns: int = 80) -> str:
    """What a command writes to a terminal of this width, screen codes included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "memexp", *arguments],
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm-256color"},
    ) as process:  # fmt: skip
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            text += part
    os.close(ours)
    assert process.returncode == 0, text.decode()
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("arguments", SHOWN, ids=lambda arguments: arguments[0])
def test_nothing_is_wider_than_a_terminal_of_80_columns(arguments: list[str], run_copy: Run) -> None:
    seen = on_a_terminal(run_copy.paths.root.parent, *arguments)
    lines = [line.split("\r")[-1] for line in ESCAPES.sub("", seen).splitlines()]
    assert len(lines) >= 4
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_long_values_go_on_below_themselves(run_copy: Run) -> None:
    lines = ESCAPES.sub("", on_a_terminal(run_copy.paths.root.parent, "status", "copy", columns=60)).splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("error")]
    assert lines[first + 1].startswith("        ")
    assert (
        "\n".join(lines[first : first + 3]).replace("\n        ", " ").count("(median of the examples, 40 trials)") == 1
    )
    assert lines[-1] == "next    memexp report copy", "a command to copy is one line"


def test_in_a_pipe_there_is_no_colour_and_a_row_is_a_line(memexp: Memexp, run_copy: Run) -> None:
    for arguments in (["status", "copy"], ["estimate", "copy"], ["status", "absent"]):
        done = memexp(*arguments, env={"TERM": "xterm-256color", "COLUMNS": "40"})
        written = done.stdout + done.stderr
        assert "\x1b" not in written
        assert max(map(len, written.splitlines())) > 60, arguments


def test_sizes_for_people() -> None:
    assert [size(each) for each in (0.0148, 3.44, 12000)] == ["15 kB", "3.4 MB", "12,000.0 MB"]


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    """The function that --show-completion prints, called as bash does when a user presses Tab."""
    ask = (
        'eval "$(memexp --show-completion bash)"\n'
        'COMP_WORDS=(memexp st) COMP_CWORD=1; _memexp_completion memexp; echo "${COMPREPLY[@]}"\n'
        'COMP_WORDS=(memexp launch --dry-r) COMP_CWORD=2; _memexp_completion memexp; echo "${COMPREPLY[@]}"\n'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    done = subprocess.run(["bash", "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["status", "--dry-run"], done.stderr
    subprocess.run(["bash", "-c", "memexp --install-completion; :"], env=environment, capture_output=True, check=True)
    assert "memexp" in (tmp_path / ".bashrc").read_text()
