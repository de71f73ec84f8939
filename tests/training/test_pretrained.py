"""Networks begin with the weights of a file: those that fit, and none of another network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memexp.data import load_data
from memexp.errors import InputError, RunMismatch
from memexp.runs.plan import make_plan
from memexp.runs.run import Run
from memexp.runs.worker import Trainer
from memexp.spec.reading import read_spec
from memexp.training import models
from memexp.training.batches import prepare
from memexp.training.pretrained import load_weights
from tests.conftest import make_spec

IMAGE = (8, 8, 1)
CNN = {"width": 4}


def network(classes: int = 10, seed: int = 0, **arguments: Any) -> torch.nn.Module:
    return models.create("memexp_cnn", CNN | arguments, IMAGE, classes, seed)


@pytest.fixture(params=["safetensors", "pth", "wrapped"])
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The weights of a network with seed 7, in each form."""
    state = network(seed=7).state_dict()
    path = tmp_path / ("w.safetensors" if request.param == "safetensors" else "w.pth")
    if request.param == "safetensors":
        save_file(state, path)
    else:
        wrapped = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
        torch.save(wrapped if request.param == "wrapped" else state, path)
    return path


def same(a: torch.nn.Module, b: torch.nn.Module) -> dict[str, bool]:
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return {name: value.shape == other.shape and torch.equal(value, other) for (name, value), other in pairs}


def test_a_network_begins_with_the_file_and_a_new_head_is_drawn_anew(weights: Path) -> None:
    assert all(same(network(seed=1, weights=str(weights)), network(seed=7)).values())
    two = [network(classes=3, seed=seed, weights=str(weights)) for seed in (1, 2)]
    assert {name for name, alike in same(*two).items() if not alike} == {"head.weight", "head.bias"}
    assert load_weights(two[0], str(weights)) == ["head.bias", "head.weight"]
    assert all(alike for name, alike in same(two[0], network(seed=7)).items() if not name.startswith("head"))


def test_what_is_no_file_of_these_weights_is_refused_in_a_line(weights: Path, tmp_path: Path) -> None:
    other = models.create("memexp_cnn", {"width": 8}, IMAGE, 10, 0)
    with pytest.raises(InputError, match="has not this network's weights: .* such as body"):
        load_weights(other, str(weights))
    for name, content in (("t.pth", b"text"), ("t.safetensors", b"text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="no file of weights that can be read safely"):
            load_weights(network(), str(tmp_path / name))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="it should have names and tensors"):
        load_weights(network(), str(tmp_path / "list.pth"))
    with pytest.raises(InputError, match=r"absent.pth does not exist \(relative paths start at the spec's folder\)"):
        network(weights="absent.pth")


def test_a_file_that_would_run_something_is_not_run(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"a": Runs()}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="read safely"):
        load_weights(network(), str(tmp_path / "bad.pth"))
    assert not (tmp_path / "ran").exists()


def test_the_content_of_the_file_is_part_of_the_experiment(
    weights: Path, new_run: Callable[..., Run], write_spec: Callable[..., Path]
) -> None:
    model = {"arch": "memexp_cnn", "width": 4, "weights": weights.name}
    plan = make_plan(read_spec(write_spec(model=model)))
    assert not [note for note in plan.notes if "fresh" in note]
    few = {"source": "digits", "limit": {"classes": [0, 1, 2], "train": 200, "test": 60}}
    plan = make_plan(read_spec(write_spec(model=model, dataset=few)))
    assert "not of the weights file, but fresh in each trial: head.bias, head.weight" in plan.notes
    run = new_run(model=model)
    assert str(run.manifest.science["model"]["weights"]).startswith("sha256:")
    torch.save(network(seed=8).state_dict(), weights)
    with pytest.raises(RunMismatch, match="files that .* trains with have changed"):
        Trainer(run, "cpu")


def test_images_are_standardized_by_the_moments_of_timms_weights() -> None:
    spec = make_spec(training={"standardize": "weights"}, model={"arch": "resnet10t"})
    data = load_data(spec.dataset)
    colour = replace(data, x_train=np.repeat(data.x_train, 3, axis=3), x_test=np.repeat(data.x_test, 3, axis=3))
    work = prepare(spec, colour, "cpu")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(work.scale[:, 0, 0], 1 / 255 / deviation, rtol=1e-6)
    np.testing.assert_allclose(work.shift[:, 0, 0], -mean / deviation, rtol=1e-6)
    with pytest.raises(InputError, match="'resnet10t' has no mean and deviation for images of 1 channels"):
        prepare(spec, data, "cpu")
    with pytest.raises(InputError, match="'memexp_mlp' has no mean and deviation"):
        prepare(make_spec(training={"standardize": "weights"}), colour, "cpu")
