"""Precision: the same word is the same arithmetic on every device, and never slower than fp32."""

from __future__ import annotations

import pytest
import torch

from memexp.training import precision
from memexp.training.precision import computing, has_bf16_units, remark
from tests.conftest import make_spec
from tests.training.pretended import pretend_gpu

CPU = torch.device("cpu")


@pytest.mark.parametrize("units", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_bf16_on_a_cpu_is_autocast_only_for_convolutions_and_only_with_units_for_it(
    units: bool, dense: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda _: units)
    x, layer = torch.ones(2, 3), torch.nn.Linear(3, 4)
    before = torch.backends.mkldnn.matmul.fp32_precision
    with computing(name, CPU, dense) as forward, forward():
        autocast = name == "bf16" and units and not dense
        assert layer(x).dtype == (torch.bfloat16 if autocast else torch.float32)
        if not autocast:
            assert torch.backends.mkldnn.conv.fp32_precision == ("bf16" if name == "bf16" else "ieee")
    assert torch.backends.mkldnn.matmul.fp32_precision == before


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
