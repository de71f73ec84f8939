"""What the command line looks like: on a terminal of 80 columns, in a pipe, and to a shell that completes."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from memexp.cli.console import PlainConsole, printable, show, size
from memexp.cli.data import _flow
from memexp.errors import command
from memexp.files import to_record
from memexp.runs.run import Run
from tests.conftest import ROOT, command_line

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


@pytest.mark.process
@pytest.mark.parametrize("arguments", SHOWN, ids=lambda arguments: arguments[0])
def test_nothing_is_wider_than_a_terminal_of_80_columns(arguments: list[str], run_copy: Run) -> None:
    seen = on_a_terminal(run_copy.paths.root.parent, *arguments)
    lines = [line.split("\r")[-1] for line in ESCAPES.sub("", seen).splitlines()]
    assert len(lines) >= 4
    assert max(map(len, lines)) <= 80, max(lines, key=len)


@pytest.mark.process
def test_long_values_go_on_below_themselves(run_copy: Run) -> None:
    lines = ESCAPES.sub("", on_a_terminal(run_copy.paths.root.parent, "status", "copy", columns=60)).splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("error")]
    assert lines[first + 1].startswith("        ")
    assert (
        "\n".join(lines[first : first + 3]).replace("\n        ", " ").count("(median of the examples, 40 trials)") == 1
    )
    assert lines[-1] == "next    memexp report copy", "a command to copy is one line"


@pytest.mark.long
def test_in_a_pipe_there_is_no_colour_and_a_row_is_a_line(memexp: Memexp, run_copy: Run) -> None:
    for arguments in (["status", "copy"], ["estimate", "copy"], ["status", "absent"]):
        done = memexp(*arguments, env={"TERM": "xterm-256color", "COLUMNS": "40"})
        written = done.stdout + done.stderr
        assert "\x1b" not in written
        assert max(map(len, written.splitlines())) > 60, arguments


def test_sizes_for_people() -> None:
    assert [size(each) for each in (0.0148, 3.44, 12000)] == ["15 kB", "3.4 MB", "12,000.0 MB"]


@pytest.mark.process
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


STEERING = [
    "\x1b[2J\x1b]0;title\x07",  # clears the screen, names the window
    "\x9b31m",  # the same with one 8-bit character
    "50 %\rdone\b\b",  # writes over what stands there
    "\u202eexe.txt",  # turns the direction of writing
    "\x7f\x00\x0b",
    "\udcff",  # a byte of a name that is not UTF-8
]


@pytest.mark.parametrize("text", STEERING, ids=ascii)
def test_what_steers_a_terminal_is_printed_as_an_escape(text: str) -> None:
    shown = printable(f"log: {text} end")
    assert shown.isprintable()
    assert shown.startswith("log: ")
    assert shown.endswith(" end")
    assert "\\" in shown


def test_text_of_people_is_printed_as_it_is() -> None:
    for text in ("Zürich, Ελλάδα, 猫, العربية, 50 % ± 3", "two\nlines\tand a tab", "[bold]a[/bold] [/x] :smile:"):
        assert printable(text) == text
    assert printable("猫 ±", "ascii") == "\\u732b \\xb1"


def test_all_that_a_console_prints_goes_through_one_function(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    console, text = PlainConsole(), "[red]a[/red] \x1b[31m :cat:"
    table = Table(text, box=None)
    table.add_row(text)
    console.print(table)
    console.rule(text, align="left")
    console.say(text)
    show([(text, f"{text}\n{text}")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5, "what one of the values says cannot look like a row of its own"
    assert all("[red]a[/red] \\x1b[31m :cat:" in line for line in lines)


def test_rich_is_imported_where_everything_is_printed() -> None:
    """Another console would print markup, and what steers a terminal."""
    importing = re.compile(r"^\s*(import|from) rich\b", re.M)
    allowed = {"memexp/cli/console.py", "memexp/cli/sweep.py"}  # the latter: Table, which a console prints
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "memexp").rglob("*.py")
        if importing.search(path.read_text("utf-8"))
    }
    assert found <= allowed


@pytest.mark.long
@pytest.mark.parametrize("name", ["a[b]", "[/x]", "two words", "o'clock", "$HOME;x", '"q"', "-f", "a`b`", "ü"])
def test_any_name_of_a_folder_is_printed_so_that_it_can_be_pasted(
    name: str, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_run, name)

    def last(*arguments: str) -> str:
        assert not command_line()([*arguments, "--", name], standalone_mode=False)
        return capsys.readouterr().out.splitlines()[-1]

    words = shlex.split(last("status").removeprefix("next").strip())
    assert words[:2] == ["memexp", "report"]
    assert Path(words[2]).resolve() == tmp_path / name
    assert last("estimate") == f"{name}/estimates.zarr"


def test_commands_are_quoted_for_a_shell() -> None:
    for words in (["a b", "c'd"], ["$(x)", '"', "*"], ["plain/path"]):
        assert shlex.split(command("status", *map(Path, words))) == ["memexp", "status", *words]
    assert command("report", Path("-f")) == "memexp report ./-f"
    assert command("status", Path("runs/digits"), "--watch") == "memexp status runs/digits --watch"


@pytest.mark.long
def test_no_command_of_a_message_has_an_unquoted_value() -> None:
    """A value that follows ``memexp verb`` in a text is put there by ``command``, which quotes it."""
    bare = re.compile(r"memexp [a-z]+(?: --?[a-z]+)* $")
    for path in sorted((ROOT / "memexp").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for text, value in pairwise(node.values):
                    if isinstance(text, ast.Constant) and isinstance(value, ast.FormattedValue):
                        assert not bare.search(str(text.value)), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", ["a: b", "x # y", "{a}", "o'clock", "ü", "no", "1.0", "plain/data"])
def test_a_section_to_paste_names_the_path_that_was_given(path: str) -> None:
    assert yaml.safe_load(f"dataset: {_flow(source='prepared', path=path)}")["dataset"]["path"] == path


def test_files_of_a_run_cannot_steer_the_terminal(run_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    root = run_copy.paths.root
    (receipt, *_) = sorted(run_copy.paths.blocks.glob("*.json"))
    content = json.loads(receipt.read_text("utf-8"))
    content["failures"] = {"0": "\x1b]0;mine\x07 [bold]failed[/bold]\ntrials  all done"}
    del content["digest"]
    receipt.write_bytes(to_record(content))
    (run_copy.paths.logs / "evil.log").write_text("\x1b[2Jgone [/x]\n\x9b1m\n", encoding="utf-8")
    command_line()(["status", str(root)], standalone_mode=False)
    command_line()(["status", str(root), "--json"], standalone_mode=False)
    command_line()(["logs", str(root)], standalone_mode=False)
    seen = capsys.readouterr().out
    assert "\x1b" not in seen
    assert "\x9b" not in seen
    assert "\\x1b]0;mine\\x07 [bold]failed[/bold] trials" in seen
    assert "\\x1b[2Jgone [/x]" in seen


@pytest.mark.process
def test_a_home_that_cannot_be_written_takes_no_words(run_copy: Run, memexp_process: Memexp) -> None:
    """As on nodes of a cluster, where matplotlib finds no place for its settings."""
    elsewhere = {"HOME": "/proc/none", "XDG_CONFIG_HOME": "/proc/none", "MPLCONFIGDIR": "/proc/none"}
    done = memexp_process("values", "copy", "--out", "values.png", env=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "values.png\n"
