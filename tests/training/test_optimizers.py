"""Optimizers of timm's, clipping and the average of weights, each against a loop of torch's own."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from memexp.errors import InputError, SpecError
from memexp.runs.plan import make_plan
from memexp.spec.reading import read_spec
from memexp.spec.spec import Spec, Training
from memexp.training.block import train_block
from memexp.training.models import OneTrial
from memexp.training.optimizers import Updates, require_optimizer
from tests.conftest import Done, make_spec

from .test_checkpoint import RECIPES, TRIALS, bits, masks, trained_on, work_of

RATES = [0.01, 0.02, 0.005, 0.01, 0.01]


def recipe(**keys: Any) -> Training:
    return Training.model_validate({"epochs": 1, "batch_size": 4, "lr": 0.01} | keys)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(number)
    return torch.randn(4, 6, generator=draws), torch.randint(3, (4,), generator=draws)


def moved(model: nn.Module, step: Callable[[float], None], forget: Callable[[], None]) -> nn.Module:
    for number, rate in enumerate(RATES):
        x, y = batch(number)
        forget()
        F.cross_entropy(model(x), y).backward()
        step(rate)
    return model


def by_updates(**keys: Any) -> nn.Module:
    model = network()
    updates = Updates(OneTrial(model), recipe(**keys))
    moved(model, updates.step, updates.before_backward)
    updates.finish()
    return model


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for (name, one), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7, msg=name)


def test_adamw_decays_weights_and_nothing_else() -> None:
    model = network()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    theirs = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.1}], betas=(0.9, 0.95)
    )

    def step(rate: float) -> None:
        for group in theirs.param_groups:
            group["lr"] = rate
        theirs.step()

    moved(model, step, theirs.zero_grad)
    assert_same(model, by_updates(optimizer="adamw", weight_decay=0.1, optimizer_arguments={"betas": [0.9, 0.95]}))


def test_lion_is_the_rule_of_its_paper() -> None:
    model = network()
    momenta = [torch.zeros_like(p) for p in model.parameters()]

    @torch.no_grad()
    def step(rate: float) -> None:
        for parameter, momentum in zip(model.parameters(), momenta, strict=True):
            assert parameter.grad is not None
            parameter -= rate * (0.9 * momentum + 0.1 * parameter.grad).sign()
            momentum.mul_(0.99).add_(parameter.grad, alpha=0.01)

    assert_same(moved(model, step, lambda: model.zero_grad()), by_updates(optimizer="lion"))


def test_clipping_scales_the_whole_gradient() -> None:
    model = network()

    @torch.no_grad()
    def step(rate: float) -> None:
        gradients = [p.grad for p in model.parameters()]
        norm = torch.sqrt(sum((g**2).sum() for g in gradients))  # type: ignore[arg-type,operator,misc]
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter -= rate * gradient * min(1.0, 0.5 / float(norm))  # type: ignore[operator]

    assert_same(moved(model, step, lambda: model.zero_grad()), by_updates(momentum=0.0, clip_norm=0.5))


def test_the_average_of_weights_is_what_is_evaluated() -> None:
    model = network()
    updates = Updates(OneTrial(model), recipe())
    mean = {name: value.clone().double() for name, value in model.state_dict().items()}
    numbers = iter(range(len(RATES)))

    def step(rate: float) -> None:
        updates.step(rate)
        t = next(numbers)
        share = min(0.3, (1 + t) / (10 + t))
        for name, value in model.state_dict().items():
            mean[name] = share * mean[name] + (1 - share) * value if value.is_floating_point() else value.double()

    moved(model, step, updates.before_backward)
    averaged = by_updates(ema=0.3)
    for name, value in averaged.state_dict().items():
        torch.testing.assert_close(value.double(), mean[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(averaged.state_dict()["3.weight"], model.state_dict()["3.weight"])


@pytest.mark.parametrize("name", ["adamw", "lion", "lamb", "muon", "adafactor", "nadamw"])
def test_a_state_that_was_written_and_read_gives_the_same_steps(name: str) -> None:
    def half(model: nn.Module, updates: Updates, numbers: range) -> None:
        for number in numbers:
            x, y = batch(number)
            updates.before_backward()
            F.cross_entropy(model(x), y).backward()
            updates.step(0.01)

    keys = {"optimizer": name, "weight_decay": 0.01, "ema": 0.9, "clip_norm": 1.0}
    model = network()
    updates = Updates(OneTrial(model), recipe(**keys))
    half(model, updates, range(3))
    file = io.BytesIO()
    torch.save([each.state_dict() for each in updates.states], file)
    other = copy.deepcopy(model)
    half(model, updates, range(3, 6))
    again = Updates(OneTrial(other), recipe(**keys))
    file.seek(0)
    for each, state in zip(again.states, torch.load(file, weights_only=True), strict=True):
        each.load_state_dict(state)
    half(other, again, range(3, 6))
    updates.finish()
    again.finish()
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.long
def test_interruptions_change_no_bit_of_a_trial_by_adamw_with_everything() -> None:
    keys = {"optimizer": "adamw", "weight_decay": 0.05, "clip_norm": 1.0, "ema": 0.99}
    work = work_of(**RECIPES["dropout and a hidden buffer"], training=keys)
    found, _ = trained_on(work, [7, 40, 50, 60])
    assert bits(found) == bits(train_block(work, masks(work), TRIALS))


@pytest.mark.long
def test_a_trial_is_the_same_alone_and_in_a_block() -> None:
    """Dense networks do not train as a stack where a step looks at whole tensors."""
    for keys in ({"optimizer": "lamb"}, {"clip_norm": 0.1}):
        work = work_of(training=keys)
        together = bits(train_block(work, masks(work), [0, 1, 2]))
        assert together == [bits(train_block(work, masks(work)[k : k + 1], [k]))[0] for k in range(3)]


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"optimizer": "adamv"}, "'adamv' is no optimizer that memexp takes from timm. Did you mean adam or"),
        ({"optimizer": "adahessian"}, "'adahessian' is no optimizer that memexp takes from timm"),
        ({"optimizer": "adamw", "momentum": 0.8}, "adamw has no momentum"),
        ({"optimizer": "adamw", "optimizer_arguments": {"beta": 1}}, "correct optimizer_arguments"),
        ({"optimizer": "adamw", "optimizer_arguments": {"betas": [2, 3]}}, "correct optimizer_arguments"),
    ],
)
def test_what_is_wrong_with_an_optimizer_is_told_before_anything_trains(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        require_optimizer(recipe(**keys))


def test_faults_of_a_recipe_stand_beside_their_line(write_spec: Callable[..., Path]) -> None:
    with pytest.raises(
        SpecError, match=r"line \d+: training.optimizer: 'adamv' is no optimizer that memexp takes from timm"
    ):
        make_plan(read_spec(write_spec(training={"optimizer": "adamv"})))
    for keys, said in (
        ({"optimizer_arguments": {"eps": 1}}, "sgd has momentum and nesterov"),
        ({"optimizer": "adamw", "nesterov": True}, "nesterov is of sgd"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"ema": 1}, "ema"),
    ):
        with pytest.raises(SpecError, match=said):
            read_spec(write_spec(training=keys))


def test_the_plan_tells_the_recipe(write_spec: Callable[..., Path], memexp: Callable[..., Done]) -> None:
    keys = {"optimizer": "adamw", "weight_decay": 0.05, "clip_norm": 1, "ema": 0.999, "momentum": 0.9}
    keys["optimizer_arguments"] = {"betas": [0.9, 0.95]}
    done = memexp("plan", write_spec(training=keys))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "timm's adamw with batches of 32 for 3 epochs, betas=[0.9, 0.95], weight decay 0.05 but on biases" in said
    assert "gradients up to norm 1, evaluated: average of the weights with 0.999" in said


def test_keys_that_came_later_are_no_part_of_an_older_specs_identity() -> None:
    def identity(spec: Spec) -> dict[str, Any]:
        return dict(spec.science()["training"])

    plain = identity(make_spec())
    assert not {"optimizer", "optimizer_arguments", "clip_norm", "ema"} & plain.keys()
    assert plain["augment"] == {"crop": 0, "flip": False}
    assert identity(make_spec(training={"optimizer": "adamw"})) == plain | {"optimizer": "adamw"}
    assert identity(make_spec(training={"ema": 0.5})) == plain | {"ema": 0.5}


@pytest.mark.process
def test_sgd_does_not_import_timm(write_spec: Callable[..., Path]) -> None:
    code = (
        "import sys; from memexp.runs.plan import make_plan; from memexp.spec.reading import read_spec; "
        "from pathlib import Path; make_plan(read_spec(Path(sys.argv[1]))); print('timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, write_spec()], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
