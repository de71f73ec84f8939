"""Doctor: what this machine can do for memexp, each finding with its consequence."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from memexp.brief import counted
from memexp.errors import MemexpError
from memexp.files import versions
from memexp.launch.where import available_cpus
from memexp.slurm import scheduler
from memexp.slurm.limits import read_limits
from memexp.slurm.profile import Place, Profile

Verdict = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    what: str
    verdict: Verdict
    text: str


def examine(runs: Path) -> list[Finding]:
    """Try everything that a launch on this machine needs."""
    return [_software(), *_processors(), *_gpus(), *_file_system(runs), *_slurm()]


def _software() -> Finding:
    found = versions()
    return Finding("software", "ok", ", ".join(f"{name} {number}" for name, number in found.items()))


def _processors() -> list[Finding]:
    cpus = available_cpus()
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    units = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    bf16 = (
        f"has bf16 units ({', '.join(units)}): 'precision: bf16' is faster here"
        if units
        else ("no bf16 units: 'precision: bf16' runs at the speed of fp32")
    )
    return [
        Finding("processors", "ok", f"{cpus} usable: launches start {counted(cpus, 'worker')} of one thread"),
        Finding("precision", "ok", bf16),
    ]


def _gpus() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        return [Finding("GPU", "ok", "none: trials train on the processors")]
    from memexp.training.gpu_check import try_gpu

    return [_gpu(try_gpu(f"cuda:{number}"), "GPU") for number in range(torch.cuda.device_count())]


def _gpu(facts: dict[str, Any], name: str) -> Finding:
    from memexp.training.gpu_check import in_words

    verdict, text = in_words(facts)
    return Finding(name, cast(Verdict, verdict), text)


def _file_system(runs: Path) -> list[Finding]:
    place = next(folder for folder in (runs, *runs.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".memexp-doctor-") as folder:
            findings = [_links(Path(folder)), _locks(Path(folder))]
    except OSError as error:
        return [Finding("runs folder", "fault", f"{place} cannot be written ({error.strerror}); choose another --runs")]
    space = shutil.disk_usage(place)
    usage = os.statvfs(place)
    inodes = f" and {usage.f_favail:,} files" if usage.f_files else ""
    verdict: Verdict = "ok" if space.free > 1 << 30 else "warning"
    return [
        *findings,
        Finding("free space", verdict, f"room for {space.free / 1e9:,.1f} GB{inodes} in {place}"),
    ]


def _links(folder: Path) -> Finding:
    try:
        (folder / "a").write_text("a", encoding="utf-8")
        os.link(folder / "a", folder / "b")
        (folder / "c").write_text("c", encoding="utf-8")
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
        with open(folder / "lock", "w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Finding("locks", "ok", "flock works: two launches of one run exclude each other")
    except OSError as error:
        return Finding(
            "locks", "fault", f"flock does not work here ({error.strerror}); put --runs on another file system"
        )


def _slurm() -> list[Finding]:
    if not scheduler.is_here():
        return [Finding("Slurm", "ok", "no sbatch: launches run on this machine")]
    try:
        config = scheduler.configuration()
        limits = read_limits(Place(time_min=1))
    except scheduler.SchedulerError as error:
        return [Finding("Slurm", "fault", f"sbatch is here, but Slurm does not answer: {error}")]
    most = f"{limits.max_submit} jobs at a time ({limits.what})" if limits.what else "no limit of submitted jobs found"
    requeue = config.get("JobRequeue") == "1"
    accounting = config.get("AccountingStorageType", "").endswith("slurmdbd")
    return [
        Finding("Slurm", "ok", f"version {config.get('SLURM_VERSION')}, cluster {config.get('ClusterName')}"),
        Finding("limits", "ok", f"{limits.max_array} elements in an array, {most}"),
        Finding(
            "requeue", "ok" if requeue else "warning",
            "jobs of lost nodes start again by themselves" if requeue
            else "JobRequeue is off: what a lost node was doing waits for the follow-up job",
        ),
        Finding(
            "preemption", "ok",
            f"{config.get('PreemptType')}, mode {config.get('PreemptMode')}, "
            f"KillWait {config.get('KillWait')}: an unfinished block is trained again",
        ),
        Finding(
            "accounting", "ok" if accounting else "warning",
            "on" if accounting else f"off: how a task ended is known for {config.get('MinJobAge')} only",
        ),
    ]  # fmt: skip


def probe(profile: Profile, runs: Path) -> list[Finding]:
    """Try the profile's batch scripts, run a small job with it and let the compute node report; waits a few minutes."""
    from memexp.slurm.probe import run_probe

    tried = _tried(profile, runs)
    if any(finding.verdict == "fault" for finding in tried):
        return tried
    try:
        seen = run_probe(profile, runs)
    except MemexpError as error:
        return [*tried, Finding("probe job", "fault", str(error))]
    count = len(seen["gpus"])
    return [
        *tried,
        Finding("probe job", "ok", f"ran on {seen['node']} after {seen['waited']:.0f} s in the queue"),
        Finding("its software", "ok", ", ".join(f"{name} {number}" for name, number in seen["versions"].items())),
        *[_gpu(facts, "its GPU") for facts in seen["gpus"]],
        Finding(
            "its GPUs", "ok" if count >= profile.gpus else "fault",
            f"{count}, as the profile asks for" if count >= profile.gpus
            else f"torch sees {count}, but the profile asks for {profile.gpus}: is this torch built for CUDA, and is "
            "the driver recent enough?",
        ),
        Finding(
            "follow-up", "ok" if seen["submits"] else "fault",
            "a job can submit jobs: the follow-up job goes on by itself" if seen["submits"]
            else "sbatch or squeue is not on the PATH there: the follow-up job cannot submit what is missing; run "
            "`memexp resume` by hand, or mend setup or python in the profile",
        ),
        Finding("shared files", "ok", f"what the node wrote was seen here after {seen['delay']:.1f} s"),
    ]  # fmt: skip


def _tried(profile: Profile, runs: Path) -> list[Finding]:
    """What Slurm would do with a task and a follow-up job of this profile."""
    from memexp.slurm.profile import follow_up_profile
    from memexp.slurm.sbatch import batch_script, test_only

    found = []
    for name, each in (("a task", profile), ("follow-up job", follow_up_profile(profile))):
        try:
            found.append(Finding(name, "ok", test_only(batch_script(runs.resolve(), "memexp.doctor", each, 1))))
        except MemexpError as error:
            found.append(Finding(name, "fault", f"Slurm would refuse it: {error}"))
    return found
