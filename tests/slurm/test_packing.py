"""Tasks: every block in exactly one, long enough for their start, short enough for their limit; the batch script."""

from __future__ import annotations

import difflib
import os
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memexp.errors import InputError, SpecError
from memexp.slurm import scheduler
from memexp.slurm.packing import (
    COMPILE_SECONDS,
    FILL,
    PILOT_TASKS,
    START_SECONDS,
    START_SHARE,
    largest_block,
    pack,
    require_fitting,
    split,
    tasks_of_a_block,
)
from memexp.slurm.profile import Profile, find_profile, follow_up_profile, read_profile
from memexp.slurm.sbatch import batch_script
from memexp.slurm.submit import require_plain_path
from tests.conftest import ROOT

GOLDEN = Path(__file__).parent / "golden"


@given(
    n_blocks=st.integers(1, 600),
    seconds=st.floats(0.01, 20_000),
    time_min=st.integers(5, 3000),
    workers=st.integers(1, 6),
    parallel=st.integers(1, 300),
)
def test_packing(n_blocks: int, seconds: float, time_min: int, workers: int, parallel: int) -> None:
    profile = Profile(time_min=time_min, cpus=workers, workers=workers, array_parallelism=parallel)
    tasks = pack(range(n_blocks), seconds, profile)
    assert sorted(block for task in tasks for block in task) == list(range(n_blocks))
    assert all(tasks)
    room = 60 * time_min - profile.signal_s - START_SECONDS
    for task in tasks:
        one_each = len(task) <= workers  # nothing shorter is possible
        assert one_each or -(-len(task) // workers) * seconds <= FILL * room
    if len(tasks) > 1 and len(tasks) > -(-n_blocks // (max(1, int(FILL * room / seconds)) * workers)):
        # shorter than the limit asks for: only to use what may run at once, and not too short
        assert len(tasks) <= parallel
        assert n_blocks * seconds / workers / len(tasks) >= START_SECONDS / START_SHARE


def test_tasks_that_compile_first_are_longer_and_blocks_for_them_smaller() -> None:
    plain = Profile(time_min=600, gpus=1, workers=1, array_parallelism=1000)
    compiling = plain.model_copy(update={"compile": "auto"})
    assert largest_block(10.0, plain) - largest_block(10.0, compiling) == FILL * COMPILE_SECONDS / 10
    tasks = [len(pack(range(1000), 10.0, profile)) for profile in (plain, compiling)]
    starts = START_SECONDS, START_SECONDS + COMPILE_SECONDS
    assert tasks == [int(1000 * 10 * START_SHARE / start) for start in starts]


def test_a_pilot_where_nothing_is_known() -> None:
    tasks = pack(range(100), None, Profile(time_min=60, cpus=3, workers=3))
    assert tasks == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert len(tasks) == PILOT_TASKS
    assert pack(range(2), None, Profile(time_min=60)) == [[0], [1]]
    assert pack([], 3.0, Profile(time_min=60)) == []


def test_blocks_that_no_task_could_finish_are_refused() -> None:
    profile = Profile(time_min=60)
    require_fitting(3500, 10, profile, new=True, resumable=False)
    require_fitting(None, 10, profile, new=True, resumable=False)
    with pytest.raises(InputError, match=r"10 trials takes about 120 min .*time_min: 153 .* \(--block 3\)"):
        require_fitting(7200, 10, profile, new=True, resumable=False)
    require_fitting(7200, 10, Profile(time_min=153), new=True, resumable=False)
    require_fitting(7200 * 3 / 10, 3, profile, new=True, resumable=False)
    with pytest.raises(InputError, match=r"resume --time-min 153`\), or a new run of smaller blocks"):
        require_fitting(7200, 10, profile, new=False, resumable=False)
    require_fitting(7200, 10, profile, new=True, resumable=True)


def test_a_block_that_goes_on_from_checkpoints_needs_so_many_tasks() -> None:
    profile = Profile(time_min=240, signal_s=120)
    room = 240 * 60 - 120 - START_SECONDS
    assert [tasks_of_a_block(seconds, profile) for seconds in (60, room, room + 1, 36_000)] == [1, 1, 2, 3]
    assert pack([3, 4], 36_000, profile) == [[3], [4]]


@given(count=st.integers(1, 5000), most=st.integers(1, 1001))
def test_arrays_stay_within_the_limit(count: int, most: int) -> None:
    parts = split(count, most)
    assert [task for part in parts for task in part] == list(range(count))
    assert max(map(len, parts)) <= most


# ------------------------------------------------------------------------------------------- profiles


def test_every_fault_of_a_profile_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("partion: gpu\ntime_min: 0\n")
    with pytest.raises(SpecError) as caught:
        read_profile(str(path))
    message = str(caught.value)
    assert "2 faults" in message
    assert "line 1: partion: unknown key. Did you mean 'partition'?" in message
    assert "line 2: time_min: 0: must be greater than or equal to 1" in message
    path.write_text("time_min: 10\nsbatch: {array: 1-3, job_name: x}\n")
    with pytest.raises(SpecError, match="sbatch must not set array, job-name: memexp sets them itself"):
        read_profile(str(path))
    path.write_text("time_min: 1\n")
    with pytest.raises(SpecError, match="signal_s \\(120\\) leaves nothing of time_min \\(1\\)"):
        read_profile(str(path))
    path.write_text("time_min: 10\ncpus: 2\nworkers: 3\n")
    with pytest.raises(SpecError, match="3 workers of 1 threads need more than the 2 cpus"):
        read_profile(str(path))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("sbatch: {time: 10}", "sbatch must not set time: memexp sets them itself (in the profile: time_min for time)"),
        ("sbatch: {mem: 4G, cpus_per_task: 2}", "(in the profile: cpus for cpus-per-task, mem_gb for mem)"),
        ("sbatch: {parsable: true}", "sbatch must not set parsable"),
        ("sbatch: {wait: true}", "sbatch must not set wait"),
        ("sbatch: {test-only: true}", "sbatch must not set test-only"),
        ("sbatch: {arra: 0-3}", "'arra': options are given by their whole long names"),  # sbatch takes it for array
        ("sbatch: {p: high}", "'p': options are given by their whole long names"),
        ("sbatch: {--qos: high}", "'--qos': options are given by their whole long names"),
        ("sbatch: {clusters: other}", "sbatch must not set clusters: memexp submits to, and asks, the cluster of"),
        ('sbatch: {comment: "a\\nscancel -u me"}', "sbatch.comment"),
        ('partition: "main\\n#SBATCH --hold"', "partition"),
        ("env: {'A B': x}", "env"),
        ("follow_up: {sbatch: {array: 0-3}}", "sbatch must not set array"),
    ],
)
def test_what_would_change_a_submission_unseen_is_refused(keys: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"time_min: 10\n{keys}\n")
    with pytest.raises(SpecError, match=re.escape(said)):
        read_profile(str(path))


def test_an_option_that_is_false_is_left_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_srun(monkeypatch, tmp_path)
    profile = Profile.model_validate({"time_min": 10, "sbatch": {"exclusive": False, "overcommit": True, "nice": 0}})
    script = batch_script(Path("/runs/x"), "x", profile, 2)
    assert "exclusive" not in script
    assert "#SBATCH --overcommit\n" in script
    assert "#SBATCH --nice=0\n" in script


@pytest.mark.parametrize("name", ["50%j", "a%", "back\\slash", "two\nlines"])
def test_a_path_that_slurm_reads_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which Slurm replaces in the paths of logs and tasks; choose another --runs"):
        require_plain_path(tmp_path / name / "runs/tiny")
    require_plain_path(tmp_path / "it's a (good) folder, ü" / "tiny")


def test_an_unknown_profile_names_those_that_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "memexp").mkdir()
    (tmp_path / "memexp/mine.yaml").write_text("time_min: 10")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no profile 'yours'.*There are: mine; or give the path"):
        find_profile("yours")
    assert read_profile("mine").time_min == 10


@pytest.mark.parametrize("path", sorted((ROOT / "slurm/profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_profiles_that_we_ship_are_valid(path: Path) -> None:
    assert read_profile(str(path)).resources.workers >= 1


def test_a_follow_up_goes_where_the_tasks_go_also_in_later_rounds() -> None:
    """Later rounds read the profile from the launch's file, where every key stands."""
    profile = Profile(time_min=60, partition="gpu", account="lab", qos="long", sbatch={"constraint": "a100"})
    noted = Profile.model_validate(profile.model_dump(mode="json"))
    for each in map(follow_up_profile, (profile, noted)):
        assert (each.partition, each.account, each.qos, each.gpus) == ("gpu", "lab", "long", 0)
        assert each.sbatch == {"constraint": "a100"}


def test_a_follow_up_takes_over_the_options_that_are_not_about_hardware() -> None:
    options = {
        "gres": "gpu:a100:1", "gpu_bind": "closest", "mem-per-cpu": "2G", "exclusive": True, "licenses": "x",
        "mail_user": "a@b.c", "comment": "two words", "constraint": "a100", "reservation": "mine", "hold": False,
    }  # fmt: skip
    same = Profile.model_validate({"time_min": 60, "partition": "gpu", "sbatch": options})
    kept = {"mail-user": "a@b.c", "comment": "two words"}
    assert follow_up_profile(same).sbatch == kept | {"constraint": "a100", "reservation": "mine"}
    other = {"partition": "cpu", "sbatch": {"comment": False, "nice": 5}}
    moved = follow_up_profile(Profile.model_validate(same.model_dump() | {"follow_up": other}))
    assert moved.options == {"mail-user": "a@b.c", "nice": 5}


def test_nodes_left_out_stay_so_for_the_follow_up_too() -> None:
    profile = Profile(time_min=60, sbatch={"exclude": "n1"})
    assert profile.without([]) == profile
    later = profile.without(["n2", "n1"])
    assert later.sbatch["exclude"] == "n1,n2"
    assert follow_up_profile(later).sbatch == {"exclude": "n1,n2"}


def with_srun(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """submitit only looks whether there is one."""
    (folder / "srun").write_text("")
    (folder / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_batch_scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compared with the files in tests/slurm/golden; MEMEXP_ACCEPT=1 writes them anew."""
    with_srun(monkeypatch, tmp_path)
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    profile = Profile.model_validate(
        {
            "partition": "gpu", "account": "lab", "qos": "long", "time_min": 240, "mem_gb": 24.5, "cpus": 8,
            "gpus": 1, "workers": 2, "array_parallelism": 16, "setup": ["module load cuda/12"],
            "env": {"HF_HOME": "/scratch/a b"}, "sbatch": {"constraint": "a100|h100", "exclusive": True},
            "follow_up": {"partition": "cpu"},
        }
    )  # fmt: skip
    scripts = {
        "tasks.sh": batch_script(Path("/runs/x/logs/x.0"), "x.0", profile, 40),
        "one_task.sh": batch_script(Path("/runs/x/logs/x.1"), "x.1", profile, 1),
        "follow_up.sh": batch_script(
            Path("/runs/x/logs/x.next"), "x.next", follow_up_profile(profile), 1, "afterany:7:8"
        ),
    }
    for name, script in scripts.items():
        if os.environ.get("MEMEXP_ACCEPT"):
            (GOLDEN / name).write_text(script)
        changes = difflib.unified_diff((GOLDEN / name).read_text().splitlines(), script.splitlines(), lineterm="")
        listed = "\n".join(changes)
        assert not listed, f"{listed}\nIf that is meant: MEMEXP_ACCEPT=1 python -m pytest tests/slurm/test_packing.py"


# ----------------------------------------------------------------------------------- what Slurm says


def test_only_known_ends_count_as_ends() -> None:
    long_ago = "2020-01-01T00:00:00"
    now = datetime.now().isoformat(timespec="seconds")
    rows = {
        f"7_1|a|COMPLETED|None|n1|{long_ago}": True,
        f"7_1|a|NODE_FAIL|None|n1|{long_ago}": True,
        f"7_1|a|NODE_FAIL|None|n1|{now}": False,  # Slurm takes it back a moment later
        f"7_1|a|PREEMPTED|None|n1|{now}": False,
        "7_1|a|CONFIGURING|None|n1|N/A": False,
        "7_1|a|SOMETHING_NEW|None|n1|N/A": False,
        f"7|a|TIMEOUT|None|n1|{long_ago}": True,
    }
    for line, ended in rows.items():
        element = scheduler._from_queue(line)
        assert element is not None
        assert element.ended is ended, line
    assert scheduler._from_queue("14_[6-7%2]|a|CANCELLED|None||N/A") is None
    held = scheduler._from_queue("7_1|a|PENDING|launch failed requeued held||N/A")
    assert held is not None
    assert held.stuck


@pytest.mark.parametrize(
    ("reason", "stuck", "limited"),
    [
        ("Priority", False, False), ("Dependency", False, False), ("JobArrayTaskLimit", False, False),
        ("QOSMaxJobsPerUserLimit", False, True), ("AssocGrpCpuLimit", False, True),
        ("AssocGrpCPURunMinutesLimit", False, True), ("AssocGrpCPUMinutesLimit", True, True),
        ("PartitionTimeLimit", True, True), ("QOSMaxWallDurationPerJobLimit", True, True),
        ("ReqNodeNotAvail, Reserved for maintenance", False, True), ("Reservation", False, True),
        ("ReqNodeNotAvail, May be reserved for other job", False, True), ("PartitionDown", False, True),
        ("ReqNodeNotAvail, UnavailableNodes:n1", True, True), ("JobHeldAdmin", True, True),
    ],
)  # fmt: skip
def test_reasons_that_do_not_pass_by_themselves_are_told(reason: str, stuck: bool, limited: bool) -> None:
    element = scheduler._from_queue(f"7_1|a|PENDING|{reason}||N/A")
    assert element is not None
    assert (element.stuck, element.limited) == (stuck, limited)


@pytest.mark.parametrize(
    ("reason", "held"),
    [
        ("JobHeldUser", True), ("JobHoldMaxRequeue", True), ("launch failed requeued held", True),
        ("job requeued in held state", True), ("JobHeldAdmin", False), ("BadConstraints", False), ("Priority", False),
    ],
)  # fmt: skip
def test_what_its_owner_can_release_is_known(reason: str, held: bool) -> None:
    element = scheduler._from_queue(f"7_1|a|PENDING|{reason}||N/A")
    assert element is not None
    assert element.held is held
    assert element.stuck is (reason != "Priority")


def test_the_accounting_is_asked_about_the_past_only() -> None:
    assert scheduler._from_accounting("7_1|a|RUNNING|0:0|n1") is None
    assert scheduler._from_accounting("7|a|PENDING|0:0|") is None
    cancelled = scheduler._from_accounting("7_3|a|CANCELLED by 0|0:0|n1")
    assert cancelled is not None
    assert (cancelled.state, cancelled.index, cancelled.ended) == ("CANCELLED", 3, True)
    killed = scheduler._from_accounting("7_3|a|FAILED|0:125|n1")
    assert killed is not None
    assert killed.state == "OUT_OF_MEMORY"


@pytest.mark.process
def test_without_slurm_commands_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(scheduler.SchedulerError, match="squeue is not here; run this on a machine that submits"):
        scheduler.elements(["a"], datetime.now().astimezone() - timedelta(hours=1))
    assert not scheduler.is_here()
