"""Files to begin with are whole: each is read, planned and says what it is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from memexp.slurm.profile import read_profile
from memexp.spec.reading import read_spec
from memexp.spec.starters import STARTERS, starter
from tests.conftest import Done, in_process


def command_line(*words: Any, folder: Path) -> Done:
    return in_process(*words, folder=folder)


@pytest.mark.long
def test_the_first_spec_trains_as_written(tmp_path: Path) -> None:
    assert command_line("init", "my spec.yaml", folder=tmp_path).returncode == 0
    text = (tmp_path / "my spec.yaml").read_text()
    assert text.startswith("# memexp init 'my spec.yaml' --kind digits\n")
    (tmp_path / "few.yaml").write_text(text.replace("trials: 100", "trials: 10").replace("epochs: 60", "epochs: 8"))
    done = command_line("launch", "few.yaml", "--workers", 0, "--yes", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/my_spec/trials.zarr").is_dir()


@pytest.mark.long
def test_the_spec_of_a_folder_plans_an_image_folder(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for k in range(30):
            Image.fromarray(draws.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
                tmp_path / f"images/{label}/{k}.png"
            )
    command_line("init", "spec.yaml", "--kind", "folder", folder=tmp_path)
    text = (tmp_path / "spec.yaml").read_text()
    (tmp_path / "spec.yaml").write_text(text.replace("batch_size: 64", "batch_size: 16"))
    done = command_line("plan", "spec.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "48 training and 12 test examples, 2 classes" in done.stdout
    assert re.search("^augmentation +none$", done.stdout, re.MULTILINE)  # flipped, wrong labels are not quite fitted


def test_the_spec_of_a_table_plans_a_table(tmp_path: Path) -> None:
    rows = [f"{k / 10},{-k},{'ab'[k % 2]}" for k in range(200)]
    (tmp_path / "table.csv").write_text("\n".join(["x,y,label", *rows]) + "\n")
    command_line("init", "spec.yaml", "--kind", "table", folder=tmp_path)
    done = command_line("plan", "spec.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "160 training and 40 test examples, 2 classes" in done.stdout


def test_the_profile_is_one(tmp_path: Path) -> None:
    command_line("init", "cluster.yaml", "--kind", "profile", folder=tmp_path)
    assert read_profile(str(tmp_path / "cluster.yaml")).time_min == 60


@pytest.mark.parametrize("kind", STARTERS)
def test_every_line_that_is_commented_out_fits_too(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lines = starter(kind, path).splitlines()
    if kind == "profile":
        lines = [line.removeprefix("# ") if number > 2 else line for number, line in enumerate(lines)]
    path.write_text("\n".join(lines) + "\n")
    assert yaml.safe_load(path.read_text())
    if kind == "profile":
        assert read_profile(str(path)).gpus == 1
    else:
        assert read_spec(path).spec.name == "x"


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("mine")
    done = command_line("init", "spec.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert "spec.yaml exists; give another name" in done.stderr
    assert (tmp_path / "spec.yaml").read_text() == "mine"


def test_a_place_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = command_line("init", "nowhere/spec.yaml", folder=tmp_path)
    assert (done.returncode, "cannot write nowhere/spec.yaml" in done.stderr) == (2, True)
