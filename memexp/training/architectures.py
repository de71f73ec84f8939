"""Networks of this project, registered in timm's registry beside timm's own.

Their names start with ``memexp_``. For any small image: an MLP (784-512-256-10 on MNIST, as in the
public demo of the paper), a small CNN, ResNet-9. For images of 28x28 to 32x32, with a first convolution
of 3x3 and stride 1 where timm's would reduce the image: ResNet-18 and -50 in the usual form and in the
pre-activation form of the paper, the paper's small Inception, DenseNet-BC-100.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.create_conv2d import create_conv2d
from timm.layers.norm_act import BatchNormAct2d
from timm.models import register_model
from timm.models.densenet import DenseNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from memexp.errors import InputError

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


def _small_image_resnet(block: Any, layers: tuple[int, ...], **kwargs: Any) -> ResNet:
    """timm's ResNet with a first convolution of 3x3 and stride 1, and no pooling after it."""
    model: Any = ResNet(block, layers, **kwargs)
    model.conv1 = nn.Conv2d(kwargs.get("in_chans", 3), 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    assert isinstance(model, ResNet)
    return model


def _preactivation_resnet(layers: list[int], basic: bool, in_chans: int = 3, **kwargs: Any) -> ResNetV2:
    """timm's pre-activation ResNet with plain batch norm, a stem for small images, and the last layer at zero."""
    widths: dict[str, Any] = {"channels": (64, 128, 256, 512), "bottle_ratio": 1.0} if basic else {}
    model: Any = ResNetV2(
        layers, in_chans=in_chans, basic=basic, conv_layer=create_conv2d, norm_layer=BatchNormAct2d, **widths, **kwargs
    )
    model.stem = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
    # The paper's networks start so: every class equally likely, whatever the image.
    nn.init.zeros_(model.head.fc.weight)
    assert isinstance(model, ResNetV2)
    return model


def _own(kwargs: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Arguments for a constructor of ours: without those that timm passes for pretrained weights."""
    pretraining = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    if kwargs.get("pretrained"):
        raise InputError("memexp's own architectures have no pretrained weights; delete 'pretrained'")
    return defaults | {key: value for key, value in kwargs.items() if key not in pretraining}


@register_model
def memexp_mlp(**kwargs: Any) -> nn.Module:
    """Argument: hidden, the widths of the hidden layers."""
    return MLP(**_own(kwargs, in_chans=1, img_size=(28, 28), num_classes=10, hidden=(512, 256)))


@register_model
def memexp_cnn(**kwargs: Any) -> nn.Module:
    """Argument: width, the channels of the first convolution."""
    return CNN(**_own(kwargs, in_chans=3, num_classes=10, width=16))


@register_model
def memexp_resnet9(**kwargs: Any) -> nn.Module:
    """Argument: width, the channels of the first convolution."""
    return ResNet9(**_own(kwargs, in_chans=3, num_classes=10, width=64))


@register_model
def memexp_resnet18(**kwargs: Any) -> nn.Module:
    """ResNet-18 for small images; arguments as of timm's ResNet."""
    return _small_image_resnet(BasicBlock, (2, 2, 2, 2), **_own(kwargs))


@register_model
def memexp_resnet50(**kwargs: Any) -> nn.Module:
    """ResNet-50 for small images; arguments as of timm's ResNet."""
    return _small_image_resnet(Bottleneck, (3, 4, 6, 3), **_own(kwargs))


@register_model
def memexp_resnetv2_18(**kwargs: Any) -> nn.Module:
    """Pre-activation ResNet-18 for small images; arguments as of timm's ResNetV2."""
    return _preactivation_resnet([2, 2, 2, 2], True, **_own(kwargs))


@register_model
def memexp_resnetv2_50(**kwargs: Any) -> nn.Module:
    """Pre-activation ResNet-50 for small images, the paper's; arguments as of timm's ResNetV2."""
    return _preactivation_resnet([3, 4, 6, 3], False, **_own(kwargs))


@register_model
def memexp_inception(**kwargs: Any) -> nn.Module:
    """The paper's small Inception."""
    return SmallInception(**_own(kwargs, in_chans=3, num_classes=10))


@register_model
def memexp_densenet100(**kwargs: Any) -> nn.Module:
    """DenseNet-BC with 100 layers and growth rate 12; arguments as of timm's DenseNet."""
    arguments = _own(kwargs, in_chans=3, growth_rate=12)
    model: Any = DenseNet(block_config=(16, 16, 16), **arguments)
    stem = nn.Conv2d(arguments["in_chans"], 2 * arguments["growth_rate"], 3, padding=1, bias=False)
    model.features.conv0, model.features.norm0, model.features.pool0 = stem, nn.Identity(), nn.Identity()
    assert isinstance(model, DenseNet)
    return model
