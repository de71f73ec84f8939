"""The plan refuses what could not be trained, or would be trained otherwise than the spec says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memexp.errors import SpecError
from memexp.runs.plan import make_plan
from memexp.spec.reading import read_spec


@pytest.mark.parametrize(
    ("subsets", "training", "words"),
    [
        (
            {"design": "bernoulli", "ratio": 0.05},
            {},
            "ratio: 0.05 of 25 training examples leaves no example in",
        ),
        ({"design": "bernoulli", "ratio": 0.9}, {"batch_size": 14}, "exceeds the 13 examples that the smallest trial"),
        (
            {"design": "bernoulli", "ratio": 0.9},
            {"batch_size": 11, "epochs": 1},
            "epochs: 2 steps of 11 leave some of a trial's up to 25 examples unseen; use more",
        ),
        ({"ratio": 0.5}, {"batch_size": 12, "epochs": 1}, "1 steps of 12 leave some of a trial's up to 13"),
        ({"ratio": 0.7}, {"batch_size": 18}, "18 exceeds the 17 examples that the smallest trial trains on"),
        ({}, {"batch_size": 8, "epochs": 0.5}, "0.5 passes leave examples of a trial's subset unseen; use 1 or more"),
        ({}, {"batch_size": 17, "epochs": 2, "warmup_epochs": 1.9}, "1.9 of 2 epochs are all 3 steps of a trial"),
        (
            {},
            {"batch_size": 8, "augment": {"crop": 8}},
            "augment.crop: 8 pixels of padding leave crops that show nothing",
        ),
    ],
)
def test_trials_that_could_not_see_their_subset_are_refused(
    subsets: dict[str, Any], training: dict[str, Any], words: str, write_spec: Callable[..., Path]
) -> None:
    data = {"source": "digits", "limit": {"train": 25, "test": 10}}
    with pytest.raises(SpecError) as caught:
        make_plan(read_spec(write_spec(dataset=data, subsets=subsets, training=training)))
    assert words in str(caught.value)


def test_a_model_that_cannot_be_trained_is_refused(write_spec: Callable[..., Path]) -> None:
    path = write_spec(model={"arch": "resnet10t"}, training={"batch_size": 1})
    with pytest.raises(SpecError, match="model.arch: the model cannot train on batches of 1 8x8x1"):
        make_plan(read_spec(path))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"hiden": [16]}, "'memexp_mlp': there is no argument 'hiden' (did you mean 'hidden'?); it takes hidden"),
        ({"arch": "resnet10t", "drop_rat": 0.1, "foo": 1}, "no argument 'drop_rat' (did you mean 'drop_rate'?) and no"),
        ({"arch": "network", "file": "network.py", "depht": 3}, "no argument 'depht' (did you mean 'depth'?)"),
        ({"hidden": "wide"}, "'memexp_mlp' does not take hidden='wide': "),
        ({"hidden": {"a": 1}}, "'memexp_mlp' does not take hidden={'a': 1}: "),
    ],
)
def test_what_a_network_takes_and_what_was_meant_is_said(
    model: dict[str, Any], words: str, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "network.py").write_text("def network(num_classes, in_chans, depth=1):\n    pass\n")
    with pytest.raises(SpecError) as caught:
        make_plan(read_spec(write_spec(model=model)))
    assert words in str(caught.value)
    if "file" not in model:  # that message quotes the call, which is the user's own function's
        assert "num_classes" not in str(caught.value)
        assert "in_chans" not in str(caught.value)
