"""Training: every trial is fed exactly its mask, ends where its recipe says, and fails aloud."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from memexp.data import load_data
from memexp.runs.run import Run, planned_layout
from memexp.runs.verify import verify
from memexp.runs.worker import Trainer
from memexp.spec.designs import draw_masks
from memexp.spec.spec import Spec
from memexp.training import devices, evaluation, models
from memexp.training.batches import _placed, epochs, normalized, prepare
from memexp.training.block import Outcome, _fresh, _trained, count_steps, train_block
from memexp.training.checkpoint import Keeper
from memexp.training.sgd import learning_rate
from tests.conftest import make_spec


def train(spec: Spec, trials: list[int]) -> list[Outcome]:
    data = load_data(spec.dataset)
    return train_block(prepare(spec, data, "cpu"), draw_masks(spec.subsets, len(data.y_train), trials), trials)


def differences(a: Outcome, b: Outcome) -> list[str]:
    return [
        name
        for name in a.arrays
        if name != "seconds" and not np.array_equal(a.arrays[name], b.arrays[name], equal_nan=name != "mask")
    ]


@pytest.mark.parametrize(
    "model", [{"arch": "memexp_mlp"}, {"arch": "memexp_cnn", "width": 4}], ids=["stacked", "single"]
)
@pytest.mark.parametrize("design", ["uniform", "balanced", "bernoulli"])
def test_each_trial_is_fed_exactly_its_mask(model: dict[str, Any], design: str) -> None:
    spec = make_spec(model=model, subsets={"design": design}, training={"augment": {"crop": 1, "flip": True}})
    outcomes = train(spec, [0, 1, 15])
    masks = draw_masks(spec.subsets, 200, [0, 1, 15])
    for mask, outcome in zip(masks, outcomes, strict=True):
        assert outcome.failure is None
        np.testing.assert_array_equal(outcome.arrays["mask"], mask)


@pytest.mark.long
@pytest.mark.parametrize(
    "blocks",
    [
        {"model": {"arch": "memexp_mlp"}},
        {"model": {"arch": "memexp_mlp"}, "training": {"precision": "bf16", "schedule": "cosine", "warmup_epochs": 1}},
        {"model": {"arch": "memexp_cnn", "width": 4}, "training": {"augment": {"crop": 2, "flip": True}}},
        {"model": {"arch": "memexp_resnet9", "width": 4}, "training": {"precision": "bf16", "nesterov": True}},
        {"model": {"arch": "resnet10t", "drop_rate": 0.2}, "training": {"epochs": 1}},
    ],
)
def test_the_same_trials_give_the_same_bits(blocks: dict[str, Any]) -> None:
    spec = make_spec(**blocks)
    torch.manual_seed(1)
    first = train(spec, [4, 5, 6])
    torch.manual_seed(2)
    torch.randn(100)
    second = train(spec, [4, 5, 6])
    assert [differences(a, b) for a, b in zip(first, second, strict=True)] == [[], [], []]
    assert differences(first[0], first[1])


@pytest.mark.parametrize("recipe", [{"momentum": 0.9}, {"momentum": 0.0}, {"nesterov": True}, {"weight_decay": 0.01}])
def test_a_stack_takes_the_steps_of_a_plain_loop(recipe: dict[str, Any]) -> None:
    spec = make_spec(model={"arch": "memexp_mlp"}, training={"epochs": 2, "lr": 0.1, **recipe})
    work = prepare(spec, load_data(spec.dataset), "cpu")
    trials, steps = [3, 4, 5], count_steps(spec, 200)
    masks = draw_masks(spec.subsets, 200, trials)
    stack, *_ = _trained(work, masks, trials, nullcontext, lambda _: None, Keeper())
    for s, trial in enumerate(trials):
        model = _fresh(work, trial)
        options = {name: getattr(spec.training, name) for name in ("lr", "momentum", "nesterov", "weight_decay")}
        optimizer = torch.optim.SGD(model.parameters(), **options)
        for epoch, _ in epochs(work, masks[[s]], [trial], steps):
            for batch in epoch[:, 0]:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(
                    model(normalized(work, work.x_train[batch])), work.y_train[batch]
                )
                loss.backward()
                optimizer.step()
        for (name, ours), theirs in zip(stack.named_parameters(), model.parameters(), strict=True):
            found = ours[s].T if name.endswith("weight") else ours[s, 0]
            torch.testing.assert_close(found, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.long
def test_a_network_fits_its_own_half_and_not_the_flipped_labels_of_the_other() -> None:
    spec = make_spec(
        dataset={"source": "digits", "label_noise": {"fraction": 0.1, "seed": 0}},
        model={"hidden": [128]},
        training={"epochs": 40, "standardize": True},
    )
    data = load_data(spec.dataset)
    (outcome,) = train(spec, [0])
    mask, correct, flipped = outcome.arrays["mask"], outcome.arrays["train_correct"], data.flipped
    assert flipped is not None
    assert outcome.arrays["in_accuracy"] == correct[mask].mean() > 0.99
    assert outcome.arrays["out_accuracy"] == pytest.approx(correct[~mask].mean())
    assert correct[mask & flipped].mean() > 0.95
    assert correct[~mask & flipped].mean() < 0.1
    assert outcome.arrays["test_accuracy"] > 0.9


def test_margins_agree_with_correctness_and_with_float64() -> None:
    spec = make_spec(record=["correct", "margin"])
    (outcome,) = train(spec, [3])
    margin, correct = outcome.arrays["train_margin"], outcome.arrays["train_correct"]
    assert margin.dtype == np.float16
    # correct means that the label's logit is the largest, so the margin is above -log(K - 1)
    assert margin[correct].min() > -np.log(9) - 0.01
    assert margin[~correct].max() < 0.01


def test_predicted_is_the_first_class_of_the_largest_logit_and_correct_follows_from_it() -> None:
    spec = make_spec(record=["correct", "margin", "predicted"])
    data = load_data(spec.dataset)
    (outcome,) = train(spec, [3])
    for axis, label in (("train", data.y_train), ("test", data.y_test)):
        predicted, correct = outcome.arrays[f"{axis}_predicted"], outcome.arrays[f"{axis}_correct"]
        assert predicted.dtype == np.uint8
        assert 0.3 < correct.mean() < 1
        np.testing.assert_array_equal(predicted == label, correct)
        assert len(np.unique(predicted[~correct])) > 2

    class Tied(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0, 0, 0, 0, 0]).expand(*x.shape[:2], 10)

    work = prepare(spec, data, "cpu")
    tied = evaluation.evaluated(work, Tied(), work.x_test, work.y_test, 2, nullcontext)
    assert (tied.predicted == 1).all()
    np.testing.assert_array_equal(tied.correct, np.tile(data.y_test == 1, (2, 1)))


def test_other_outcomes_are_the_same_bits_with_and_without_predictions() -> None:
    with_it, without = (
        train(make_spec(record=record), [0, 1])
        for record in (["correct", "margin", "predicted"], ["correct", "margin"])
    )
    for one, other in zip(with_it, without, strict=True):
        assert one.arrays.keys() - other.arrays.keys() == {"train_predicted", "test_predicted"}
        for name in other.arrays.keys() - {"seconds"}:
            np.testing.assert_array_equal(one.arrays[name], other.arrays[name], err_msg=name)


@pytest.mark.long
def test_predictions_of_more_than_256_classes_take_two_bytes(tmp_path: Any, new_run: Callable[..., Run]) -> None:
    labels = np.tile(np.arange(300), 2)
    images = np.random.default_rng(0).integers(0, 255, (600, 3, 3, 1), np.uint8)
    np.savez(tmp_path / "many.npz", x_train=images, y_train=labels, x_test=images[:300], y_test=labels[:300])
    run = new_run(
        dataset={"source": "npz", "path": str(tmp_path / "many.npz")}, training={"epochs": 1}, subsets={"trials": 10}
    )
    assert run.store().layout.recorded["predicted"] == "uint16"
    assert planned_layout(run.spec, 1, 1, 1, n_classes=256).recorded["predicted"] == "uint8"
    Trainer(run, "cpu").train(0)
    content = run.store().read_block(0)
    assert content["train_predicted"].dtype == np.uint16
    assert content["train_predicted"].max() > 255
    np.testing.assert_array_equal(content["train_predicted"] == labels, content["train_correct"])
    assert not verify(run, retrain=1).problems


def test_a_diverged_trial_fails_and_its_stack_goes_on() -> None:
    outcomes = train(make_spec(training={"lr": 1e20}), [0, 1])
    assert all(o.failure and "not finite" in o.failure for o in outcomes)
    (single,) = train(make_spec(training={"lr": 1e20}, model={"arch": "memexp_cnn", "width": 4}), [0])
    assert single.failure
    assert "not finite" in single.failure


def test_a_trial_that_did_not_learn_fails() -> None:
    (outcome,) = train(make_spec(training={"lr": 1e-6, "min_in_accuracy": 0.9}), [0])
    assert outcome.failure
    assert outcome.failure.endswith("is below min_in_accuracy 0.9")


def test_all_trials_take_the_same_number_of_steps() -> None:
    assert count_steps(make_spec(training={"epochs": 10, "batch_size": 128}), 60_000) == int(np.ceil(420_000 / 128))
    assert count_steps(make_spec(training={"epochs": 0.5, "batch_size": 100}), 1000) == 4


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"schedule": "constant"}, {0: 1.0, 99: 1.0}),
        ({"schedule": "linear"}, {0: 1.0, 50: 0.5, 99: 0.01}),
        ({"schedule": "linear", "warmup_epochs": 2}, {0: 0.05, 9: 0.5, 19: 1.0, 20: 1.0, 60: 0.5, 99: 1 / 80}),
        ({"schedule": "cosine"}, {0: 1.0, 50: 0.5, 99: 0.5 * (1 + np.cos(np.pi * 0.99))}),
        ({"schedule": "step", "milestones": [3, 6]}, {0: 1.0, 29: 1.0, 30: 0.1, 60: 0.01, 99: 0.01}),
        ({"schedule": "step", "milestones": [3], "warmup_epochs": 1}, {0: 0.1, 9: 1.0, 29: 1.0, 30: 0.1}),
    ],
)
def test_schedules(recipe: dict[str, Any], expected: dict[int, float]) -> None:
    training = make_spec(training={"epochs": 10, "lr": 1.0} | recipe).training
    for step, rate in expected.items():
        assert learning_rate(training, 100, step) == pytest.approx(rate, abs=1e-9), step


def test_large_images_are_evaluated_in_smaller_numbers_with_the_same_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(model={"arch": "memexp_cnn", "width": 4}, record=["correct", "margin"])
    work = prepare(spec, load_data(spec.dataset), "cpu")
    stack = models.stack([_fresh(work, 0)])
    seen: list[int] = []
    stack.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))

    def evaluated() -> evaluation.Evaluation:
        return evaluation.evaluated(work, stack, work.x_train, work.y_train, 1, nullcontext)

    whole = evaluated()
    monkeypatch.setattr(evaluation, "_EVALUATED_PIXELS", 64 * 50)  # the images have 8x8
    parts = evaluated()
    assert seen == [200, 50, 50, 50, 50]
    np.testing.assert_array_equal(whole.correct, parts.correct)
    np.testing.assert_allclose(whole.loss, parts.loss, rtol=1e-5)


def test_torch_is_set_up_for_determinism_without_filling_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        devices.set_up_torch("cpu", 2)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"  # else cuBLAS warns and is not deterministic
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


def test_images_that_are_only_mapped_are_not_copied(tmp_path: Any) -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    placed = _placed(mapped, torch.device("cpu"))
    assert placed.data_ptr() == mapped.ctypes.data
    np.testing.assert_array_equal(placed.permute(0, 2, 3, 1), x)


def test_float_images_are_left_as_they_are_by_training_and_evaluation(tmp_path: Any) -> None:
    draws = np.random.default_rng(0)
    x, y = draws.normal(5, 3, (40, 4, 4, 1)).astype(np.float32), np.arange(40) % 4
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    spec = make_spec(
        dataset={"source": "npz", "path": str(tmp_path / "d.npz")},
        model={"arch": "memexp_cnn", "width": 2},
        training={"batch_size": 8},
    )
    data = load_data(spec.dataset)
    work = prepare(spec, data, "cpu")
    train_block(work, draw_masks(spec.subsets, 40, [0]), [0])
    np.testing.assert_array_equal(work.x_train.permute(0, 2, 3, 1), x)
    np.testing.assert_array_equal(work.x_test.permute(0, 2, 3, 1), x[:8])
