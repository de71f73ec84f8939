"""What this process has used so far, as an attempt notes it: memory, processor, GPU."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

_MB = 1e6


def used(children: bool = False) -> dict[str, float]:
    """Peak memory and processor time since the process began.

    Parameters
    ----------
    children
        Count the processor time of the children that have ended, too.

    Returns
    -------
    numbers
        ``memory_mb``, the peak of what is the process's own; ``shared_mb``, what lies in files that other processes map
        as well, such as libraries and data: of several processes it counts once; ``cpu_seconds``, user's and system's.
    """
    times = os.times()
    cpu = times.user + times.system + ((times.children_user + times.children_system) if children else 0.0)
    peak, shared = _memory()
    return {"memory_mb": round(peak - shared, 1), "shared_mb": round(shared, 1), "cpu_seconds": round(cpu, 2)}


def _memory() -> tuple[float, float]:
    """Peak of the resident memory, and what of it lies in files, MB."""
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        found = {
            name: 1024 * int(number) / _MB for name, number in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
        }
        return found["VmHWM"], found["RssFile"] + found.get("RssShmem", 0.0)
    except (OSError, KeyError):  # not Linux
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB, 0.0
