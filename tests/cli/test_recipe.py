"""A plan shows what will be trained: every key of the recipe, and arguments with their types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from memexp.cli.recipe import recipe_rows
from tests.conftest import changed, make_spec


def test_every_key_of_the_recipe_is_told() -> None:
    spec = make_spec(
        model={"hidden": [16], "names": {0: "0", True: None}},
        training={
            "epochs": 30, "batch_size": 64, "lr": 0.25, "momentum": 0.8, "nesterov": True, "weight_decay": 5e-4,
            "label_smoothing": 0.1, "schedule": "step", "warmup_epochs": 2, "milestones": [10, 20.5], "decay": 0.2,
            "augment": {"crop": 4, "flip": True}, "standardize": True, "precision": "bf16", "min_in_accuracy": 0.9,
        },
    )  # fmt: skip
    assert recipe_rows(spec) == [
        ("model arguments", "hidden=[16], names={0: '0', True: None}"),
        (
            "recipe",
            "SGD with batches of 64 for 30 epochs, momentum 0.8, Nesterov, weight decay 0.0005, label smoothing 0.1, "
            "bf16",
        ),
        ("rate", "0.25, rising from 0 for 2 epochs, then times 0.2 after epoch 10, 20.5"),
        ("augmentation", "random crops with 4 pixels of padding and random left-right flips"),
        ("standardized", "yes"),
        ("gate", "a trial below 0.9 on its own training set has failed"),
    ]


def test_a_plan_tells_the_recipe_in_words_and_as_json(memexp: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text("def train(model, images, labels, seed, weights):\n    pass\n")
    spec = changed(training=None) | {"training": {"file": "recipe.py", "weights": {0: 5.0, "0": 1}}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    told = memexp("plan", "spec.yaml", "--device", "cpu").stdout
    assert "\nrecipe             train() of recipe.py with weights={0: 5.0, '0': 1}\n" in told
    found = json.loads(memexp("plan", "spec.yaml", "--device", "cpu", "--json").stdout)["training"]
    assert found["weights"] == {"!!map": [["0", 1], [0, 5.0]]}
