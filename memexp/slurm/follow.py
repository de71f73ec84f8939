"""The follow-up job: starts when all tasks of a round have ended, and decides what comes next."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from memexp.analysis.goal import judge
from memexp.errors import MemexpError, RunBusy, command
from memexp.runs.larger import enlarged
from memexp.runs.run import Run, open_run
from memexp.slurm.ending import tell_end, tidy_logs
from memexp.slurm.profile import Profile, noted_profile
from memexp.slurm.scheduler import NoSlurm, SchedulerError
from memexp.slurm.submit import launch_slurm
from memexp.slurm.tasks import alive, read_tasks, seconds_of_unfinished
from memexp.store.checkpoints import checkpoint_shares
from memexp.store.commit import recover
from memexp.store.goal import Goal
from memexp.store.launches import Launch, read_launch, read_launches
from memexp.store.receipts import read_receipts
from memexp.store.trials import FAILED

# A controller may be restarted, or the user's other jobs fill the limit, at the very moment of the
# next round; nobody else would submit it.
PATIENCE_SECONDS = (30, 60, 120, 240, 480)


def follow(root: str, launch_id: str) -> None:
    """Submit what is missing again, or the next round to a goal; then estimate and write the report.

    Raises
    ------
    MemexpError
        If several rounds in a row finished no block, or Slurm refuses the next round: then a person
        must look, and `memexp status` says why.
    """
    run = open_run(Path(root))
    launch = read_launch(run.paths, launch_id)
    if run.paths.cancelled(launch_id).exists():
        return
    try:
        if _next_round(run, launch):
            _note(run, launch_id, followed=True)
            tidy_logs(run.paths, [launch], run.store().missing_blocks())
            return
        pages = ["report", "--trust"]  # the tasks have run the data's file already
        for words in [pages] if run.spec.subsets.design == "remove" else [["estimate"], pages]:
            _run_command([*words, root])
        _note(run, launch_id, followed=True)
    except (MemexpError, subprocess.CalledProcessError) as error:
        _note(run, launch_id, gave_up=str(error))
        tell_end(run.paths, launch.profile, "gave_up", str(error))
        raise
    tidy_logs(run.paths, read_launches(run.paths, "slurm"), ())
    tell_end(run.paths, launch.profile, "failed" if (run.store().status() == FAILED).any() else "complete")


def _run_command(words: list[str]) -> None:
    """A command of memexp, again while another follow-up job of a run that launches share is at it."""
    for patience in (0, *PATIENCE_SECONDS):
        time.sleep(patience)
        done = subprocess.run([sys.executable, "-m", "memexp", *words], check=False)
        if done.returncode != RunBusy.exit_code:
            break
    done.check_returncode()


def _note(run: Run, launch_id: str, **what: Any) -> None:
    replace(read_launch(run.paths, launch_id), **what).write(run.paths)


def _next_round(run: Run, launch: Launch) -> bool:
    """Submit the missing blocks, trying again where Slurm or another launch is in the way; False if none is missing."""
    for patience in PATIENCE_SECONDS:
        try:
            return _submit_missing(run, launch)
        except NoSlurm as error:  # this node, or the container of the profile's set-up, will never have it
            root = run.paths.root
            raise NoSlurm(
                f"what is missing of {root} cannot be submitted from a compute node ({error}): sbatch and squeue must "
                "be on the PATH there, also inside of a container. Mend the profile, or run "
                f"`{command('resume', root)}` yourself"
            ) from error
        except (RunBusy, SchedulerError) as error:
            sys.stderr.write(f"{error}\ntrying again in {patience} s\n")
            time.sleep(patience)
    return _submit_missing(run, launch)


def _submit_missing(run: Run, launch: Launch) -> bool:
    """Submit the missing blocks, or those of the next round; False if there are none."""
    store = run.store(writable=True)
    recover(run.paths, store)
    missing = store.missing_blocks()
    until = read_launches(run.paths)[-1].until
    until = until and until.at(store.layout.n_trials)
    if not missing:
        return until is not None and _submit_next_look(run, launch, until)
    tasks = read_tasks(run.paths, missing)
    profile = noted_profile(launch.profile, run.paths.launches / f"{launch.launch_id}.json")
    done = store.layout.n_blocks - len(missing) + sum(checkpoint_shares(run.paths, missing).values())
    idle = 0 if done > launch.settled + launch.kept else launch.idle_rounds + 1
    root = run.paths.root
    if idle >= profile.max_idle_rounds and not alive(tasks):
        raise MemexpError(
            f"{len(missing)} blocks of {root} are missing after {idle} rounds that finished none. "
            f"See `{command('status', root)}` and `{command('logs', root, '--failed')}`, "
            f"then `{command('resume', root)}`"
        )
    launch_slurm(
        run, profile, seconds_per_block(run, profile), follow, idle_rounds=idle, after=launch.launch_id, until=until
    )
    return True


def _submit_next_look(run: Run, launch: Launch, until: Goal) -> bool:
    """Look whether the goal of the last launch is reached; if not, submit the trials up to the next look."""
    judged = judge(run.paths, until)
    sys.stderr.write(f"{judged}\n")
    if judged.ended or judged.next is None:
        return False
    larger = enlarged(run, judged.next)
    profile = noted_profile(launch.profile, run.paths.launches / f"{launch.launch_id}.json")
    seconds = seconds_per_block(run, profile)
    launch_slurm(larger, profile, seconds, follow, after=launch.launch_id, until=judged.at(judged.next))
    return True


def seconds_per_block(run: Run, profile: Profile) -> float | None:
    """Wall seconds of a block on one worker: from the profile, from what was trained, or from what was too long."""
    block = run.manifest.block_size
    if profile.seconds_per_trial is not None:
        return profile.seconds_per_trial * block
    kind = "cpu" if not profile.gpus else ""
    known = [
        receipt.seconds / len(receipt.trained)
        for receipt in read_receipts(run.paths)
        if receipt.trained and str(receipt.made_by.get("device", "")).startswith("cpu") == (kind == "cpu")
    ]
    return statistics.median(known) * block if known else seconds_of_unfinished(run.paths)
