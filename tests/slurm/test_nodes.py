"""Nodes are left out for their own faults only, for a while, and never the last of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memexp.slurm import nodes, scheduler
from memexp.slurm.nodes import bad_nodes, nodes_to_leave_out
from memexp.slurm.profile import Profile
from memexp.slurm.tasks import Task
from memexp.store.launches import Job, Launch
from memexp.store.paths import RunPaths

pytestmark = pytest.mark.process

GOOD = Profile(time_min=60, partition="main", setup=["module load right"])
WRONG = GOOD.model_copy(update={"setup": ["module load wrong"]})


class History:
    """Launches of a run and how their tasks ended, written as launches and tasks write it."""

    def __init__(self, folder: Path) -> None:
        self.paths = RunPaths(folder)
        self.paths.make_folders()
        self.tasks: list[Task] = []

    def launch(self, profile: Profile, ends: dict[str, str], hours_ago: float = 1, **more: Any) -> str:
        """A launch whose tasks ended on these nodes, each a letter: w(ell), f(ailed), d(ata), t(ime limit)."""
        name = f"2026010{len(list(self.paths.launches.iterdir())) + 1}T000000Z-abcd"
        when = datetime.now(UTC) - timedelta(hours=hours_ago)
        launch = Launch(name, "slurm", [[0]] * 9, {}, profile.model_dump(mode="json"), [Job(f"x.{name}.0", 0, 9, "7")])
        replace(launch, created=when.isoformat(timespec="seconds"), **more).write(self.paths)
        number = 0
        for node, letters in ends.items():
            for letter in letters:
                record = {"node": node, "job_id": f"7_{number}", "end": "now", "error": None, "failed": letter in "fd"}
                record |= {"error": {"w": None}.get(letter, "why"), "users_fault": letter == "d"}
                (self.paths.attempts / f"{name}-t{number}-r0.json").write_text(json.dumps(record))
                number += 1
        return name

    def bad(self, profile: Profile = GOOD) -> set[str]:
        return set(bad_nodes(self.paths, self.tasks, profile))


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_a_node_where_tasks_fail_while_others_do_well_is_bad(history: History) -> None:
    history.launch(GOOD, {"n1": "ff", "n2": "ww", "n3": "f", "n4": "wfff", "n5": "ttt"})
    assert history.bad() == {"n1"}


def test_tasks_that_say_nothing_count_by_what_slurm_says(history: History) -> None:
    """Python never started, or the node was lost with it: no record of an attempt."""
    name = history.launch(GOOD, {"n2": "w"})
    history.tasks = [Task(name, number, [number], "failed", f"7_{number}", "n1") for number in (5, 6)]
    assert history.bad() == {"n1"}
    history.tasks = [replace(task, state="node_fail", node="n3") for task in history.tasks]
    assert history.bad() == {"n3"}
    history.tasks = [replace(task, state="timeout", node="n3") for task in history.tasks]
    assert history.bad() == set()


def test_a_mistake_of_the_profile_is_no_fault_of_the_nodes(history: History) -> None:
    """The first launch did well everywhere; then every task failed everywhere."""
    history.launch(GOOD, {"n1": "ww", "n2": "ww"}, hours_ago=3)
    history.launch(WRONG, {"n1": "ff", "n2": "ff", "n3": "ff", "n4": "ff"})
    assert history.bad(WRONG) == set()
    assert history.bad(GOOD) == set()


def test_data_and_software_that_changed_are_no_fault_of_the_node(history: History) -> None:
    history.launch(GOOD, {"n1": "dd", "n2": "ww"})
    assert history.bad() == set()


def test_a_node_is_forgiven_after_success_a_mended_profile_and_a_day(history: History) -> None:
    history.launch(GOOD, {"n1": "ff", "n2": "ww", "n3": "ff"}, hours_ago=20)
    assert history.bad() == {"n1", "n3"}
    assert history.bad(GOOD.model_copy(update={"mem_gb": 8.0})) == set()
    assert history.bad(GOOD.model_copy(update={"max_tasks": 8})) == {"n1", "n3"}
    assert history.bad(GOOD.model_copy(update={"leave_out_nodes": False})) == set()
    history.launch(GOOD, {"n1": "w"})
    assert history.bad() == {"n3"}


def test_a_node_left_out_stays_so_until_the_day_is_over(history: History) -> None:
    first = datetime.now(UTC) - timedelta(hours=23)
    history.launch(GOOD, {"n2": "w"}, left_out={"n1": first.isoformat(timespec="seconds")})
    assert history.bad() == {"n1"}
    old = datetime.now(UTC) - timedelta(hours=25)
    history.launch(GOOD, {"n2": "w"}, left_out={"n5": old.isoformat(timespec="seconds")})
    assert history.bad() == {"n1"}
    late = History(history.paths.root / "late")
    late.launch(GOOD, {"n1": "ff", "n2": "ww"}, hours_ago=25)
    assert late.bad() == set()


@pytest.mark.parametrize(
    ("exclude", "spared"), [("", ["n3", "n4"]), ("n1", ["n4"]), ("n1,n2", []), ("elsewhere", ["n3", "n4"])]
)
def test_half_of_the_nodes_always_stay(exclude: str, spared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that failed last are left out first."""
    monkeypatch.setattr(scheduler, "nodes_of", lambda _: {"n1", "n2", "n3", "n4"})
    bad = {name: f"2026-01-0{name[1]}T00:00:00+00:00" for name in ("n2", "n3", "n4", "n9")}
    profile = GOOD.model_copy(update={"sbatch": {"exclude": exclude}})
    assert sorted(nodes_to_leave_out(bad, profile)) == spared
    assert nodes.MOST == 0.5


def test_no_node_is_left_out_where_slurm_does_not_name_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nodes_to_leave_out({"n1": "2026-01-01T00:00:00+00:00"}, GOOD) == {}


def test_a_profile_of_an_earlier_version_tells_nothing(history: History) -> None:
    name = history.launch(GOOD, {"n1": "ff", "n2": "ww"})
    path = history.paths.launches / f"{name}.json"
    noted = json.loads(path.read_text())
    noted.pop("digest", None)
    noted["profile"]["sbatch"] = {"time": 10}
    path.write_text(json.dumps(noted))
    assert history.bad() == set()
