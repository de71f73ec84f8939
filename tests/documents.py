"""The pages of the project taken apart: blocks of code, commands, links, headings, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "analysis").glob("*.md")),
    ROOT / "benchmarks/README.md",
    ROOT / "slurm/devcluster/README.md",
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced or indented block; ``before`` is the paragraph above it, ``language`` empty where not given."""

    page: Path
    line: int
    language: str
    text: str
    before: str

    @property
    def first(self) -> str:
        return self.text.splitlines()[0]

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def blocks(page: Path) -> list[Block]:
    found, before = [], ""
    for token in tokens(page):
        if token.type == "inline":
            before = token.content
        elif token.type in ("fence", "code_block"):
            assert token.map
            found.append(Block(page, token.map[0] + 1, token.info.strip(), token.content, before))
    return found


def links(page: Path) -> list[str]:
    inside = [child for token in tokens(page) for child in token.children or []]
    return [str(child.attrs[key]) for child in inside for key in ("href", "src") if key in child.attrs]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, by the rule of the usual code hosts."""
    flow = tokens(page)
    texts = [flow[k + 1].content for k, token in enumerate(flow) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def inline_code(page: Path) -> list[str]:
    """Code between backticks, in prose and tables."""
    inside = [child for token in tokens(page) for child in token.children or []]
    return [child.content for child in inside if child.type == "code_inline"]


def paragraphs(page: Path) -> Iterator[str]:
    flow = tokens(page)
    for k, token in enumerate(flow):
        if token.type == "paragraph_open":
            yield flow[k + 1].content


def table_below(page: Path, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    flow = tokens(page)
    at = next(k for k, token in enumerate(flow) if token.type == "inline" and token.content == heading)
    start = next(k for k in range(at, len(flow)) if flow[k].type == "tbody_open")
    rows: list[list[str]] = []
    for token in flow[start:]:
        if token.type == "tbody_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token.content)
    return rows


def words(command: str) -> list[str]:
    """A command line in words, without its comment and without what a shell would do with its output."""
    try:
        split = shlex.split(command, comments=True)
    except ValueError:  # an apostrophe in prose
        return []
    return [word for word in split if word not in ("&&", "||")]


def command_lines(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(where, words) of each line of each block of commands, pipes and redirections cut off."""
    for block in blocks(page):
        if block.language in ("", "sh", "console"):
            for line in block.text.splitlines():
                yield f"{block}: {line}", words(re.split(r"\s[|>&]", line)[0])
