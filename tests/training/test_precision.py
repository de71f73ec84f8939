"""Precision: the same word is the same arithmetic on every device, and never slower than fp32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from memexp.data import load_data
from memexp.spec.designs import draw_masks
from memexp.training.batches import epochs, normalized, prepare
from memexp.training.block import _fresh, count_steps, train
from memexp.training.models import unstack
from memexp.training.precision import computing, has_bf16_units, remark
from tests.conftest import make_spec
from tests.training.pretended import pretend_gpu

CPU = torch.device("cpu")


@pytest.mark.parametrize("units", ["none", "avx512", "amx"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_bf16_on_a_cpu_is_autocast_with_units_for_it_but_for_dense_layers_with_amx(
    units: str, dense: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: units != "none")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units == "amx")
    x, layer = torch.ones(2, 3), torch.nn.Linear(3, 4)
    before = torch.backends.mkldnn.matmul.fp32_precision
    with computing(name, CPU, dense) as forward, forward():
        autocast = name == "bf16" and units != "none" and not (dense and units == "amx")
        assert layer(x).dtype == (torch.bfloat16 if autocast else torch.float32)
        if not autocast:
            assert torch.backends.mkldnn.conv.fp32_precision == ("bf16" if name == "bf16" else "ieee")
    assert torch.backends.mkldnn.matmul.fp32_precision == before


@pytest.mark.parametrize("keys", [{}, {"nesterov": True, "weight_decay": 0.01}])
def test_dense_layers_are_bf16_where_only_bf16_tensors_are_multiplied_so(
    keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack goes, but for roundings, where a loop over single networks in autocast goes."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    spec = make_spec(model={"arch": "memexp_mlp", "hidden": [64]}, training={"precision": "bf16", **keys})
    data, recipe = load_data(spec.dataset), spec.sgd
    work, masks = prepare(spec, data, "cpu"), draw_masks(spec.subsets, len(data.y_train), [0, 1])
    stack = train(work, masks, [0, 1])
    with computing("bf16", CPU, dense=True) as forward, forward(), torch.no_grad():
        assert stack(torch.ones(2, 1, 1, 8, 8)).dtype == torch.bfloat16
    for s in (0, 1):
        model, fresh = _fresh(work, s), _flat(_fresh(work, s).state_dict())
        options = {name: getattr(recipe, name) for name in ("lr", "momentum", "nesterov", "weight_decay")}
        optimizer = torch.optim.SGD(model.parameters(), **options)
        for epoch, _ in epochs(work, masks[[s]], [s], count_steps(spec, len(data.y_train))):
            for batch in epoch[:, 0]:
                with torch.autocast("cpu", torch.bfloat16):
                    logits = model(normalized(work, work.x_train[batch]))
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(logits.float(), work.y_train[batch]).backward()
                optimizer.step()
        way = _flat(model.state_dict()) - fresh
        assert (_flat(unstack(stack, s)) - fresh - way).norm() < 0.03 * way.norm()


def _flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([state[name].flatten() for name in sorted(state)])


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_on_a_gpu_tf32_is_what_was_asked_for_in_products_and_convolutions_alike(name: str) -> None:
    units = [torch.backends.cudnn.conv, torch.backends.cuda.matmul]
    before = [unit.allow_tf32 for unit in (torch.backends.cudnn, torch.backends.cuda.matmul)]
    with pretend_gpu(), computing(name, torch.device("cuda"), dense=False):
        assert [unit.fp32_precision == "tf32" for unit in units] == 2 * [name == "tf32"]
        assert torch.backends.cudnn.allow_tf32 == (name == "tf32"), "a user's recipe may ask in the older way"
    assert [unit.allow_tf32 for unit in (torch.backends.cudnn, torch.backends.cuda.matmul)] == before


@pytest.mark.parametrize("units", [True, False])
def test_bf16_is_taken_of_a_gpu_only_where_it_has_units_for_it(units: bool) -> None:
    spec, gpu = make_spec(training={"precision": "bf16"}), torch.device("cuda")
    with pretend_gpu(bf16=units), computing("bf16", gpu, dense=False) as forward, forward():
        assert torch.cuda.is_bf16_supported(), "which counts emulation"
        assert has_bf16_units(gpu) == units
        product = torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")
        assert product.dtype == (torch.bfloat16 if units else torch.float32)
        said = remark(spec, gpu)
    assert (said is None) == units
    if said:
        assert "bf16 is computed in fp32 here" in said
        assert "compute capability 7.5; those of 8.0 and more have" in said
    assert remark(spec, CPU) is None


def test_the_values_of_precision_are_three_identities_and_old_ones_stay() -> None:
    found = {name: make_spec(training={"precision": name}).science() for name in ("fp32", "tf32", "bf16")}
    assert found["fp32"] == make_spec().science()
    assert [science["training"]["precision"] for science in found.values()] == list(found)


def test_dense_layers_in_bf16_are_another_experiment_than_when_some_processors_computed_them_in_float32() -> None:
    for arch, marked in (("memexp_mlp", True), ("memexp_cnn", False)):
        model = {"arch": arch} | ({"width": 4} if arch == "memexp_cnn" else {})
        science = make_spec(model=model, training={"precision": "bf16"}).science()
        assert ("dense" in science["training"]) == marked
        assert "dense" not in make_spec(model=model, training={"precision": "tf32"}).science()["training"]
