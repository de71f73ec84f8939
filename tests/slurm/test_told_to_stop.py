"""A task whose end is announced, by its time limit or by preemption, keeps what it cannot finish.

Minutes long, so only on request: MEMEXP_STOPS=10 python -m pytest tests/slurm/test_told_to_stop.py
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from memexp.runs.pool import LocalPool, Resources
from memexp.runs.run import Run
from memexp.runs.worker import Trainer
from memexp.slurm import job
from memexp.store.checkpoints import checkpoint_shares
from memexp.store.launches import Launch
from tests.conftest import assert_same_outcomes

STOPS = int(os.environ.get("MEMEXP_STOPS", "0"))
LONG: dict[str, Any] = {
    "model": {"arch": "memexp_cnn", "width": 4},
    "training": {"epochs": 80 * (1 + STOPS), "augment": {"flip": True}},
    "subsets": {"trials": 10},
}
AFTER = 0.3  # seconds, at most, from the first checkpoint of a task until it is told
LEFT = 1.0  # seconds that it then has: too few to finish the block


def _task(run: Run, name: str) -> int:
    """A process that trains the block as a task does; its number."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            pool = LocalPool(run.paths, name, Resources(1, keep_every=0.1))
            launch = Launch(name, "slurm", [[0]], {}, {"signal_s": LEFT}, [], None)
            job._SECONDS_AFTER_TERM = LEFT
            with job._told_to_stop(pool, launch):
                pool.train([0], lambda _: None)
            os._exit(0)
        os._exit(1)
    return child


@pytest.mark.process
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not STOPS, reason="minutes long; MEMEXP_STOPS=10 runs it")
@pytest.mark.parametrize("told", [signal.SIGUSR2, signal.SIGTERM], ids=["time limit", "preemption"])
def test_stops_at_random_change_no_bit(told: signal.Signals, new_run: Callable[..., Run]) -> None:
    quiet, noisy = new_run("quiet", **LONG), new_run("noisy", **LONG)
    Trainer(quiet, "cpu").train(0)
    draws, stops, share = random.Random(told), 0, 0.0
    for number in range(STOPS):
        child = _task(noisy, f"task{number}")
        while checkpoint_shares(noisy.paths, [0]).get(0, 0.0) <= share:
            time.sleep(0.02)
            assert not os.waitpid(child, os.WNOHANG)[0], "it ended before it was told to"
        time.sleep(draws.uniform(0, AFTER))
        os.kill(child, told)
        assert os.waitpid(child, 0)[1] == 0
        kept = checkpoint_shares(noisy.paths, [0]).get(0, 0.0)
        stops += share < kept < 1
        share = kept
    assert stops == STOPS, "every one was in the middle of the block"
    assert LocalPool(noisy.paths, "last", Resources(1)).train([0], lambda _: None) == {}
    assert_same_outcomes(quiet, noisy)
