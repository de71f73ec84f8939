"""How long a command takes before it does anything, beside Python itself and the import of torch.

    python benchmarks/startup.py [--times 9]

Goal: `memexp --help` and `memexp status` in less than half a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = Path(__file__).resolve().parent.parent / "specs/digits.yaml"


def median_seconds(times: int, *command: str) -> float:
    """Of so many calls, one after the other."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Train the demo's run, then ask for its status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=9)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        launch = ("-m", "memexp", "launch", str(SPEC), "--runs", folder, "--executor", "local", "--yes")
        subprocess.run([sys.executable, *launch], check=True, capture_output=True)
        for name, command in (
            ("python", ("-c", "pass")),
            ("import torch", ("-c", "import torch")),
            ("memexp --help", ("-m", "memexp", "--help")),
            ("memexp status", ("-m", "memexp", "status", f"{folder}/digits")),
        ):
            print(f"{name:<15} {median_seconds(times, *command):.2f} s")


if __name__ == "__main__":
    main()
