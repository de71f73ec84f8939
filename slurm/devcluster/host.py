"""What this machine must offer: root, Debian's Slurm, free ports, a network that Slurm can look names up in."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# package -> one program of it that we start
SLURM = {"munge": "munged", "slurmctld": "slurmctld", "slurmd": "slurmd", "slurm-client": "sbatch"}
DATABASE = {"slurmdbd": "slurmdbd", "mariadb-server-core": "mariadbd", "mariadb-client-core": "mariadb"}

LOCK = Path("/run/memexp-devcluster.lock")
PORTS_FROM, PORTS_APART, PORTS_BEFORE_NODES = 16800, 80, 4  # below the ports that Linux gives to clients
POLICY = Path("/usr/sbin/policy-rc.d")


class CannotRun(Exception):
    """The cluster cannot run here, or was asked for something impossible: one sentence for the user."""


class Broken(Exception):
    """Something that should have worked did not."""


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"devcluster: {text}\n")


def missing_packages(*, database: bool) -> list[str]:
    """Debian packages whose programs are not there."""
    wanted = SLURM | (DATABASE if database else {})
    return [package for package, program in wanted.items() if not shutil.which(program, path=search_path())]


def search_path() -> str:
    """PATH with the folders of the system's daemons, which a user's often lacks."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def require_root() -> None:
    """CannotRun for other users: only root can start tasks as any user, which Slurm's daemons do."""
    if os.geteuid() != 0:
        raise CannotRun("Slurm's daemons must be started by root, and this is another user")


def require(*, database: bool, install: bool) -> list[str]:
    """Packages still to be installed; CannotRun where that, or anything else, makes it impossible.

    Parameters
    ----------
    database
        Accounting is wanted: slurmdbd and MariaDB are needed too.
    install
        Whether missing packages may be installed.
    """
    require_root()
    missing = missing_packages(database=database)
    if missing and not install:
        raise CannotRun(f"Slurm is not installed here; as root, `devcluster.py install` installs {' '.join(missing)}")
    if missing and not shutil.which("apt-get"):
        raise CannotRun(f"Slurm is not installed here ({' '.join(missing)}), and there is no apt-get to install it")
    return missing


def install(packages: list[str]) -> None:
    """Install Debian packages without starting the daemons that they bring as services."""
    if not packages:
        return
    say(f"installing {' '.join(packages)}")
    kept_quiet = not POLICY.exists()
    if kept_quiet:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        POLICY.chmod(0o755)
    try:
        _apt_get("update")
        _apt_get("install", "-y", "--no-install-recommends", *packages)
    finally:
        if kept_quiet:
            POLICY.unlink()


def _apt_get(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, encoding="utf-8"
    )
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CannotRun(f"apt-get {arguments[0]} failed, so Slurm cannot be installed: {''.join(why)}")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the machine's lock: two clusters that start at once must not pick the same ports, nor both run apt-get."""
    with LOCK.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free(first: int, nodes: int) -> bool:
    """Whether nothing listens on the ports of a cluster whose first port is this one."""
    return all(_free(port) for port in range(first, first + PORTS_BEFORE_NODES + nodes))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # left by a connection that ended: no hindrance
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_port(nodes: int) -> int:
    """The first port of a range that is free."""
    for first in range(PORTS_FROM, 32000, PORTS_APART):
        if free(first, nodes):
            return first
    raise CannotRun(f"no free range of {PORTS_BEFORE_NODES + nodes} ports between {PORTS_FROM} and 32000")


def listening(port: int) -> bool:
    """Whether a connection to a port of this machine succeeds."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def host_name() -> str:
    """The name that Slurm knows this machine by."""
    return socket.gethostname().partition(".")[0]


def host_name_is_loopback() -> bool:
    """Whether the machine's name means 127.x: only then can the daemons listen on nothing else."""
    try:
        return socket.gethostbyname(host_name()).startswith("127.")
    except OSError:
        return False


def mend_loopback() -> None:
    """Where 127.0.0.1 is the only address, add 127.0.0.2: Slurm resolves no name at all without another."""
    try:
        socket.getaddrinfo("127.0.0.1", 1, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except socket.gaierror:
        command = ["ip", "addr", "add", "127.0.0.2/32", "dev", "lo"]
        if shutil.which("ip", path=search_path()) is None or subprocess.run(command, capture_output=True).returncode:
            raise CannotRun(
                "this machine has no address but 127.0.0.1, Slurm needs another, and 127.0.0.2 could not be added"
            ) from None
