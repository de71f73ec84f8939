"""A task that needs more memory than its job has, with the kernel's own limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .slurm_cluster import CGROUPS, DevCluster, User, eventually, skip_without_slurm

pytestmark = pytest.mark.slurm


def test_out_of_memory_is_named_and_resumed_with_more(tmp_path: Path, write_spec: Callable[..., Path]) -> None:
    skip_without_slurm()
    if not all((CGROUPS / part).is_dir() for part in ("memory", "freezer")):
        pytest.skip("the kernel's memory limits need version 1 of cgroups, which this machine lacks")
    with DevCluster(accounting="none", cgroup="v1") as slurm:
        user = User(slurm, tmp_path, write_spec())
        user.launch(seconds_per_trial=60, mem_gb=0.1, max_idle_rounds=1)
        eventually(user.idle, 120)
        found = user.status()
        assert found["missing"] == 20
        assert found["tasks"] == {"oom": 2}
        again = user.memexp("resume", user.root, "--only", "oom", "--mem-gb", 2)
        assert "2 tasks" in again.stdout
        eventually(lambda: not user.status()["missing"] and user.idle(), 90)
