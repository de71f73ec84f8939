"""What runs on this machine, read from /proc: whose it is, what it started, whether it is really alive."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process that is not a zombie: a dead daemon stays one where nobody reaps orphans."""

    pid: int
    parent: int
    name: str

    def environment(self) -> dict[str, str]:
        """Its environment at its start; empty where it is gone, a stranger's, or has overwritten it."""
        try:
            text = (PROC / str(self.pid) / "environ").read_bytes().decode(errors="replace")
        except OSError:
            return {}
        return dict(line.partition("=")[::2] for line in text.split("\0") if "=" in line)

    def arguments(self) -> list[str]:
        """Its command line."""
        try:
            return (PROC / str(self.pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return []

    def has_open(self, path: Path) -> bool:
        """Whether it has a file open."""
        try:
            return any(entry.readlink() == path for entry in (PROC / str(self.pid) / "fd").iterdir())
        except OSError:
            return False


def process(pid: int) -> Process | None:
    """The live process of this number, if there is one."""
    try:
        head, _, tail = (PROC / str(pid) / "stat").read_text(errors="replace", encoding="utf-8").rpartition(")")
    except OSError:
        return None
    state, parent = tail.split()[:2]
    return None if state in "ZX" else Process(pid, int(parent), head.partition("(")[2])


def processes() -> list[Process]:
    """All live processes."""
    found = [process(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit()]
    return [one for one in found if one is not None]


def descendants(roots: Collection[int], everything: Iterable[Process]) -> set[int]:
    """Numbers of all processes below the given ones, these left out."""
    children: dict[int, list[int]] = {}
    for one in everything:
        children.setdefault(one.parent, []).append(one.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), []) if pid not in found]
        found.update(new)
        waiting += new
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(true: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Ask again and again; whether it became true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


def end(pids: Collection[int], seconds: float = 10) -> None:
    """Ask processes to stop, wait, then kill those that did not."""
    send(pids, signal.SIGTERM)
    send(pids, signal.SIGCONT)  # a hung one could not hear the request
    if not wait_until(lambda: not any(map(process, pids)), seconds):
        send(pids, signal.SIGKILL)
        wait_until(lambda: not any(map(process, pids)), 5)
