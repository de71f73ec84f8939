"""Files that arguments name start at the spec's folder, and their content is part of a run's identity."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memexp.errors import InputError, RunMismatch, SpecError
from memexp.runs.plan import make_plan
from memexp.runs.run import Run, open_run, prepare_run
from memexp.runs.worker import Trainer
from memexp.spec.argument_files import with_absolute_paths, with_digests
from memexp.spec.reading import read_spec

NET = """
import torch
from torch import nn

def net(num_classes, in_chans, weights, more=()):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64 * in_chans, num_classes))
    model.load_state_dict(torch.load(weights))
    return model
"""

RECIPE = """
def train(model, images, labels, seed, teacher):
    open(teacher["file"]).close()
"""


def save_weights(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).state_dict(), path)


@pytest.fixture
def spec(tmp_path: Path, write_spec: Callable[..., Path]) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "teacher.txt").write_text("1")
    (tmp_path / "weights").mkdir()
    save_weights(tmp_path / "weights/w.pth", 0)
    model = {"arch": "net", "file": "net.py", "weights": "weights/w.pth", "more": ["weights/", "relu"]}
    path = write_spec(model=model, training={"epochs": 3})
    text = path.read_text().splitlines()
    start = text.index("training:")
    rest = text.index("subsets:")
    recipe = ["training: {file: recipe.py, teacher: {file: teacher.txt}}"]
    path.write_text("\n".join([*text[:start], *recipe, *text[rest:]]))
    return path


def launched(spec: Path, runs: Path) -> Run:
    plan = make_plan(read_spec(spec))
    return prepare_run(plan.spec, plan.data, runs)


def test_paths_start_at_the_specs_folder_wherever_one_is(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    read = make_plan(read_spec(spec)).spec
    assert read.model.arguments["weights"] == str(tmp_path / "weights/w.pth")
    assert read.model.arguments["more"] == [str(tmp_path / "weights"), "relu"]
    assert read.training.arguments["teacher"] == {"file": str(tmp_path / "teacher.txt")}  # type: ignore[union-attr]


@pytest.mark.parametrize("changed", ["weights/w.pth", "teacher.txt", "weights/other.pth"])
def test_another_content_is_another_experiment_for_launch_and_for_every_worker(
    changed: str, spec: Path, tmp_path: Path
) -> None:
    run = launched(spec, tmp_path / "runs")
    assert launched(spec, tmp_path / "runs").manifest.identity == run.manifest.identity
    Trainer(run, "cpu")
    if changed.endswith("w.pth"):
        save_weights(tmp_path / changed, 1)
    else:
        (tmp_path / changed).write_text("2")
    with pytest.raises(RunMismatch, match="holds another experiment.*(?s:.*)sha256:"):
        launched(spec, tmp_path / "runs")
    with pytest.raises(RunMismatch, match="files that .* trains with have changed since it was created:\n  .*sha256:"):
        Trainer(open_run(run.paths.root), "cpu")
    assert open_run(run.paths.root).store().layout == run.store().layout, "what was trained stays readable"


def test_a_file_may_move_with_its_spec(spec: Path, tmp_path: Path) -> None:
    before = launched(spec, tmp_path / "runs")
    shutil.copytree(tmp_path / "weights", tmp_path / "there/weights")
    for name in ("net.py", "recipe.py", "teacher.txt", "spec.yaml"):
        shutil.copy(tmp_path / name, tmp_path / "there")
    moved = launched(tmp_path / "there/spec.yaml", tmp_path / "other")
    assert moved.manifest.identity == before.manifest.identity
    (tmp_path / "weights/w.pth").unlink()
    with pytest.raises(RunMismatch, match="have changed since it was created:(?s:.*)model.weights: sha256"):
        Trainer(before, "cpu")


def test_arguments_of_data_start_there_too(tmp_path: Path, write_spec: Callable[..., Path]) -> None:
    (tmp_path / "data.py").write_text("def load(table, split):\n    raise KeyError(table + split)\n")
    (tmp_path / "table.csv").write_text("1")
    (tmp_path / "train").mkdir()
    spec = write_spec(dataset={"source": "python", "path": "data.py", "table": "table.csv", "split": "train"})
    block: Any = read_spec(spec).spec.dataset
    assert block.arguments == {"table": str(tmp_path / "table.csv"), "split": "train"}


def test_what_is_no_path_stays(tmp_path: Path) -> None:
    (tmp_path / "relu").write_text("x")
    texts = ["relu", "/", ".", "..", "./", "a/b", "w.pth", "1/2", "nn.ReLU", "x\0y/", "~nouser/x", "a" * 5000 + "/", ""]
    values = [*texts, 3, 2.5, None, True, {"/": "/"}, ("..", "relu")]
    assert with_absolute_paths(values, tmp_path) == values
    assert with_digests(texts) == texts
    assert with_absolute_paths("./relu", tmp_path) == str(tmp_path / "relu")
    assert with_digests({"a": [str(tmp_path / "relu")]}) == {
        "a": ["sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"]
    }


def test_a_folder_of_very_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memexp.spec.argument_files._MOST_FILES", 2)
    for k in range(3):
        (tmp_path / f"{k}").touch()
    with pytest.raises(InputError, match="has 3 files, and their content is part of the experiment; name the files"):
        with_digests(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"checkpoint_path": "absent.pth"}, "the weights file absent.pth does not exist .relative paths start at the"),
        ({"checkpoint_path": "here.pth"}, "'resnet10t' does not take"),
        ({"pretrained_cfg_overlay": {"file": "absent.pth"}, "pretrained": True}, "weights file absent.pth does not"),
        (
            {"pretrained": True},
            "not on this machine, and nothing is fetched here; fetch them once where .*timm.create_",
        ),
    ],
)
def test_absent_or_wrong_weights_of_timms_networks_are_one_line_and_no_wait(
    arguments: dict[str, Any],
    words: str,
    tmp_path: Path,
    write_spec: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here.pth").write_text("no weights")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("absent.pth").touch()  # where one happens to be is not looked
    start = time.monotonic()
    with pytest.raises(SpecError, match=words) as caught:
        make_plan(read_spec(write_spec(model={"arch": "resnet10t"} | arguments)))
    assert len(str(caught.value).splitlines()) == 2
    assert time.monotonic() - start < 15, "asking the network five times takes 25 s"
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
