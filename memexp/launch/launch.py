"""Launch a run: train what is missing, here, and stop cleanly at any moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from memexp.files import KEPT, explain_unwritable
from memexp.launch.until import Aim, begin
from memexp.runs.plan import Plan
from memexp.runs.pool import LocalPool, Progress, Resources
from memexp.runs.run import Run, grow
from memexp.runs.software import NOTHING, Accept, require_same_software
from memexp.slurm.tasks import refuse_if_queued
from memexp.spec.reading import SpecFile
from memexp.spec.sweep import write_order
from memexp.store.commit import recover
from memexp.store.goal import Goal
from memexp.store.launches import Launch, new_id
from memexp.store.lock import launch_lock


@dataclass(frozen=True)
class Result:
    """What a launch did.

    ``given_up``: cause by block number. ``failed``: reason by trial number (of this launch).
    """

    trained: int
    failed: dict[int, str]
    given_up: dict[int, str]


def create_runs(
    files: Sequence[SpecFile],
    planned: Callable[[SpecFile], Plan],
    folder: Path,
    block_of: Callable[[Plan], int | None] = lambda _: None,
    aim: Aim | None = None,
) -> list[str]:
    """Create the runs of a sweep; those in its folder are opened first, so that another sweep's change nothing.

    Parameters
    ----------
    block_of
        Trials of a block; None: the usual number.

    Returns
    -------
    left
        Names of runs in the folder that an earlier sweep of the name had and this one has not.
    """
    for file in [file for file in files if (folder / file.spec.name).exists()]:
        begin(planned(file), folder, block_of(planned(file)), aim)
    left = write_order(folder, files)
    for file in files:
        begin(planned(file), folder, block_of(planned(file)), aim)
    return left


def launch_local(
    run: Run,
    resources: Resources,
    on_progress: Callable[[Progress], None],
    accept: Accept = NOTHING,
    until: Goal | None = None,
) -> Result:
    """Train all missing trials on this machine and return when they are settled.

    Parameters
    ----------
    accept
        What the user accepts knowingly.
    until
        What these trials are a round of; kept in the launch's record.

    Raises
    ------
    InputError
        If trials are missing and the run was trained by other software so far.
    RunBusy
        If another process is training the run.
    MemexpError
        For a fault that concerns every block (full disk, changed data, ...).
    """
    run.require_trainable()
    with launch_lock(run.paths), explain_unwritable(run.paths.root, KEPT):
        store = run.store(writable=True)
        recover(run.paths, store)
        if not accept.lost_queue:
            refuse_if_queued(run.paths, store.missing_blocks())
        trains = store.missing_blocks() or run.spec.subsets.trials > store.layout.n_trials
        if trains and not accept.software:
            require_same_software(run, trains_here=True)
        blocks = grow(run).missing_blocks()
        if not blocks:  # a record of this launch would vouch for software that trained nothing
            return Result(0, {}, {})
        tasks = [[block] for block in blocks]
        launch = Launch(new_id(run.paths), "local", tasks, asdict(resources), accepted=accept.software, until=until)
        launch.write(run.paths)
        if not resources.workers:
            from memexp.runs.worker import train_here

            name = f"{launch.launch_id}-w0"
            done = train_here(run, name, resources.device, resources.threads, blocks, on_progress)
            return Result(done.trained, done.failed, {})
        pool = LocalPool(run.paths, launch.launch_id, resources)
        given_up = pool.train(blocks, on_progress)
        return Result(pool.progress.trained, pool.progress.failed, given_up)


def results(run: Run, tell: Callable[[float], None] = lambda _: None) -> list[tuple[str, str]]:
    """What the trials done so far have found, in words; estimates are brought up to date for it.

    Parameters
    ----------
    tell
        Takes the share done.

    Returns
    -------
    rows
        Name and text: accuracies, memorization, pairs; of a `remove` run the accuracy of each condition.

    Raises
    ------
    Incomplete
        If no trial is done yet.
    """
    from memexp.analysis.estimates import current_estimates
    from memexp.analysis.merged import open_merged
    from memexp.analysis.removal import read_conditions
    from memexp.analysis.summary import summarize, summarize_removal

    if run.spec.subsets.design == "remove":
        return summarize_removal(read_conditions(run.spec, run.store()))
    merged = open_merged(run.paths, lambda share: tell(share / 2))
    return summarize(merged, current_estimates(merged, lambda share: tell((1 + share) / 2)))
