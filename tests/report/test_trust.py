"""A run that somebody else made can be looked at without running anything of theirs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from memexp.spec import python_files
from tests.conftest import Done, changed, in_process, made_once

pytestmark = pytest.mark.long

RECIPE = """
import os
from pathlib import Path
Path(os.environ["EXECUTED"]).touch()
import numpy as np

def load():
    from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    return {"x_train": images[:200], "y_train": labels[:200], "x_test": images[200:260], "y_test": labels[200:260]}

def net(num_classes, in_chans, img_size):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

def train(model, images, labels, seed):
    import torch
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
"""


@pytest.fixture(scope="session")
def received(shared_folder: Path) -> Path:
    """A run whose data, model and training are code."""

    def make(folder: Path) -> None:
        code = shared_folder / "received_code.py"
        code.write_text(RECIPE, encoding="utf-8")
        spec = changed(
            dataset={"source": "python", "path": str(code)},
            model={"arch": "net", "file": str(code)},
            subsets={"trials": 10},
        )
        spec["training"] = {"file": str(code)}
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        executed = folder / "executed"
        words = "launch", "spec.yaml", "--device", "cpu", "--workers", "1"
        done = in_process(*words, folder=folder, env={"EXECUTED": str(executed)})
        assert done.returncode == 0, done.stderr
        assert executed.exists()

    return made_once(shared_folder / "received", make) / "runs/tiny"


@pytest.fixture
def look(received: Path, tmp_path: Path) -> Callable[..., tuple[Done, bool]]:
    """Run a command on a copy of the run; what it printed, and whether it executed code of the run."""
    root, executed = tmp_path / "tiny", tmp_path / "executed"
    shutil.copytree(received, root)
    shutil.rmtree(root / "merged.zarr")  # so that all is made anew

    def command(*words: str) -> tuple[Done, bool]:
        python_files._executed.cache_clear()
        executed.unlink(missing_ok=True)
        words = tuple(word.replace("RUN", str(root)) for word in words)
        done = in_process(*words, folder=tmp_path, env={"EXECUTED": str(executed)})
        assert done.returncode == 0, done.stderr
        return done, executed.exists()

    return command


def test_no_command_that_looks_at_a_run_executes_its_code(
    look: Callable[..., tuple[Done, bool]], tmp_path: Path
) -> None:
    for words in (
        "status RUN", "logs RUN", "merge RUN", "estimate RUN --dense", "compare RUN --deals 1", "report RUN",
        "export RUN --out x.npz", "select RUN --memorization 0.01 --out sets.json",
    ):  # fmt: skip
        assert not look(*words.split())[1], words
    page = (tmp_path / "tiny/report/index.html").read_text("utf-8")
    assert "No pictures: the data come from a Python file" in page
    assert "<img" not in page
    assert "No pictures" in (tmp_path / "tiny/report/examples.html").read_text("utf-8")
    assert not (tmp_path / "tiny/report/sprites").exists()


def test_what_executes_code_is_asked_to(look: Callable[..., tuple[Done, bool]], tmp_path: Path) -> None:
    for words in ("report RUN --trust", "verify RUN --retrain 0", "select RUN --duplicates 0.5 --out sets.json"):
        assert look(*words.split())[1], words
    page = (tmp_path / "tiny/report/index.html").read_text("utf-8")
    assert "No pictures" not in page
    assert "<img" in page


def test_the_page_without_pictures_says_so_on_standard_error(look: Callable[..., tuple[Done, bool]]) -> None:
    assert "no pictures: " in look("report", "RUN")[0].stderr
