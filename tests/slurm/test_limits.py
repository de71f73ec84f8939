"""Limits of submitted jobs, as a real cluster with accounting has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memexp.runs.run import open_run
from memexp.slurm.limits import read_limits
from memexp.slurm.profile import Place
from memexp.store.launches import read_launches

from .slurm_cluster import DevCluster, User, eventually, skip_without_slurm

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def limited() -> Iterator[DevCluster]:
    skip_without_slurm()
    with DevCluster(accounting="dbd", nodes=2) as cluster:
        yield cluster


@pytest.fixture
def here(limited: DevCluster, monkeypatch: pytest.MonkeyPatch) -> DevCluster:
    """The cluster, which this process asks too; its limits and jobs go with the test."""
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, limited.env[name])
    return limited


def accounting(slurm: DevCluster, *words: str) -> None:
    slurm.run("sacctmgr", "-i", *words)


def test_the_tightest_limit_counts_whoever_set_it(here: DevCluster) -> None:
    """Of the QOS of each partition of a list, of an account above, and per account; with the jobs of others."""
    for words in (
        "add account lab", "add account group parent=lab", "add account other parent=lab",
        "add user root account=group", "add user nobody account=other", "modify account lab set GrpSubmitJobs=50",
        "add qos narrow", "modify qos narrow set MaxSubmitJobsPerUser=9", "add qos shared",
        "modify qos shared set MaxSubmitJobsPerAccount=20",
        "modify user root where account=group set qos=normal,shared", "modify user nobody set qos=normal,shared",
    ):  # fmt: skip
        accounting(here, *words.split())
    here.run("scontrol", "update", "PartitionName=high", "QOS=narrow")
    in_group = Place(time_min=1, account="group", partition="main")

    def limit(place: Place) -> tuple[str, int | None, int]:
        found = read_limits(place)
        return found.what, found.max_submit, found.used

    eventually(lambda: limit(in_group) == ("GrpSubmitJobs of account lab", 50, 0), 30)
    narrow = ("MaxSubmitJobsPerUser of QOS narrow", 9, 0)
    assert limit(in_group.model_copy(update={"partition": "main,high"})) == narrow
    assert limit(in_group.model_copy(update={"partition": "high"})) == narrow
    shared = in_group.model_copy(update={"qos": "shared"})
    assert limit(shared) == ("MaxSubmitJobsPerAccount of QOS shared", 20, 0)
    here.submit("true", "--hold", "--array=0-2", "--account=group", "--qos=shared")
    as_nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sbatch",
        "--chdir=/",
        "-o",
        "/dev/null",
    ]
    here.run(*as_nobody, "--hold", "--array=0-4", "--account=other", "--qos=shared", "--wrap=true")
    assert limit(in_group) == ("GrpSubmitJobs of account lab", 50, 8)  # those of the other account below it, too
    assert limit(shared) == ("MaxSubmitJobsPerAccount of QOS shared", 20, 3)
    assert read_limits(Place(time_min=1, account="root", partition="main")).what == ""
    here.run("scancel", "--state=PENDING")
    here.run("scontrol", "update", "PartitionName=high", "QOS=")


def test_limits_of_submitted_jobs(limited: DevCluster, tmp_path: Path, write_spec: Callable[..., Path]) -> None:
    """With accounting: four jobs at a time; the follow-up job submits the rest, round after round.

    A QOS that is not asked for allows fewer, which does not matter.
    """
    user = User(limited, tmp_path, write_spec())
    limited.run("sacctmgr", "-i", "add", "qos", "debug", "set", "MaxSubmitJobsPerUser=1")
    limited.run("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=4", "qos=normal,debug")
    eventually(lambda: scheduler_limit(limited) == "4", 30)
    said = user.launch("--block", 4, seconds_per_trial=250)
    assert "3 tasks of up to 1 block" in said
    assert "2 blocks: the limit of 3 more jobs is reached (MaxSubmitJobs of account root)" in " ".join(said.split())
    eventually(lambda: not user.status()["missing"] and user.idle(), 200)
    assert user.status()["tasks"] == {"done": 5}
    assert len(read_launches(open_run(user.root).paths)) == 2
    user.memexp("doctor", "--profile", user.profile())


def scheduler_limit(slurm: DevCluster) -> str:
    text = slurm.run("sacctmgr", "-n", "-P", "show", "assoc", "user=root", "format=MaxSubmit").stdout
    return text.split()[0] if text.split() else ""
