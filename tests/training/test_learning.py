"""How examples are learned: the counts are those of a loop over the steps, and change no outcome."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from memexp.data import load_data
from memexp.spec.designs import draw_masks
from memexp.training.batches import prepare
from memexp.training.block import train_block
from memexp.training.learning import Learning
from tests.conftest import make_spec


def by_a_loop(stream: list[int], loss: Any, right: Any, mask: Any) -> dict[str, Any]:
    """The same by walking along a trial's stream of examples; the pass counts up when an example comes again."""
    found: dict[str, Any] = {
        "train_learning_loss": np.full(len(mask), np.nan, np.float32),
        "train_learned": np.zeros(len(mask), np.uint16),
        "train_forgotten": np.zeros(len(mask), np.uint16),
    }
    for i in np.flatnonzero(mask):
        times = [place for place, example in enumerate(stream) if example == i]
        said = [bool(right[place]) for place in times]
        found["train_learning_loss"][i] = sum(float(loss[place]) for place in times)
        found["train_learned"][i] = 1 + max((number for number, ok in enumerate(said, 1) if not ok), default=0)
        found["train_forgotten"][i] = sum(before and not after for before, after in pairwise(said))
    return found


def test_the_counts_are_those_of_a_loop() -> None:
    """Two trials of 7 examples in batches of 5, so that batches cross the ends of passes."""
    draws = np.random.default_rng(0)
    masks = np.zeros((2, 11), bool)
    masks[0, :7] = masks[1, 4:] = True
    order = np.stack(
        [np.concatenate([draws.permutation(np.flatnonzero(mask)) for _ in range(6)])[:40] for mask in masks]
    )
    order = order.reshape(2, 8, 5).swapaxes(0, 1)  # (steps, S, B)
    logits = torch.from_numpy(draws.normal(size=(8, 10, 3)).astype(np.float32))
    y = torch.from_numpy(draws.integers(0, 3, (8, 10)))
    learning = Learning(masks)
    for steps in (range(3), range(3, 8)):
        for step in steps:
            learning.step(logits[step], y[step])
        learning.end_epoch(torch.from_numpy(order[list(steps)]))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(8, 2, 5)
    right = (logits.argmax(2) == y).view(8, 2, 5)
    for s, mask in enumerate(masks):
        wanted = by_a_loop(order[:, s].ravel().tolist(), loss[:, s].ravel(), right[:, s].ravel(), mask)
        assert wanted["train_forgotten"].any()
        for name, values in learning.arrays(s).items():
            np.testing.assert_allclose(values, wanted[name], rtol=1e-6, err_msg=name)
            assert values.dtype == wanted[name].dtype


def test_what_is_learned_late_and_forgotten_is_what_was_flipped_and_no_outcome_changes() -> None:
    dataset = {"source": "digits", "limit": {"train": 200, "test": 60}, "label_noise": {"fraction": 0.1, "seed": 1}}
    record = ["correct", "margin", "predicted"]
    outcomes = []
    for more in ([], ["learning", "probabilities"]):
        spec = make_spec(dataset=dataset, training={"epochs": 20}, record=[*record, *more])
        data = load_data(spec.dataset)
        work = prepare(spec, data, "cpu")
        outcomes.append(train_block(work, draw_masks(spec.subsets, 200, range(3)), range(3)))
    flipped = data.flipped
    assert flipped is not None
    for plain, other in zip(*outcomes, strict=True):
        for name in plain.arrays.keys() - {"seconds"}:
            np.testing.assert_array_equal(plain.arrays[name], other.arrays[name], err_msg=name)
        arrays, mask = other.arrays, other.arrays["mask"]
        loss = arrays["train_learning_loss"]
        assert np.isnan(loss[~mask]).all()
        assert not (arrays["train_learned"][~mask] | arrays["train_forgotten"][~mask]).any()
        assert (
            1 <= arrays["train_learned"][mask].min() <= arrays["train_learned"].max() <= 22
        )  # the last batch begins a 21st pass
        assert loss[mask & flipped].mean() > 3 * loss[mask & ~flipped].mean()
        probability = 1 / (1 + np.exp(-arrays["train_margin"].astype(np.float64)))
        said = arrays["train_probabilities"] / 65535
        np.testing.assert_allclose(said[~mask, data.y_train[~mask]], probability[~mask], atol=1e-3)
        np.testing.assert_allclose(said.sum(1), ~mask, atol=1e-4)
        assert (said[~mask].max(1) == said[~mask, arrays["train_predicted"][~mask]]).all()
        np.testing.assert_allclose(arrays["test_probabilities"].sum(1, dtype=float) / 65535, 1, atol=1e-4)


def test_a_network_that_trains_alone_is_measured_too() -> None:
    spec = make_spec(model={"arch": "memexp_cnn", "width": 4}, record=["correct", "learning"], training={"epochs": 1})
    work = prepare(spec, load_data(spec.dataset), "cpu")
    (outcome,) = train_block(work, draw_masks(spec.subsets, 200, [0]), [0])
    assert np.isfinite(outcome.arrays["train_learning_loss"][outcome.arrays["mask"]]).all()
    assert set(np.unique(outcome.arrays["train_learned"][outcome.arrays["mask"]])) <= {1, 2, 3}  # a second pass began
