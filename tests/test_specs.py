"""Every spec of the repository is read, planned and trained for one tiny trial."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from memexp.data.prepare import prepare_images
from memexp.errors import SpecError
from memexp.runs.plan import make_plan
from memexp.runs.run import prepare_run
from memexp.runs.worker import Trainer
from memexp.spec.designs import draw_masks
from memexp.spec.reading import SpecFile, read_spec
from memexp.spec.spec import Spec
from memexp.spec.sweep import SweepFile, read_file
from memexp.training import models
from tests.conftest import ROOT
from tests.data.test_data import idx_bytes

FILES = sorted((ROOT / "specs").rglob("*.yaml"))
READ = {path: read_file(path) for path in FILES}
SWEEPS = {path: read for path, read in READ.items() if isinstance(read, SweepFile)}
SPECS = [read for read in READ.values() if isinstance(read, SpecFile)]
RUNS = SPECS + [file for sweep in SWEEPS.values() for file in sweep.files]
BATCH = 8


def write_idx(folder: Path) -> None:
    """MNIST's four files, with ten images of each digit."""
    draws = np.random.default_rng(0)
    for split, count in (("train", 100), ("t10k", 20)):
        images = draws.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count, dtype=np.uint8) % 10))


def write_cifar(folder: Path, classes: int) -> None:
    """The official python files, with five training images of each class."""
    draws = np.random.default_rng(0)
    fine = classes == 100
    splits = {"train": classes * 5, "test": classes} if fine else {f"data_batch_{k}": classes for k in range(1, 6)}
    for name, count in (splits if fine else splits | {"test_batch": classes}).items():
        labels = [k % classes for k in range(count)]
        content = {"data": draws.integers(0, 256, (count, 3072), dtype=np.uint8)}
        (folder / name).write_bytes(pickle.dumps(content | {"fine_labels" if fine else "labels": labels}))
    names = {"fine_label_names" if fine else "label_names": [str(k) for k in range(classes)]}
    (folder / ("meta" if fine else "batches.meta")).write_bytes(pickle.dumps(names))


def write_prepared(folder: Path) -> None:
    """An image folder of five classes, taken the way that the spec's comment says, at 64 pixels."""
    draws = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for label in range(5):
            images = folder / "images" / split / f"class{label}"
            images.mkdir(parents=True)
            for k in range(count):
                Image.fromarray(draws.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(images / f"{k}.png")
    prepare_images(folder / "images", folder / "ready", 64)


def stand_in(spec: Spec, folder: Path) -> dict[str, Any]:
    """The spec's dataset block, pointed at little files of the same format and reduced to a few classes."""
    block = spec.dataset.model_dump(exclude_none=True)
    if block["source"] == "idx":
        write_idx(folder)
    elif block["source"].startswith("cifar"):
        write_cifar(folder, int(block["source"].removeprefix("cifar")))
    elif block["source"] == "prepared":
        write_prepared(folder)
        return block | {"path": str(folder / "ready")}
    elif block["source"] == "subpopulations":
        return block | {"classes": 3, "kinds": 4, "train": 60, "test": 20, "dim": 8}
    elif block["source"] == "hypercube":
        return block | {"clusters": 20, "train": 60, "test": 20, "dim": 30}
    else:
        assert block["source"] == "digits", "a stand-in for this source is missing here"
        return block | {"limit": {"train": 100, "test": 20}}
    classes = block.get("limit", {}).get("classes", list(range(10 if block["source"] == "idx" else 5)))
    return block | {"path": str(folder), "limit": {"classes": classes, "train": 3 * len(classes), "test": 5}}


def tiny(spec: Spec, folder: Path) -> Spec:
    """The same spec with few examples and one epoch for each trial; everything else as it stands."""
    if spec.trial is not None:  # they are small already
        short = {"epochs": 1} if "epochs" in spec.trial.arguments else {}
        return spec.model_copy(update={"trial": spec.trial.model_copy(update=short)})
    value = spec.model_dump(exclude_none=True)
    value["dataset"] = stand_in(spec, folder)
    if "weights" in value["model"]:
        value["model"]["weights"] = str(folder / "weights.pth")
        network = models.create(spec.model.arch, {"width": spec.model.arguments["width"]}, (28, 28, 1), 5, 0)
        torch.save(network.state_dict(), value["model"]["weights"])
    share = 1 / spec.training.epochs
    value["training"] |= {
        "epochs": 1,
        "warmup_epochs": spec.training.warmup_epochs * share,
        "milestones": [epoch * share for epoch in spec.training.milestones],
        "batch_size": BATCH,
        "min_in_accuracy": 0,
    }
    return Spec.model_validate(value)


def test_no_spec_is_left_out() -> None:
    names = [file.spec.name for file in SPECS]
    assert set(names) >= {"digits", "mnist", "cifar100_small", "cifar100_fast", "imagenet_resnet50"}
    assert names == [file.path.stem for file in SPECS], "a spec's runs are found under the name of its file"
    assert [sweep.name for sweep in SWEEPS.values()] == [path.stem for path in SWEEPS]


@pytest.mark.long
@pytest.mark.parametrize("file", RUNS, ids=lambda file: f"{file.path.relative_to(ROOT / 'specs')}:{file.spec.name}")
def test_a_tiny_trial_of_each_spec(file: SpecFile, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    plan = make_plan(replace(file, spec=tiny(file.spec, tmp_path / "data")))
    assert plan.layout.n_trials == file.spec.subsets.trials
    run = prepare_run(plan.spec, plan.data, tmp_path / "runs")
    (outcome,) = Trainer(run, "cpu").retrain([0])
    assert outcome.failure is None
    (mask,) = draw_masks(plan.spec.subsets, plan.layout.n_train, [0])
    np.testing.assert_array_equal(outcome.arrays["mask"], mask)
    assert mask.sum() - plan.subset in ((0, 1) if plan.spec.trial is not None else (0,))  # 0.7 of 332 is no integer
    assert np.isfinite(outcome.arrays["in_accuracy"])
    assert np.isfinite(outcome.arrays["train_loss"]) or plan.spec.trial is not None


def test_gpu_hours_of_the_specs_are_those_of_the_documentation_and_follow_from_the_seconds() -> None:
    table = (ROOT / "docs/models.md").read_text("utf-8")
    told = {}
    for file in SPECS:
        found = re.search(
            r"not measured: ([\d,]+) s a trial on an H100, about ([\d,.]+) GPU-hours", file.path.read_text("utf-8")
        )
        if found:
            seconds, hours = found.groups()
            told[file.spec.name] = (
                f"{file.spec.training.precision} | {seconds} | {file.spec.subsets.trials:,} | {hours} |"
            )
            exact = float(seconds.replace(",", "")) * file.spec.subsets.trials / 3600
            assert exact == pytest.approx(float(hours.replace(",", "")), rel=0.07)
    assert told.keys() >= {
        "cifar10_fast",
        "cifar100_fast",
        *(path.stem for path in (ROOT / "specs/paper").glob("*.yaml")),
    }
    for name, row in told.items():
        assert re.search(rf"^\| \[{name}\]\([^)]*\) \| {re.escape(row)}$", table, re.MULTILINE), name


def test_less_than_an_epoch_is_refused_because_a_trial_must_see_its_whole_subset(tmp_path: Path) -> None:
    file = read_spec(ROOT / "specs/digits.yaml")
    short = file.spec.model_copy(update={"training": file.spec.training.model_copy(update={"epochs": 0.5})})
    with pytest.raises(SpecError, match=r"training.epochs.*0.5 passes leave examples"):
        make_plan(replace(file, spec=short))
