"""Features of a trained network, and linear heads on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from memexp.data import load_data
from memexp.errors import InputError
from memexp.spec.index_sets import pack
from memexp.spec.reading import read_spec
from memexp.spec.spec import Spec
from memexp.training.batches import normalized, prepare
from memexp.training.block import train
from memexp.training.features import extract
from memexp.training.models import StackedLinear
from tests.conftest import changed, make_spec

MODELS: list[tuple[dict[str, Any], int]] = [
    ({"hidden": [32, 24]}, 24),
    ({"arch": "memexp_cnn", "width": 4}, 16),
    ({"arch": "resnet10t"}, 512),
]


@pytest.mark.long
@pytest.mark.parametrize(("model", "width"), MODELS)
def test_features_are_what_the_last_layer_sees(model: dict[str, Any], width: int) -> None:
    """Times the last layer's weights they are the network's own answers."""
    spec = make_spec(model=model, training={"epochs": 2, "batch_size": 50})
    data = load_data(spec.dataset)
    arrays, accuracy = extract(spec, data, "cpu")
    assert arrays["x_train"].shape == (200, 1, 1, width)
    assert arrays["x_test"].shape == (60, 1, 1, width)
    assert arrays["x_test"].dtype == np.float32
    everything = spec.subsets.model_copy(update={"design": "remove", "removed": {"nothing": pack([])}, "ratio": None})
    work = prepare(spec.model_copy(update={"subsets": everything}), data, "cpu")
    stack = train(work, np.ones((1, 200), np.bool_), [0])
    with torch.no_grad():
        logits = stack(normalized(work, work.x_test)[None])[0]
        head = [layer for layer in stack.modules() if isinstance(layer, torch.nn.Linear | StackedLinear)][-1]
        seen = torch.from_numpy(arrays["x_test"][:, 0, 0])
        again = head(seen[None])[0] if isinstance(head, StackedLinear) else head(seen)
    torch.testing.assert_close(again, logits)
    assert accuracy == pytest.approx(float((logits.argmax(1).numpy() == data.y_test).mean()))


@pytest.mark.long
def test_a_linear_head_on_features_knows_as_much_and_memorizes_far_less(
    memexp: Callable[..., Any], tmp_path: Path
) -> None:
    data = {"source": "digits", "limit": {"train": 500, "test": 300}, "label_noise": {"fraction": 0.1, "seed": 1}}
    whole = changed(
        name="whole", dataset=data, model={"hidden": [128]}, training={"epochs": 40, "lr": 0.2}, subsets={"trials": 30}
    )
    clean = {key: value for key, value in data.items() if key != "label_noise"}
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(whole))
    (tmp_path / "clean.yaml").write_text(yaml.safe_dump(whole | {"dataset": clean}))
    done = memexp("features", "clean.yaml", "--out", "features.npz", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "128 of each of 500 training and 300 test examples" in done.stdout
    linear = changed(
        name="linear", dataset={"source": "npz", "path": "features.npz", "label_noise": data["label_noise"]},
        model={"hidden": []}, training={"epochs": 20, "lr": 0.02}, subsets={"trials": 30},
    )  # fmt: skip
    (tmp_path / "linear.yaml").write_text(yaml.safe_dump(linear))
    from memexp.analysis.estimates import open_estimates
    from memexp.runs.run import open_run

    memorized = {}
    for name in ("whole", "linear"):
        done = memexp("launch", f"{name}.yaml", "--executor", "local", "--workers", 0, "--yes")
        assert done.returncode == 0, done.stderr
        estimates = open_estimates(open_run(tmp_path / "runs" / name).paths)
        memorized[name] = float(np.mean(estimates.scores.memorization))
    assert memorized["linear"] < 0.5 * memorized["whole"]
    done = memexp("features", "clean.yaml", "--out", "no/features.npz")
    assert done.returncode == 2
    assert "does not exist; create it" in done.stderr


NETS = """
import torch
import torch.nn.functional as F
from torch import nn


class Base(nn.Module):
    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.classifier = nn.Linear(32, num_classes)  # written first, used last
        self.body = nn.Linear(64 * in_chans, 32)

    def seen(self, x):
        return F.relu(self.body(x.flatten(1)))

    def forward(self, x):
        return self.classifier(self.seen(x))


class Auxiliary(Base):
    def __init__(self, num_classes, in_chans):
        super().__init__(num_classes, in_chans)
        self.other = nn.Linear(32, num_classes)

    def forward(self, x):
        seen = self.seen(x)
        logits = self.classifier(seen)
        self.other(seen)  # called last, and its output is no logits
        return logits


class Convolved(Base):
    def __init__(self, num_classes, in_chans):
        super().__init__(num_classes, in_chans)
        self.classifier = nn.Conv2d(32, num_classes, 1)
        self.last = nn.Linear(3, 4)

    def forward(self, x):
        return self.classifier(self.seen(x)[:, :, None, None]).flatten(1)


class Scaled(Base):
    def forward(self, x):
        return 2 * super().forward(x)


class Twice(Base):
    def forward(self, x):
        seen = self.seen(x)
        return self.classifier(seen) + self.classifier(seen ** 2)


class Cosine(Base):
    def __init__(self, num_classes, in_chans):
        super().__init__(num_classes, in_chans)

        class Head(nn.Linear):
            def forward(self, x):
                return F.linear(F.normalize(x), F.normalize(self.weight))

        self.classifier = Head(32, num_classes)


class Spread(Base):
    def forward(self, x):
        return self.classifier(self.seen(x)[:, None]).mean(1)
"""


@pytest.mark.parametrize("arch", ["Base", "Auxiliary", "Convolved", "Spread"])
def test_features_enter_the_layer_whose_output_is_the_logits(arch: str, tmp_path: Path) -> None:
    """Wherever it is written: 32 values after a ReLU, so none below 0, and a linear map away from the answers."""
    spec = spec_of(arch, tmp_path)
    arrays, _ = extract(spec, load_data(spec.dataset), "cpu")
    assert arrays["x_train"].shape == (200, 1, 1, 32)
    assert (arrays["x_train"] >= 0).all()
    assert (arrays["x_train"] == 0).any()


@pytest.mark.parametrize("arch", ["Scaled", "Twice", "Cosine"])
def test_a_network_that_does_not_end_with_a_linear_layer_has_no_features(arch: str, tmp_path: Path) -> None:
    spec = spec_of(arch, tmp_path)
    with pytest.raises(InputError, match=f"model {arch}: no linear layer's output is the logits.*end with nn.Linear"):
        extract(spec, load_data(spec.dataset), "cpu")


@pytest.mark.long
def test_the_papers_network_with_its_convolution_as_last_layer_has_features() -> None:
    spec = make_spec(model={"arch": "resnetv2_50", "layers": [1, 1, 1, 1]}, training={"epochs": 1, "batch_size": 100})
    arrays, _ = extract(spec, load_data(spec.dataset), "cpu")
    assert arrays["x_train"].shape == (200, 1, 1, 2048)


@pytest.mark.long
def test_torch_is_set_up_as_for_trials(tmp_path: Path) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    spec = spec_of("Base", tmp_path)
    extract(spec, load_data(spec.dataset), "cpu", threads=2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def spec_of(arch: str, folder: Path) -> Spec:
    path = folder / "spec.yaml"
    (folder / "nets.py").write_text(NETS)
    path.write_text(yaml.safe_dump(changed(model={"arch": arch, "file": "nets.py"}, training={"epochs": 1})))
    return read_spec(path).spec
