"""docs/tutorial.md, followed word for word in an empty folder.

A block after "Put this into `FILE`" is written to that file; one after "Replace the last line of
`FILE`" replaces it. Blocks of commands are run, and a block of text after one is what they print,
both streams together: a line `...` stands for any lines, `...` within a line for any text. Where the
fence says `text about`, numbers may differ by 30 percent, or 0.05, or 10 where they are integers.
Lines of progress are left out: how many there are says only how fast the machine is.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from memexp.cli import console
from tests.conftest import ROOT
from tests.documents import Block, blocks
from tests.test_docs import environment_of, put_commands

pytestmark = pytest.mark.process

PAGE = ROOT / "docs/tutorial.md"
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")
PROGRESS = re.compile(r"[a-z][\w ]*: \d+ of \d+ [\w ]+, (.* left|starting)")


def close(shown: str, seen: str) -> bool:
    """Whether two numbers differ by no more than processors may make them."""
    a, b = (float(text.replace(",", "")) for text in (shown, seen))
    return abs(a - b) <= max(0.3 * abs(a), 0.05 if "." in shown else 10)


def line_matches(shown: str, seen: str, about: bool) -> bool:
    if not about:
        return bool(re.fullmatch(".*".join(map(re.escape, shown.split("..."))), seen))
    words, others = ([NUMBER.sub("#", " ".join(line.split()))] for line in (shown, seen))
    pattern = ".*".join(map(re.escape, words[0].split("...")))
    numbers = zip(NUMBER.findall(shown), NUMBER.findall(seen), strict=False)
    return bool(re.fullmatch(pattern, others[0])) and all(close(*pair) for pair in numbers)


def matches(shown: list[str], seen: list[str], about: bool = False) -> bool:
    if not shown:
        return not seen
    if shown[0] == "...":
        return any(matches(shown[1:], seen[start:], about) for start in range(len(seen) + 1))
    return bool(seen) and line_matches(shown[0], seen[0], about) and matches(shown[1:], seen[1:], about)


def printed(text: str) -> list[str]:
    """Lines of a command's output, without those that a slower machine shows more of."""
    return [line for line in text.rstrip("\n").splitlines() if not PROGRESS.fullmatch(line)]


def test_lines_of_progress_are_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "_QUIET_EVERY_SECONDS", 0)
    with console.progress("training", 140, "trials") as tell:
        tell(0)
        tell(129)
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 2
    assert printed(told + "trials  129 of 140 done\n") == ["trials  129 of 140 done"]


def test_what_is_shown_must_be_what_is_seen() -> None:
    assert matches(["a", "...", "z"], ["a", "b", "c", "z"])
    assert matches(["took ... s", "..."], ["took 3.2 s"])
    assert not matches(["a 0.98"], ["a 0.97"])
    assert matches(["a  0.98, 60 of 600"], ["a  0.97, 63 of 600"], about=True)
    assert matches(["     9  0.25"], ["    11  0.25"], about=True), "columns move with their digits"
    assert not matches(["60 examples"], ["90 examples"], about=True)
    assert not matches(["a 0.98", "b"], ["a 0.98"])


def _write(block: Block, folder: Path) -> bool:
    """Follow "Put this into" and "Replace the last line of"; False if the paragraph above says neither."""
    last = " ".join(block.before.split("\n"))
    told = re.search(r"(Put this into|Replace the last line of) `([\w.]+)`[^.]*:$", last)
    if told is None:
        return False
    path = folder / told[2]
    before = path.read_text().splitlines(keepends=True)[:-1] if told[1].startswith("Replace") else []
    path.write_text("".join(before) + block.text)
    return True


def test_the_tutorial_word_for_word(tmp_path: Path) -> None:
    put_commands(tmp_path / "bin")
    folder, seen = tmp_path / "any", None
    folder.mkdir()
    for block in blocks(PAGE):
        if block.text == ". .venv/bin/activate\n":
            continue  # enters what `make demo` made
        if block.language in ("yaml", "python"):
            assert _write(block, folder), f"{block}: into which file?"
        elif block.language == "sh":
            done = subprocess.run(
                ["bash", "-euc", block.text], cwd=folder, env=environment_of(tmp_path), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stdout}"
            seen = printed(done.stdout)
        else:
            assert block.language in ("text", "text about"), f"{block}: {block.language}"
            assert seen is not None, f"{block}: no command before it"
            shown = block.text.splitlines()
            if not matches(shown, seen, block.language == "text about"):
                pytest.fail("\n".join([f"{block} shows", *shown, "", "but it is", *seen]))
            seen = None
