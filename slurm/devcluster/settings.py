"""The settings of a cluster, kept in its folder, and the configuration files written from them."""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from string import Template
from typing import Any, Self

from host import PORTS_BEFORE_NODES, CannotRun, host_name, host_name_is_loopback

HERE = Path(__file__).parent
CGROUPS = Path("/sys/fs/cgroup")

TRACKING = {
    "none": ["ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "JobAcctGatherParams=OverMemoryKill"],
    "v1": ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup"],
}
# Slurm's tools find munge's socket by AccountingStoragePass when they talk to slurmdbd, not by AuthInfo.
ACCOUNTING = {
    "none": ["AccountingStorageType=accounting_storage/none", "JobCompType=jobcomp/none"],
    "dbd": [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        "AccountingStoragePort=$accounting_port",
        "AccountingStoragePass=$root/run/munge.sock",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStorageEnforce=associations,limits,qos",
        "JobCompType=jobcomp/none",
    ],
}
LEAST = {
    "nodes": 1, "cpus": 1, "mem_mb": 100, "gpus": 0, "max_array": 2, "max_jobs": 10, "min_job_age": 2,
    "message_timeout": 2, "slurmd_timeout": 1, "requeue_delay": 5, "port": 0,
}  # fmt: skip
MOST = {"nodes": 60, "port": 65000}


@dataclass(frozen=True)
class Settings:
    """What a user may choose; everything has a default, and `port` 0 means any free range."""

    accounting: str = "dbd"
    cgroup: str = "none"
    nodes: int = 4
    cpus: int = 8
    mem_mb: int = 16000
    gpus: int = 2
    max_array: int = 1001
    max_jobs: int = 10000
    min_job_age: int = 300
    message_timeout: int = 5
    slurmd_timeout: int = 5
    requeue_delay: int = 5
    port: int = 0

    def changed(self, changes: dict[str, Any]) -> Self:
        """Those settings replaced that are not None; CannotRun where one is impossible."""
        new = replace(self, **{name: value for name, value in changes.items() if value is not None})
        for name, least in LEAST.items():
            value, most = getattr(new, name), MOST.get(name)
            if value < least or (most is not None and value > most):
                allowed = f"at least {least}" if most is None else f"{least} to {most}"
                raise CannotRun(f"--{name.replace('_', '-')} is {value}, and must be {allowed}")
        if new.cgroup == "v1" and not all((CGROUPS / part).is_dir() for part in ("memory", "freezer")):
            raise CannotRun(f"--cgroup v1 needs {CGROUPS}/memory and {CGROUPS}/freezer, which this machine lacks")
        return new


@dataclass(frozen=True)
class Layout:
    """Where things lie below a cluster's folder."""

    root: Path

    @property
    def conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.root / "etc/slurm.conf"

    @property
    def cgroup_conf(self) -> Path:
        """Exists from the first use of cgroups until `down` has removed what Slurm leaves of them."""
        return self.root / "etc/cgroup.conf"

    @property
    def environment_file(self) -> Path:
        """What a shell sources to use the cluster."""
        return self.root / "env.sh"

    @property
    def settings_file(self) -> Path:
        """The settings of the last `up`; a folder with this file is a cluster's."""
        return self.root / "settings.json"

    def run(self, name: str) -> Path:
        """A socket or a file with a process number."""
        return self.root / "run" / name

    def log(self, name: str) -> Path:
        """The log of a daemon."""
        return self.root / "log" / f"{name}.log"

    def spool(self, node: str) -> Path:
        """The folder where a node keeps its running jobs."""
        return self.root / "spool" / node

    def settings(self) -> Settings | None:
        """The settings of the last `up`, if there was one."""
        if not self.settings_file.exists():
            return None
        known = {field.name for field in fields(Settings)}
        saved = json.loads(self.settings_file.read_text(encoding="utf-8"))
        return Settings(**{name: value for name, value in saved.items() if name in known})

    def create(self, settings: Settings) -> None:
        """Make the folders, and forget nothing that is there."""
        refuse_folder(self.root)
        for name in ("", "etc", "state", "log", "run", "dev", "db", "spool", *(f"spool/{n}" for n in nodes(settings))):
            (self.root / name).mkdir(parents=True, exist_ok=True)
            (self.root / name).chmod(0o755)
        self.settings_file.write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
        lines = {"SLURM_CONF": self.conf, "MEMEXP_DEVCLUSTER": self.root}
        self.environment_file.write_text(
            "".join(f"export {name}='{value}'\n" for name, value in lines.items()), encoding="utf-8"
        )


def refuse_folder(root: Path) -> None:
    """CannotRun where a folder is named impossibly, or is another user's: its links would lead root anywhere."""
    if not str(root).replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise CannotRun(f"Slurm's files cannot name {root}: use letters, digits and -_. only")
    if len(str(root)) > 80:
        raise CannotRun(f"{root} is too long for the name of a socket: use at most 80 characters")
    if root.is_symlink() or (root.exists() and root.stat().st_uid != os.geteuid()):
        raise CannotRun(f"{root} is a link or belongs to another user: choose another --root")


def refuse_closed(root: Path) -> None:
    """CannotRun where other users cannot reach a folder: munge's socket is in it."""
    for parent in root.parents:
        if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
            raise CannotRun(
                f"{parent} is closed to other users, and munge's socket below it must not be: choose another --root"
            )


def nodes(settings: Settings) -> list[str]:
    """Names of the nodes."""
    return [f"n{number}" for number in range(1, settings.nodes + 1)]


def _bracket(first: int, last: int) -> str:
    return str(first) if first == last else f"[{first}-{last}]"


def _values(layout: Layout, settings: Settings, password: str) -> dict[str, Any]:
    """What the templates may name."""
    first_node = settings.port + PORTS_BEFORE_NODES
    loopback = host_name_is_loopback()
    devices = f"{layout.root}/dev/gpu{_bracket(0, settings.gpus - 1)}"
    node_names = f"n{_bracket(1, settings.nodes)}"
    values = asdict(settings) | {
        "root": layout.root,
        "host": host_name(),
        "password": password,
        "database_port": settings.port,
        "accounting_port": settings.port + 1,
        "controller_port": settings.port + 2,
        "spare_port": settings.port + 3,
        "node_ports": _bracket(first_node, first_node + settings.nodes - 1),
        "node_names": node_names,
        "node_gres": f"Gres=gpu:{settings.gpus}" if settings.gpus else "",
        "gpu_devices": f"NodeName={node_names} Name=gpu File={devices}" if settings.gpus else "",
        "mem_per_cpu": max(settings.mem_mb // settings.cpus, 1),
        "listen": "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if loopback else "",
        "listen_database": "CommunicationParameters=NoInAddrAny" if loopback else "",
        "tracking": "\n".join(TRACKING[settings.cgroup]),
    }
    return values | {"accounting": Template("\n".join(ACCOUNTING[settings.accounting])).substitute(values)}


def write_configuration(layout: Layout, settings: Settings) -> bool:
    """Write Slurm's configuration; whether the daemons that run have an older one."""
    values = _values(layout, settings, _password(layout))
    changed = False
    for template in sorted(HERE.glob("*.in")):
        path = layout.root / "etc" / template.stem
        text = Template(template.read_text(encoding="utf-8")).substitute(values)
        if path == layout.cgroup_conf and settings.cgroup == "none":
            continue
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600 if "password" in template.read_text(encoding="utf-8") else 0o644)
            changed = True
    return changed


def _password(layout: Layout) -> str:
    """The database's password, made once."""
    path = layout.root / "etc/database.password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(12), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def make_secrets_and_devices(layout: Layout, settings: Settings) -> None:
    """Munge's key, and the device files that stand for GPUs."""
    key = layout.root / "etc/munge.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
    for number in range(settings.gpus):
        device = layout.root / f"dev/gpu{number}"
        if not device.exists():
            try:
                os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
            except OSError as fault:
                raise CannotRun(
                    f"device files for fake GPUs cannot be made here ({fault.strerror}): use --gpus 0"
                ) from None
