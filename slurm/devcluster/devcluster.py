#!/usr/bin/env python3
"""A whole Slurm cluster on one machine, for trying memexp and for testing it. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import faults
import host
from cluster import existing, up
from selftest import selftest
from settings import ACCOUNTING, MOST, TRACKING, Layout, Settings, refuse_folder

DEFAULT_ROOT = "/tmp/memexp-devcluster"
NUMBERS = {
    "nodes": f"nodes n1, n2, ..., at most {MOST['nodes']}",
    "cpus": "CPUs that each node claims, whatever this machine has",
    "mem_mb": "memory that each node claims",
    "gpus": "fake GPUs of each node",
    "max_array": "MaxArraySize: one more than the largest array index",
    "max_jobs": "MaxJobCount: jobs in memory, the finished ones of the last --min-job-age seconds included",
    "min_job_age": "seconds for which squeue still knows a finished job",
    "message_timeout": "seconds after which Slurm's commands and daemons give up an answer",
    "slurmd_timeout": "seconds of a node's silence",
    "requeue_delay": "seconds before a requeued job may start again",
    "port": "first port of those used; default: a free range",
}


def _command_line() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--root", type=Path, default=Path(os.environ.get("MEMEXP_DEVCLUSTER") or DEFAULT_ROOT), metavar="DIR",
        help=f"the cluster's folder (default: $MEMEXP_DEVCLUSTER, or {DEFAULT_ROOT})",
    )  # fmt: skip
    parser = argparse.ArgumentParser(prog="devcluster.py", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    check = verbs.add_parser("check", help="say whether a cluster can run here: exit code 0, else 2")
    check.add_argument("--installed", action="store_true", help="do not count on installing packages")
    verbs.add_parser("install", help="install the Debian packages, start nothing")

    start = verbs.add_parser(
        "up", parents=[shared], help="start what does not run; settings not given stay as they were"
    )
    start.add_argument("--fresh", action="store_true", help="forget all jobs and accounts first; the settings stay")
    start.add_argument("--no-install", action="store_true", help="fail where packages are missing")
    start.add_argument("--accounting", choices=sorted(ACCOUNTING), help="slurmdbd with MariaDB, or no accounting")
    start.add_argument("--cgroup", choices=sorted(TRACKING), help="v1: memory limits by cgroups, with real OOM kills")
    for name, text in NUMBERS.items():
        default = getattr(Settings, name)
        text += f" (default: {default})" if default else ""
        start.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=text)

    stop = verbs.add_parser("down", parents=[shared], help="cancel all jobs, stop everything")
    stop.add_argument("--wipe", action="store_true", help="delete the cluster's folder, too")
    verbs.add_parser("status", parents=[shared], help="which daemons run: exit code 0 if all, else 1")
    verbs.add_parser("selftest", parents=[shared], help="run a few jobs through it, one through a node failure")

    node = verbs.add_parser("node", parents=[shared], help="break or mend a node")
    _add_actions(node, faults.NODE_ACTIONS)
    node.add_argument("name", help="n1, n2, ...")
    node.add_argument("--keep-spool", action="store_true", help="crash, fail: leave the node's job folders on its disk")
    daemon = verbs.add_parser("daemon", parents=[shared], help="break or mend a daemon")
    _add_actions(daemon, faults.DAEMON_ACTIONS)
    daemon.add_argument("name", choices=faults.DAEMONS)
    return parser


def _add_actions(parser: argparse.ArgumentParser, actions: dict[str, str]) -> None:
    parser.add_argument("action", choices=actions)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "actions:\n" + "\n".join(f"  {name:8} {text}" for name, text in actions.items())


def _check(*, installed: bool) -> None:
    missing = host.require(database=True, install=not installed)
    then = f", once {' '.join(missing)} are installed (`install` and `up` do that)" if missing else ""
    sys.stdout.write(f"a Slurm cluster can run here{then}\n")


def _status(layout: Layout) -> int:
    cluster = existing(layout)
    pids = {name: cluster.pid(name) for name in cluster.daemons}
    for name, pid in pids.items():
        sys.stdout.write(f"{name:12} {pid or 'not running'}\n")
    return 0 if all(pids.values()) else 1


def _up(layout: Layout, options: argparse.Namespace) -> None:
    changes = {name: getattr(options, name) for name in (*NUMBERS, "accounting", "cgroup")}
    cluster = up(layout, changes, fresh=options.fresh, install=not options.no_install)
    chosen = cluster.settings
    host.say(f"up: {chosen.nodes} nodes of {chosen.cpus} CPUs and {chosen.gpus} GPUs, accounting {chosen.accounting}")
    sys.stdout.write(f"source {layout.environment_file}\n")


def _act(options: argparse.Namespace) -> int:
    if options.verb == "check":
        _check(installed=options.installed)
        return 0
    if options.verb == "install":
        with host.one_at_a_time():
            host.install(host.require(database=True, install=True))
        return 0
    host.require_root()
    refuse_folder(options.root.absolute())
    layout = Layout(options.root.resolve())
    match options.verb:
        case "up":
            _up(layout, options)
        case "down":
            if layout.settings() is not None:
                existing(layout).down(wipe=options.wipe)
        case "status":
            return _status(layout)
        case "node":
            faults.node(existing(layout), options.action, options.name, keep_spool=options.keep_spool)
        case "daemon":
            faults.daemon(existing(layout), options.action, options.name)
        case "selftest":
            selftest(existing(layout))
    return 0


def main() -> int:
    """Run one verb: 0 done, 1 something broke, 2 it cannot be done here or was asked wrongly."""
    options = _command_line().parse_args()
    try:
        return _act(options)
    except (host.CannotRun, host.Broken) as fault:
        host.say(str(fault))
        return 2 if isinstance(fault, host.CannotRun) else 1


if __name__ == "__main__":
    sys.exit(main())
