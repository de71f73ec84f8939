"""Where to train: on this machine, with which workers, or on Slurm, with which profile."""

from __future__ import annotations

import os
import sys

from memexp.errors import InputError
from memexp.runs.pool import Resources
from memexp.runs.run import Run
from memexp.slurm import scheduler
from memexp.slurm.profile import Profile, noted_profile, read_profile
from memexp.store.launches import read_launches


def choose_profile(executor: str = "auto", name: str | None = None, run: Run | None = None) -> Profile | None:
    """The profile to submit with, or None for training on this machine.

    Parameters
    ----------
    executor
        ``local``, ``slurm``, or ``auto``: Slurm where this machine submits to it.
    name
        Of a profile, or its file.
    run
        An existing run, which goes on with the profile of its last launch.

    Raises
    ------
    InputError
        If these contradict each other, or a profile is needed and none is named.
    """
    if executor == "local":
        if name is not None:
            raise InputError(
                f"--executor local trains on this machine, without --profile {name}; leave one of them away"
            )
        return None
    if name is not None:
        return read_profile(name)
    last = read_launches(run.paths)[-1:] if run is not None else []
    if run is not None and last and last[0].backend == "slurm" and (executor == "slurm" or scheduler.is_here()):
        return noted_profile(last[0].profile, run.paths.launches / f"{last[0].launch_id}.json")
    if executor == "slurm" or (scheduler.is_here() and "SLURM_JOB_ID" not in os.environ):
        raise InputError(
            "this machine submits to Slurm: name a profile with --profile (`memexp doctor --profiles` lists them), "
            "or train right here with --executor local"
        )
    return None


def available_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def local_resources(workers: int | None = None, threads: int = 1, device: str = "auto") -> Resources:
    """What to train with on this machine.

    Parameters
    ----------
    workers
        Processes; 0: the launching one. None: one for each GPU, or for each ``threads`` processors.
    threads
        Of each worker.
    device
        ``cpu``, ``cuda``, or ``auto``: GPUs where there are any.

    Raises
    ------
    InputError
        If ``device`` is ``cuda`` and there is no GPU.
    """
    gpus = 0
    if device != "cpu":
        import torch

        # Of a divided GPU a process sees one part: the others are told by name.
        parts = os.environ.get("CUDA_VISIBLE_DEVICES", "").count("MIG-")
        gpus = (count := torch.cuda.device_count()) and max(parts, count)
        if device == "cuda":
            from memexp.training.devices import require_gpu

            require_gpu()
        device = "cuda" if gpus else "cpu"
    default = gpus or max(1, available_cpus() // threads)
    return Resources(default if workers is None else workers, threads, device, gpus)
