"""Stop a run's training wherever it happens; what is finished is kept."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass

from memexp import scheduler
from memexp.launches import read_launches
from memexp.store.lock import lock_holder
from memexp.store.paths import RunPaths


@dataclass(frozen=True)
class Cancelled:
    """``jobs``: Slurm jobs that were told to end. ``process``: the local launch, or None."""

    jobs: list[str]
    process: int | None


def cancel(paths: RunPaths) -> Cancelled:
    """Cancel the run's live Slurm jobs and end a launch on this machine.

    The follow-up jobs go first: they start as soon as the tasks that they wait for have ended.

    Raises
    ------
    SchedulerError
        If Slurm does not answer.
    """
    launches = read_launches(paths, "slurm")
    cancelled: list[str] = []
    if launches and scheduler.is_here():
        followers = [launch.follow_up.name for launch in launches if launch.follow_up is not None]
        arrays = [job.name for launch in launches for job in launch.jobs]
        found = scheduler.elements([*followers, *arrays], launches[0].when, history=False).values()
        for names in (followers, arrays):
            alive = {each.job_id.partition("_")[0] for each in found if each.name in names and not each.ended}
            scheduler.cancel(sorted(alive))
            cancelled += sorted(alive)
    return Cancelled(cancelled, _end_local(paths))


def _end_local(paths: RunPaths) -> int | None:
    holder = lock_holder(paths)
    if not holder or holder.get("host") != socket.gethostname():
        return None
    process = int(str(holder["pid"]))
    os.kill(process, signal.SIGTERM)
    return process
