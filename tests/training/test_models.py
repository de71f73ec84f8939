"""Models come from timm's registry; stacked trials compute what single ones compute."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import memexp.training.models as models
from memexp.errors import InputError
from memexp.training.tryout import try_out, try_training


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
        ("memexp_inception", (32, 32, 3), 1_895_786),  # the paper's: 1.896 M
        ("memexp_densenet100", (32, 32, 3), 769_162),  # 0.8 M in the DenseNet paper
        ("resnet50", (224, 224, 3), 25_557_032 - 990 * 2049),  # ImageNet's, with ten classes
    ],
)
def test_sizes_are_the_published_ones(arch: str, image: tuple[int, int, int], count: int) -> None:
    assert parameters(create(arch, image)) == count


def test_the_inception_for_a_hundred_classes_has_the_papers_size() -> None:
    assert parameters(models.create("memexp_inception", {}, (32, 32, 3), 100, 0)) == 1_926_116


@pytest.mark.long
@pytest.mark.parametrize(("arch", "blocks", "bottleneck"), [("18", (2, 2, 2, 2), False), ("50", (3, 4, 6, 3), True)])
def test_preactivation_resnets_have_the_weights_of_their_description(
    arch: str, blocks: tuple[int, ...], bottleneck: bool
) -> None:
    """Counted by hand: each convolution is preceded by a batch norm, the stem and the shortcuts are not."""
    width, total = 64, 64 * 3 * 9
    for channels, count in zip((64, 128, 256, 512), blocks, strict=True):
        out = channels * (4 if bottleneck else 1)
        kernels = [(channels, 1), (channels, 3), (out, 1)] if bottleneck else [(channels, 3), (out, 3)]
        for number in range(count):
            total += width * out if number == 0 and width != out else 0
            for to, size in kernels:
                total += 2 * width + width * to * size**2
                width = to
    model = create(f"memexp_resnetv2_{arch}", (32, 32, 3))
    assert parameters(model) == total + 2 * width + (width + 1) * 10
    assert not model(torch.randn(2, 3, 32, 32)).any(), "the last layer starts at zero"


def test_the_densenet_has_a_hundred_layers_and_no_reduction_before_its_first_block() -> None:
    model = create("memexp_densenet100", (32, 32, 3))
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 100
    shapes = []
    model.features.denseblock1.register_forward_hook(lambda _, given, out: shapes.append(tuple(out.shape)))
    model.features.denseblock3.register_forward_hook(lambda _, given, out: shapes.append(tuple(out.shape)))
    model(torch.zeros(1, 3, 32, 32))
    assert shapes == [(1, 24 + 16 * 12, 32, 32), (1, 150 + 16 * 12, 8, 8)]


@pytest.mark.long
@pytest.mark.parametrize(
    "arch",
    ["memexp_mlp", "memexp_cnn", "memexp_resnet9", "memexp_resnet18", "memexp_resnetv2_18", "memexp_inception",
     "memexp_densenet100", "resnet10t", "vit_tiny_patch16_224"],
)  # fmt: skip
@pytest.mark.parametrize("image", [(8, 8, 1), (32, 32, 3)])
def test_every_architecture_takes_small_images(arch: str, image: tuple[int, int, int]) -> None:
    arguments = {"patch_size": 4} if arch.startswith("vit") else {}
    model = create(arch, image, **arguments)
    try_out(model, image, 10)


def test_ours_stand_in_timms_registry() -> None:
    assert timm.is_model("memexp_resnet9")
    assert isinstance(timm.create_model("memexp_mlp", num_classes=3), nn.Module)


@pytest.mark.long
@pytest.mark.parametrize(
    ("arch", "arguments", "words"),
    [
        ("resnt18", {}, "timm knows no such architecture. Did you mean .*resnet18"),
        ("memexp_mlp", {"widths": [3]}, "there is no argument 'widths'; it takes hidden"),
        ("memexp_mlp", {"pretrained": True}, "no pretrained weights"),
        ("vit_tiny_patch16_224", {"patch_size": 500}, "cannot take images of 28x28x1"),
    ],
)
def test_what_timm_cannot_make_is_explained(arch: str, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        try_out(create(arch, **arguments), (28, 28, 1), 10)


class OnlyInEvaluation(nn.Module):
    """Logits after training; in training a pair, as networks with a second head give it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(28 * 28, 10)

    def forward(self, x: torch.Tensor) -> object:
        logits = self.head(x.flatten(1))
        return (logits, logits) if self.training else logits


def test_what_fails_only_in_training_is_found_before_it() -> None:
    image = (28, 28, 1)
    narrow = create("resnet10t", (8, 8, 1))
    try_out(narrow, (8, 8, 1), 10)
    try_training(narrow, (8, 8, 1), 10, batch=64)
    with pytest.raises(InputError, match="cannot train on batches of 1 8x8x1: Expected more than 1 value per channel"):
        try_training(narrow, (8, 8, 1), 10, batch=1)
    try_out(OnlyInEvaluation(), image, 10)
    with pytest.raises(InputError, match=r"gives a tuple of 2 for 2 images in training; it must give \(2, 10\) logits"):
        try_training(OnlyInEvaluation(), image, 10, batch=64)


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
