"""Datasets, models and recipes of a user's own: docs/extending.md runs as it stands; every fault is one message."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from memexp.data import load_data
from memexp.errors import DataError, InputError, RunMismatch, SpecError
from memexp.runs.pilot import seconds_per_trial
from memexp.runs.plan import make_plan
from memexp.runs.run import Run, grow, open_run, prepare_run
from memexp.runs.verify import verify
from memexp.runs.worker import Trainer
from memexp.spec import python_files
from memexp.spec.reading import check_spec, read_spec
from memexp.spec.sections import PythonFile, UserTraining
from memexp.spec.spec import Spec
from tests.conftest import ROOT, assert_same_outcomes, changed

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[..., Path]

DATA = """
import numpy as np

def load(n=60):
    draws = np.random.default_rng(0)
    x, y = draws.integers(0, 256, (n, 4, 4), dtype=np.uint8), np.arange(n) % 3
    return dict(x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
"""
NET = """
from torch import nn

def net(num_classes, in_chans, img_size, width=8):
    inputs = in_chans * img_size[0] * img_size[1]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, num_classes)
    )
"""
RECIPE = """
import torch
import torch.nn.functional as F

def train(model, images, labels, seed, epochs, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
"""
OWN_NET = {"arch": "net", "file": "net.py"}


@pytest.fixture
def own(tmp_path: Path, write_spec: Write) -> Write:
    """Write files beside a spec: own(net=NET, model={...}) writes net.py; capitals of a block are the spec's."""

    def write(net: str = NET, recipe: str = RECIPE, data: str = DATA, training: Any = None, **blocks: Any) -> Path:
        for name, text in (("net", net), ("recipe", recipe), ("data", data)):
            (tmp_path / f"{name}.py").write_text(text)
        path = write_spec(**blocks)
        if training is not None:  # a whole block: the tiny spec's keys are not those of a recipe
            path.write_text(yaml.safe_dump(changed(**blocks) | {"training": training}))
        return path

    return write


def trained(path: Path, runs: Path, blocks: tuple[int, ...] = (0, 1)) -> Run:
    made = make_plan(read_spec(path))
    run = prepare_run(made.spec, made.data, runs)
    trainer = Trainer(run, "cpu")
    for block in blocks:
        trainer.train(block)
    return run


# --------------------------------------------------------------------------------------- the document


def write_blocks(page: str, folder: Path) -> list[Path]:
    """The document's files, named by their first lines."""
    for language, text in re.findall(r"```(python|yaml)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        name = text.splitlines()[0].removeprefix("# ")
        assert name.endswith({"python": ".py", "yaml": ".yaml"}[language])
        (folder / name).write_text(text)
    return sorted(folder.glob("*.yaml"))


@pytest.mark.long
@pytest.mark.parametrize("name", ["my_data", "my_net", "my_training"])
def test_the_document_runs(name: str, tmp_path: Path, memexp: Command) -> None:
    specs = write_blocks("docs/extending.md", tmp_path)
    assert [path.stem for path in specs] == ["my_data", "my_net", "my_training"]
    launched = memexp("launch", f"{name}.yaml", "--device", "cpu", "--workers", 0)
    assert launched.returncode == 0, launched.stderr
    assert memexp("report", f"runs/{name}").returncode == 0
    run = open_run(tmp_path / "runs" / name)
    assert run.store().read_block(0)["in_accuracy"].mean() > 0.8, "it learned"
    verdict = verify(run, retrain=1)
    assert (len(verdict.retrained), verdict.differing) == (10, {})


def test_examples_of_the_document_are_about_ten_lines(tmp_path: Path) -> None:
    write_blocks("docs/extending.md", tmp_path)
    for path in tmp_path.glob("*.py"):
        assert len([line for line in path.read_text().splitlines() if line]) <= 12


# ---------------------------------------------------------------------------------------- the dataset


def test_a_dataset_is_checked_limited_and_flipped_like_any_other(own: Write) -> None:
    dataset = {"source": "python", "path": "data.py", "n": 90, "limit": {"train": 30}, "class_names": ["a", "b", "c"]}
    data = load_data(read_spec(own(dataset=dataset | {"label_noise": {"fraction": 0.2}})).spec.dataset)
    assert (data.x_train.shape, data.x_test.shape, data.classes) == ((30, 4, 4, 1), (9, 4, 4, 1), ("a", "b", "c"))
    assert data.flipped is not None
    assert data.flipped.sum() == 6


def test_an_object_with_attributes_and_odd_memory_order_will_do(own: Write) -> None:
    text = DATA.replace("return dict(", "from types import SimpleNamespace\n    return SimpleNamespace(")
    text = text.replace("x_train=x", "classes=['a', 'b', 'c'], x_train=x[:, ::-1]")
    data = load_data(read_spec(own(data=text, dataset={"source": "python", "path": "data.py"})).spec.dataset)
    assert data.classes == ("a", "b", "c")
    assert data.x_train.flags.c_contiguous
    np.testing.assert_array_equal(data.x_train[:9, ::-1], data.x_test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("def load", "def lod"), r"data\.py defines no function load; wanted is load\(\), .*It defines lod"),
        (("n=60", "m=60"), r"load\(m=60\) cannot be called as load\(n=\.\.\.\): .*unexpected keyword argument 'n'"),
        (("x_test=x[:9], ", ""), r"load\(\): dict without x_test; it must be a dict"),
        (("return dict(", "return len("), r"data\.py, line 7: TypeError: len\(\) takes no keyword arguments\n  return"),
        (("% 3", "% 3 / 2"), r"load\(\): y_train is float64; labels must be integers"),
        (("dtype=np.uint8", "dtype=np.int64"), r"images are int64; they must be uint8"),
        (("x_train=x,", "x_train=x[1:],"), r"59 train images but labels of shape \(60,\)"),
        (("x_train=x,", "x_train=3,"), r"images are int64"),
        (("y_train=y,", "y_train=[[1], [2, 3]],"), r"y_train of load\(\) is no array"),
        (("% 3", "% 3 * 2"), r"no training example has label 1"),
        (("def load(n=60)", "def load(n=60"), r"data\.py, line 4: not valid Python: "),
        (("numpy as np", "nowhere"), r"data\.py, line 2: ModuleNotFoundError: .*Files beside it are not imported"),
        (("draws =", "exit(3)\n    draws ="), r"data\.py, line 5: SystemExit: 3"),
    ],
)
def test_faults_of_a_dataset(own: Write, change: tuple[str, str], message: str) -> None:
    path = own(data=DATA.replace(*change), dataset={"source": "python", "path": "data.py", "n": 60})
    with pytest.raises(DataError, match=message):
        load_data(read_spec(path).spec.dataset)
    with pytest.raises(SpecError, match=r"spec\.yaml: \d fault"):
        make_plan(read_spec(path))


def test_a_missing_dataset_file_is_named(write_spec: Write) -> None:
    spec = read_spec(write_spec(dataset={"source": "python", "path": "nowhere.py"})).spec
    with pytest.raises(DataError, match=r"dataset\.path = /.*/nowhere\.py: no such file"):
        load_data(spec.dataset)


def test_a_dataset_that_differs_each_time_is_refused(own: Write, tmp_path: Path) -> None:
    path = own(data=DATA.replace("default_rng(0)", "default_rng()"), dataset={"source": "python", "path": "data.py"})
    made = make_plan(read_spec(path))
    run = prepare_run(made.spec, made.data, tmp_path / "runs")
    with pytest.raises(DataError, match=r"x_train, x_test differ.*give the same arrays each time \(seed what is"):
        run.load_data()


# ------------------------------------------------------------------------------------------ the model


@pytest.mark.long
def test_a_run_keeps_its_own_copy_of_the_files(own: Write, tmp_path: Path) -> None:
    training = {"file": "recipe.py", "epochs": 2, "lr": 0.01}
    path = own(model=OWN_NET, training=training)
    whole = trained(path, tmp_path / "whole")
    begun = trained(path, tmp_path / "begun", (0,))
    for name in ("net.py", "recipe.py"):
        (tmp_path / name).unlink()
    Trainer(open_run(begun.paths.root), "cpu").train(1)  # as resume does: nothing but the folder
    assert_same_outcomes(whole, begun)
    verdict = verify(open_run(begun.paths.root), retrain=20)
    assert (len(verdict.retrained), verdict.differing, verdict.faults) == (20, {}, {})


def test_the_resolved_spec_carries_the_files_and_is_read_back(own: Write) -> None:
    spec = read_spec(own(model=OWN_NET, training={"file": "recipe.py", "epochs": 2, "lr": 0.01})).spec
    text = spec.to_yaml()
    assert "    source: |" in text, "code is written as it was"
    again, faults = check_spec(yaml.safe_load(text))
    assert (again, faults) == (spec, [])
    assert again is not None
    assert again.science() == spec.science()


@pytest.mark.parametrize(("name", "text"), [("net", NET + "# another\n"), ("recipe", RECIPE.replace("Adam", "AdamW"))])
def test_an_edited_file_is_another_experiment(own: Write, tmp_path: Path, name: str, text: str) -> None:
    training = {"file": "recipe.py", "epochs": 2, "lr": 0.01}
    run = trained(own(model=OWN_NET, training=training), tmp_path / "runs", ())
    before = run.paths.spec.read_bytes()
    made = make_plan(read_spec(own(model=OWN_NET, training=training, **{name: text})))
    block = {"net": "model", "recipe": "training"}[name]
    with pytest.raises(RunMismatch, match=rf"Differences:\n  {block}\.file: [0-9a-f]{{64}} there, [0-9a-f]{{64}} in"):
        prepare_run(made.spec, made.data, tmp_path / "runs")
    assert run.paths.spec.read_bytes() == before


def test_a_renamed_file_is_the_same_experiment_and_more_trials_are_added(own: Write, tmp_path: Path) -> None:
    trained(own(model=OWN_NET), tmp_path / "runs", ())
    path = own(model=OWN_NET | {"file": "other.py"}, subsets={"trials": 30})
    shutil.copy(tmp_path / "net.py", tmp_path / "other.py")
    made = make_plan(read_spec(path))
    grown = prepare_run(made.spec, made.data, tmp_path / "runs")
    assert (grow(grown).layout.n_trials, grown.spec.subsets.trials) == (30, 30)


def test_two_files_that_define_one_name_are_not_mixed_up(own: Write, tmp_path: Path) -> None:
    """In one process, as in a notebook."""
    small, large = own(model=OWN_NET), tmp_path / "large.yaml"
    specs = [read_spec(small).spec]
    large.write_text(small.read_text())
    (tmp_path / "net.py").write_text(NET.replace("width=8", "width=9"))
    specs.append(read_spec(large).spec)
    from memexp.training import models

    counts = []
    for spec in [*specs, specs[0]]:
        block = spec.model
        model = models.create(block.arch, block.arguments, (4, 4, 1), 3, 0, block.code)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert counts == [8 * 17 + 3 * 9, 9 * 17 + 3 * 10, 8 * 17 + 3 * 9]


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        (NET, {"arch": "nett"}, r"line \d+: model\.arch: net\.py defines no function nett; .*It defines net"),
        (NET, {"widht": 3}, r"net\(num_classes, in_chans, img_size, width=8\) cannot be called as .*'widht'"),
        (NET.replace("nn.Flatten(), ", ""), {}, r"the model cannot take images of 8x8x1: .*mat1 and mat2"),
        (NET.replace("num_classes)\n", "3)\n"), {}, r"the model gives \(4, 3\) for 4 images"),
        (
            NET.replace("return nn", "assert 0, 'no'\n    return nn"),
            {},
            r"net\.py, line 6: AssertionError: no\n  assert",
        ),
        (NET.replace("return nn.Sequential(", "return list(("), {}, r"net\.py, line 6: .*|'net' gives list"),
        (
            NET.replace("torch import nn", "torch import never"),
            {},
            r"net\.py, line 2: ImportError: .*'never'",
        ),
        ("def net(:\n", {}, r"model\.arch: net\.py, line 1: not valid Python: "),
        ("x = '\0'\n", {}, r"net\.py.*not valid Python: .*null bytes"),
        (NET, {"file": "absent.py"}, r"model\.file: .*absent\.py cannot be read \(No such file or directory\)"),
        (NET, {"file": 7}, r"model\.file: must be the name of a Python file"),
    ],
)
def test_faults_of_a_model(own: Write, text: str, model: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_plan(read_spec(own(net=text, model=OWN_NET | model)))


def test_a_class_and_a_model_registered_with_timm_will_do(own: Write) -> None:
    registered = NET.replace("def net", "from timm.models import register_model\n\n@register_model\ndef net")
    as_class = (
        "from torch import nn\n\nclass net(nn.Sequential):\n    def __init__(self, num_classes, in_chans):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    ).replace("LazyLinear(", "Linear(64, ")
    for text in (registered, as_class):
        assert make_plan(read_spec(own(net=text, model=OWN_NET))).parameters > 0


def test_lines_of_the_copy_can_be_inspected() -> None:
    function = python_files.function_in(PythonFile(name="net.py", source=NET), "net", "net()")
    assert inspect.getsource(function).startswith("def net(num_classes")


# ----------------------------------------------------------------------------------------- the recipe


def recipe_spec(own: Write, text: str, **keys: Any) -> Path:
    return own(recipe=text, training={"file": "recipe.py", "epochs": 2, "lr": 0.01} | keys)


def test_a_recipe_gets_exactly_the_subset_and_its_seed(own: Write, tmp_path: Path) -> None:
    text = f"""
import random, numpy, torch
def train(model, images, labels, seed, epochs, lr):
    assert model.training and images.dtype == torch.float32 and labels.dtype == torch.int64
    drawn = torch.rand(1).item(), numpy.random.rand(), random.random()
    torch.save((images, labels, seed, drawn), {str(tmp_path)!r} + "/seen.pt")
    images.zero_(), labels.zero_()
"""
    run = trained(recipe_spec(own, text, standardize=True), tmp_path / "runs", ())
    trainer = Trainer(run, "cpu")
    seen = []
    for trial in (3, 4, 3):
        trainer.retrain([trial])
        seen.append(torch.load(tmp_path / "seen.pt"))
    content = trainer.retrain([3])[0].arrays
    data, mask = run.load_data(), content["mask"]
    images = (data.x_train[mask] / 255).transpose(0, 3, 1, 2)
    mean, deviation = (data.x_train / 255).mean(), (data.x_train / 255).std()
    np.testing.assert_allclose(seen[0][0].numpy(), (images - mean) / deviation, atol=1e-4)
    np.testing.assert_array_equal(seen[0][1].numpy(), data.y_train[mask])
    assert seen[0][2:] == seen[2][2:] != seen[1][2:]
    assert (data.x_train == run.load_data().x_train).all(), "the recipe's tensors are its own"


@pytest.mark.long
def test_the_returned_module_is_the_one_that_is_evaluated(own: Write, tmp_path: Path) -> None:
    text = """
import torch
class Constant(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.one_hot(torch.full((len(x),), 3), 10).float()
def train(model, images, labels, seed, epochs, lr):
    return Constant()
"""
    run = trained(recipe_spec(own, text), tmp_path / "runs")
    content = run.store().read_block(0)
    np.testing.assert_array_equal(content["test_correct"][0], run.load_data().y_test == 3)


@pytest.mark.long
def test_a_recipe_that_diverges_is_a_failed_trial_not_a_fault(own: Write, tmp_path: Path) -> None:
    text = RECIPE.replace("    optimizer =", "    next(model.parameters()).data.fill_(float('nan'))\n    optimizer =")
    run = trained(recipe_spec(own, text), tmp_path / "runs")
    assert (run.store().status() == 2).all()
    run = trained(recipe_spec(own, RECIPE, min_in_accuracy=1.0), tmp_path / "runs2")
    assert (run.store().status() == 2).all()


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        (RECIPE.replace("def train", "def fit"), {}, r"training\.file: recipe\.py defines no function train; .*fit"),
        (
            RECIPE,
            {"momentum": 1},
            r"cannot be called as train\(.*momentum=\.\.\.\): got an unexpected keyword argument",
        ),
        (RECIPE.replace(", lr)", ", lr, more)"), {}, r"missing a required argument: 'more'"),
        (RECIPE.replace("seed, ", ""), {}, r"unexpected keyword argument 'seed'"),
        ("import nowhere", {}, r"training\.file: recipe\.py, line 1: ModuleNotFoundError"),
        (RECIPE, {"seed": 1}, r"training: seed: memexp passes that itself; give the argument another name"),
        (RECIPE, {"min_in_accuracy": 2}, r"training\.min_in_accuracy: 2: must be less than or equal to 1"),
        (RECIPE, {"file": "absent.py"}, r"training\.file: .*absent\.py cannot be read"),
    ],
)
def test_faults_of_a_recipe_are_found_before_training(
    own: Write, text: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        make_plan(read_spec(recipe_spec(own, text, **keys)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 7", r"recipe\.py: train\(\) returned int; it must return nothing, or the module"),
        (
            "return torch.nn.Flatten()",
            r"recipe\.py: the trained module gives \(2, 64\) for 2 images; it must give \(2, 10",
        ),
        ("images[10**6]", r"recipe\.py, line 6 \(in trial 0\): IndexError: index 1000000 is out of bounds.*\n  images"),
    ],
)
def test_faults_while_training_name_the_line(own: Write, tmp_path: Path, body: str, message: str) -> None:
    path = recipe_spec(own, RECIPE.replace("    optimizer = ", f"    {body}\n    optimizer = "))
    with pytest.raises(InputError, match=message):
        trained(path, tmp_path / "runs")
    with pytest.raises(InputError, match=message):
        seconds_per_trial(make_plan(read_spec(path)))


def test_a_launch_says_the_line_and_shows_no_traceback(own: Write, memexp: Command) -> None:
    path = recipe_spec(own, RECIPE.replace("    optimizer = ", "    print('hello')\n    1 / 0\n    optimizer = "))
    done = memexp("launch", path, "--device", "cpu", "--workers", 0)
    assert done.returncode == 2
    assert "memexp: recipe.py, line 7 (in trial 0): ZeroDivisionError: division by zero\n  1 / 0" in done.stderr
    assert "Traceback" not in done.stderr
    done = memexp("plan", path, "--json")
    assert (done.returncode, done.stdout) == (2, ""), "what a file prints is no data"
    assert "hello" in done.stderr


def test_memory_that_runs_out_is_no_fault_of_the_file(own: Write, tmp_path: Path) -> None:
    path = recipe_spec(own, RECIPE.replace("    optimizer = ", "    raise MemoryError\n    optimizer = "))
    with pytest.raises(MemoryError):
        trained(path, tmp_path / "runs")


def test_faults_of_several_files_come_in_one_message(own: Write) -> None:
    path = own(model=OWN_NET | {"file": "a.py"}, training={"file": "b.py"})
    with pytest.raises(SpecError, match=r"(?s)2 faults\n.*model\.file.*training\.file"):
        read_spec(path)


def test_a_trial_of_a_recipe_can_be_planned(own: Write) -> None:
    plan = make_plan(read_spec(recipe_spec(own, RECIPE)))
    assert plan.steps is None
    assert seconds_per_trial(plan) > 0


def test_specs_without_files_have_the_identity_they_had() -> None:
    science = Spec.model_validate(changed()).science()
    assert set(science["model"]) == {"arch", "hidden"}
    assert "file" not in science["training"]


def test_unknown_keys_of_memexps_recipe_are_still_refused(write_spec: Write) -> None:
    with pytest.raises(SpecError, match=r"training\.epoch: unknown key\. Did you mean 'epochs'\? Allowed: augment"):
        read_spec(write_spec(training={"epoch": 3}))
    fields = Spec.model_json_schema()["$defs"]
    assert fields[UserTraining.__name__]["required"] == ["file"]
    assert fields["PythonData"]["required"] == ["source", "path"]
