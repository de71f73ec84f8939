"""One batch script: built, tried and given to ``sbatch`` by submitit, the one place that knows it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError

from memexp.slurm import scheduler
from memexp.slurm.environment import in_slurm_environment
from memexp.slurm.limits import too_long
from memexp.slurm.profile import Profile
from memexp.slurm.scheduler import NoSlurm, SchedulerError
from memexp.store.launches import Job

Call = tuple[Callable[..., None], list[Any]]


def submit_job(folder: Path, job: Job, profile: Profile, calls: Sequence[Call], dependency: str | None = None) -> str:
    """Submit one array (or a single job) and give its number.

    Raises
    ------
    SchedulerError
        If Slurm refuses it. If the answer was lost though the job exists, the job is cancelled first.
    """
    before = set(folder.glob("*.pkl")) if folder.exists() else set()
    executor = make_executor(folder, job.name, profile, dependency)
    try:
        with in_slurm_environment():
            if len(calls) == 1:
                return str(executor.submit(calls[0][0], *calls[0][1]).job_id)
            with executor.batch():
                jobs = [executor.submit(function, *arguments) for function, arguments in calls]
        return str(jobs[0].job_id).partition("_")[0]
    except (FailedSubmissionError, submitit.core.utils.FailedJobError, OSError) as error:
        for leftover in {*folder.glob("*.pkl"), *folder.glob(".submission_file_*")} - before:
            leftover.unlink(missing_ok=True)
        _cancel_by_name(job.name)
        raise SchedulerError(_explain(str(error), profile)) from error


def _cancel_by_name(name: str) -> None:
    """Cancel a job whose number is unknown: a controller that answered too late may have accepted it."""
    try:
        scheduler.call("scancel", "--name", name)
    except SchedulerError:
        return  # it refused, or is away; tasks that find no instructions end by themselves


def _explain(said: str, profile: Profile) -> str:
    lines = [line.removeprefix("sbatch: error: ").strip() for line in said.splitlines() if "sbatch" in line]
    text = "; ".join(dict.fromkeys(lines)) or said.strip()
    if "SubmitJob" in text or "submit limit" in text:
        return f"{text}. Lower max_tasks in the profile (now {profile.max_tasks or 'unlimited'})"
    return text


def make_executor(folder: Path, name: str, profile: Profile, dependency: str | None = None) -> submitit.SlurmExecutor:
    """submitit's executor for jobs of this profile.

    Without ``srun``: it costs the controller a call for each task. Python replaces the batch shell, so
    that signals sent to the batch shell (``B:``) reach it.
    """
    if shutil.which("srun") is None:  # submitit looks for it, as a sign of a cluster
        raise NoSlurm("srun is not here; run this on a machine that submits to Slurm")
    executor = submitit.SlurmExecutor(folder, python=f"exec {profile.python or shlex.quote(sys.executable)}")
    extra = {"ntasks": 1, "requeue": True, "signal": f"B:USR2@{profile.signal_s}"}
    if profile.gpus:
        extra["gpus-per-node"] = profile.gpus
    wanted = {
        "job_name": name, "time": profile.time_min, "cpus_per_task": profile.cpus,
        "mem": f"{round(1024 * profile.mem_gb)}MB" if profile.mem_gb else None,
        "partition": profile.partition, "account": profile.account, "qos": profile.qos, "dependency": dependency,
    }  # fmt: skip
    executor.update_parameters(
        **{key: value for key, value in wanted.items() if value is not None},
        setup=[*profile.setup, *(f"export {key}={shlex.quote(value)}" for key, value in profile.env.items())],
        additional_parameters=extra | profile.options,
        array_parallelism=profile.array_parallelism,
        use_srun=False,
        stderr_to_stdout=True,
        wckey=None,
    )
    return executor


def batch_script(folder: Path, name: str, profile: Profile, count: int, dependency: str | None = None) -> str:
    """The very script that a submission hands to ``sbatch``."""
    executor = make_executor(folder, name, profile, dependency)
    if count > 1:
        executor.parameters["map_count"] = count
    return str(executor._make_submission_file_text(executor._submitit_command_str, ""))


def test_only(script: str) -> str:
    """What ``sbatch --test-only`` says of a script: when its first element would start, and where. Submits nothing.

    Raises
    ------
    SchedulerError
        If Slurm would refuse it, such as for a partition, an account or a time limit that do not go together.
    """
    asked = dict(re.findall(r"^#SBATCH --(\w+)=(.+)$", script, re.MULTILINE))
    if limit := too_long(int(asked["time"]), asked.get("partition"), asked.get("qos")):
        raise SchedulerError(f"time_min: {asked['time']} is too long: {limit}")
    # A placeholder of a job to wait for is none; everything else is asked as it will be submitted.
    lines = [line for line in script.splitlines() if not line.startswith("#SBATCH --dependency=")]
    with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        said = scheduler.call("sbatch", "--test-only", file.name, errors_too=True)
    when = re.search(r"to start at (\S+).* on nodes? (\S+)(?: in partition (\S+))?", said)
    if when is None:
        return " ".join(said.split())
    where = f"{when[2]} ({when[3]})" if when[3] else when[2]
    return f"would start at {when[1].replace('T', ' ')} on {where}"
