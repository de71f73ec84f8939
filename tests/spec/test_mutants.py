"""Whatever is in a spec, a sweep or a profile: a plan or an error in words, soon and in little memory.

More of them: MEMEXP_MUTANTS=2000 python -m pytest tests/spec/test_mutants.py -s
"""

from __future__ import annotations

import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memexp.slurm.limits import Limits
from tests.conftest import in_process
from tests.spec.mutants import Mutant, Mutator, write_surroundings

COUNT = int(os.environ.get("MEMEXP_MUTANTS", "80"))
SEED = int(os.environ.get("MEMEXP_MUTANTS_SEED", "1"))
SECONDS, GIGABYTES = 20, 2
HANGS = 6 * SECONDS  # by the clock, where the machine is shared with others; SECONDS are of the processor


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a cluster answers is made up here; tests/slurm has clusters."""
    commands = tmp_path_factory.mktemp("commands")
    (commands / "srun").touch(mode=0o755)  # submitit looks for it
    monkeypatch.setenv("PATH", str(commands))
    monkeypatch.setattr("memexp.launch.submission.read_limits", lambda *_: Limits(1001))
    monkeypatch.setattr("memexp.launch.submission.test_only", lambda _: "would start")


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise :class:`TimeoutError` in what takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(mutant: Mutant, folder: Path) -> tuple[int | None, str]:
    """Exit code and what was said; None and the traceback where there is one."""
    for name, content in mutant.files.items():
        (folder / name).write_bytes(content)
    try:
        with at_most(HANGS):
            done = in_process(*mutant.command, folder=folder)
    except BaseException:
        return None, traceback.format_exc()
    if done.returncode == 0 and mutant.command[0] == "launch" and "--profile" not in mutant.command:
        return outcome(replace(mutant, command=["plan", "spec.yaml", "--device", "cpu"]), folder)  # trains a few steps
    return done.returncode, done.stderr


def gigabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@pytest.mark.long
def test_every_mutant_is_planned_or_refused_in_words(tmp_path: Path) -> None:
    write_surroundings(tmp_path)
    mutator, codes, wrong, slowest = Mutator(SEED), Counter[int | None](), [], 0.0
    for number in range(COUNT):
        mutant = mutator.mutant()
        before, memory = time.process_time(), gigabytes()
        code, said = outcome(mutant, tmp_path)
        seconds = time.process_time() - before
        slowest = max(slowest, seconds)
        codes[code] += 1
        heavy = gigabytes() > max(GIGABYTES, memory) or seconds > SECONDS
        if code not in (0, 2) or "Traceback" in said or heavy or (code == 2 and not 10 < len(said) < 20_000):
            wrong.append(f"{number}: {mutant.told}: exit {code}, {seconds:.1f} s, {gigabytes():.1f} GB: {said[-1500:]}")
    print(f"{COUNT} mutants: exit codes {dict(codes)}, slowest {slowest:.1f} s, most {gigabytes():.2f} GB")
    assert not (tmp_path / "runs").exists()
    assert not wrong, "\n\n".join(wrong)
    assert codes[0] > COUNT / 50  # not everything is refused...
    assert codes[2] > COUNT / 3


@pytest.mark.long
def test_the_unchanged_files_are_planned(tmp_path: Path) -> None:
    from tests.spec.mutants import PROFILE, SPECS, SWEEP, TINY, written

    write_surroundings(tmp_path)
    for value in [*SPECS, SWEEP]:
        files = {"spec.yaml": written(value).encode(), "base.yaml": written(TINY).encode()}
        files["profile.yaml"] = written(PROFILE).encode()
        for where in (["--executor", "local", "--device", "cpu"], ["--profile", "profile.yaml"]):
            code, said = outcome(Mutant(files, ["launch", "spec.yaml", "--dry-run", *where], ""), tmp_path)
            assert code == 0, said


@pytest.mark.parametrize("seed", range(3))
def test_mutants_are_the_same_for_the_same_seed(seed: int) -> None:
    first, again = Mutator(seed), Mutator(seed)
    assert [first.mutant() for _ in range(20)] == [again.mutant() for _ in range(20)]
