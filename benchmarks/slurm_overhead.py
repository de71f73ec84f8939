"""What Slurm costs: launching and asking for 4,000 trials, and starting and writing as a share of a task's time.

    eval "$(slurm/devcluster/devcluster.py up)"
    python benchmarks/slurm_overhead.py [--profile devcluster] [--trials 3000]

1. `memexp launch` of 4,000 trials, and `memexp status` of that run, as a user types them. The jobs are held
   and cancelled afterwards.
2. The demo's digits spec in tasks of the length that planning chooses. A task's time is Slurm's own, from
   its start to its end; what its trials trained is in the run's receipts; the rest is starting and writing.
3. The same trials with one array element for each trial, which is what submitit's map_array invites to.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

SPECS = Path(__file__).parent.parent / "specs"
PLANNED, SINGLE = "planned tasks", "one trial a task"


def memexp(*words: Any, codes: tuple[int, ...] = (0,)) -> tuple[str, float]:
    """Output and seconds of one command."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "memexp", *map(str, words)], capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode not in codes:
        sys.exit(f"memexp {' '.join(map(str, words))} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout, time.perf_counter() - start


def write_spec(folder: Path, trials: int) -> Path:
    """The demo's spec with other trials."""
    spec = yaml.safe_load((SPECS / "digits.yaml").read_text(encoding="utf-8"))
    spec["subsets"]["trials"] = trials
    path = folder / f"digits{trials}.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def write_profile(folder: Path, base: dict[str, Any], **changes: Any) -> Path:
    """A profile with some keys replaced."""
    path = folder / f"profile{len(list(folder.glob('profile*')))}.yaml"
    path.write_text(yaml.safe_dump(base | changes), encoding="utf-8")
    return path


def measure_commands(folder: Path, base: dict[str, Any], repeats: int) -> None:
    """Time `launch` and `status` of a large run."""
    spec = write_spec(folder, 4000)
    profile = write_profile(folder, base, seconds_per_trial=60, sbatch={"hold": True}, follow_up={"sbatch": {}})
    launches, looks = [], []
    for number in range(repeats):
        runs = folder / f"runs{number}"
        launches.append(memexp("launch", spec, "--profile", profile, "--runs", runs, "--yes")[1])
        looks += [memexp("status", runs / "digits", codes=(3,))[1] for _ in range(3)]
        tasks = json.loads(memexp("status", runs / "digits", "--json", codes=(3,))[0])["tasks"]
        memexp("cancel", runs / "digits")
    print(f"4,000 trials in {sum(tasks.values())} tasks, median of {len(launches)} launches and {len(looks)} looks:")
    print(f"  memexp launch  {statistics.median(launches):6.2f} s   (at most {max(launches):.2f})")
    print(f"  memexp status  {statistics.median(looks):6.2f} s   (at most {max(looks):.2f})")


def measure_tasks(folder: Path, base: dict[str, Any], kind: str, trials: int) -> float:
    """Seconds that Slurm gave for each trial."""
    runs = folder / kind.replace(" ", "-")
    options: list[Any] = []
    if kind == SINGLE:  # a trial as long as the time limit leaves no room for a second one
        options = ["--block", 1]
        base = base | {"seconds_per_trial": 0.7 * 60 * base["time_min"]}
    profile = write_profile(folder, base)
    spec = write_spec(folder, trials)
    memexp("launch", spec, "--profile", profile, "--runs", runs, "--yes", *options)
    run = runs / "digits"
    while json.loads(memexp("status", run, "--json", codes=(0, 1, 3))[0])["missing"]:
        time.sleep(2)
    time.sleep(5)  # the last elements end
    elapsed = seconds_of_elements(run)
    trained = sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in (run / "blocks").glob("*.json"))
    workers = base.get("workers", base.get("cpus", 1))
    total: float = sum(elapsed) * workers
    print(
        f"{kind}: {trials} trials in {len(elapsed)} tasks of {statistics.median(elapsed):.0f} s; training "
        f"{trained:.0f} of {total:.0f} worker seconds, starting and writing {100 * (1 - trained / total):.1f} %, "
        f"{total / trials:.3f} s for each trial"
    )
    return total / trials


def seconds_of_elements(run: Path) -> list[float]:
    """From start to end, by Slurm's clock."""
    launches = [json.loads(path.read_bytes()) for path in (run / "launches").glob("*.json")]
    names = [job["name"] for launch in launches for job in launch["jobs"]]
    found = subprocess.run(
        ["squeue", "-h", "-r", "-t", "all", "-n", ",".join(names), "-o", "%S %e"],
        check=True, capture_output=True, text=True, env=os.environ | {"SLURM_TIME_FORMAT": "standard"},
        encoding="utf-8",
    ).stdout.splitlines()  # fmt: skip
    times = [[datetime.fromisoformat(word) for word in line.split()] for line in found]
    return [(end - start).total_seconds() for start, end in times]


def main() -> None:
    """Measure both on the cluster that this shell submits to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="devcluster")
    parser.add_argument("--trials", type=int, default=3000, help="of the planned tasks")
    parser.add_argument("--single", type=int, default=20, help="trials with a task of their own")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    from memexp.slurm.profile import read_profile

    base = read_profile(arguments.profile).model_dump(exclude_unset=True)
    with tempfile.TemporaryDirectory(dir=".", prefix="slurm_overhead-") as name:  # every node must see it
        folder = Path(name).resolve()
        measure_commands(folder, base, arguments.repeats)
        planned = measure_tasks(folder, base, PLANNED, arguments.trials)
        single = measure_tasks(folder, base, SINGLE, arguments.single)
        print(f"a trial with a task of its own costs {single / planned:.0f} times a trial of a planned task")


if __name__ == "__main__":
    main()
