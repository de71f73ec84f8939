"""A whole Slurm cluster on this machine: its daemons, how they start, and how all of it goes away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import host
from host import Broken, CannotRun, say
from processes import Process, end, process, processes, send, wait_until
from settings import CGROUPS, Layout, Settings, make_secrets_and_devices, nodes, refuse_closed, write_configuration

USABLE = {"idle", "mix", "alloc", "comp"}  # sinfo's %t; its filter `-t idle` would also list drained nodes


@dataclass(frozen=True)
class Daemon:
    """How one daemon starts and when it is ready."""

    command: list[str]
    ready: Callable[[], bool]
    background: bool = False  # stays in the foreground by itself
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    @property
    def program(self) -> str:
        """Name of its executable file."""
        return self.command[0]


# Variables that Slurm's commands take as options: another cluster's, or a user's own.
OPTIONS = ("SLURM", "SBATCH", "SQUEUE_", "SACCT", "SCANCEL_", "SCONTROL_", "SINFO_", "SRUN_", "SALLOC_")


@dataclass
class Cluster:
    """One cluster in one folder."""

    layout: Layout
    settings: Settings
    daemons: dict[str, Daemon] = field(init=False)

    def __post_init__(self) -> None:
        everything = self._auth()
        if self.settings.accounting == "dbd":
            everything |= self._accounting()
        everything["slurmctld"] = Daemon(["slurmctld", "-f", str(self.layout.conf)], self._controller_answers)
        for node in nodes(self.settings):
            everything[f"slurmd.{node}"] = self._node(node)
        self.daemons = everything

    # -- its tools and processes

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's tools and daemons run with; also how a process of this cluster is recognized."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OPTIONS)}
        return inherited | {"SLURM_CONF": str(self.layout.conf), "PATH": host.search_path()}

    def tool(self, *command: str, check: bool = True, seconds: float = 30) -> str:
        """Standard output of one of Slurm's commands; with check=False, nothing where it failed."""
        try:
            done = subprocess.run(
                command,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=seconds,
                stdin=subprocess.DEVNULL,
                encoding="utf-8",
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"{' '.join(command)} did not answer within {seconds:g} s") from None
        if done.returncode and check:
            raise Broken(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return "" if done.returncode else done.stdout

    def owns(self, one: Process) -> bool:
        """Whether a process was started by, or works for, this cluster."""
        conf = str(self.layout.conf)
        return conf in one.arguments() or one.environment().get("SLURM_CONF") == conf

    def pid(self, name: str) -> int | None:
        """Process number of a daemon that runs; old files with numbers of strangers do not mislead it."""
        try:
            one = process(int(self.layout.run(f"{name}.pid").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None
        program = name.partition(".")[0]
        return one.pid if one and one.name.startswith(program) and self.owns(one) else None

    def running(self) -> dict[str, int]:
        """Process numbers of the daemons that run, those of earlier settings included."""
        names = {path.stem for path in (self.layout.root / "run").glob("*.pid")}
        found = {name: self.pid(name) for name in sorted(names)}
        return {name: pid for name, pid in found.items() if pid is not None}

    # -- up

    def start(self, name: str) -> bool:
        """Start one daemon and wait until it is ready; False where it ran already."""
        if self.pid(name) is not None:
            return False
        daemon = self.daemons[name]
        self.layout.run(f"{name}.pid").unlink(missing_ok=True)
        if daemon.before:
            daemon.before()
        self._run(name, daemon)
        if not wait_until(daemon.ready, 60):
            raise Broken(f"{name} did not become ready within 60 s{self._tail(name)}")
        if daemon.after:
            daemon.after()
        return True

    def start_missing(self) -> None:
        """Start what does not run, in the order of need, and wait until every node takes jobs."""
        started = [name for name in self.daemons if self.start(name)]
        if started:
            say(f"started {' '.join(started)}")
        self.wait_for_nodes(nodes(self.settings))

    def wait_for_nodes(self, names: list[str]) -> None:
        """Wait until nodes take jobs; those left down or drained by earlier faults are resumed."""
        asked = 0

        def unusable() -> list[str]:
            lines = self.tool("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t", check=False).splitlines()
            usable = {line.split()[0] for line in lines if line.split()[1] in USABLE}
            return [name for name in names if name not in usable]

        def ready() -> bool:
            nonlocal asked
            missing = unusable()
            asked += 1
            if missing and asked % 10 == 3:
                self.tool("scontrol", "update", f"NodeName={','.join(missing)}", "State=RESUME", check=False)
            return not missing

        if not wait_until(ready, 60, every=0.1):
            raise Broken(f"not ready within 60 s: {' '.join(unusable())}{self._tail('slurmctld')}")

    def _run(self, name: str, daemon: Daemon) -> None:
        output = self.layout.log(f"{name}.start").open("wb")
        with output:
            child = subprocess.Popen(
                daemon.command, env=self.environment, cwd=self.layout.root, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            if not daemon.background and child.wait(60):
                raise Broken(f"{name} did not start{self._tail(f'{name}.start')}{self._tail(name)}")

    def _tail(self, name: str) -> str:
        path = self.layout.log(name)
        lines = path.read_text(errors="replace", encoding="utf-8").splitlines()[-3:] if path.exists() else []
        return "".join(f"\n  {path}: {line}" for line in lines)

    # -- the daemons

    def _auth(self) -> dict[str, Daemon]:
        at, socket = self.layout, str(self.layout.run("munge.sock"))
        command = [
            "munged", f"--key-file={at.root}/etc/munge.key", f"--socket={socket}", "--num-threads=10",
            f"--pid-file={at.run('munged.pid')}", f"--log-file={at.log('munged')}", f"--seed-file={at.root}/state/seed",
        ]  # fmt: skip

        def clean() -> None:
            for name in ("munge.sock", "munge.sock.lock"):
                at.run(name).unlink(missing_ok=True)

        return {
            "munged": Daemon(command, lambda: bool(self.tool("munge", "-S", socket, "-n", check=False)), before=clean)
        }

    def _accounting(self) -> dict[str, Daemon]:
        at, port = self.layout, self.settings.port
        command = [
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={at.root}/db", f"--socket={at.run('mariadb.sock')}",
            f"--pid-file={at.run('mariadbd.pid')}", "--bind-address=127.0.0.1", f"--port={port}",
            "--skip-name-resolve", f"--init-file={at.root}/etc/database.sql", f"--log-error={at.log('mariadbd')}",
            # quick, and careless of a power cut: nothing of value is in it
            "--innodb-buffer-pool-size=128M", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0",
            "--innodb-lock-wait-timeout=900", "--max-allowed-packet=16M", "--performance-schema=OFF",
        ]  # fmt: skip
        return {
            "mariadbd": Daemon(command, lambda: host.listening(port), background=True, before=self._make_database),
            "slurmdbd": Daemon(["slurmdbd"], lambda: host.listening(port + 1), after=self._register),
        }

    def _make_database(self) -> None:
        if not (self.layout.root / "db/mysql").exists():
            self.tool(
                "mariadb-install-db", "--no-defaults", f"--datadir={self.layout.root}/db", "--user=root",
                "--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve", seconds=120,
            )  # fmt: skip

    def _register(self) -> None:
        if "dev" not in self.tool("sacctmgr", "-nP", "show", "cluster", "dev", "format=cluster").split():
            self.tool("sacctmgr", "-iQ", "add", "cluster", "dev")

    def _node(self, node: str) -> Daemon:
        command = ["slurmd", "-N", node, "-f", str(self.layout.conf)]
        return Daemon(command, lambda: self.pid(f"slurmd.{node}") is not None)

    def _controller_answers(self) -> bool:
        return "is UP" in self.tool("scontrol", "ping", check=False)

    # -- down

    def stop(self, *names: str) -> None:
        """Stop daemons politely, those that do not listen after 10 s by force."""
        end([pid for name in names if (pid := self.pid(name))])
        for name in names:
            self.layout.run(f"{name}.pid").unlink(missing_ok=True)

    def stop_daemons(self) -> None:
        """Stop every daemon; jobs' own processes are left alone."""
        names = list(self.running())
        self.stop(*(name for name in names if name.startswith("slurmd.")))
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop(name)

    def cancel_jobs(self) -> None:
        """Cancel what is queued or runs, and wait a little for it to end."""
        if not {"slurmctld", "munged"} <= self.running().keys():
            return
        send([self.running()["slurmctld"]], signal.SIGCONT)
        jobs = set(self.tool("squeue", "-h", "-o", "%A", check=False).split())
        if jobs:
            self.tool("scancel", *jobs, check=False)
            wait_until(lambda: not self.tool("squeue", "-h", "-o", "%A", check=False), 3.5, every=0.1)

    def kill_leftovers(self) -> None:
        """Kill what a dead daemon left running: steps, tasks, helpers."""

        def left() -> list[int]:
            mine = [one for one in processes() if one.pid != os.getpid() and self.owns(one)]
            ours = ("slurm", "munged", "mariadbd")
            return [one.pid for one in mine if one.name.startswith(ours) or "SLURM_JOB_ID" in one.environment()]

        if found := left():
            say(f"killing {len(found)} processes left by dead daemons")
            for _ in range(20):  # one that forks at this moment is met in the next round
                send(left(), signal.SIGKILL)
                if wait_until(lambda: not left(), 0.5):
                    return

    def remove_cgroups(self) -> None:
        """Remove the folders of our nodes that Slurm leaves below /sys/fs/cgroup."""
        if not self.layout.cgroup_conf.exists():
            return
        for node in (self.layout.root / "spool").iterdir():
            for folder in sorted(CGROUPS.glob(f"*/slurm_{node.name}/**/"), reverse=True):
                with suppress(OSError):  # one that processes of another cluster use
                    folder.rmdir()
        self.layout.cgroup_conf.unlink()

    def down(self, *, wipe: bool) -> None:
        """Stop everything; with wipe, forget it too."""
        self.cancel_jobs()
        self.stop_daemons()
        self.kill_leftovers()
        self.remove_cgroups()
        if wipe:
            shutil.rmtree(self.layout.root)


def existing(layout: Layout) -> Cluster:
    """The cluster of a folder; CannotRun where there is none."""
    settings = layout.settings()
    if settings is None:
        raise CannotRun(f"there is no cluster in {layout.root}: `devcluster.py up` makes one")
    return Cluster(layout, settings)


def up(layout: Layout, changes: dict[str, Any], *, fresh: bool, install: bool) -> Cluster:
    """Start a cluster, or what of it does not run; settings not given stay as they were."""
    with host.one_at_a_time():
        settings = (layout.settings() or Settings()).changed(changes)
        refuse_closed(layout.root)
        host.install(host.require(database=settings.accounting == "dbd", install=install))
        host.mend_loopback()
        if layout.settings() and fresh:
            existing(layout).down(wipe=True)
        running = existing(layout).running() if layout.settings() else {}
        settings = _with_port(settings, chosen=bool(changes.get("port")), running=bool(running))
        layout.create(settings)
        make_secrets_and_devices(layout, settings)
        cluster = Cluster(layout, settings)
        if write_configuration(layout, settings) and running:
            say("the settings changed: restarting the daemons")
            cluster.stop_daemons()
        cluster.start_missing()
        return cluster


def _with_port(settings: Settings, *, chosen: bool, running: bool) -> Settings:
    """Keep the ports of a cluster that runs; otherwise see that they are free, and take others where nobody minds."""
    if running or (settings.port and host.free(settings.port, settings.nodes)):
        return settings
    if chosen:
        raise CannotRun(f"something else listens on a port of {settings.port} and the following: choose another --port")
    return replace(settings, port=host.choose_port(settings.nodes))
