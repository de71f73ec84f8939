"""The local executor: worker processes on this machine that draw blocks from one queue.

A worker that dies (kill -9, out of memory) is replaced and its block tried again; a fault that memexp
can explain (full disk, changed data) stops everything, since it would meet every block.
"""

from __future__ import annotations

import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from memexp.errors import MemexpError
from memexp.runs.software import differences, refuse_changed, software
from memexp.store.checkpoints import checkpoint_shares
from memexp.store.paths import RunPaths

MAX_ATTEMPTS = 3
_COMMIT_SECONDS = 3.0

KEEP_EVERY_SECONDS = 900.0
KEEP = "keep"  # what a worker is told to write a checkpoint
_WORTH_KEEPING_SECONDS = 60.0  # what is less is trained again

# glibc gives large buffers back to the system after every step and gets them again as fresh pages;
# without that, and with huge pages, training the public demo's MLP was measured 1.2 times faster.
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@dataclass(frozen=True)
class Resources:
    """Where a launch trains; never part of a run's identity. With 0 ``workers`` the launching process trains.

    ``keep_every``: seconds between two checkpoints of a block.
    """

    workers: int
    threads: int = 1
    device: str = "cpu"
    gpus: int = 0
    keep_every: float = KEEP_EVERY_SECONDS
    compile: str = "off"

    def environment_of(self, place: int, shown: str | None) -> dict[str, str]:
        """What a worker is told of the GPUs; places 0 to ``workers`` - 1 take them in turn.

        Each is shown a single one, and trains on ``cuda``: a process uses no more than one part of a divided GPU
        (MIG), numbers count from 0 in a task that may see others' too, and names (UUIDs) are no numbers.

        Parameters
        ----------
        shown
            ``CUDA_VISIBLE_DEVICES`` of this process: numbers or names, by commas.
        """
        if self.device != "cuda" or self.gpus < 2:
            return {}
        names = [name.strip() for name in (shown or "").split(",") if name.strip()] or list(map(str, range(self.gpus)))
        return {"CUDA_VISIBLE_DEVICES": names[place % min(len(names), self.gpus)]}

    @property
    def sharing(self) -> int:
        """Workers on one GPU, at most."""
        return -(-max(1, self.workers) // max(1, self.gpus))


@dataclass
class Progress:
    """How far a launch is.

    Attributes
    ----------
    trained
        Trials that this launch committed.
    failed
        Reason by trial number.
    running
        Share that each busy worker has done of its block, by block number.
    """

    trained: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    running: dict[int, float] = field(default_factory=dict)

    def settle(self, block: int, trained: int, failed: dict[int, str]) -> None:
        """Count a block that was committed."""
        self.trained += trained
        self.failed |= failed
        self.running.pop(block, None)


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    attempt: str
    place: int
    block: int | None = None
    since: float = 0.0
    share: float = 0.0  # of its block that a checkpoint had when it began
    keeps: bool = False  # whether checkpoints are written of what it trains
    asked: bool = False  # whether it was told to write one, the last
    error: str | None = None
    exit_code: int | None = None

    def tell(self, line: str) -> None:
        """Write a line to its input."""
        assert self.process.stdin is not None
        with suppress(OSError):  # it has just died; its end is the next event
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def end(self, grace_seconds: float = 0.0) -> int:
        """End the process if it still runs after the grace, and give its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_seconds)
        self.process.kill()
        assert self.process.stdin is not None
        with suppress(OSError):  # what it was told and did not read
            self.process.stdin.close()
        return self.process.wait()


class LocalPool:
    """Worker processes of one launch.

    Parameters
    ----------
    paths
        The run.
    launch_id
        Names the attempts and logs.
    resources
        Number of workers, threads of each, device.
    """

    def __init__(self, paths: RunPaths, launch_id: str, resources: Resources) -> None:
        self.paths, self.launch_id, self.resources = paths, launch_id, resources
        self.progress = Progress()
        self._workers: list[_Worker] = []
        self._events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self._started = 0
        self._attempts: Counter[int] = Counter()
        self._deaths_at_start = 0
        self.given_up: dict[int, str] = {}
        self.unfinished: list[float] = []  # seconds that blocks would have taken which ended with a stop
        self._until: float | None = None
        self._software = software()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._until is not None

    def stop(self, seconds: float) -> None:
        """Begin no further block, and end the workers that need longer than ``seconds`` for theirs.

        Returns at once; may be called by a signal handler.
        """
        self._until = time.monotonic() + seconds

    def train(self, blocks: Sequence[int], on_progress: Callable[[Progress], None]) -> dict[int, str]:
        """Train the blocks; the causes of those given up, by block number.

        Raises
        ------
        MemexpError
            For a fault that concerns every block. All workers are ended; finished blocks are kept.
        """
        waiting = deque(blocks)
        try:
            for _ in range(min(self.resources.workers, len(waiting))):
                self._start()
            while self._workers:
                if self._until is not None:
                    self._wind_up(waiting, self._until)
                try:
                    worker, event = self._events.get(timeout=0.5)
                except queue.Empty:
                    on_progress(self.progress)
                    continue
                if event is None:
                    self._ended(worker, waiting)
                else:
                    self._heard(worker, event)
                    if worker.block is None and "error" not in event and worker in self._workers:
                        self._give(worker, waiting)
                on_progress(self.progress)
        finally:
            for worker in self._workers:
                worker.process.kill()
            for worker in self._workers:
                worker.end()
        return self.given_up

    def _start(self) -> None:
        attempt = f"{self.launch_id}-w{self._started}"
        # The lowest free place: a worker that replaces a dead one gets that one's GPU.
        place = min(set(range(self.resources.workers)) - {worker.place for worker in self._workers})
        device, sharing = self.resources.device, str(self.resources.sharing)
        self._started += 1
        threads, every = str(self.resources.threads), str(self.resources.keep_every)
        gpu = self.resources.environment_of(place, os.environ.get("CUDA_VISIBLE_DEVICES"))
        environment = MALLOC | os.environ | gpu | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        with open(self.paths.logs / f"{attempt}.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "memexp.runs.worker", self.paths.root, attempt, device, threads, sharing, every,
                 self.resources.compile],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                encoding="utf-8",
            )  # fmt: skip
        worker = _Worker(process, attempt, place)
        self._workers.append(worker)
        assert process.stdout is not None
        threading.Thread(target=self._listen, args=(worker, process.stdout), daemon=True).start()

    def _listen(self, worker: _Worker, answers: TextIO) -> None:
        with answers:
            for line in answers:
                try:
                    self._events.put((worker, json.loads(line)))
                except ValueError:
                    continue  # a line cut by the worker's death
        self._events.put((worker, None))

    def _wind_up(self, waiting: deque[int], until: float) -> None:
        """Let go of idle workers, and of those whose block would not be committed in time, once it is kept."""
        waiting.clear()  # these blocks stay missing in the store
        for worker in list(self._workers):
            if worker.block is not None and time.monotonic() < until:
                if worker.asked or time.monotonic() + self._seconds_left(worker) <= until:
                    continue
                if worker.keeps and time.monotonic() - worker.since >= self._worth_keeping:
                    worker.asked = True
                    worker.tell(KEEP)
                    continue
            self._let_go(worker)

    @property
    def _worth_keeping(self) -> float:
        return min(_WORTH_KEEPING_SECONDS, self.resources.keep_every)

    def _let_go(self, worker: _Worker) -> None:
        """End a worker, idle or not, and keep how long its block would have taken in all."""
        gained = self._gained(worker)
        if worker.block is not None and gained > 0:
            self.unfinished.append((time.monotonic() - worker.since) / gained)
        self._workers.remove(worker)
        worker.end()

    def _gained(self, worker: _Worker) -> float:
        """The share of its block that this worker has trained."""
        return self.progress.running.get(-1 if worker.block is None else worker.block, 0.0) - worker.share

    def _seconds_left(self, worker: _Worker) -> float:
        """Until the worker has trained and committed its block."""
        gained, spent = self._gained(worker), time.monotonic() - worker.since
        return _COMMIT_SECONDS + (spent * (1 - worker.share - gained) / gained if gained > 0 else math.inf)

    def _give(self, worker: _Worker, waiting: deque[int]) -> None:
        """Hand the worker its next block, or let it go."""
        if not waiting:
            self._workers.remove(worker)
            worker.end()
            return
        worker.block, worker.since = waiting.popleft(), time.monotonic()
        worker.share = checkpoint_shares(self.paths, [worker.block]).get(worker.block, 0.0)
        self._attempts[worker.block] += 1
        worker.tell(str(worker.block))

    def _heard(self, worker: _Worker, event: dict[str, Any]) -> None:
        if "ready" in event:  # one that replaces a dead worker may find an installation that was edited since
            refuse_changed(differences(self._software, event.get("software", {})), self.paths.root)
            worker.keeps = bool(event.get("keeps"))
        elif "progress" in event and worker.block is not None:
            self.progress.running[worker.block] = event["progress"]
        elif "committed" in event:
            failed = {int(trial): reason for trial, reason in event["failed"].items()}
            self.progress.settle(event["committed"], event["trained"], failed)
            worker.block = None
        elif "kept" in event and worker.asked and worker in self._workers:
            self._let_go(worker)
        elif "error" in event:
            worker.error, worker.exit_code = event["error"], event["exit_code"]

    def _ended(self, worker: _Worker, waiting: deque[int]) -> None:
        """A worker's output ended: it died, or gave up after a fault."""
        if worker not in self._workers:
            return  # we let it go
        self._workers.remove(worker)
        code = worker.end(grace_seconds=10.0)
        cause = worker.error or (f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}")
        if worker.exit_code is not None:
            error = MemexpError(cause)
            error.exit_code = worker.exit_code
            raise error
        if worker.block is None:
            self._deaths_at_start += 1
            if self._deaths_at_start >= MAX_ATTEMPTS:
                raise MemexpError(f"workers end before they start: {cause}. See {self._log(worker)}")
        else:
            self.progress.running.pop(worker.block, None)
            if self._attempts[worker.block] < MAX_ATTEMPTS:
                waiting.append(worker.block)
            else:
                self.given_up[worker.block] = f"{cause} ({MAX_ATTEMPTS} times); see {self._log(worker)}"
        if len(self._workers) < len(waiting):
            self._start()

    def _log(self, worker: _Worker) -> str:
        return str(self.paths.logs / f"{worker.attempt}.log")
