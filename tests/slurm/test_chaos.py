"""Hundreds of faults at random on a real cluster, and the bits of an undisturbed run. It runs long, so only if asked:

    MEMEXP_CHAOS=300 python -m pytest -s tests/slurm/test_chaos.py

The user's environment is full of options for Slurm's commands; the profile's set-up is wrong at first, and mended;
halfway another user of the group goes on with the run. Runs follow one another until there were so many faults.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from memexp.data import load_data
from memexp.launch.launch import launch_local
from memexp.runs.pool import Resources
from memexp.runs.run import open_run, prepare_run
from memexp.spec.reading import read_spec
from memexp.store.launches import read_launches
from memexp.store.receipts import read_receipts
from tests.conftest import assert_same_outcomes, changed

from .slurm_cluster import USERS, DevCluster, User, eventually, skip_without_slurm

FAULTS = int(os.environ.get("MEMEXP_CHAOS", "0"))
SEED = int(os.environ.get("MEMEXP_CHAOS_SEED", "0"))
PAUSE = float(os.environ.get("MEMEXP_CHAOS_PAUSE", "2"))  # seconds between faults, at most; a task starts in some
TRIALS, BLOCK = 480, 2
NODES = ("n1", "n2", "n3", "n4")
MATE = "games"  # a user that every Debian has

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not FAULTS, reason="runs long: MEMEXP_CHAOS=300 asks for 300 faults"),
    pytest.mark.timeout(7200),
]


class Somebody(User):
    """A user of the group; ``become`` turns a command into one of theirs."""

    become: tuple[str, ...] = ()

    def memexp(self, *arguments: Any, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        command = [*self.become, "memexp", *arguments]
        done = self.slurm.run(*command, check=False, cwd=self.folder, env=USERS | {"HOME": "/tmp"}, timeout=300)
        assert done.returncode in codes, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done


_SLOW = "two resumes at once"


class Chaos:
    """Faults at random; ``counts``: how many of each kind met something."""

    def __init__(self, slurm: DevCluster, draws: random.Random) -> None:
        self.slurm, self.draws, self.counts = slurm, draws, Counter[str]()
        self.faults: dict[str, Callable[[Somebody], bool]] = {
            "kill -9 of a worker": lambda user: self._kill(user, "memexp.runs.worker", signal.SIGKILL),
            "kill -9 of a task": lambda user: self._kill(user, "submitit.core._submit", signal.SIGKILL),
            "SIGTERM of a task": lambda user: self._kill(user, "submitit.core._submit", signal.SIGTERM),
            "kill -9 of a follow-up": self._kill_follow_up,
            "scancel of an element": lambda user: self._scontrol(user, "scancel", "{id}"),
            "scancel of a follow-up": self._cancel_follow_up,
            "requeue": lambda user: self._scontrol(user, "scontrol", "requeue", "{id}"),
            "time limit": lambda user: self._scontrol(user, "scontrol", "update", "JobId={id}", "EndTime=now+3"),
            "preemption": self._preempt,
            "node failed": lambda user: self._node(user, "fail"),
            "node crashed": lambda user: self._node(user, "crash"),
            "slurmd killed": lambda user: self._node(user, "kill"),
            "slurmctld restarted": lambda _: self._daemon("restart", "slurmctld"),
            "slurmctld killed": lambda _: self._daemon("kill", "slurmctld"),
            "slurmctld hung": lambda _: self._hang(),
            "slurmdbd killed": lambda _: self._daemon("kill", "slurmdbd"),
            _SLOW: self._resume,
        }

    def strike(self, user: Somebody) -> None:
        while (name := self.draws.choice(list(self.faults))) == _SLOW and self.draws.random() < 0.8:
            pass
        with suppress(ProcessLookupError):  # it ended by itself a moment ago
            if self.faults[name](user):
                self.counts[name] += 1

    def _one(self, things: list[Any]) -> Any:
        return self.draws.choice(things) if things else None

    def _kill(self, user: User, what: str, how: signal.Signals) -> bool:
        victim = self._one(user.processes(what))
        if victim:
            os.kill(victim, how)
        return bool(victim)

    def _follow_ups(self, state: str) -> list[str]:
        lines = self.slurm.run("squeue", "-h", "-t", state, "-o", "%i %j", check=False).stdout.splitlines()
        return [line.split()[0] for line in lines if ".next" in line]

    def _kill_follow_up(self, user: User) -> bool:
        victims = [pid for pid in user.processes("submitit.core._submit") if ".next" in _words(pid)]
        if victim := self._one(victims):
            os.kill(victim, signal.SIGKILL)
        return bool(victim)

    def _cancel_follow_up(self, _: User) -> bool:
        job = self._one(self._follow_ups("PD,R"))
        return bool(job) and not self.slurm.run("scancel", job, check=False).returncode

    def _scontrol(self, user: User, *command: str) -> bool:
        element = self._one(user.running())
        words = [word.format(id=element) for word in command]
        return bool(element) and not self.slurm.run(*words, check=False).returncode

    def _preempt(self, user: User) -> bool:
        node = self._one(user.running("%N"))
        with suppress(RuntimeError):  # the controller is away
            if node:
                self.slurm.submit("sleep 1", "-p", "high", "-w", node, "--exclusive")
                return True
        return False

    def _node(self, user: User, how: str) -> bool:
        """Half of the nodes stay; those that are gone come back a little later."""
        node = self._one([node for node in set(user.running("%N")) if node in NODES])
        if not node:
            return False
        self.slurm.node(how, node)
        time.sleep(self.draws.uniform(0, 2))
        self.slurm.node("start", node)
        return True

    def _daemon(self, how: str, name: str) -> bool:
        self.slurm.daemon(how, name)
        time.sleep(self.draws.uniform(0, 2))
        self.slurm.daemon("start", name)
        return True

    def _hang(self) -> bool:
        self.slurm.daemon("hang", "slurmctld")
        time.sleep(self.draws.uniform(0, 3))
        self.slurm.daemon("wake", "slurmctld")
        return True

    def _resume(self, user: Somebody) -> bool:
        """Twice at once, whatever is in the queue."""
        commands = [[*user.become, "memexp", "resume", str(user.root)] for _ in range(2)]
        environment = self.slurm.env | USERS | {"HOME": "/tmp"}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        both = [subprocess.Popen(command, env=environment, cwd=user.folder, **quiet) for command in commands]
        assert {process.wait(300) for process in both} <= {0, 1, 3}
        return True


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    skip_without_slurm()
    with DevCluster(accounting="dbd") as cluster:
        cluster.run("sacctmgr", "-i", "add", "user", MATE, "account=root")
        yield cluster


@pytest.fixture
def folder() -> Iterator[Path]:
    """What the group shares: new files are its own, and it may write them."""
    mask = os.umask(0o002)
    place = Path(tempfile.mkdtemp(prefix="memexp-chaos-", dir="/tmp"))
    os.chown(place, 0, pwd.getpwnam(MATE).pw_gid)
    place.chmod(0o2775)
    yield place
    os.umask(mask)
    shutil.rmtree(place)


def mate_of(user: Somebody) -> Somebody:
    who = pwd.getpwnam(MATE)
    other = Somebody(user.slurm, user.folder, user.spec)
    other.root = user.root
    user_only = ("sh", "-c", 'exec "$@"', "sh")  # setpriv itself still enters every folder
    other.become = ("setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", *user_only)
    done = user.slurm.run(*other.become, "memexp", "--version", check=False)
    if done.returncode:
        pytest.skip(f"{MATE} cannot read this installation: {done.stderr}")
    return other


def until(user: Somebody, chaos: Chaos, done: Callable[[dict[str, Any]], bool]) -> None:
    """Strike until the run's status is so; release and resume, as a person would, what does not go on by itself."""
    while True:
        found = user.status()
        print(f"{chaos.counts.total()} faults, {found['done']} trials done, tasks {found['tasks']}", flush=True)
        if done(found):
            return
        if found["held"]:  # a node came back with an old folder of the job, say
            user.slurm.run("scontrol", "release", ",".join(found["held"]), check=False)
        states = {*found["tasks"], found["follow_up"]}
        if found["scheduler"] is None and (
            found["unfollowed"] or found["gave_up"] or not states & {"pending", "running"}
        ):
            user.memexp("resume", user.root, codes=(0, 1, 3))
        for _ in range(12):
            time.sleep(chaos.draws.uniform(0, PAUSE))
            if chaos.counts.total() < FAULTS:  # enough of them: the run may end in peace
                chaos.strike(user)


def settle(user: Somebody) -> None:
    """Wait until nothing is queued; release what is held, as `status` says; show what stays as Slurm sees it."""

    def idle() -> bool:
        if held := user.status()["held"]:  # second copies that have nothing to do
            user.slurm.run("scontrol", "release", ",".join(held), check=False)
        return user.idle()

    try:
        eventually(idle, 180)
    except AssertionError:
        print(user.slurm.run("squeue", "-r", "-o", "%i %j %u %T %r %E", check=False).stdout, user.status(), flush=True)
        print(user.slurm.run("scontrol", "-o", "show", "job", check=False).stdout, flush=True)
        raise


def one_run(number: int, folder: Path, chaos: Chaos) -> None:
    keys = changed(name=f"chaos{number}", subsets={"trials": TRIALS, "seed": number}, training={"epochs": 100})
    spec = folder / f"chaos{number}.yaml"
    spec.write_text(yaml.safe_dump(keys))
    user = Somebody(chaos.slurm, folder, spec)
    user.root = folder / f"runs/chaos{number}"
    more = {"seconds_per_trial": 20, "max_idle_rounds": 50, "time_min": 20, "array_parallelism": 3}
    mate = mate_of(user)
    user.launch("--block", BLOCK, **more, setup=["module load nowhere || exit 1"])
    eventually(lambda: user.status()["tasks"].keys() == {"failed"} and user.idle(), 120)
    user.memexp("resume", user.root, "--profile", user.profile(**more))
    assert not read_launches(open_run(user.root).paths)[-1].left_out
    until(user, chaos, lambda found: found["done"] >= TRIALS // 2)
    chaos.slurm.up()
    eventually(lambda: not user.slurm.run("scontrol", "ping", check=False).returncode, 60)
    user.memexp("cancel", user.root)
    eventually(user.idle, 120)
    mate.memexp("resume", user.root, codes=(0, 3))
    until(mate, chaos, lambda found: not found["missing"])
    chaos.slurm.up()
    settle(user)
    quiet = prepare_run(read_spec(spec).spec, load_data(read_spec(spec).spec.dataset), folder / "quiet", BLOCK)
    launch_local(quiet, Resources(workers=2), lambda _: None)
    disturbed = open_run(user.root)
    assert_same_outcomes(quiet, disturbed)
    assert sorted(trial for receipt in read_receipts(disturbed.paths) for trial in receipt.trained) == list(
        range(TRIALS)
    )
    launches = len(read_launches(disturbed.paths))
    print(
        f"run {number}: {TRIALS} trials identical after {chaos.counts.total()} faults, {launches} launches", flush=True
    )


def test_whatever_happens_the_same_bits_come_out(cluster: DevCluster, folder: Path) -> None:
    chaos = Chaos(cluster, random.Random(SEED))
    start, number = time.monotonic(), 0
    while chaos.counts.total() < FAULTS:
        one_run(number, folder, chaos)
        number += 1
    print(
        f"{chaos.counts.total()} faults over {number * TRIALS} trials in {time.monotonic() - start:.0f} s", flush=True
    )
    for name, count in chaos.counts.most_common():
        print(f"  {count:4d} {name}", flush=True)
