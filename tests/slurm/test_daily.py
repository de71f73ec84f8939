"""A real cluster in daily life: bad profiles seen before a launch, shared runs, notifications, logs, usage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from memexp.launch.launch import launch_local
from memexp.runs.pool import Resources
from memexp.runs.run import Run, open_run
from memexp.store.launches import read_launches
from memexp.store.receipts import read_receipts
from tests.conftest import assert_same_outcomes

from .slurm_cluster import PROFILE, DevCluster, User, eventually, skip_without_slurm

pytestmark = pytest.mark.slurm

# Holds 1.5 GB for 20 s, and notes what the process held before.
GREEDY = """
import json, os, time
import numpy as np

def sizes():
    return [0, 1] * 10, [0, 1] * 5

def trial(mask, seed, note):
    pages = int(open("/proc/self/statm").read().split()[1])
    if not os.path.exists(note):  # what the first trial held is not given back to the system
        json.dump(pages * 4096 / 2**30, open(note, "w"))
    start, held = time.time(), np.ones(int(1.5 * 2**30 / 8))
    while time.time() - start < 20:
        held[:1000].sum()
    return [0, 1] * 10, [0, 1] * 5
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    """With accounting."""
    skip_without_slurm()
    with DevCluster() as cluster:
        yield cluster


@pytest.fixture
def user(cluster: DevCluster, tmp_path: Path, write_spec: Callable[..., Path]) -> Iterator[User]:
    someone = User(cluster, tmp_path, write_spec())
    yield someone
    if someone.root.exists():
        someone.memexp("cancel", someone.root)
    eventually(someone.idle, 60)


def test_a_bad_profile_is_found_before_anything_is_made(user: User) -> None:
    def tried(code: int, **keys: object) -> str:
        where = ["--profile", user.profile(**keys), "--dry-run"]
        done = user.memexp("launch", user.spec, *where, codes=(code,))
        return done.stdout + done.stderr

    user.slurm.run("scontrol", "update", "PartitionName=main", "MaxTime=60")
    try:
        said = tried(0, seconds_per_trial=60)
        assert said.count("would start at 20") == 2  # the tasks and the follow-up job
        assert "on n1 (main)" in said
        assert "2 of 2 batch scripts" in (said := tried(2, partition="mian", seconds_per_trial=60))
        assert "nvalid partition" in said
        assert "nvalid account" in tried(2, account="nobody", seconds_per_trial=60)
        said = tried(2, time_min=61, seconds_per_trial=60, follow_up={"time_min": 60})
        assert "1 of 2 batch scripts" in said
        assert "time_min: 61 is too long: MaxTime of partition main is 60 min" in said
        assert "MaxTime" not in tried(0, time_min=61, partition="main,high", seconds_per_trial=60)
        assert "not available" in tried(2, mem_gb=9999, seconds_per_trial=60)
        findings = user.memexp("doctor", "--profile", user.profile(account="nobody"), "--json", codes=(1,)).stdout
        bad = [each["text"] for each in json.loads(findings) if each["verdict"] == "fault"]
        assert len(bad) == 2
        assert all("nvalid account" in text for text in bad)
    finally:
        user.slurm.run("scontrol", "update", "PartitionName=main", "MaxTime=UNLIMITED")
    assert not user.root.exists()
    assert user.idle()


@pytest.mark.timeout(480)
def test_two_profiles_share_a_run(user: User, new_run: Callable[..., Run]) -> None:
    """The bits of one, each trial once, one notification of two follow-up jobs, one log of each task."""
    quiet = new_run("quiet")
    launch_local(quiet, Resources(workers=2), lambda _: None)
    told = user.folder / "told"
    more = {"on_end": f'echo "$STATE $RUN" >> {told}', "array_parallelism": 2, "seconds_per_trial": 160}
    user.slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        assert "4 tasks of up to 1 block" in user.launch("--block", 5, **more)
        other = user.folder / "other.yaml"
        other.write_text(yaml.safe_dump(PROFILE | more | {"partition": "high"}))
        assert "4 tasks are in the queue" in user.memexp("resume", user.root, "--profile", other, codes=(3,)).stdout
        assert "2 tasks of" in user.memexp("resume", user.root, "--profile", other, "--take", 0.5).stdout
        first, second = read_launches(open_run(user.root).paths)
        assert second.tasks == first.tasks[2:]
        lines = user.slurm.run("squeue", "-h", "-r", "-o", "%P %j").stdout.splitlines()
        queued = Counter(line.split()[0] for line in lines if ".next" not in line)
        assert queued["main"] == 2
    finally:
        user.slurm.run("scontrol", "update", "PartitionName=main", "State=UP")
    eventually(lambda: told.exists() and user.idle(), 400)
    assert told.read_text().splitlines() == [f"complete {user.root}"]
    assert_same_outcomes(quiet, open_run(user.root))
    receipts = list(read_receipts(open_run(user.root).paths))
    assert sorted(trial for receipt in receipts for trial in receipt.trained) == list(range(20))
    assert len(list((user.root / "attempts").glob(f"{second.launch_id}-t?-r0.json"))) == 2
    assert len(list((user.root / "attempts").glob(f"{first.launch_id}-t?-r0.json"))) == 2
    logs = [path for path in (user.root / "logs").rglob("*") if path.is_file() and ".next" not in str(path)]
    scripts = [path for path in logs if path.name.endswith("_submission.sh")]
    assert len(scripts) == 2
    assert len(logs) - len(scripts) <= 4
    assert "Job completed successfully" in user.memexp("logs", user.root).stdout


@pytest.mark.timeout(420)
def test_usage_of_known_memory_and_time(user: User) -> None:
    (user.folder / "greedy.py").write_text(GREEDY)
    note = user.folder / "before.json"
    trial = {"file": "greedy.py", "note": str(note)}
    spec = {"name": "tiny", "trial": trial, "subsets": {"design": "uniform", "ratio": 0.5, "trials": 2, "seed": 0}}
    user.spec.write_text(yaml.safe_dump(spec))
    user.launch("--block", 2, mem_gb=12, cpus=2, workers=1, time_min=30, seconds_per_trial=20)
    (launch,) = read_launches(open_run(user.root).paths)
    job = str(launch.jobs[0].job_id)
    eventually(lambda: user.slurm.record(job)["JobState"] == "COMPLETED", 300)
    record = user.slurm.record(job)
    clocks = [record[key].partition("T")[2].split(":") for key in ("StartTime", "EndTime")]
    start, end = (3600 * int(h) + 60 * int(m) + int(s) for h, m, s in clocks)

    def usage() -> dict[str, Any]:
        return dict(json.loads(user.memexp("status", user.root, "--usage", "--json").stdout))

    found = eventually(lambda: found if (found := usage())["sacct_mem_gb"] else None, 30)
    known = 1.5 + json.loads(note.read_text())
    said = user.memexp("status", user.root, "--usage").stdout
    print(f"known {known:.3f} GB, {end - start} s\n{found}\n{said}")
    assert found["tasks"] == 1
    assert found["mem_gb"] == pytest.approx(known, rel=0.1)
    assert found["sacct_mem_gb"] == pytest.approx(known, rel=0.15)  # adds up what processes share
    assert 60 * found["longest_min"] == pytest.approx((end - start) % 86400, rel=0.1)
    assert found["cpus"] == pytest.approx(found["sacct_cpus"], rel=0.1)
    assert set(found["advice"]) == {"mem_gb", "time_min", "cpus"}
    assert found["advice"]["cpus"] == 1
    largest = max(found["mem_gb"], found["sacct_mem_gb"])
    assert 0 <= found["advice"]["mem_gb"] - 1.2 * largest < 0.5
    assert found["advice"]["time_min"] < 10
    assert "asked 12 GB; at most" in said
    assert "would do with mem_gb: " in said
