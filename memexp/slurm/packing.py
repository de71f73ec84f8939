"""Which blocks make a task: long enough that starting costs little, short enough for the time limit; which arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memexp.errors import InputError, command
from memexp.runs.run import Run
from memexp.slurm.limits import Limits
from memexp.slurm.profile import Profile
from memexp.slurm.scheduler import SchedulerError
from memexp.store.launches import Job

START_SECONDS = 20.0  # until the first block trains: Python, torch, the data
COMPILE_SECONDS = 100.0  # more with compile: auto; reckoned, not measured on a GPU
START_SHARE = 0.05  # of a task's time, at most, that may go into starting
FILL = 0.8  # of the time limit that the trials may take: nodes differ in speed
PILOT_TASKS = 4  # of the first round, where nothing is known of a trial's time


def pack(blocks: Sequence[int], seconds_per_block: float | None, profile: Profile) -> list[list[int]]:
    """Share blocks out to tasks.

    Tasks fill their time limit. Where that would leave fewer tasks than may run at once, they are
    made shorter, as long as starting them takes less than 5 % of their time. Where the time of a
    block is unknown, a few tasks of one block for each worker find it out; the next round knows.

    Parameters
    ----------
    blocks
        Numbers of the blocks.
    seconds_per_block
        Wall seconds of one block on one worker; None if unknown.
    profile
        Gives the time limit, workers of a task, and how many tasks may run at once.

    Returns
    -------
    tasks
        Blocks of each task. After a pilot's tasks, the rest of ``blocks`` is not in any.
    """
    if not blocks:
        return []
    workers = profile.resources.workers
    if seconds_per_block is None:
        count = min(PILOT_TASKS, -(-len(blocks) // workers))
        return [list(blocks[task * workers : (task + 1) * workers]) for task in range(count)]
    room = _room(profile)
    rounds = max(1, int(FILL * room / seconds_per_block))
    fewest = -(-len(blocks) // (rounds * workers))
    shortest = _start(profile) / START_SHARE
    most = int(len(blocks) * seconds_per_block / workers / shortest)
    count = max(1, fewest, min(most, profile.array_parallelism))
    count = min(count, math.ceil(len(blocks) / workers))
    return [list(blocks[task::count]) for task in range(count)]


def _start(profile: Profile) -> float:
    """Seconds of a task before its first trial trains."""
    return START_SECONDS + (COMPILE_SECONDS if profile.compile == "auto" else 0.0)


def _room(profile: Profile) -> float:
    """Seconds in which a task trains: from the end of its start until it is told to stop."""
    return max(0.0, 60 * profile.time_min - profile.signal_s - _start(profile))


def tasks_of_a_block(seconds_per_block: float, profile: Profile) -> int:
    """How many tasks, one after the other, train a block that goes on from checkpoints."""
    return max(1, math.ceil(seconds_per_block / max(_room(profile), 1.0)))


def require_fitting(
    seconds_per_block: float | None, block_size: int, profile: Profile, new: bool, resumable: bool
) -> None:
    """Refuse blocks that would meet the time limit of every task again and again.

    Parameters
    ----------
    seconds_per_block
        Wall seconds of one block on one worker; None if unknown.
    block_size
        Trials of a block.
    profile
        Gives the time limit.
    new
        Whether the run is new, so that its blocks may still be made smaller.
    resumable
        Whether a block goes on where the task before it stopped, so that it may take longer than a task.

    Raises
    ------
    InputError
        If one block takes longer than a task may.
    """
    room = 60 * profile.time_min - _start(profile)
    if resumable or seconds_per_block is None or seconds_per_block <= room:
        return
    needed = math.ceil((seconds_per_block / FILL + _start(profile) + profile.signal_s) / 60)
    fitting = int(FILL * room * block_size / seconds_per_block)
    if new:
        more, smaller = f"time_min: {needed} in the profile", f", or smaller blocks (--block {fitting})"
    else:
        more, smaller = f"`memexp resume --time-min {needed}`", f", or a new run of smaller blocks (--block {fitting})"
    raise InputError(
        f"a block of {block_size} trials takes about {seconds_per_block / 60:,.0f} min on one worker, more than the "
        f"{profile.time_min} min of a task: it would meet the time limit again and again. Give tasks more time "
        f"({more}){smaller if fitting else ''}. Where the nodes are faster than was measured, set seconds_per_trial in "
        "the profile"
    )


def largest_block(seconds_per_trial: float, profile: Profile) -> int:
    """Trials that one worker finishes within a task, at least one."""
    return max(1, int(FILL * _room(profile) / seconds_per_trial))


def split(count: int, max_array: int) -> list[range]:
    """Tasks ``0 .. count - 1`` cut into arrays of at most ``max_array`` elements."""
    return [range(start, min(start + max_array, count)) for start in range(0, count, max_array)]


@dataclass(frozen=True)
class Prepared:
    """Tasks and jobs before they are submitted; ``left``: blocks in no job, and ``why``."""

    tasks: list[list[int]]
    jobs: list[Job]
    left: int
    why: str


def prepare(
    run: Run,
    launch_id: str,
    profile: Profile,
    blocks: Sequence[int],
    seconds_per_block: float | None,
    limits: Limits,
) -> Prepared:
    """Tasks and arrays of a launch, as many as the limits allow."""
    require_fitting(seconds_per_block, run.manifest.block_size, profile, False, run.spec.resumable)
    tasks = pack(blocks, seconds_per_block, profile)
    why = "" if seconds_per_block else "the first tasks measure the time of a trial; the follow-up submits the rest"
    most = min(number for number in (limits.room, profile.max_tasks, len(tasks)) if number is not None)
    if most < len(tasks):
        limit = "max_tasks of the profile" if most == profile.max_tasks else limits.what
        why = f"the limit of {most} more jobs is reached ({limit}); the follow-up job submits the rest"
        tasks = tasks[:most]
        if not tasks:
            raise SchedulerError(
                f"Slurm's limit of submitted jobs ({limits.what}: {limits.max_submit}, with one for the follow-up) is "
                f"reached by the {limits.used} jobs that are in the queue; run "
                f"`{command('resume', run.paths.root)}` when some of them have ended, or name a profile "
                "with another qos or account"
            )
    jobs = [
        Job(f"{run.spec.name}.{launch_id}.{number}", part.start, len(part))
        for number, part in enumerate(split(len(tasks), limits.max_array))
    ]
    return Prepared(tasks, jobs, len(blocks) - sum(map(len, tasks)), why)
