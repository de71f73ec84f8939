"""The follow-up job: starts when all tasks of a round have ended, and decides what comes next."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from memexp.errors import MemexpError, RunBusy
from memexp.launches import read_launch
from memexp.profile import Profile
from memexp.run import Run, open_run
from memexp.slurm import launch_slurm
from memexp.store.commit import recover
from memexp.store.receipts import read_receipts


def follow(root: str, launch_id: str) -> None:
    """Submit what is missing again; when nothing is, estimate and write the report.

    Raises
    ------
    MemexpError
        If several rounds in a row finished no block: then a person must look.
    """
    run = open_run(Path(root))
    launch = read_launch(run.paths, launch_id)
    profile = Profile.model_validate(launch.profile)
    store = run.store(writable=True)
    recover(run.paths, store)
    missing = store.missing_blocks()
    idle = 0 if store.layout.n_blocks - len(missing) > launch.settled else launch.idle_rounds + 1
    if not missing:
        for command in ("estimate", "report"):
            subprocess.run([sys.executable, "-m", "memexp", command, root], check=True)
        return
    if idle >= profile.max_idle_rounds:
        raise MemexpError(
            f"{len(missing)} blocks of {root} are missing after {idle} rounds that finished none. "
            f"See `memexp status {root}` and `memexp logs {root} --failed`, then `memexp resume {root}`"
        )
    try:
        launch_slurm(run, profile, seconds_per_block(run, profile), idle_rounds=idle)
    except RunBusy:
        return  # somebody launches this very moment, and has a follow-up of their own


def seconds_per_block(run: Run, profile: Profile) -> float | None:
    """Wall seconds of a block on one worker, from the profile or from what the run has trained so far."""
    block = run.manifest.block_size
    if profile.seconds_per_trial is not None:
        return profile.seconds_per_trial * block
    kind = "cpu" if not profile.gpus else ""
    known = [
        receipt.seconds / len(receipt.trained)
        for receipt in read_receipts(run.paths)
        if receipt.trained and str(receipt.made_by.get("device", "")).startswith("cpu") == (kind == "cpu")
    ]
    return statistics.median(known) * block if known else None
