"""What a Slurm job runs: the blocks of one task, by worker processes as on a single machine.

Started by submitit with a run's path and numbers only. It may be killed at any instant, started again
by Slurm, and run twice at once after a node was lost: the store accepts each block once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from memexp.errors import InputError, MemexpError
from memexp.files import KEPT, explain_unwritable
from memexp.runs.pool import LocalPool, Resources
from memexp.runs.run import open_run
from memexp.runs.software import require_noted_software
from memexp.runs.used import used
from memexp.slurm.attempts import Attempt, attempt_name
from memexp.store.launches import Launch, read_launch
from memexp.store.paths import RunPaths

_SECONDS_AFTER_TERM = 10.0  # Slurm's KillWait is 30 s unless an administrator changed it


def run_task(root: str, launch_id: str, number: int) -> None:
    """Train what is missing of a task's blocks, until it is done or told to stop.

    Raises
    ------
    MemexpError
        If a block was given up, or a fault concerns every block; Slurm then calls the task failed.
    """
    paths = RunPaths.of_run(Path(root))
    launch = read_launch(paths, launch_id)
    if paths.cancelled(launch_id).exists():
        return  # a controller that lost the cancellation started it again
    name, attempt = _begin(paths, launch_id, number)
    error, given_up = "ended unexpectedly", {}
    attempt.failed = True
    try:
        run = open_run(paths.root)
        require_noted_software(run, launch_id)
        missing = set(run.store().missing_blocks())
        blocks = [block for block in launch.tasks[number] if block in missing]
        pool = LocalPool(paths, name, Resources(**launch.resources))
        with explain_unwritable(paths.root, KEPT), _told_to_stop(pool, launch):
            given_up = pool.train(blocks, lambda _: None)
        error = "; ".join(f"block {block}: {cause}" for block, cause in given_up.items())
        attempt.failed = bool(given_up)
        if not error and pool.stopped:
            error = "told to stop (time limit, preemption or cancellation); the rest was handed back"
            if pool.unfinished and not pool.progress.trained:
                attempt.seconds_per_block = max(pool.unfinished)
                error += f". It finished no block; one takes about {max(pool.unfinished) / 60:,.0f} min"
    except MemexpError as fault:
        error = str(fault)
        attempt.users_fault = fault.exit_code == InputError.exit_code
        raise
    finally:
        _end(paths, name, attempt, error)
    if given_up:
        sys.stderr.write(f"{error}\n")
        raise MemexpError(error)


@contextmanager
def _told_to_stop(pool: LocalPool, launch: Launch) -> Iterator[None]:
    """Slurm's signals, before the time limit and before the end, tell the pool to stop."""
    signals = {
        signal.SIGUSR2: float((launch.profile or {}).get("signal_s", _SECONDS_AFTER_TERM)),
        signal.SIGTERM: _SECONDS_AFTER_TERM,
    }
    before = {
        name: signal.signal(name, lambda *_, seconds=seconds: pool.stop(seconds)) for name, seconds in signals.items()
    }
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _begin(paths: RunPaths, launch_id: str, number: int) -> tuple[str, Attempt]:
    """Note the attempt: where it runs, as which job, for which time; its name and record."""
    environment = os.environ
    array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    attempt = Attempt(
        node=environment.get("SLURMD_NODENAME", ""),
        job_id=f"{array}_{index}" if array else environment.get("SLURM_JOB_ID", ""),
        restarts=int(environment.get("SLURM_RESTART_COUNT", "0")),
        start=_now(),
    )
    name = attempt_name(launch_id, number, attempt.restarts)
    attempt.write(paths, name)
    return name, attempt


def _end(paths: RunPaths, name: str, attempt: Attempt, error: str) -> None:
    attempt.end, attempt.error, attempt.used = _now(), error or None, used(children=True)
    try:
        attempt.write(paths, name)
    except OSError as fault:  # a full disk must not hide the reason
        sys.stderr.write(f"{error}\ncannot note the end of this attempt: {fault}\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
