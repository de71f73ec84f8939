"""What a person at a terminal is told: groups and examples, sizes before a question, work that takes its time; JSON."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
import typer

from memexp.brief import counted
from memexp.cli import console
from memexp.cli.app import app
from memexp.cli.help import EXAMPLES, GROUPS
from memexp.cli.slurm import profile_names
from memexp.cli.watch import print_state
from memexp.errors import InputError
from memexp.launch.launch import launch_local
from memexp.launch.status import Status
from memexp.runs.larger import enlarged
from memexp.runs.pool import Resources
from memexp.runs.run import Run
from tests.conftest import ROOT

MEMEXP: Any = typer.main.get_command(app)
Memexp = Callable[..., Any]


def test_every_command_is_in_a_group_and_has_an_example_that_the_command_line_takes() -> None:
    assert set(EXAMPLES) == set(MEMEXP.commands)
    for name, (group, example) in EXAMPLES.items():
        words = example.split()
        assert words[:2] == ["memexp", name]
        assert MEMEXP.commands[name].rich_help_panel == group
        assert MEMEXP.commands[name].epilog == f"Example: {example}"
        try:
            MEMEXP.commands[name].make_context(name, words[2:])
        except click.ClickException as error:
            pytest.fail(f"{example}: {error.format_message()}")


def test_the_groups_come_in_the_order_of_a_run(memexp: Memexp) -> None:
    said = memexp("--help").stdout
    places = [said.index(f" {group} ─") for group in GROUPS]
    assert places == sorted(places)
    places = [said.index(f"│ {name} ") for name in EXAMPLES]
    assert places == sorted(places)
    assert "Example: memexp plan specs/digits.yaml" in memexp("plan", "--help").stdout


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_help_says_every_word_of_the_options(name: str, memexp: Memexp) -> None:
    """Words in brackets, such as a default, would be taken for markup and vanish."""
    said = memexp(name, "--help", env={"COLUMNS": "400"}).stdout
    for option in MEMEXP.commands[name].params:
        told = [option.help] if getattr(option, "help", None) else []
        if isinstance(option.show_default, str):
            told.append(f"[default: ({option.show_default})]")
        assert all(words in said for words in told), told


def test_names_of_profiles_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for folder in ("slurm/profiles", "memexp"):
        (tmp_path / folder).mkdir(parents=True)
    for path in ("slurm/profiles/fast.yaml", "memexp/far.yaml", "memexp/slow.yaml"):
        (tmp_path / path).touch()
    assert profile_names("") == ["far", "fast", "slow"]
    assert profile_names("fa") == ["far", "fast"]


def test_speed_does_not_count_what_came_before_the_first_sign_of_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with console.progress("training", 100, "trials") as tell:
        for clock[0], done in ((20.0, 0.0), (40.0, 2.0), (60.0, 22.0)):
            tell(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("starting")
    assert lines[-1] == "training: 22 of 100 trials, 1.00 trials/s, 1 min 18 s left"  # 0.37 with the start


def test_that_nothing_failed_is_no_fault(memexp: Memexp, run_copy: Run) -> None:
    said = memexp("logs", run_copy.paths.root, "--failed")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("logs  none of a task that ended without finishing\n")
    assert memexp("logs", run_copy.paths.root, "--task", 3).returncode == 2  # there is no task


def test_no_bar_stays_when_its_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that is merged already, say, `merging 0 %` would."""
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = console.PlainConsole()
    terminal.file, terminal._force_terminal, terminal.is_interactive = io.StringIO(), True, True
    monkeypatch.setattr(console, "err", terminal)
    with console.progress("merging", 1, "parts"):
        pass
    written = terminal.file.getvalue()
    assert "merging" in written
    assert written.rsplit("merging", 1)[1].endswith("\x1b[1A\x1b[2K")  # up to the bar's line, which is erased


def test_one_of_a_thing_is_told_as_one() -> None:
    assert counted(1, "trial", "is", "are") == "1 trial is"
    assert counted(2000, "trial", "is", "are") == "2,000 trials are"
    assert counted(0, "trial") == "0 trials"
    told: dict[str, str] = {}
    print_state(Status("runs/a", 59, 1, 0, None, None, 0.1, None, {"no GPU": 1}), lambda rows: told.update(rows))
    assert told["failed"] == "1 trial: no GPU"


# ------------------------------------------------------------------------------------------ JSON


@pytest.mark.long
def test_every_command_that_tells_facts_tells_them_as_json(memexp: Memexp, run_copy: Run, tmp_path: Path) -> None:
    rows = [line.split("|") for line in (ROOT / "docs/json.md").read_text("utf-8").splitlines() if "| `memexp" in line]
    documented = {row[1].strip(" `"): row[2].split(",") for row in rows}

    def told(*words: str, code: int = 0) -> dict[str, Any]:
        done = memexp(*words, "--json")
        assert done.returncode == code, done.stderr
        found = dict(json.loads(done.stdout))
        name = " ".join(["memexp", words[0], *(word for word in words if word == "--usage")])
        assert set(found) == {key.strip() for key in documented[name]}
        return found

    trials = run_copy.store().layout.n_trials
    assert told("merge", "copy") == {
        "run": "copy", "done": trials, "failed": 0, "missing": 0, "file": "copy/merged.zarr",
    }  # fmt: skip
    import zarr

    found = told("estimate", "copy")
    stored = zarr.open_group(run_copy.paths.estimates, mode="r")
    values: Any = stored["memorization"]
    memorization = values[:]
    assert found["memorization"]["mean"] == pytest.approx(float(np.nanmean(memorization)), abs=1e-6)
    assert found["memorization"]["memorized"] == int((memorization >= 0.25).sum())
    assert found["trials"] == trials
    assert found["pairs"]["passing"] >= found["pairs"]["discoveries"]
    compared = told("compare", "copy", "--deals", "1")
    place = compared["memorization"]["threshold"].index(0.25)
    text = memexp("compare", "copy", "--deals", "1").stdout
    (line,) = [row for row in text.splitlines() if row.strip().startswith("0.25")][:1]
    numbers = [int(word.replace(",", "")) for word in line.split()[1:3]]
    assert f"{compared['differing']['examples']:,} examples differ in memorization" in text
    assert numbers == [compared["memorization"][side][place] for side in ("first", "second")]
    lists = told("select", "copy", "--out", str(tmp_path / "removed.json"))
    assert lists["examples"]["nothing"] == 0
    assert Path(lists["file"]).is_file()
    verdict = told("verify", "copy", "--retrain", "0")
    assert (verdict["problems"], verdict["retrained"], verdict["blocks"]) == ([], [], run_copy.store().layout.n_blocks)
    told("status", "copy")
    usage = told("status", "copy", "--usage")
    assert usage["run"] == "copy"
    assert usage["advice"] == {}


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"a": [float("nan"), 1.0], "b": {"c": float("inf")}})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.0], "b": {"c": None}}


# ---------------------------------------------------------------------------------- on a terminal


def on_a_terminal(folder: Path, *words: str, answer: str = "") -> str:
    """What a command says to a terminal; ``answer`` is typed as soon as it asks."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # also where these tests run in the background, which ignores it
        os.chdir(folder)
        os.execve(sys.executable, [sys.executable, "-m", "memexp", *words], os.environ | {"TERM": "xterm"})
    said, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # its end
            break
        said += piece
        if answer and b"[Y/n]" in said:
            os.write(terminal, answer.encode())
            answer = ""
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail(f"has not ended: {said!r}")
    os.waitpid(child, 0)
    return said.decode(errors="replace")


@pytest.mark.process
def test_launch_says_size_time_and_disk_before_it_asks(tmp_path: Path, write_spec: Any) -> None:
    said = on_a_terminal(tmp_path, "launch", str(write_spec()), "--executor", "local", answer="n\n")
    before, asked, _ = said.partition("Train now?")
    assert asked
    for row in ("size          20 trials", "time          about ", "with ", "disk          "):
        assert row in before, said
    assert not (tmp_path / "runs").exists()


@pytest.mark.process
def test_launch_asks_before_it_runs_a_trial_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def sizes(): return 9, 3\ndef trial(mask, seed): open('ran', 'w')\n")
    (tmp_path / "spec.yaml").write_text("name: own\ntrial: {file: own.py}\nsubsets: {ratio: 0.6, trials: 20}\n")
    said = on_a_terminal(tmp_path, "launch", "spec.yaml", "--executor", "local", answer="\x03")
    assert "Train now?" in said, said
    assert "Abort" not in said  # Ctrl-C is a no
    assert not (tmp_path / "ran").exists()


def test_a_command_is_not_silent_for_long_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Line:
        def update(self, text: Any) -> None:
            told.append(str(text))

        def start(self) -> None:
            told.append("shown")

        def stop(self) -> None:
            told.append("gone")

    clock = [0.0]
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(type(console.err), "is_terminal", True)
    monkeypatch.setattr(console.err, "status", lambda _: Line())
    silence = console._Silence()
    silence.name = "compare"
    for clock[0] in (1.9, 2.1):
        silence.look()
    assert told == ["shown", "compare: 2 s"]
    silence.broken()
    silence.look()
    assert told[2:] == ["gone"]
    silence.held += 1  # a bar moves
    clock[0] = 60.0
    silence.look()
    assert told[3:] == []


def test_other_software_does_not_matter_to_a_run_that_needs_no_training(run_copy: Run, memexp: Memexp) -> None:
    """And a launch that trained nothing does not vouch for that software afterwards."""
    noted = max(run_copy.paths.launches.glob("*.json"))
    content = json.loads(noted.read_text()) | {"code": "0" * 12}
    content.pop("digest", None)
    noted.write_text(json.dumps(content))
    done = memexp("resume", run_copy.paths.root)
    assert done.returncode == 0, done.stderr
    assert "40 of 40 trials are settled already; nothing to train" in done.stderr
    assert max(run_copy.paths.launches.glob("*.json")) == noted
    with pytest.raises(InputError, match="was launched with other software: the code of memexp was 0000"):
        launch_local(enlarged(run_copy, 50), Resources(workers=0), lambda _: None)
