"""Processor seconds that a command takes before it does anything, beside Python itself and the import of torch.

    python benchmarks/startup.py [--times 9] [--before CHECKOUT]

Goals: `memexp --help` and `memexp status` in less than half a second, a worker's import in at most 1.5 times torch's,
a missing path refused in at most 0.7 s. Processor time, which other work on the machine disturbs less than the
clock's; the calls of each command, and of an earlier checkout, take turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "specs/digits.yaml"
MISSING = SPEC.read_text("utf-8").replace("source: digits,", "source: npz, path: absent.npz,")


def processor_seconds(checkout: Path, folder: str, *command: str, code: int = 0) -> float:
    """Of one call of Python, the processes that it waits for included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == code, done.stderr.decode()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Train the demo's first trials, then time each command in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    arguments = parser.parse_args()
    checkouts = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("few", SPEC.read_text("utf-8").replace("trials: 500", "trials: 10")), ("missing", MISSING)):
            Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")
        launch = ("-m", "memexp", "launch", "few.yaml", "--executor", "local", "--yes", "--runs")
        for name, checkout in checkouts.items():
            processor_seconds(checkout, folder, *launch, f"of_{name}")
        commands: dict[str, tuple[tuple[str, ...], int]] = {
            "python": (("-c", "pass"), 0),
            "import torch": (("-c", "import torch"), 0),
            "import a worker": (("-c", "import memexp.worker"), 0),
            "memexp --help": (("-m", "memexp", "--help"), 0),
            "memexp status": (("-m", "memexp", "status", "of_{}/digits"), 0),
            "memexp plan, digits": (("-m", "memexp", "plan", str(SPEC)), 0),
            "memexp plan, no such file": (("-m", "memexp", "plan", "missing.yaml"), 2),
            "memexp launch, 10 trials": ((*launch, "new_{}_{}"), 0),
        }
        seconds: dict[tuple[str, str], list[float]] = {(each, name): [] for each in commands for name in checkouts}
        for time in range(arguments.times):
            for each, (command, code) in commands.items():
                for name, checkout in checkouts.items():
                    words = (word.format(name, time) for word in command)
                    seconds[each, name].append(processor_seconds(checkout, folder, *words, code=code))
        torch = statistics.median(seconds["import torch", "now"])
        for each in commands:
            now = statistics.median(seconds[each, "now"])
            print(f"{each:<26} {now:6.2f} s  {now / torch:5.2f} of torch", end="")
            if arguments.before:
                pairs = zip(seconds[each, "now"], seconds[each, "before"], strict=True)
                earlier, ratio = statistics.median(seconds[each, "before"]), statistics.median(a / b for a, b in pairs)
                print(f"  before {earlier:6.2f} s, ratio {ratio:.2f}", end="")
            print()


if __name__ == "__main__":
    main()
