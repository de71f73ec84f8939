"""Trials of the user's own under kill -9, and on a real cluster: the bits of a plain loop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import memexp as package
from memexp.runs.run import open_run
from memexp.spec.designs import draw_masks
from memexp.store.receipts import read_receipts
from tests.launch.test_launch import start, worker_pids
from tests.slurm.slurm_cluster import DevCluster, User, eventually, skip_without_slurm

# scikit-learn's logistic regression; the pause leaves time to be killed in
CODE = """
import time
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

x, y = load_iris(return_X_y=True)

def sizes():
    return y[::2], y[1::2]

def trial(mask, seed):
    time.sleep(0.2)
    model = LogisticRegression(C=10, max_iter=1000).fit(x[::2][mask], y[::2][mask])
    return model.predict(x[::2]), model.predict(x[1::2])
"""


def write(folder: Path) -> Path:
    (folder / "own.py").write_text(CODE)
    (folder / "spec.yaml").write_text("name: tiny\ntrial: {file: own.py}\nsubsets: {ratio: 0.6, trials: 60, seed: 5}\n")
    return folder / "spec.yaml"


def assert_memorization_of_a_loop(root: Path) -> None:
    space: dict[str, object] = {}
    exec(CODE.replace("time.sleep(0.2)", ""), space)
    run = package.open_run(root)
    masks = draw_masks(run.spec.subsets, 75, range(60))
    right = np.array([space["trial"](mask, 0)[0] for mask in masks]) == space["sizes"]()[0]  # type: ignore[operator]
    loop = [right[mask, i].sum() / mask.sum() - right[~mask, i].sum() / (~mask).sum() for i, mask in enumerate(masks.T)]
    np.testing.assert_array_equal(run.memorization, np.array(loop).astype(np.float32))
    receipts = list(read_receipts(run.run.paths))
    assert sorted(trial for receipt in receipts for trial in receipt.trained) == list(range(60))


@pytest.mark.process
def test_ten_kills_at_random_give_the_memorization_of_a_plain_loop(tmp_path: Path) -> None:
    spec, draws, kills, launches = write(tmp_path), np.random.default_rng(0), 0, 0
    while kills < 10:
        launched = start(spec, tmp_path / "runs", "--block", "2")
        launches += 1
        assert launches < 12
        while launched.poll() is None and kills < 10:
            time.sleep(draws.uniform(0.2, 1.0))
            if victims := worker_pids(launched.pid):
                os.kill(victims[draws.integers(len(victims))], signal.SIGKILL)
                kills += 1
        _, errors = launched.communicate()
        assert launched.returncode in (0, 1), errors
        assert kills == 10 or open_run(tmp_path / "runs/tiny").store().missing_blocks(), "too quick for ten kills"
    launched = start(spec, tmp_path / "runs")
    _, errors = launched.communicate()
    assert launched.returncode == 0, errors
    assert_memorization_of_a_loop(tmp_path / "runs/tiny")


@pytest.fixture
def slurm() -> Iterator[DevCluster]:
    skip_without_slurm()
    with DevCluster(accounting="none") as cluster:
        yield cluster


@pytest.mark.slurm
@pytest.mark.timeout(280)
def test_a_real_cluster_gives_the_memorization_of_a_plain_loop(slurm: DevCluster, tmp_path: Path) -> None:
    user = User(slurm, tmp_path, write(tmp_path))
    user.launch("--block", 5, seconds_per_trial=10)
    victim = eventually(lambda: user.processes("memexp.runs.worker"), 60)[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: (user.root / "report/index.html").exists(), 200)
    eventually(user.idle, 60)
    assert user.status()["missing"] == 0
    assert_memorization_of_a_loop(user.root)
