"""Networks of this project that need nothing of timm: their runs start without importing it.

For any small image: an MLP (784-512-256-10 on MNIST, as in the public demo of the paper), a small CNN,
ResNet-9; for images of 28x28 to 32x32 the paper's small Inception. :mod:`memexp.training.timm_networks`
registers them with timm too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memexp.errors import InputError

# timm looks here whether a network is made for one size of images, which it is then told
default_cfgs = {"memexp_mlp": {"fixed_input_size": True, "input_size": (1, 28, 28)}}


class MLP(nn.Module):
    """Dense layers with ReLU between; any number of leading axes before (C, H, W)."""

    def __init__(self, in_chans: int, img_size: tuple[int, int], num_classes: int, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [in_chans * img_size[0] * img_size[1], *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., classes)."""
        x = x.flatten(-3)
        for layer in self.hidden:
            x = layer(x).relu_()
        logits: Tensor = self.head(x)
        return logits


def _conv(a: int, b: int, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU, and a halving of the image where asked."""
    layers = [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class CNN(nn.Module):
    """Three convolutions and a linear head: trains in seconds on a CPU."""

    def __init__(self, in_chans: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(in_chans, width, pool=True), _conv(width, 2 * width, pool=True), _conv(2 * width, 4 * width)
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        logits: Tensor = self.head(self.body(x).amax((-2, -1)))
        return logits


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class ResNet9(nn.Module):
    """The nine-layer residual network of fast CIFAR training: two residual blocks, global max pooling."""

    def __init__(self, in_chans: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(in_chans, width),
            _conv(width, 2 * width, pool=True),
            _Residual(2 * width),
            _conv(2 * width, 4 * width, pool=True),
            _conv(4 * width, 8 * width, pool=True),
            _Residual(8 * width),
        )
        self.head = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        logits: Tensor = self.head(self.body(x).amax((-2, -1)))
        return logits


def _conv_of(a: int, b: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU, with the image's size kept (or divided by the stride)."""
    conv = nn.Conv2d(a, b, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(b), nn.ReLU(inplace=True))


class _TwoBranches(nn.Module):
    """A 1x1 and a 3x3 convolution of the same input, side by side."""

    def __init__(self, channels: int, one: int, three: int) -> None:
        super().__init__()
        self.one, self.three = _conv_of(channels, one, 1), _conv_of(channels, three, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x)], 1)


class SmallInception(nn.Module):
    """The paper's simplified Inception for MNIST and CIFAR: eight two-branch blocks in three stages.

    A stage ends with a convolution of stride 2; the last one with global max pooling. 1,895,786 weights
    for ten classes of colour images, 1,926,116 for a hundred.
    """

    STAGES = (
        (((32, 32), (32, 48)), 160),
        (((112, 48), (96, 64), (80, 80), (48, 96)), 240),
        (((176, 160), (176, 160)), None),
    )

    def __init__(self, in_chans: int, num_classes: int) -> None:
        super().__init__()
        width = 96
        layers: list[nn.Module] = [_conv_of(in_chans, width, 3)]
        for blocks, reduced in self.STAGES:
            for one, three in blocks:
                layers.append(_TwoBranches(width, one, three))
                width = one + three
            if reduced is not None:
                layers.append(_conv_of(width, reduced, 3, stride=2))
                width = reduced
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        logits: Tensor = self.head(self.body(x).amax((-2, -1)))
        return logits


def own_arguments(kwargs: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Arguments for a constructor of ours: without those that timm passes for pretrained weights."""
    pretraining = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    if kwargs.get("pretrained"):
        raise InputError("memexp's own architectures have no pretrained weights; delete 'pretrained'")
    return defaults | {key: value for key, value in kwargs.items() if key not in pretraining}


def memexp_mlp(**kwargs: Any) -> nn.Module:
    """Argument: hidden, the widths of the hidden layers."""
    return MLP(**own_arguments(kwargs, in_chans=1, img_size=(28, 28), num_classes=10, hidden=(512, 256)))


def memexp_cnn(**kwargs: Any) -> nn.Module:
    """Argument: width, the channels of the first convolution."""
    return CNN(**own_arguments(kwargs, in_chans=3, num_classes=10, width=16))


def memexp_resnet9(**kwargs: Any) -> nn.Module:
    """Argument: width, the channels of the first convolution."""
    return ResNet9(**own_arguments(kwargs, in_chans=3, num_classes=10, width=64))


def memexp_inception(**kwargs: Any) -> nn.Module:
    """The paper's small Inception."""
    return SmallInception(**own_arguments(kwargs, in_chans=3, num_classes=10))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    function.__name__: function for function in (memexp_mlp, memexp_cnn, memexp_resnet9, memexp_inception)
}
