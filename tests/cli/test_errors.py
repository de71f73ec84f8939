"""docs/errors.md: each message is provoked by a command.

Messages are compared with white space as one blank; `<...>` stands for any text, `...` too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import re
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from memexp.runs.run import Run
from memexp.runs.worker import Trainer
from memexp.slurm.limits import Limits
from memexp.slurm.tasks import Task
from memexp.store.launches import Job, Launch
from memexp.store.lock import launch_lock
from tests.conftest import ROOT
from tests.data.test_data import idx_bytes
from tests.documents import tokens
from tests.place import Place

PAGE = ROOT / "docs/errors.md"


def messages() -> dict[str, str]:
    """The quoted message below each heading of the third level."""
    flow, found, heading = tokens(PAGE), {}, ""
    for k, token in enumerate(flow):
        if token.type == "heading_open" and token.tag == "h3":
            heading = flow[k + 1].content
        elif token.type == "fence":
            found[heading] = " ".join(token.content.split())
    return found


MESSAGES = messages()


@pytest.fixture
def place(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Place:
    shutil.copytree(trained_run, tmp_path / "runs/tiny")
    return Place(tmp_path, monkeypatch, capsys)


Answer = tuple[int, str]
PROVOKE: dict[str, tuple[int, Callable[[Place], Answer]]] = {}


def provokes(heading: str, exit_code: int) -> Callable[[Callable[[Place], Answer]], Callable[[Place], Answer]]:
    """Register how a message is provoked, and the exit code that goes with it."""

    def register(function: Callable[[Place], Answer]) -> Callable[[Place], Answer]:
        PROVOKE[heading] = (exit_code, function)
        return function

    return register


# ---------------------------------------------------------------------------------------------- spec


@provokes("unknown key; must be ...", 2)
def _(place: Place) -> Answer:
    return place.memexp("plan", place.spec(training={"learning_rate": 0.1}, subsets={"ratio": 1.7}))


@provokes("reads as something else", 2)
def _(place: Place) -> Answer:
    path = Path(place.spec(model={"names": {"NO": 1}}, training={"epochs": "ten"}))
    path.write_text(path.read_text().replace("'NO':", "no:").replace("epochs: ten", "epochs: 010"))
    return place.memexp("plan", str(path))


@provokes("no such architecture", 2)
@provokes("fewer than one balanced group", 2)
@provokes("batch size above the subset", 2)
def _(place: Place) -> Answer:
    wrong = place.spec(model={"arch": "resnt18"}, subsets={"trials": 9}, training={"batch_size": 150})
    return place.memexp("plan", wrong)


@provokes("never sees part of the image", 2)
def _(place: Place) -> Answer:
    x, y = np.zeros((40, 28, 28), np.uint8), np.arange(40) % 2
    np.savez("own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    model = {"arch": "vit_tiny_patch16_224", "depth": 1}
    return place.memexp("plan", place.spec(dataset={"source": "npz", "path": "own.npz"}, model=model))


@provokes("random in evaluation", 2)
def _(place: Place) -> Answer:
    Path("net.py").write_text(
        "import torch.nn.functional as F\n"
        "from torch import nn\n\n\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_classes, in_chans):\n"
        "        super().__init__(64, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        return super().forward(F.dropout(x.flatten(1)))\n",
        encoding="utf-8",
    )
    return place.memexp("plan", place.spec(model={"arch": "Net", "file": "net.py"}))


@provokes("weights that are not on this machine", 2)
def _(place: Place) -> Answer:
    import huggingface_hub.constants

    before, huggingface_hub.constants.HF_HUB_CACHE = (
        huggingface_hub.constants.HF_HUB_CACHE,
        str(Path("cache").absolute()),
    )
    try:
        return place.memexp("plan", place.spec(model={"arch": "resnet10t", "pretrained": True}))
    finally:
        huggingface_hub.constants.HF_HUB_CACHE = before


# ---------------------------------------------------------------------------------------------- data


@provokes("no such file or folder", 2)
def _(place: Place) -> Answer:
    return place.memexp("plan", place.spec(dataset={"source": "idx", "path": "absent"}))


@provokes("cut or damaged", 2)
def _(place: Place) -> Answer:
    Path("mnist").mkdir()
    for split in ("train", "t10k"):
        images = idx_bytes(np.zeros((20, 28, 28), np.uint8))
        Path(f"mnist/{split}-images-idx3-ubyte").write_bytes(images[:-100])
        Path(f"mnist/{split}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(20, dtype=np.uint8) % 10))
    return place.memexp("plan", place.spec(dataset={"source": "idx", "path": "mnist"}))


@provokes("names that are not UTF-8", 2)
def _(place: Place) -> Answer:
    for split in ("train", "test"):
        for name in ("caf\udce9", "dog"):
            Path(f"images/{split}/{name}").mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(f"images/{split}/{name}/0.png")
    return place.memexp("plan", place.spec(dataset={"source": "folder", "path": "images"}))


@provokes("the data have changed", 2)
def _(place: Place) -> Answer:
    draws = np.random.default_rng(0)
    arrays = {"x_train": draws.integers(0, 255, (200, 8, 8), np.uint8), "y_train": np.arange(200) % 2}
    arrays |= {"x_test": arrays["x_train"][:20], "y_test": np.arange(20) % 2}
    np.savez("own.npz", **arrays)
    place.new_run(dataset={"source": "npz", "path": "own.npz"})
    arrays["x_train"][3, 4, 5] ^= 1
    np.savez("own.npz", **arrays)
    return place.memexp("verify", "runs/other")


# ----------------------------------------------------------------------------------------------- run


@provokes("holds another experiment", 2)
def _(place: Place) -> Answer:
    place.new_run()
    return place.memexp("launch", place.spec(name="other", training={"lr": 0.3}), "--yes")


@provokes("not a run directory", 2)
def _(place: Place) -> Answer:
    return place.memexp("status", "runs/absent")


@provokes("being trained by another process", 3)
def _(place: Place) -> Answer:
    with launch_lock(place.run.paths):
        return place.memexp("resume", "runs/tiny", "--executor", "local")


@provokes("no finished trial yet", 3)
def _(place: Place) -> Answer:
    place.new_run()
    return place.memexp("estimate", "runs/other")


@provokes("failed trials", 1)
def _(place: Place) -> Answer:
    _train(place.new_run(training={"min_in_accuracy": 1.0}))
    return place.memexp("status", "runs/other")


@provokes("the loss is not finite", 1)
def _(place: Place) -> Answer:
    _train(place.new_run(training={"lr": 1e30}))
    return place.memexp("status", "runs/other")


@provokes("all trials failed", 1)
def _(place: Place) -> Answer:
    _train(place.new_run(training={"min_in_accuracy": 1.0}))
    _, state = place.memexp("status", "runs/other")
    assert "next    change the spec, give it another name" in state
    return place.memexp("report", "runs/other")


def _train(run: Run) -> None:
    trainer = Trainer(run, "cpu")
    for block in run.store().missing_blocks():
        trainer.train(block)


@provokes("no GPU", 2)
def _(place: Place) -> Answer:
    place.monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for command in (["estimate", "runs/tiny"], ["features", place.spec(), "--out", "x.npz"]):
        code, printed = place.memexp(*command, "--device", "cuda")
        assert code == 2, printed
        assert "finds no GPU" in printed
    answer = place.memexp("launch", place.spec(name="other"), "--yes", "--executor", "local", "--device", "cuda")
    assert not Path("runs/other").exists()
    return answer


@provokes("a block was given up", 1)
def _(place: Place) -> Answer:
    place.new_run()
    Path("dies").write_text("#!/bin/sh\necho '{\"ready\": true}'\nread block\nkill -9 $$\n")
    Path("dies").chmod(0o755)
    place.monkeypatch.setattr(sys, "executable", str(place.folder / "dies"))
    return place.memexp("resume", "runs/other", "--executor", "local", "--workers", "1", "--device", "cpu")


@provokes("tasks in Slurm's queue", 3)
def _(place: Place) -> Answer:
    """Slurm's answer is made up here; tests/slurm/test_cluster.py has a cluster."""
    place.new_run()
    place.monkeypatch.setattr("memexp.slurm.scheduler.is_here", lambda: True)
    place.monkeypatch.setattr("memexp.slurm.tasks.read_tasks", lambda *_, **__: [Task("launch", 0, [0, 1], "pending")])
    return place.memexp("resume", "runs/other", "--executor", "local", "--device", "cpu")


@provokes("launched with other software", 2)
def _(place: Place) -> Answer:
    run = place.new_run()
    Launch("20260101T000000Z-abcd", "local", [[0]], {"workers": 1}, code="0123456789ab").write(run.paths)
    return place.memexp("resume", "runs/other", "--executor", "local", "--device", "cpu")


@provokes("tasks of Slurm that cannot be asked about", 1)
def _(place: Place) -> Answer:
    run = place.new_run()
    job = Job("other.20260101T000000Z-abcd.0", job_id="7")
    Launch("20260101T000000Z-abcd", "slurm", [[0]], {"workers": 1}, {"time_min": 10}, [job]).write(run.paths)
    place.monkeypatch.setenv("PATH", str(place.folder))
    return place.memexp("resume", "runs/other", "--device", "cpu")


@provokes("a lock that names another process", 2)
def _(place: Place) -> Answer:
    run = place.new_run()
    run.paths.lock.write_text(json.dumps({"host": socket.gethostname(), "pid": -1}))
    with open(run.paths.lock) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        return place.memexp("cancel", "runs/other")


# ---------------------------------------------------------------------------------------------- disk


@provokes("too little room", 1)
def _(place: Place) -> Answer:
    usage = shutil.disk_usage(".")
    place.monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    return place.memexp("launch", place.spec(name="other"), "--yes")


@provokes("no space left", 1)
def _(place: Place) -> Answer:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    place.monkeypatch.setattr("memexp.files._write_temporary", full)
    return place.memexp("export", "runs/tiny", "--format", "csv", "--out", "scores.csv")


@provokes("a chunk is damaged", 1)
def _(place: Place) -> Answer:
    chunk = place.run.paths.trials / "mask/c/1/0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    shutil.rmtree(place.run.paths.merged)
    return place.memexp("merge", "runs/tiny")


@provokes("the manifest was edited", 1)
def _(place: Place) -> Answer:
    _edit_manifest(place, '"seed": 3', '"seed": 4')
    return place.memexp("verify", "runs/tiny")


@provokes("written by a newer memexp", 2)
def _(place: Place) -> Answer:
    _edit_manifest(place, '"schema_version": 2', '"schema_version": 99')
    return place.memexp("verify", "runs/tiny")


def _edit_manifest(place: Place, old: str, new: str) -> None:
    path = place.run.paths.manifest
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ----------------------------------------------------------------------------------------- estimates


@provokes("no pair passes", 2)
def _(place: Place) -> Answer:
    assert place.memexp("estimate", "runs/tiny", "--memorization", "1", "--influence", "1")[0] == 0
    return place.memexp("select", "runs/tiny", "--pairs", "--out", "removed.json")


@provokes("different experiments cannot be merged", 2)
def _(place: Place) -> Answer:
    spec = yaml.safe_load(place.run.paths.spec.read_text())
    spec["training"]["lr"] = 0.3
    place.new_run(**{key: value for key, value in spec.items() if key != "name"})
    return place.memexp("merge", "runs/tiny", "runs/other")


@provokes("labels differ", 2)
def _(place: Place) -> Answer:
    dataset = yaml.safe_load(place.run.paths.spec.read_text())["dataset"]
    other = place.new_run(dataset=dataset | {"label_noise": {"fraction": 0.05, "seed": 2}}, subsets={"trials": 10})
    _train(other)
    return place.memexp("compare", "runs/tiny", "runs/other", "--deals", "0")


@provokes("pyarrow is not installed", 2)
def _(place: Place) -> Answer:
    place.monkeypatch.setitem(sys.modules, "pyarrow", None)
    return place.memexp("export", "runs/tiny", "--format", "parquet", "--out", "scores.parquet")


# ------------------------------------------------------------------------------------------- cluster


@provokes("no profile", 2)
def _(place: Place) -> Answer:
    return place.memexp("launch", place.spec(), "--profile", "mine", "--yes")


@provokes("faults of a profile", 2)
def _(place: Place) -> Answer:
    Path("mine.yaml").write_text("partion: gpu\ntime_min: long\n")
    return place.memexp("launch", place.spec(), "--profile", "mine.yaml", "--dry-run")


@provokes("this machine submits to Slurm", 2)
def _(place: Place) -> Answer:
    Path("bin").mkdir()
    Path("bin/sbatch").write_text("#!/bin/sh\n")
    Path("bin/sbatch").chmod(0o755)
    place.monkeypatch.setenv("PATH", str(place.folder / "bin"), prepend=":")
    place.monkeypatch.setenv("SLURM_CONF", "absent")
    place.monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return place.memexp("resume", "runs/tiny")


@provokes("the limit of submitted jobs", 1)
def _(place: Place) -> Answer:
    Path("mine.yaml").write_text("time_min: 10\n")
    limits = Limits(1001, 5, 5, "MaxSubmitJobsPerUser of QOS long")
    place.monkeypatch.setattr("memexp.launch.submission.read_limits", lambda _: limits)
    return place.memexp("launch", place.spec(name="other"), "--profile", "mine.yaml", "--dry-run")


# --------------------------------------------------------------------------------------------- tests


def test_every_message_of_the_page_is_tested() -> None:
    assert len(MESSAGES) >= 20
    assert PROVOKE.keys() == MESSAGES.keys()


STARTS = {"a block was given up", "tasks of Slurm that cannot be asked about", "the limit of submitted jobs"}


@pytest.mark.parametrize(
    "heading",
    [pytest.param(each, marks=[pytest.mark.process] if each in STARTS else []) for each in sorted(PROVOKE)],
)
def test_the_message_is_printed(heading: str, place: Place) -> None:
    exit_code, provoke = PROVOKE[heading]
    code, printed = provoke(place)
    pattern = ".+?".join(map(re.escape, re.split(r"<[^>]+>|\.\.\.", MESSAGES[heading])))
    assert re.search(pattern, " ".join(printed.split())), printed
    assert code == exit_code, printed
    assert "Traceback" not in printed
