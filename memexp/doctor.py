"""Doctor: what this machine can do for memexp, each finding with its consequence."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memexp.run import available_cpus, versions

Verdict = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    what: str
    verdict: Verdict
    text: str


def examine(runs: Path) -> list[Finding]:
    """Try everything that a launch on this machine needs."""
    return [_software(), *_processors(), _gpus(), *_file_system(runs), _slurm()]


def _software() -> Finding:
    found = versions()
    return Finding("software", "ok", ", ".join(f"{name} {number}" for name, number in found.items()))


def _processors() -> list[Finding]:
    cpus = available_cpus()
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    units = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    bf16 = (
        f"has bf16 units ({', '.join(units)}): 'precision: bf16' is faster here"
        if units
        else ("no bf16 units: 'precision: bf16' runs at the speed of fp32")
    )
    return [
        Finding("processors", "ok", f"{cpus} usable: launches start {cpus} workers of one thread"),
        Finding("precision", "ok", bf16),
    ]


def _gpus() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "ok", "none: trials train on the processors")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Finding("GPU", "ok", f"{', '.join(names)} (CUDA {torch.version.cuda})")


def _file_system(runs: Path) -> list[Finding]:
    place = next(folder for folder in (runs, *runs.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".memexp-doctor-") as folder:
            findings = [_links(Path(folder)), _locks(Path(folder))]
    except OSError as error:
        return [Finding("runs folder", "fault", f"{place} cannot be written ({error.strerror}); choose another --runs")]
    space = shutil.disk_usage(place)
    usage = os.statvfs(place)
    inodes = f", {usage.f_favail:,} files" if usage.f_files else ""
    verdict: Verdict = "ok" if space.free > 1 << 30 else "warning"
    return [*findings, Finding("free space", verdict, f"{space.free / 1e9:,.1f} GB{inodes} in {place}")]


def _links(folder: Path) -> Finding:
    try:
        (folder / "a").write_text("a")
        os.link(folder / "a", folder / "b")
        (folder / "c").write_text("c")
        os.replace(folder / "c", folder / "a")
        return Finding("atomic commit", "ok", "links and renames work: blocks can be committed safely")
    except OSError as error:
        return Finding(
            "atomic commit",
            "fault",
            f"hard links do not work here ({error.strerror}); put --runs on another file system",
        )


def _locks(folder: Path) -> Finding:
    try:
        with open(folder / "lock", "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Finding("locks", "ok", "flock works: two launches of one run exclude each other")
    except OSError as error:
        return Finding(
            "locks", "warning", f"flock does not work here ({error.strerror}); launch a run only once at a time"
        )


def _slurm() -> Finding:
    found = shutil.which("sbatch")
    return Finding("Slurm", "ok", f"sbatch is {found}" if found else "no sbatch: launches run on this machine")
