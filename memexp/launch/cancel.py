"""Stop a run's training wherever it happens; what is finished is kept."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass

from memexp.errors import InputError
from memexp.files import write_once
from memexp.slurm import scheduler
from memexp.store.launches import read_launches
from memexp.store.lock import launch_lock, lock_holder
from memexp.store.paths import RunPaths

_WAIT_SECONDS = 60.0  # for a submission in progress


@dataclass(frozen=True)
class Cancelled:
    """``jobs``: Slurm jobs that were told to end. ``process``: the local launch, or None."""

    jobs: list[str]
    process: int | None


def cancel(paths: RunPaths) -> Cancelled:
    """Cancel the run's live Slurm jobs and end a launch on this machine.

    Twice: at once, and again when nobody submits any more. A follow-up job may be submitting the next round
    at this moment; any that asks for the launch lock later finds its launch marked, and does nothing.

    Raises
    ------
    SchedulerError
        If Slurm does not answer.
    RunBusy
        If another process goes on submitting.
    """
    if not (read_launches(paths, "slurm") and scheduler.is_here()):
        return Cancelled([], _end_local(paths))
    cancelled = _cancel_jobs(paths)
    process = _end_local(paths)
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
    found = scheduler.elements([*followers, *arrays], launches[0].when, history=False).values()
    cancelled = []
    for names in (followers, arrays):
        alive = {each.job_id.partition("_")[0] for each in found if each.name in names and not each.ended}
        scheduler.cancel(sorted(alive))
        cancelled += sorted(alive)
    return cancelled


def _end_local(paths: RunPaths) -> int | None:
    holder = lock_holder(paths)
    if not holder or holder.get("host") != socket.gethostname():
        return None
    process = int(str(holder["pid"]))
    try:
        os.kill(process, signal.SIGTERM)
    except PermissionError as error:
        raise InputError(f"process {process}, which trains {paths.root}, is another user's; ask its owner") from error
    return process
