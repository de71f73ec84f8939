"""The documentation cannot lie: what it names exists, its blocks run or are valid, the demo does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import typer
import yaml

from memexp.analysis.estimates import open_estimates
from memexp.analysis.merged import open_merged
from memexp.cli.app import app
from memexp.slurm.profile import Profile, read_profile
from memexp.spec.reading import read_spec
from memexp.spec.sweep import read_file
from memexp.store.paths import RunPaths
from tests.conftest import ROOT, changed
from tests.documents import PAGES, Block, anchors, blocks, command_lines, inline_code, links, name_of, paragraphs, words
from tests.test_specs import write_prepared

MEMEXP: Any = typer.main.get_command(app)
EVERY_BLOCK = [block for page in PAGES for block in blocks(page)]

# Blocks that are neither run nor read here, by page and first words, and why.
CANNOT_RUN = {
    ("README.md", "make demo"): "installs; test_the_demo_finds_the_flipped_labels does what it does",
    ("README.md", "python3 -m venv"): "fetches PyTorch from another index",
    ("README.md", "memexp launch specs/digits.yaml"): "test_the_demo_finds_the_flipped_labels does it",
    ("README.md", "spec.yaml ->"): "a picture in letters",
    ("README.md", "memorization[i]"): "a formula",
    ("docs/estimators.md", "memorization[i]"): "a formula",
    ("docs/estimators.md", "se(T) ="): "a formula",
    ("docs/estimators.md", "python benchmarks/designs.py"): "ten minutes",
    ("docs/estimators.md", "python benchmarks/estimators.py"): "ten minutes; trains 4,000 networks",
    ("docs/estimators.md", "python benchmarks/discoveries.py"): "minutes; tests/analysis/test_discovery.py does a part",
    ("docs/estimators.md", "python benchmarks/until.py"): "minutes; tests/launch/test_until.py does a part",
    ("docs/experiments.md", "make paper"): "installs, and trains for twenty minutes or more",
    ("docs/fashion_mnist.md", "memexp launch specs/laptop/fashion_labels.yaml"): "ten minutes and more",
    ("docs/models.md", "memexp launch specs/cifar100_small.yaml"): "needs CIFAR-100, and half an hour",
    ("docs/slurm.md", "memexp doctor --profile"): "needs a cluster; tests/slurm/test_cluster.py has one",
    ("docs/slurm.md", "tasks "): "needs a cluster; tests/slurm/test_daily.py asks for it",
    ("docs/slurm.md", "memexp resume"): "needs a cluster; tests/slurm/test_daily.py does it",
    ("slurm/devcluster/README.md", "eval"): "needs root; tests/slurm/test_devcluster.py does it",
}
ELSEWHERE = {f"docs/{page}.md": f"tests/test_{page}.py" for page in ("tutorial", "extending", "notebook")}
ELSEWHERE["docs/errors.md"] = "tests/cli/test_errors.py"
ELSEWHERE["docs/data.md"] = "tests/test_own_data.py"


def reason(block: Block) -> str | None:
    """Why a block cannot run, if it is in the list."""
    found = [why for (page, start), why in CANNOT_RUN.items() if name_of(block.page) == page and start in block.first]
    return found[0] if found else None


def kind(block: Block) -> str:
    """What the tests do with a block."""
    if name_of(block.page) in ELSEWHERE:
        return "elsewhere"
    if reason(block):
        return "cannot run"
    if all(line.startswith("python -m pytest ") for line in block.text.splitlines()):
        return "tests"
    if block.language == "python":
        return "python"
    if block.language in ("yaml", "") and isinstance(_parsed(block.text), dict):
        return "yaml"
    return "commands" if block.language in ("", "sh") else "unknown"


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def of_kind(*kinds: str) -> list[Block]:
    return [block for block in EVERY_BLOCK if kind(block) in kinds]


# --------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith("http"):
            assert re.fullmatch(r"https?://[a-z0-9.-]+\.[a-z]+(/[\w./~%-]*)?", target), link
            continue
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), f"{link}: there are {sorted(anchors(file))}"


@cache
def _has_network() -> bool:
    try:
        urllib.request.urlopen("https://github.com", timeout=5)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("link", sorted({link for page in PAGES for link in links(page) if link.startswith("http")}))
def test_external_links_answer(link: str) -> None:
    if not _has_network():
        pytest.skip("no network")
    request = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


# ------------------------------------------------------------------------------------------ commands


def options_of(command: click.Command) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts) if name.startswith("-")}


def used(line: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in line if re.match(r"--?[a-zA-Z]", word)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    shown = [words(code) for code in inline_code(page)] + [line for _, line in command_lines(page)]
    for line in shown:
        if line[:1] == ["memexp"] and len(line) > 1 and not line[1].startswith("-"):
            assert line[1] in MEMEXP.commands, line
            assert used(line[2:]) <= options_of(MEMEXP.commands[line[1]]) | {"--help"}, line
        elif line[:1] == ["memexp"]:
            assert used(line) <= options_of(MEMEXP) | {"--help"}, line
        elif line[:1] == ["make"] and len(line) > 1:
            assert re.search(rf"^{line[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_command_line_takes_every_command_of_a_block(page: Path) -> None:
    """Also how many arguments there are, and the values that an option may have."""
    for where, line in command_lines(page):
        if line[:1] == ["memexp"] and line[1] in MEMEXP.commands:
            try:
                MEMEXP.commands[line[1]].make_context(line[1], line[2:])
            except click.ClickException as error:
                pytest.fail(f"{where}: {error.format_message()}")


def test_the_readme_names_every_command() -> None:
    shown = {words(code)[1] for code in inline_code(ROOT / "README.md") if re.match(r"memexp [a-z]", code)}
    assert shown == set(MEMEXP.commands)


@cache
def help_of(script: str) -> str:
    environment = os.environ | {"COLUMNS": "200"}
    command = [sys.executable, script, "--help"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.process
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_script_shown_exists_with_its_options(page: Path) -> None:
    shown = [words(code) for code in inline_code(page)] + [line for _, line in command_lines(page)]
    for line in shown:
        if line[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / word).is_file() for word in line[3:] if not word.startswith("-")), line
        elif line[:1] in (["python"], [".venv/bin/python"]) and re.search(r"/\w+\.py$", [*line, ""][1]):
            assert (ROOT / line[1]).is_file(), line
            options = used(line[2:])
            if options:
                assert options <= set(re.findall(r"--?[a-z][\w-]*", help_of(line[1]))), line


@pytest.mark.process
def test_the_cluster_takes_every_command_shown() -> None:
    """Verbs of slurm/devcluster/devcluster.py in its own page, read by its own parser."""
    page = ROOT / "slurm/devcluster/README.md"
    shown = [words(code) for code in inline_code(page)]
    verbs = [line for line in shown if line[:1] and line[0] in ("up", "node", "daemon", "check", "install", "status")]
    assert ["node", "kill", "n1"] in verbs
    program = (
        f"import sys; sys.path.insert(0, {str(page.parent)!r}); import devcluster\n"
        f"for line in {[line for line in verbs if '--help' not in line]!r}:\n"
        "    devcluster._command_line().parse_args(line)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_in_prose_belong_to_something(page: Path) -> None:
    """An option by itself, such as `--strongest 5`, is one of some command, or of the page's scripts."""
    known = set().union(*(options_of(command) for command in MEMEXP.commands.values()), {"--help"})
    for code in inline_code(page):
        for option in used(words(code)[:1]):
            if option.startswith("--") and option not in known:
                scripts = [*page.parent.glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
                assert any(option.lstrip("-") in script.read_text() for script in scripts), code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_block_of_commands_was_swallowed_by_a_list(page: Path) -> None:
    """Four spaces after a list item are a paragraph of the item, not a block."""
    command = rf"python -m |python \S+\.py|memexp ({'|'.join(MEMEXP.commands)})\b|make (demo|test|paper)"
    for text in paragraphs(page):
        assert not re.match(command, text), f"{text}: fence it"


# -------------------------------------------------------------------------------------------- blocks


def test_every_block_is_run_or_read_or_in_the_list() -> None:
    unknown = [str(block) for block in EVERY_BLOCK if kind(block) == "unknown"]
    assert not unknown, "no test knows what to do with these blocks"
    used_reasons = [reason(block) for block in EVERY_BLOCK]
    assert set(CANNOT_RUN.values()) <= set(used_reasons), "a reason without a block; delete it from CANNOT_RUN"
    for test in ELSEWHERE.values():
        assert (ROOT / test).is_file()


@pytest.mark.parametrize("block", of_kind("yaml"), ids=str)
def test_yaml_blocks_are_valid(block: Block, tmp_path: Path) -> None:
    """A whole spec, a sweep of one, a whole profile, or some blocks of a spec."""
    path = tmp_path / "shown.yaml"
    path.write_text(block.text)
    (tmp_path / "removed.json").write_text('{"some": [1, 2]}')
    value = _parsed(block.text)
    if value.keys() <= Profile.model_fields.keys():
        assert read_profile(str(path)).resources.workers
    elif "vary" in value:
        path.write_text(yaml.safe_dump(value | {"base": str(ROOT / value["base"])}, sort_keys=False))
        assert len(read_file(path).files) == 4, "as the page says"
    else:
        if "name" not in value:
            path.write_text(yaml.safe_dump(changed() | value))
        assert read_spec(path).spec


@pytest.mark.parametrize("block", of_kind("tests"), ids=str)
def test_tests_that_are_named_exist(block: Block) -> None:
    files = [word for line in block.text.splitlines() for word in words(line) if word.endswith(".py")]
    assert files
    assert all((ROOT / file).is_file() for file in files)


@pytest.fixture(scope="module")
def workplace(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: runs, a spec, images; and the commands in its `bin`."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("NAME", "A", "B"):
        shutil.copytree(trained_run, folder / "runs" / name)
    (folder / "spec.yaml").write_text(yaml.safe_dump(changed()))
    write_prepared(folder)
    shutil.move(folder / "images", folder / "ImageNet")
    for split in ("train", "val"):
        for old, new in (("class0", "n02085620"), ("class1", "n02085782")):
            (folder / "ImageNet" / split / old).rename(folder / "ImageNet" / split / new)
    (folder / "data").mkdir()
    put_commands(folder / "bin")
    return folder


def put_commands(folder: Path) -> None:
    """``memexp`` and ``python`` as this test's own."""
    folder.mkdir()
    for name, command in (("memexp", f"{sys.executable} -m memexp"), ("python", sys.executable)):
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)


def environment_of(folder: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "COLUMNS": "80"}


@pytest.mark.process
@pytest.mark.parametrize("block", of_kind("commands"), ids=str)
def test_blocks_of_commands_run(block: Block, workplace: Path) -> None:
    done = subprocess.run(
        ["bash", "-euc", block.text], cwd=workplace, env=environment_of(workplace), capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.process
@pytest.mark.parametrize("page", sorted({block.page for block in of_kind("python")}), ids=name_of)
def test_blocks_of_python_run(page: Path, workplace: Path) -> None:
    """One after the other, as a reader would paste them."""
    program = "\n".join(block.text for block in of_kind("python") if block.page == page)
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=workplace, env=environment_of(workplace), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------------------------- demo


def test_the_spec_in_the_readme_is_the_demos(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.language == "yaml"]
    (tmp_path / "spec.yaml").write_text(block.text)
    assert read_spec(tmp_path / "spec.yaml").spec == read_spec(ROOT / "specs/digits.yaml").spec


@pytest.mark.process
def test_the_demo_finds_the_flipped_labels(tmp_path: Path) -> None:
    """`make demo` without the installation: 500 trials, AUROC of the flips at least 0.98."""
    from sklearn.metrics import roc_auc_score

    command = [sys.executable, "-m", "memexp"]
    spec = ROOT / "specs/digits.yaml"
    subprocess.run(
        [*command, "launch", spec, "--yes", "--runs", tmp_path, "--device", "cpu"], check=True, capture_output=True
    )
    subprocess.run([*command, "report", tmp_path / "digits"], check=True, capture_output=True)
    paths = RunPaths.of_run(tmp_path / "digits")
    assert paths.report.stat().st_size > 100_000
    merged, scores = open_merged(paths), open_estimates(paths).scores
    assert merged.n_trials == 500
    assert np.isfinite(scores.memorization).all()
    assert roc_auc_score(merged.examples["train_label_flipped"], scores.memorization) >= 0.98
