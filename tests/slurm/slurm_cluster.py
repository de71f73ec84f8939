"""A real Slurm cluster for tests, by slurm/devcluster: its own folder and ports, so that sessions do not collide."""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from memexp.slurm.environment import without_slurm

PROFILE: dict[str, Any] = {"partition": "main", "time_min": 20, "mem_gb": 1, "cpus": 1, "array_parallelism": 4}
# What a user may have among their settings; each would mislead the Slurm command that it is for.
USERS = {
    "SQUEUE_PARTITION": "x", "SQUEUE_USERS": "x", "SQUEUE_ACCOUNT": "x", "SQUEUE_QOS": "x", "SQUEUE_LICENSES": "x",
    "SQUEUE_FORMAT": "%i", "SACCT_FORMAT": "JobID", "SCANCEL_STATE": "PENDING", "SBATCH_ARRAY_INX": "0-9",
    "SBATCH_HOLD": "1", "SBATCH_CLUSTERS": "other", "SLURM_CLUSTERS": "other", "SINFO_PARTITION": "x",
    "SLURM_TIME_FORMAT": "relative", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3", "RANK": "1",
}  # fmt: skip
CGROUPS = Path("/sys/fs/cgroup")
SCRIPT = Path(__file__).parents[2] / "slurm/devcluster/devcluster.py"


class DevCluster:
    """A cluster in a folder of its own; `with DevCluster(nodes=2) as cluster:` starts it and wipes it out.

    Parameters
    ----------
    settings
        Options of `devcluster.py up`, underscores for dashes: accounting="none", max_array=11.
    """

    def __init__(self, **settings: Any) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="memexp-slurm-", dir="/tmp"))  # sockets want a short, open path
        self.settings = settings

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.down(wipe=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down(wipe=True)

    @property
    def env(self) -> dict[str, str]:
        """Environment for Slurm's commands and for memexp: SLURM_CONF and a PATH with the tools."""
        own = without_slurm({name: value for name, value in os.environ.items() if name != "SLURM_CONF"})
        path = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        return own | {
            "PATH": path,
            "SLURM_CONF": str(self.root / "etc/slurm.conf"),
            "MEMEXP_DEVCLUSTER": str(self.root),
        }

    # -- the script's verbs

    def up(self, *, fresh: bool = False, **changes: Any) -> None:
        """Start what does not run; `changes` replace settings, those not named stay."""
        self.settings |= changes
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()]
        self._devcluster("up", "--no-install", *(["--fresh"] if fresh else []), *options)

    def down(self, *, wipe: bool = False) -> None:
        """Cancel all jobs, stop all daemons; with wipe, delete the folder."""
        self._devcluster("down", *(["--wipe"] if wipe else []))
        if wipe and self.root.exists():
            self.root.rmdir()

    def node(self, action: str, name: str, *options: str) -> None:
        """kill, crash, fail, stop or start a node."""
        self._devcluster("node", action, name, *options)

    def daemon(self, action: str, name: str) -> None:
        """stop, kill, start, restart, hang or wake slurmctld, slurmdbd or mariadbd."""
        self._devcluster("daemon", action, name)

    def _devcluster(self, verb: str, *arguments: str) -> None:
        done = devcluster(verb, *arguments, "--root", str(self.root))
        if done.returncode:
            raise RuntimeError(f"devcluster {verb} {shlex.join(arguments)}: {done.stderr}")

    # -- Slurm's commands

    def run(self, *command: Any, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run any command in the cluster's environment, output captured as text."""
        environment = self.env | options.pop("env", {})
        done = subprocess.run(
            [*map(str, command)], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=options.pop("timeout", 120), **options,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(
                f"{shlex.join(map(str, command))} exited with {done.returncode}: {done.stderr}{done.stdout}"
            )
        return done

    def submit(self, script: str, *options: str) -> str:
        """Submit shell lines by sbatch; the job's id."""
        quiet = ["--output=/dev/null", "--mem=50"]
        return self.run("sbatch", "--parsable", *quiet, *options, f"--wrap={script}").stdout.strip()

    def states(self, job: str) -> dict[str, str]:
        """State of each element (or of the one job) that squeue still knows, the finished ones included."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i %T", check=False).stdout.splitlines()
        return dict(line.split() for line in lines)  # type: ignore[misc]

    def record(self, job: str) -> dict[str, str]:
        """Fields of `scontrol show job`: JobState, Restarts, NodeList, Reason, ..."""
        text = self.run("scontrol", "-o", "show", "job", job).stdout
        return dict(word.partition("=")[::2] for word in text.split() if "=" in word)

    def processes(self) -> list[int]:
        """Numbers of all processes that have to do with this cluster: daemons, steps, tasks."""
        mark = os.fsencode(str(self.root))

        def concerned(entry: Path) -> bool:
            try:
                return mark in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                return False

        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and concerned(entry)]
        return [pid for pid in pids if pid != os.getpid()]


class User:
    """Somebody on the login node, with a spec and a profile."""

    def __init__(self, slurm: DevCluster, folder: Path, spec: Path) -> None:
        self.slurm, self.folder, self.spec = slurm, folder, spec
        self.root = folder / "runs/tiny"

    def profile(self, **keys: Any) -> Path:
        path = self.folder / "profile.yaml"
        path.write_text(yaml.safe_dump(PROFILE | keys))
        return path

    def memexp(self, *arguments: Any, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        done = self.slurm.run("memexp", *arguments, check=False, cwd=self.folder, env=USERS)
        assert done.returncode in codes, done.stdout + done.stderr
        return done

    def launch(self, *options: Any, codes: tuple[int, ...] = (0,), **profile: Any) -> str:
        where = ["--profile", self.profile(**profile), "--yes"]
        return self.memexp("launch", self.spec, *where, *options, codes=codes).stdout

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.memexp("status", self.root, "--json", codes=(0, 1, 3)).stdout))

    def blocks(self) -> int:
        return len(list((self.root / "blocks").glob("*.json")))

    def running(self, field: str = "%i") -> list[str]:
        """Ids (or another field) of the elements that run now."""
        lines = self.slurm.run("squeue", "-h", "-r", "-t", "R", "-o", f"{field} %j", check=False).stdout.splitlines()
        return [line.split()[0] for line in lines if ".next" not in line]

    def of_one_element(self, *command: str) -> None:
        """Run Slurm's command for an element that runs; for another one where it ended a moment before."""

        def done() -> bool:
            elements = self.running()
            words = [word.format(id=elements[0]) for word in command] if elements else []
            return bool(words) and not self.slurm.run(*words, check=False).returncode

        eventually(done, 60)

    def idle(self) -> bool:
        """Nothing is in the queue, the follow-up included."""
        done = self.slurm.run("squeue", "-h", "-o", "%i", check=False)
        return done.returncode == 0 and not done.stdout.strip()

    def processes(self, what: str, node: str = "") -> list[int]:
        """Processes of this run whose command line has ``what``; on one node, if one is named."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                there = f"SLURMD_NODENAME={node}".encode() in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            ours = any(what in word for word in words) and any(str(self.root) in word for word in words)
            if ours and (there or not node):
                found.append(int(entry.name))
        return found


def devcluster(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run slurm/devcluster/devcluster.py."""
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=200, **options,
    )  # fmt: skip


@functools.cache
def why_not() -> str:
    """One sentence where no cluster can run here, else nothing. Tests install no packages."""
    done = devcluster("check", "--installed")
    return done.stderr.strip() if done.returncode else ""


def skip_without_slurm() -> None:
    """Skip the test where no cluster can run."""
    if why_not():
        pytest.skip(why_not())


def eventually(true: Callable[[], Any], seconds: float = 30) -> Any:
    """Ask until the answer is true, and return it; the last answer is in the failure."""
    end = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if answer := true():
            return answer
        now = time.monotonic()
        assert now < end, f"still {answer!r} after {seconds} s"
        time.sleep(max(0.1, 2 * (now - asked)))  # what asks `memexp status` takes a core from the cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevCluster]:
    """One cluster for all tests of a session: 4 nodes of 8 CPUs and 2 GPUs, with accounting. Mend what you break."""
    skip_without_slurm()
    with DevCluster() as cluster:
        yield cluster
