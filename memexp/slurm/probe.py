"""The probe: a small job that tells what a compute node is like."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from memexp.errors import MemexpError
from memexp.files import here, to_json, versions, write_atomic, write_once
from memexp.slurm import scheduler
from memexp.slurm.profile import Profile
from memexp.slurm.rates import note_rate
from memexp.store.launches import Job

_WAIT_SECONDS = 300.0


def report(folder: str) -> None:
    """On the compute node: write what is seen there."""
    import torch

    from memexp.training.gpu_check import try_gpu

    path = Path(folder)
    write_once(path / "once", b"links work")
    gpus = [try_gpu(f"cuda:{number}") for number in range(torch.cuda.device_count())]
    seen = here() | {
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "versions": versions(),
        "gpus": gpus,
        "submits": scheduler.is_here() and shutil.which("squeue") is not None,
        "written": time.time(),
    }
    write_atomic(path / "seen.json", to_json(seen))


def run_probe(profile: Profile, runs: Path) -> dict[str, Any]:
    """Submit the probe and wait for its answer.

    Raises
    ------
    MemexpError
        If it is refused or does not answer in time; its job is cancelled then.
    """
    from memexp.slurm.sbatch import submit_job

    runs.mkdir(parents=True, exist_ok=True)
    folder = (runs / f".probe-{uuid.uuid4().hex[:8]}").resolve()
    folder.mkdir()
    started = time.time()
    job = submit_job(folder, Job(folder.name.lstrip(".")), profile, [(report, [str(folder)])])
    while not (folder / "seen.json").exists():
        if time.time() - started > _WAIT_SECONDS:
            scheduler.cancel([job])
            raise MemexpError(
                f"job {job} gave no answer within {_WAIT_SECONDS:.0f} s (cancelled). Its log, if it ran: {folder}; "
                f"{runs} must be on a file system that the compute nodes share"
            )
        time.sleep(0.2)
    seen = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
    seen["delay"] = max(0.0, time.time() - seen["written"])
    seen["waited"] = max(0.0, seen["written"] - started)
    shutil.rmtree(folder, ignore_errors=True)
    note_rate(runs, profile, seen["gpus"])
    return dict(seen)
