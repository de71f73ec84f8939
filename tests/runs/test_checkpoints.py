"""Long blocks go on from their checkpoints, after whatever stopped them."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from memexp.runs import checkpoints, worker
from memexp.runs.pool import LocalPool, Resources
from memexp.runs.run import Run
from memexp.runs.worker import Trainer
from memexp.store.checkpoints import checkpoint_path, checkpoint_shares
from memexp.store.commit import recover
from memexp.store.receipts import read_receipts
from tests.conftest import assert_same_outcomes

LONG: dict[str, Any] = {
    "model": {"arch": "memexp_cnn", "width": 4},
    "training": {"epochs": 20, "augment": {"flip": True}},
    "subsets": {"trials": 10},
}


class Cut(Exception):
    pass


def cut(*_: object, **__: object) -> None:
    raise Cut


@pytest.fixture
def short(new_run: Callable[..., Run]) -> Run:
    """A run of one block whose training was cut before its commit, with a checkpoint."""
    run = new_run()
    with pytest.MonkeyPatch.context() as patch, suppress(Cut):
        patch.setattr(worker, "commit", cut)
        Trainer(run, "cpu", keep_every=0.0).train(0)
    return run


def retrained(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Train the first block to its end; the trials that were trained again."""
    found: list[int] = []
    train = worker.train_block

    def watched(work: Any, masks: Any, trials: Any, tell: Any, keeper: Any) -> Any:
        found.extend(trial for trial in trials if trial not in keeper.outcomes)
        return train(work, masks, trials, tell, keeper)

    monkeypatch.setattr(worker, "train_block", watched)
    Trainer(run, "cpu").train(0)
    return found


@pytest.mark.long
def test_a_checkpoint_is_gone_on_with_and_deleted_after_the_commit(
    short: Run, new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint_shares(short.paths, [0]) == {0: 1.0}
    assert retrained(short, monkeypatch) == []
    assert not list(short.paths.partial.iterdir())
    (receipt,) = read_receipts(short.paths)
    assert receipt.seconds > float(short.store().per_trial("seconds")[:10].sum())
    quiet = new_run("quiet")
    for run, block in ((quiet, 0), (quiet, 1), (short, 1)):
        Trainer(run, "cpu").train(block)
    assert not quiet.paths.partial.exists(), "nothing is kept of what is short"
    assert_same_outcomes(short, quiet)


@pytest.mark.parametrize("what", ["software", "damage", "another run"])
def test_what_does_not_fit_is_not_mixed_in(
    what: str,
    short: Run,
    new_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = checkpoint_path(short.paths, 0)
    if what == "software":
        monkeypatch.setattr(checkpoints, "software", lambda: {"torch": "1.0"})
    elif what == "damage":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        other = new_run("other", training={"lr": 0.06})
        checkpoint_path(other.paths, 0).parent.mkdir()
        path.rename(checkpoint_path(other.paths, 0))
        short = other
    assert retrained(short, monkeypatch) == list(range(10))
    words = {"software": "(software differ)", "damage": "is damaged", "another run": "(identity differ)"}
    assert f"block 0 begins anew: {checkpoint_path(short.paths, 0)} " in (said := capsys.readouterr().err)
    assert words[what] in said
    assert not checkpoint_path(short.paths, 0).exists()


def test_a_disk_that_is_full_costs_the_checkpoint_alone(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_checkpoint", full)
    run = new_run()
    assert Trainer(run, "cpu", keep_every=0.0).train(0)["trained"] == 10
    assert "no checkpoint of block 0" in capsys.readouterr().err


def test_the_next_launch_deletes_what_a_late_writer_left(short: Run) -> None:
    path = checkpoint_path(short.paths, 0)
    content = path.read_bytes()
    Trainer(short, "cpu").train(0)
    path.write_bytes(content)
    recover(short.paths, short.store(writable=True))
    assert not path.exists()


# -------------------------------------------------------------------------------- killed for real


def _killed_after(run: Run, seconds: float) -> bool:
    """Train the block in a process that is killed so long after its first new checkpoint; whether it was alive."""
    path = checkpoint_path(run.paths, 0)
    before = path.stat().st_mtime_ns if path.exists() else 0
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            Trainer(run, "cpu", keep_every=0.0).train(0)
            os._exit(0)
        os._exit(1)
    while not (path.exists() and path.stat().st_mtime_ns != before):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.process
def test_ten_times_kill_9_inside_of_trials(new_run: Callable[..., Run]) -> None:
    quiet, noisy = new_run("quiet", **LONG), new_run("noisy", **LONG)
    Trainer(quiet, "cpu").train(0)
    draws = random.Random(0)
    kills = sum(_killed_after(noisy, draws.uniform(0, 0.08)) for _ in range(10))
    assert kills == 10
    assert 0 < checkpoint_shares(noisy.paths, [0])[0] < 1
    assert not list(noisy.paths.blocks.glob("*.json"))
    Trainer(noisy, "cpu").train(0)
    assert_same_outcomes(quiet, noisy)
    recover(noisy.paths, noisy.store(writable=True))


@pytest.mark.process
def test_a_pool_that_is_told_to_stop_keeps_what_it_cannot_finish(new_run: Callable[..., Run]) -> None:
    longer = LONG | {"training": LONG["training"] | {"epochs": 50}}
    quiet, noisy = new_run("quiet", **longer), new_run("noisy", **longer)
    Trainer(quiet, "cpu").train(0)
    first = LocalPool(noisy.paths, "first", Resources(1, keep_every=0.2))
    path = checkpoint_path(noisy.paths, 0)
    told: list[float] = []

    def stop_soon(_: object) -> None:
        if path.exists() and not told:
            told.append(time.monotonic())
            path.unlink()  # so that the last one is what the stop asked for
            first.stop(20.0)

    assert first.train([0], stop_soon) == {}
    assert time.monotonic() - told[0] < 15, "it ends once the block is kept"
    assert first.progress.trained == 0
    assert 0 < checkpoint_shares(noisy.paths, [0])[0] < 1
    assert not read_error(noisy.paths.logs / "first-w0.log")
    assert LocalPool(noisy.paths, "second", Resources(1)).train([0], lambda _: None) == {}
    assert_same_outcomes(quiet, noisy)
    assert not list(noisy.paths.partial.iterdir())


def read_error(log: Path) -> str:
    return log.read_text(encoding="utf-8")
