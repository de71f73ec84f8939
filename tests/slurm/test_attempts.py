"""Records of attempts: the newest counts, and one that is damaged says nothing and stops nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from memexp.slurm.attempts import Attempt, attempt_name, read_attempts
from memexp.slurm.nodes import bad_nodes
from memexp.slurm.profile import Profile
from memexp.slurm.tasks import Task, last_error, seconds_of_unfinished
from memexp.store.launches import Launch
from memexp.store.paths import RunPaths

LAUNCH = "20260101T000000Z-abcd"
TASK = Task(LAUNCH, 3, [3], "failed")


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path)
    paths.make_folders()
    profile = Profile(time_min=60)
    Launch(LAUNCH, "slurm", [[0]] * 12, {}, profile.model_dump(mode="json")).write(paths)
    for task, restarts, error, seconds in ((3, 2, "second", 5.0), (3, 10, "tenth", 7.0), (11, 0, "another", None)):
        attempt = Attempt("n1", "7_3", restarts, end="now", error=error, failed=True, seconds_per_block=seconds)
        attempt.write(paths, attempt_name(LAUNCH, task, restarts))
    (paths.attempts / f"{LAUNCH}-t3-r11-w0.json").write_text('{"error": "a worker\'s"}')
    return paths


def test_the_newest_attempt_counts(paths: RunPaths) -> None:
    assert last_error(paths, TASK) == "tenth"
    assert seconds_of_unfinished(paths) == 7.0
    assert [(launch, each.error) for launch, each in read_attempts(paths)] == [
        (LAUNCH, error) for error in ("second", "tenth", "another")
    ]


def test_those_of_an_earlier_version_have_fewer_keys(paths: RunPaths) -> None:
    (paths.attempts / f"{LAUNCH}-t3-r11.json").write_text('{"node": "n2", "end": null, "error": "old", "more": 1}')
    assert last_error(paths, TASK) == "old"


@pytest.mark.parametrize("value", [[], {}, True, "x", -1, 10**400, [[["x"]]]])
def test_values_of_another_type_say_nothing_and_stop_nothing(paths: RunPaths, value: Any) -> None:
    path = paths.attempts / f"{LAUNCH}-t3-r10.json"
    whole = json.loads(path.read_text())
    for key, right in asdict(Attempt("n1", "7", 10, "then", "now", "tenth", True, True, 7.0)).items():
        path.write_text(json.dumps(whole | {key: value}))
        if type(value) is not type(right) and not (type(value) is int and key == "seconds_per_block"):
            assert last_error(paths, TASK) == "second", key
            assert seconds_of_unfinished(paths) == 5.0
        bad_nodes(paths, [], Profile(time_min=60))


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff", b'{"a": ' * 100_000])
def test_a_record_that_is_none_stops_nothing(paths: RunPaths, text: bytes) -> None:
    (paths.attempts / f"{LAUNCH}-t3-r10.json").write_bytes(text)
    assert last_error(paths, TASK) == "second"
    assert seconds_of_unfinished(paths) == 5.0
