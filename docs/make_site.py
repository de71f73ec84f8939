"""Build the site of the documentation, strictly: the pages of this repository as they are, by Zensical.

    python docs/make_site.py [--out build/site]

Pages lie where they are read as Markdown: README, docs/, and beside what they describe. They are copied together, with
the files and folders that they link to, so that every link leads to the same thing on the site. Zensical comes with
`pip install '.[docs]'`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "analysis/*.md",
    "benchmarks/*.md",
    "slurm/*/*.md",
)
_STYLE = "docs/site.css"
_ABOUT = re.compile(r"^```(\w+) .*$", re.MULTILINE)
_NEXT_BLOCK = re.compile(r"^```\n(?=```\w)", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def gather(folder: Path) -> list[Path]:
    """Copy the pages, and what they link to, into a folder; those pages, relative to it.

    Zensical sees no block where its first line has more than a language ("text about", which is for the tests), and
    makes one paragraph of blocks without an empty line between them.
    """
    pages = sorted({page.relative_to(ROOT) for pattern in PAGES for page in ROOT.glob(pattern)})
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        for target, _ in _LINK.findall(text):
            if not target.startswith("http"):
                _take((ROOT / page).parent / target, folder)
        text = _NEXT_BLOCK.sub("```\n\n", _ABOUT.sub(r"```\1", _LINK.sub(_to_index, text)))
        searched = "" if page.name != "CHANGELOG.md" else "---\nsearch:\n  exclude: true\n---\n"
        (folder / page).write_text(searched + text, encoding="utf-8")
    _take(ROOT / _STYLE, folder)
    return pages


def _take(target: Path, folder: Path) -> None:
    """Copy a linked file; of a folder make a page that lists its files, which are copied too."""
    target = target.resolve()
    place = target.relative_to(ROOT)
    if target.is_dir() and not (target / "README.md").exists():
        files = sorted(path for path in target.rglob("*") if path.suffix in (".yaml", ".py") and path.is_file())
        lines = [f"- [{path.relative_to(target)}]({path.relative_to(target)}){_about(path)}" for path in files]
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "README.md").write_text(f"# {place}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
        for path in files:
            _take(path, folder)
    elif target.is_file() and target.suffix != ".md":
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, folder / place)


def _about(path: Path) -> str:
    """The first sentence of the comment at the head of a spec, or the first line of a program's docstring."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".yaml":
        said = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
        return ": " + re.split(r"\. (?=[A-Z])", said)[0].rstrip(".")
    return ": " + lines[0].strip('".')


def _to_index(found: re.Match[str]) -> str:
    """A link to a folder leads to its page; one to a file without an ending, such as a licence, stays."""
    target, anchor = found[1], found[2] or ""
    is_folder = not target.startswith("http") and not Path(target).suffix and not target.endswith("LICENSE")
    return f"]({target.rstrip('/')}/README.md{anchor})" if is_folder else found[0]


def main() -> None:
    """Build into ``--out``; the exit code is Zensical's, 1 also for a warning."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=ROOT / "build/site", help="folder of the site, made anew")
    out = parser.parse_args().out.resolve()
    source = ROOT / "build/pages"
    shutil.rmtree(source, ignore_errors=True)
    gather(source)
    made = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT, check=False)
    if made.returncode:
        sys.exit(made.returncode)
    if out != ROOT / "build/site":
        shutil.copytree(ROOT / "build/site", out, dirs_exist_ok=True)
    sys.stdout.write(f"{out / 'index.html'}\n")


if __name__ == "__main__":
    main()
