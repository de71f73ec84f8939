"""Stop a run's training wherever it happens; what is finished is kept."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from memexp.errors import InputError, command
from memexp.files import write_once
from memexp.slurm import scheduler
from memexp.slurm.scheduler import SchedulerError
from memexp.slurm.tasks import require_cluster_of
from memexp.store.launches import read_launches
from memexp.store.lock import launch_lock, lock_holder
from memexp.store.paths import RunPaths

_WAIT_SECONDS = 60.0  # for a submission in progress


@dataclass(frozen=True)
class Cancelled:
    """What was told to end.

    Attributes
    ----------
    jobs
        Slurm jobs.
    process
        The launch on this machine, or None.
    elsewhere
        A launch on another machine, which goes on, in words; empty if there is none.
    """

    jobs: list[str]
    process: int | None
    elsewhere: str = ""


def cancel(paths: RunPaths) -> Cancelled:
    """Cancel the run's live Slurm jobs and end a launch on this machine.

    Twice: at once, and again when nobody submits any more. A follow-up job may be submitting the next round
    at this moment; any that asks for the launch lock later finds its launch marked, and does nothing.

    Raises
    ------
    SchedulerError
        If Slurm does not answer here. A launch on this machine is ended, and waiting tasks will do nothing.
    InputError
        If whoever holds the launch lock cannot be told for sure.
    RunBusy
        If another process goes on submitting.
    """
    if not read_launches(paths, "slurm"):
        return Cancelled([], *_end_local(paths))
    try:
        cancelled = _cancel_jobs(paths)
    except SchedulerError as error:
        process, _ = _end_local(paths)
        ended = f"Process {process} on this machine was told to end. " if process else ""
        raise SchedulerError(
            f"{paths.root} has tasks that were given to Slurm, and Slurm cannot be asked here ({error}). {ended}"
            "Tasks that wait will do nothing once they start; for those that run, do this on a machine that submits to "
            "their cluster"
        ) from error
    process, _ = _end_local(paths)
    with launch_lock(paths, _WAIT_SECONDS):
        cancelled += [job for job in _cancel_jobs(paths) if job not in cancelled]
    return Cancelled(cancelled, process)


def _cancel_jobs(paths: RunPaths) -> list[str]:
    """Mark every launch, then cancel what lives: follow-up jobs first, since they start when their tasks have ended."""
    launches = read_launches(paths, "slurm")
    for launch in launches:
        write_once(paths.cancelled(launch.launch_id), b"")
    followers = [launch.follow_up.name for launch in launches if launch.follow_up is not None]
    arrays = [job.name for launch in launches for job in launch.jobs]
    elements = scheduler.elements([*followers, *arrays], launches[0].when, history=False)
    require_cluster_of(launches[-1:], elements)
    found = elements.values()
    cancelled = []
    for names in (followers, arrays):
        alive = {each.job_id.partition("_")[0] for each in found if each.name in names and not each.ended}
        scheduler.cancel(sorted(alive))
        cancelled += sorted(alive)
    return cancelled


def _end_local(paths: RunPaths) -> tuple[int | None, str]:
    """End the launch that holds the lock, if it runs here: its process, and in words a launch elsewhere."""
    holder = lock_holder(paths)
    if holder is None:
        return None, ""
    process, host = holder.get("pid"), holder.get("host")
    if host is not None and host != socket.gethostname():
        return None, f"process {process} on {host} trains it, and goes on: run `{command('cancel', paths.root)}` there"
    if type(process) is not int or process <= 1 or not _holds(process, paths):
        if lock_holder(paths) is None:
            return None, ""  # it ended by itself a moment ago
        raise InputError(
            f"{paths.lock} is held, but not by the process that it names ({process!r}); nothing was ended. Find who "
            f"has it open with `{shlex.join(['fuser', '-v', str(paths.lock)])}`"
        )
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        return None, ""
    except PermissionError as error:
        raise _of_another(process, paths) from error
    return process, ""


def _holds(process: int, paths: RunPaths) -> bool:
    """Whether a process has the launch lock open: numbers in a file may be old, or not meant well.

    Where the system does not tell (no /proc), whether its command line is a launch of memexp's.
    """
    folder = Path(f"/proc/{process}")
    if not Path("/proc/self/fd").exists():
        done = subprocess.run(
            ["ps", "-o", "args=", "-p", str(process)], capture_output=True, encoding="utf-8", check=False
        )
        return "memexp" in done.stdout
    try:
        if folder.stat().st_uid != os.geteuid():
            raise _of_another(process, paths)
        lock = paths.lock.stat()
        return any(os.path.samestat(lock, found) for found in map(_stat, (folder / "fd").iterdir()) if found)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise _of_another(process, paths) from error


def _stat(descriptor: Path) -> os.stat_result | None:
    try:
        return descriptor.stat()
    except OSError:  # closed a moment ago, or a file that is gone
        return None


def _of_another(process: int, paths: RunPaths) -> InputError:
    return InputError(f"process {process}, which trains {paths.root}, is another user's; ask its owner")
