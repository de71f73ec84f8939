"""What a GPU would meet, on one that is only pretended: devices agree, the host seldom waits, trials are the CPU's."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memexp.analysis.products import Tile, Trials
from memexp.data import Data, load_data
from memexp.runs.pilot import seconds_per_trial
from memexp.runs.plan import make_plan
from memexp.runs.run import Run
from memexp.runs.worker import Trainer
from memexp.spec.designs import draw_masks
from memexp.spec.reading import read_spec
from memexp.spec.spec import Spec
from memexp.store.receipts import read_receipts
from memexp.training import batches, block, evaluation
from memexp.training.block import Outcome, prepare_block, train, train_block
from memexp.training.checkpoint import BlockKeeper
from memexp.training.features import extract
from tests.conftest import make_spec
from tests.training.pretended import Gpu, pretend_gpu

MOVING = {"augment": {"crop": 1, "flip": True}, "standardize": True, "nesterov": True, "weight_decay": 5e-4}
SHORT = {"epochs": 1, "batch_size": 28}  # a single step
BF16 = MOVING | {"precision": "bf16"}
RECORD = ["correct", "margin", "predicted"]
CASES: dict[str, dict[str, Any]] = {
    "stack of dense layers": {"model": {"arch": "memexp_mlp", "hidden": [16]}, "training": MOVING},
    "convolutions": {"model": {"arch": "memexp_cnn", "width": 4}, "training": BF16},
    "residual": {
        "model": {"arch": "memexp_resnet9", "width": 4},
        "training": MOVING,
        "record": [*RECORD, "probabilities", "learning"],
    },
    "pre-activation": {"model": {"arch": "memexp_resnetv2_18"}, "training": SHORT | {"augment": {"flip": True}}},
    "inception": {"model": {"arch": "memexp_inception"}, "training": MOVING | SHORT},
    "densely connected": {"model": {"arch": "memexp_densenet100"}, "training": MOVING | SHORT},
    "dropout": {"model": {"arch": "resnet10t", "drop_rate": 0.2}, "training": SHORT},
    "attention": {"model": {"arch": "vit_tiny_patch16_224", "patch_size": 4, "depth": 1}, "training": {}},
}
RESIDENT, IN_HOST_MEMORY = 80 << 30, 1000
MLP = CASES["stack of dense layers"]


def spec_of(case: dict[str, Any]) -> Spec:
    training = {"epochs": 2, "batch_size": 7, "schedule": "linear", "standardize": False} | case["training"]
    digits = {"source": "digits", "limit": {"train": 40, "test": 16}}
    return make_spec(dataset=digits, model=case["model"], training=training, record=case.get("record", RECORD))


def outcomes(spec: Spec, data: Data, device: str, trials: Sequence[int], gpu: Gpu | None = None) -> list[Outcome]:
    work = prepare_block(spec, data, device)
    if gpu is not None:
        gpu.waits.clear()  # each process puts the data on the device once
    return train_block(work, draw_masks(spec.subsets, len(data.y_train), trials), trials)


def check(case: dict[str, Any], free: int, trials: Sequence[int] = (0, 1)) -> None:
    """Trials of the pretended GPU are those of the CPU, and the host waits for it once an epoch."""
    spec = spec_of(case)
    data = load_data(spec.dataset)
    expected = outcomes(spec, data, "cpu", trials)
    with pretend_gpu(free) as gpu:
        found = outcomes(spec, data, "cuda", trials, gpu)
    for a, b in zip(expected, found, strict=True):
        assert a.failure is b.failure is None
        np.testing.assert_array_equal(a.arrays["mask"], b.arrays["mask"])
        same = np.mean(a.arrays["train_margin"] == b.arrays["train_margin"])
        agree = np.mean(a.arrays["train_correct"] == b.arrays["train_correct"])
        # A processor without units for bf16 computes in fp32.
        assert same == 1 if spec.sgd.precision == "fp32" else agree > 0.9
    stacks = 1 if case is MLP else len(trials)
    assert not [where for where in gpu.waits if where.startswith("batches.py")], "a wait within an epoch"
    read_back = {where: n for where, n in gpu.waits.items() if "copy to the device" not in where}
    an_epoch, a_side = (3, 5) if "learning" in spec.record else (1, 4)  # of what is recorded, each is fetched once
    assert sum(read_back.values()) <= stacks * (an_epoch * round(spec.sgd.epochs) + 2 * a_side), read_back
    moved = sum(gpu.waits.values()) - sum(read_back.values())  # the fresh networks alone
    fresh = block._fresh(prepare_block(spec, data, "cpu"), 0)
    assert moved <= stacks * len([*fresh.parameters(), *fresh.buffers()])


@pytest.mark.long
@pytest.mark.parametrize("free", [RESIDENT, IN_HOST_MEMORY], ids=["resident", "images in the host's memory"])
@pytest.mark.parametrize("case", ["stack of dense layers", "convolutions", "residual", "attention"])
def test_a_gpu_would_train_the_cpus_trials_and_seldom_wait(case: str, free: int) -> None:
    check(CASES[case], free)


@pytest.mark.long
@pytest.mark.parametrize("case", ["pre-activation", "inception", "densely connected", "dropout"])
def test_large_networks_too(case: str) -> None:
    check(CASES[case], RESIDENT, trials=[0])


def per_step(case: dict[str, Any]) -> tuple[float, float]:
    """Kernels of a step in all, and of its inputs: what a second epoch of twenty steps adds."""
    counts = []
    for epochs in (1, 2):
        training = case["training"] | {"epochs": epochs, "batch_size": 4, "schedule": "constant"}
        digits = {"source": "digits", "limit": {"train": 114, "test": 16}}
        spec = make_spec(dataset=digits, model=case["model"], training=training)
        data = load_data(spec.dataset)
        with pretend_gpu() as gpu:
            work = batches.prepare(spec, data, "cuda")
            gpu.kernels.clear()
            train(work, draw_masks(spec.subsets, 114, [0]), [0])
        inputs = sum(n for where, n in gpu.kernels.items() if where.startswith("batches.py"))
        counts.append((sum(gpu.kernels.values()), inputs))
    (all_once, inputs_once), (all_twice, inputs_twice) = counts
    return (all_twice - all_once) / 20, (inputs_twice - inputs_once) / 20


@pytest.mark.long
def test_a_step_launches_few_kernels_and_few_of_them_for_its_inputs() -> None:
    """With the device's draws and a gather for each step there were 138 and 19."""
    kernels, inputs = per_step({"model": {"arch": "memexp_resnet9", "width": 4}, "training": BF16})
    assert kernels <= 120
    assert inputs <= 2


# ------------------------------------------------------------------------------ what else a GPU is used for


@pytest.mark.long
def test_a_worker_commits_what_the_cpus_worker_commits(new_run: Callable[..., Run], tmp_path: Path) -> None:
    here, there = (new_run(name=name, training=MOVING, record=["correct", "margin"]) for name in ("here", "there"))
    Trainer(here, "cpu").train(0)
    with pretend_gpu():
        summary = Trainer(there, "auto").train(0)
    assert summary["counts"]
    for name, array in here.store().read_block(0).items():
        if name not in ("seconds", "train_loss"):
            np.testing.assert_array_equal(array, there.store().read_block(0)[name])
    (receipt,) = read_receipts(there.paths)
    assert (receipt.made_by["device"], receipt.made_by["capability"]) == ("pretended GPU", "9.0")
    assert receipt.made_by["cudnn"] == torch.backends.cudnn.version(), "it decides bits, as torch does"
    assert "remark" not in receipt.made_by


def test_a_worker_tells_that_bf16_is_computed_in_fp32(
    new_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    with pretend_gpu(bf16=False):
        trainer = Trainer(new_run(training={"precision": "bf16"}), "cuda")
    assert "bf16 is computed in fp32 here" in str(trainer.made_by["remark"])
    assert capsys.readouterr().err.count("bf16 is computed in fp32 here") == 1


def test_workers_that_start_together_leave_room_for_each_others_images() -> None:
    data = load_data(spec_of(MLP).dataset)
    train, test = data.x_train.nbytes, data.x_test.nbytes
    for sharing in (1, 2, 3):
        for free, there in ((2 * sharing * train, [True, True]), (2 * sharing * train - 1, [False, True])):
            with pretend_gpu(free):
                work = batches.prepare(spec_of(MLP), data, "cuda", sharing)
                assert [x.is_cuda for x in (work.x_train, work.x_test)] == there
            assert sharing * (train * there[0] + test) <= free


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", "adafactor"])
def test_an_interrupted_trial_goes_on_there_without_more_waits(optimizer: str) -> None:
    """It ends with the bits of one that was not, and counters of steps stay the host's."""
    spec = spec_of({"model": CASES["convolutions"]["model"], "training": {"optimizer": optimizer, "ema": 0.9}})
    data = load_data(spec.dataset)
    kept: list[bytes] = []

    def part(payload: bytes | None, every: float) -> tuple[Outcome, Counter[str]]:
        keeper = BlockKeeper(payload, lambda view, _: kept.append(bytes(view)), every, 1)
        gpu.waits.clear()
        (outcome,) = train_block(work, draw_masks(spec.subsets, len(data.y_train), [0]), [0], keeper=keeper)
        return outcome, Counter({where: n for where, n in gpu.waits.items() if "copy to" not in where})

    with pretend_gpu() as gpu:
        work = prepare_block(spec, data, "cuda")
        whole, waits = part(None, 900.0)
        part(None, 0.0)  # keeps before each step
        resumed, waits_again = part(kept[2], 900.0)
    np.testing.assert_array_equal(whole.arrays["train_margin"], resumed.arrays["train_margin"])
    assert waits_again == waits


@pytest.mark.long
def test_the_pilot_measures_a_gpu_and_gives_its_memory_back(
    write_spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, given_back = make_plan(read_spec(write_spec(training=MOVING))), []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(True))
    with pretend_gpu():
        assert 0 < seconds_per_trial(plan, "cuda") < 60
    assert given_back, "workers keep images there by the memory that is free"


@pytest.mark.long
def test_features_are_the_cpus() -> None:
    spec = spec_of(CASES["residual"])
    data = load_data(spec.dataset)
    expected, accuracy = extract(spec, data, "cpu")
    with pretend_gpu():
        found, again = extract(spec, data, "cuda")
    assert accuracy == again
    np.testing.assert_array_equal(expected["x_train"], found["x_train"])


RECIPE = """
import torch

def train(model, images, labels, seed, epochs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    draws = torch.Generator(images.device).manual_seed(seed)
    for _ in range(epochs):
        for part in torch.randperm(len(labels), generator=draws, device=images.device).split(10):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()
"""


@pytest.mark.long
def test_a_users_recipe_trains_there(write_spec: Callable[..., Path]) -> None:
    (path := write_spec(training={})).with_name("recipe.py").write_text(RECIPE)
    text = path.read_text()
    start = text.index("training:")
    path.write_text(f"{text[:start]}training: {{file: recipe.py, epochs: 3}}\n{text[text.index('subsets:') :]}")
    spec = read_spec(path).spec
    data = load_data(spec.dataset)
    expected = outcomes(spec, data, "cpu", [0])
    with pretend_gpu():
        found = outcomes(spec, data, "cuda", [0])
    np.testing.assert_array_equal(expected[0].arrays["train_correct"], found[0].arrays["train_correct"])


def test_products_of_the_estimates_are_the_cpus() -> None:
    draws = np.random.default_rng(0)
    correct, masks = draws.integers(0, 256, (30, 5), dtype=np.uint8), draws.integers(0, 256, (40, 5), dtype=np.uint8)
    tile = Tile(slice(0, 30), slice(3, 40))
    expected = Trials(correct, masks, 40)
    with pretend_gpu():
        found = Trials(correct, masks, 40, "cuda")
        np.testing.assert_array_equal(found.in_correct(tile), expected.in_correct(tile))
        np.testing.assert_array_equal(found.influence(tile), expected.influence(tile))


# ------------------------------------------------------------------------------ planted faults


def plant(patch: pytest.MonkeyPatch, function: Callable[..., Any], right: str, wrong: str) -> None:
    """Replace a piece of a function's source, wherever the function is known."""
    module = sys.modules[function.__module__]
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"{function.__name__} has no single {right!r}"
    made: dict[str, Any] = {}
    exec(compile(source.replace(right, wrong), str(module.__file__), "exec"), vars(module), made)
    for known in [m for name, m in sys.modules.items() if name.startswith("memexp.training")]:
        for name, value in list(vars(known).items()):
            if value is function:
                patch.setattr(known, name, made[function.__name__])


FAULTS: dict[str, tuple[Callable[..., Any], str, str, int]] = {
    "rows counted on the host": (
        batches.moved, "torch.arange(height, device=x.device)", "torch.arange(height)", RESIDENT),
    "moves left on the host": (
        batches._made, "changes = on_device(work, ", "changes = (lambda _, x: x)(work, ", RESIDENT),
    "scale left on the host": (batches.prepare, "scale.to(device)", "scale", RESIDENT),
    "labels chosen by the host's numbers": (
        batches._made, "work.y_train.index_select(0, chosen)", "work.y_train.index_select(0, here)", RESIDENT),
    "images of the host chosen by the device's numbers": (
        batches._made, "chosen_images(x, here)", "chosen_images(x, chosen)", IN_HOST_MEMORY),
    "images that went up not numbered anew": (
        batches._made, "torch.arange(len(here), device=work.device)", "chosen", IN_HOST_MEMORY),
    "memory not pinned": (batches.on_device, "x.pin_memory().to", "x.to", IN_HOST_MEMORY),
    "a copy that waits": (batches.on_device, "non_blocking=True", "non_blocking=False", RESIDENT),
    "network not moved": (block._trained, ".to(work.device).train()", ".train()", RESIDENT),
    "draws of the device's own": (
        block._trained, "Draws(seed, trial)", "Draws(seed + len(work.device.type), trial)", RESIDENT),
    "a wait in every step": (block._trained, "step += 1", "step += 1 + 0 * int(loss)", RESIDENT),
    "results not fetched": (evaluation.evaluated, "torch.cat(parts, 1).cpu()", "torch.cat(parts, 1)", RESIDENT),
    "images not brought to the device for evaluation": (
        evaluation.evaluated, "on_device(work, x[start : start + size])", "x[start : start + size]", IN_HOST_MEMORY),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    *what, free = FAULTS[fault]
    plant(monkeypatch, *what)
    with pytest.raises((AssertionError, RuntimeError, TypeError, IndexError)):
        check(MLP, free)
