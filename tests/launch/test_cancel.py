"""Cancel ends the launch that holds the run's lock, and no other process whatever the lock's file says."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memexp.errors import InputError
from memexp.launch.cancel import Cancelled, cancel
from memexp.runs.run import Run
from memexp.store.lock import lock_holder

pytestmark = pytest.mark.process

HOLD = """
import sys, time
from pathlib import Path
from memexp.store.lock import launch_lock
from memexp.store.paths import RunPaths

with launch_lock(RunPaths(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user that has nothing to do with the run."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_the_launch_that_holds_the_lock_is_ended(new_run: Callable[..., Run]) -> None:
    run = new_run()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, run.paths.root], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert cancel(run.paths) == Cancelled([], holder.pid)
    assert holder.wait(10) == -signal.SIGTERM
    holder.stdout.close()
    assert cancel(run.paths) == Cancelled([], None)


@pytest.mark.parametrize(
    "pid", [-1, 0, 1, True, None, "7; true", 1.5, 2**40, "bystander", "group of the bystander", "no number at all"]
)
def test_a_process_that_does_not_hold_the_lock_is_left_alone(
    pid: Any, new_run: Callable[..., Run], bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    named = {"bystander": bystander.pid, "group of the bystander": -bystander.pid}.get(pid, pid)
    sent: list[tuple[int, int]] = []
    run.paths.lock.write_text(json.dumps({"host": socket.gethostname(), "pid": named}))
    with open(run.paths.lock) as stream, monkeypatch.context() as patched:  # undone before the bystander is ended
        patched.setattr(os, "kill", lambda *signal: sent.append(signal))
        fcntl.flock(stream, fcntl.LOCK_EX)  # somebody holds it, and the file names another
        with pytest.raises(InputError, match="is held, but not by the process that it names .*nothing was ended"):
            cancel(run.paths)
    assert not sent
    assert bystander.poll() is None
    assert cancel(run.paths) == Cancelled([], None)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": 3}', "null"])
def test_a_lock_file_that_names_nobody(content: str, new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.paths.lock.write_text(content)
    with open(run.paths.lock) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="nothing was ended"):
            cancel(run.paths)


def test_a_launch_elsewhere_is_named(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.paths.lock.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    with open(run.paths.lock) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert lock_holder(run.paths) == {"host": "elsewhere", "pid": 7}
        said = cancel(run.paths).elsewhere
    assert said.startswith("process 7 on elsewhere trains it, and goes on: run `memexp cancel")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of somebody else")
def test_a_process_of_somebody_else_is_left_alone(new_run: Callable[..., Run]) -> None:
    run = new_run()
    stranger = subprocess.Popen(["sleep", "60"], user=65534)
    try:
        run.paths.lock.write_text(json.dumps({"host": socket.gethostname(), "pid": stranger.pid}))
        with open(run.paths.lock) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            with pytest.raises(InputError, match="is another user's; ask its owner"):
                cancel(run.paths)
        time.sleep(0.05)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_where_there_is_no_proc_the_command_line_tells(
    new_run: Callable[..., Run], bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from memexp.launch import cancel as module

    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists(path) and not str(path).startswith("/proc"))
    run = new_run()
    assert not module._holds(bystander.pid, run.paths)
    assert module._holds(os.getpid(), run.paths) is ("memexp" in Path("/proc/self/cmdline").read_text())
