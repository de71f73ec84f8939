"""What ``status --usage`` prints: asked against used, and what to write into the profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from memexp.brief import counted
from memexp.cli.console import out, print_json, show
from memexp.errors import command

if TYPE_CHECKING:
    from memexp.launch.usage import Usage

Rows = list[tuple[str, str]]


def show_usage(runs: Sequence[Path], as_json: bool) -> int:
    """Of each run; always exit code 0."""
    from memexp.launch.usage import read_usage
    from memexp.store.paths import RunPaths

    found = {str(root): read_usage(RunPaths.of_run(root)) for root in runs}
    if as_json:
        tables = [{"run": root} | asdict(usage) for root, usage in found.items()]
        print_json(tables if len(tables) > 1 else tables[0])
        return 0
    for root, usage in found.items():
        if len(found) > 1:
            out.rule(root, style="")
        show(_rows(usage) if usage.tasks else [("usage", "nothing has ended yet"), ("next", command("status", root))])
    return 0


def _rows(found: Usage) -> Rows:
    asked, on_slurm = found.asked, found.asked.time_min is not None
    rows = [("tasks", f"{found.tasks:,} ended") if on_slurm else ("launches", f"{found.tasks:,} on this machine")]
    if found.longest_min is not None and found.median_min is not None:
        limit = f"asked {asked.time_min} min; " if on_slurm else ""
        rows.append(("time", f"{limit}longest {found.longest_min:.1f} min, median {found.median_min:.1f} min"))
    rows.append(("memory", _memory(found)))
    busy = found.sacct_cpus if found.sacct_cpus is not None else found.cpus
    if busy is not None:
        cpus = asked.cpus or max(1, asked.workers) * asked.threads
        here = f"{counted(asked.workers, 'worker')} of {counted(asked.threads, 'thread')}"
        what = f"asked {asked.cpus}" if on_slurm else here
        rows.append(("processors", f"{what}; {busy:.1f} busy on average ({100 * busy / cpus:.0f} %)"))
    if found.gpu_gb is not None:
        busy_gpu = f", {found.gpu_percent:.0f} % busy" if found.gpu_percent is not None else ""
        rows.append(
            ("GPU", f"asked {asked.gpus}; a worker at most {found.gpu_gb:.1f} of {found.gpu_total_gb:.1f} GB{busy_gpu}")
        )
    if on_slurm:
        keys = ", ".join(f"{key}: {value:g}" for key, value in found.advice.items())
        rows.append(("profile", f"would do with {keys}" if keys else "fits what was used"))
    return rows


def _memory(found: Usage) -> str:
    """Both counts where there are two: the accounting looks now and then, the tasks' own ends with their last block."""
    asked = found.asked
    limit = f"asked {asked.mem_gb:g} GB; " if asked.mem_gb else "asked the default; " if asked.time_min else ""
    counts = [(found.sacct_mem_gb, "by Slurm's accounting"), (found.mem_gb, "by the tasks' own count")]
    told = [f"{size:.2f} GB {how}" for size, how in counts if size is not None]
    return f"{limit}at most {', '.join(told)}" if told else f"{limit}unknown"
