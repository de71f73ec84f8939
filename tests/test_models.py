"""Models come from timm's registry; stacked trials compute what single ones compute."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import memexp.models as models
from memexp.errors import InputError


def create(arch: str, image: tuple[int, int, int] = (28, 28, 1), seed: int = 0, **arguments: object) -> nn.Module:
    return models.create(arch, arguments, image, 10, seed)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arch", "image", "count"),
    [
        ("memexp_mlp", (28, 28, 1), 785 * 512 + 513 * 256 + 257 * 10),
        ("memexp_mlp", (8, 8, 1), 65 * 512 + 513 * 256 + 257 * 10),
        ("memexp_resnet18", (32, 32, 3), 11_173_962),  # the count of the usual CIFAR ResNet-18
        ("memexp_resnet50", (32, 32, 3), 23_520_842),
    ],
)
def test_sizes_are_the_published_ones(arch: str, image: tuple[int, int, int], count: int) -> None:
    assert parameters(create(arch, image)) == count


@pytest.mark.parametrize(
    "arch", ["memexp_mlp", "memexp_cnn", "memexp_resnet9", "memexp_resnet18", "resnet10t", "vit_tiny_patch16_224"]
)
@pytest.mark.parametrize("image", [(8, 8, 1), (32, 32, 3)])
def test_every_architecture_takes_small_images(arch: str, image: tuple[int, int, int]) -> None:
    arguments = {"patch_size": 4} if arch.startswith("vit") else {}
    model = create(arch, image, **arguments)
    models.try_out(model, image, 10)


def test_ours_stand_in_timms_registry() -> None:
    assert timm.is_model("memexp_resnet9")
    assert isinstance(timm.create_model("memexp_mlp", num_classes=3), nn.Module)


@pytest.mark.parametrize(
    ("arch", "arguments", "words"),
    [
        ("resnt18", {}, "timm knows no such architecture. Did you mean .*resnet18"),
        ("memexp_mlp", {"widths": [3]}, "does not take"),
        ("memexp_mlp", {"pretrained": True}, "no pretrained weights"),
        ("vit_tiny_patch16_224", {"patch_size": 500}, "cannot take images of 28x28x1"),
    ],
)
def test_what_timm_cannot_make_is_explained(arch: str, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        models.try_out(create(arch, **arguments), (28, 28, 1), 10)


def test_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, c = create("memexp_cnn", seed=1), create("memexp_cnn", seed=1), create("memexp_cnn", seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


def test_a_stack_computes_what_its_models_compute_gradients_included() -> None:
    singles = [create("memexp_mlp", seed=seed, hidden=(20, 12)).double() for seed in range(3)]
    stack = models.stack(singles)
    x = torch.randn(3, 7, 1, 28, 28, dtype=torch.float64)
    out = stack(x)
    out.square().sum().backward()
    for s, single in enumerate(singles):
        alone = single(x[s])
        alone.square().sum().backward()
        torch.testing.assert_close(out[s], alone)
    gradients = dict(stack.named_parameters())
    for name, parameter in singles[1].named_parameters():
        stacked = gradients[name].grad
        assert stacked is not None
        mine = stacked[1].t() if name.endswith("weight") else stacked[1, 0]
        torch.testing.assert_close(mine, parameter.grad)


def test_only_dense_networks_stack_on_a_cpu() -> None:
    assert models.stack_size(create("memexp_mlp"), "cpu") == 4
    assert models.stack_size(create("memexp_mlp", (8, 8, 1), hidden=(16,)), "cpu") > 100
    assert models.stack_size(create("memexp_cnn"), "cpu") == 1
