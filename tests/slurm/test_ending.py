"""The end of a run: one log for each task, and the user's command once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from memexp.errors import SpecError
from memexp.slurm import submit
from memexp.slurm.ending import tell_end, tidy_logs
from memexp.slurm.limits import minutes_of
from memexp.slurm.profile import Profile, read_profile
from memexp.slurm.tasks import Task
from memexp.store.launches import Job, Launch, read_launch
from memexp.store.paths import RunPaths

FIRST, SECOND = "20260101T000000Z-aaaa", "20260102T000000Z-bbbb"


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """Two launches: an array of two tasks with blocks 0 and 1, and a single task with block 2."""
    paths = RunPaths(tmp_path / "runs/x")
    paths.make_folders()
    for name, tasks, number in ((FIRST, [[0], [1]], "7"), (SECOND, [[2]], "9")):
        profile = Profile(time_min=10, on_end=f'echo "$RUN $STATE $REASON" >> {tmp_path}/told').model_dump(mode="json")
        Launch(name, "slurm", tasks, {}, profile, [Job(f"x.{name}.0", 0, len(tasks), number)]).write(paths)
        folder = paths.logs / f"x.{name}.0"
        folder.mkdir()
        (folder / ".submission_file_0a.sh").symlink_to(folder / f"{number}_submission.sh")
        elements = [f"{number}_{index}" for index in range(len(tasks))] if len(tasks) > 1 else [number]
        for task, element in enumerate(elements):
            for file in (f"{element}_0_log.out", f"{element}_submitted.pkl", f"{element}_0_result.pkl"):
                (folder / file).write_text(f"{file}\n")
            (paths.logs / f"{name}-t{task}-r0-w0.log").write_text("")
            (paths.logs / f"{name}-t{task}-r1-w1.log").write_text(f"a warning of {name} {task}\n")
    return paths


def files(paths: RunPaths) -> list[str]:
    return sorted(str(path.relative_to(paths.logs)) for path in paths.logs.rglob("*") if not path.is_dir())


def launches(paths: RunPaths) -> list[Launch]:
    return [read_launch(paths, name) for name in (FIRST, SECOND)]


def test_a_task_that_ended_well_leaves_one_log_with_all_that_was_said(paths: RunPaths) -> None:
    tidy_logs(paths, launches(paths), missing=[1])
    unfinished = [f"x.{FIRST}.0/7_1_0_log.out", f"x.{FIRST}.0/7_1_0_result.pkl", f"x.{FIRST}.0/7_1_submitted.pkl"]
    workers = [f"{FIRST}-t1-r0-w0.log", f"{FIRST}-t1-r1-w1.log"]
    assert files(paths) == sorted([f"x.{FIRST}.0/7_0_0_log.out", f"x.{SECOND}.0/9_0_log.out", *unfinished, *workers])
    said = (paths.logs / f"x.{FIRST}.0/7_0_0_log.out").read_text()
    assert said == f"7_0_0_log.out\n-- {FIRST}-t0-r1-w1.log\na warning of {FIRST} 0\n"
    tidy_logs(paths, launches(paths), missing=[1])
    assert (paths.logs / f"x.{FIRST}.0/7_0_0_log.out").read_text() == said


def test_keep_logs_keeps_them(paths: RunPaths) -> None:
    before = files(paths)
    for launch in launches(paths):
        (launch.profile or {})["keep_logs"] = True
        tidy_logs(paths, [launch], missing=[])
    assert files(paths) == before


@pytest.mark.process
def test_the_end_is_told_once_for_each_state(paths: RunPaths, tmp_path: Path) -> None:
    first, second = (launch.profile for launch in launches(paths))
    assert tell_end(paths, first, "gave_up", "no room")
    assert tell_end(paths, first, "complete")
    assert not tell_end(paths, second, "complete")  # the other follow-up job saw the same end
    assert not tell_end(paths, {"time_min": 10}, "complete")  # noted by an earlier memexp
    assert (tmp_path / "told").read_text().splitlines() == [f"{paths.root} gave_up no room", f"{paths.root} complete "]


@pytest.mark.process
def test_a_command_that_fails_is_told_in_the_log_and_harms_nothing(
    paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell_end(paths, {"on_end": "exit 7"}, "complete")
    assert "on_end: exit 7 ended with exit code 7" in capsys.readouterr().err


def test_on_end_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"time_min": 10, "on_end": "a\nb"}))
    with pytest.raises(SpecError, match="on_end"):
        read_profile(str(tmp_path / "p.yaml"))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("1-00:00:00", 1440), ("01:30:00", 90), ("00:30", 0.5), ("2-01:02:03", 2942.05), ("UNLIMITED", None), ("", None)],
)
def test_durations_of_slurm(text: str, minutes: float | None) -> None:
    assert minutes_of(text) == minutes


def test_the_tasks_taken_are_those_whose_blocks_were_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(submit.scheduler, "cancel", told.extend)
    launch = Launch("b", "slurm", [[3, 4], [5]], {}, jobs=[Job("x.b.0", 0, 1, "8")])  # [5] was refused
    taken = [Task("a", number, [block], "pending", f"7_{number}") for number, block in enumerate([3, 4, 5])]
    submit._cancel_taken(taken, launch)
    assert told == ["7_0", "7_1"]
