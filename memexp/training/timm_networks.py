"""Networks of this project that are made of timm's parts, and all of its networks in timm's registry.

For images of 28x28 to 32x32, with a first convolution of 3x3 and stride 1 where timm's would reduce the
image: ResNet-18 and -50 in the usual form and in the pre-activation form of the paper, DenseNet-BC-100.
"""

from __future__ import annotations

from typing import Any

from timm.layers.create_conv2d import create_conv2d
from timm.layers.norm_act import BatchNormAct2d
from timm.models import register_model
from timm.models.densenet import DenseNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from torch import nn

from memexp.training.architectures import NETWORKS, own_arguments

for _network in NETWORKS.values():
    register_model(_network)


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


@register_model
def memexp_resnet18(**kwargs: Any) -> nn.Module:
    """ResNet-18 for small images; arguments as of timm's ResNet."""
    return _small_image_resnet(BasicBlock, (2, 2, 2, 2), **own_arguments(kwargs))


@register_model
def memexp_resnet50(**kwargs: Any) -> nn.Module:
    """ResNet-50 for small images; arguments as of timm's ResNet."""
    return _small_image_resnet(Bottleneck, (3, 4, 6, 3), **own_arguments(kwargs))


@register_model
def memexp_resnetv2_18(**kwargs: Any) -> nn.Module:
    """Pre-activation ResNet-18 for small images; arguments as of timm's ResNetV2."""
    return _preactivation_resnet([2, 2, 2, 2], True, **own_arguments(kwargs))


@register_model
def memexp_resnetv2_50(**kwargs: Any) -> nn.Module:
    """Pre-activation ResNet-50 for small images, the paper's; arguments as of timm's ResNetV2."""
    return _preactivation_resnet([3, 4, 6, 3], False, **own_arguments(kwargs))


@register_model
def memexp_densenet100(**kwargs: Any) -> nn.Module:
    """DenseNet-BC with 100 layers and growth rate 12; arguments as of timm's DenseNet."""
    arguments = own_arguments(kwargs, in_chans=3, growth_rate=12)
    model: Any = DenseNet(block_config=(16, 16, 16), **arguments)
    stem = nn.Conv2d(arguments["in_chans"], 2 * arguments["growth_rate"], 3, padding=1, bias=False)
    model.features.conv0, model.features.norm0, model.features.pool0 = stem, nn.Identity(), nn.Identity()
    assert isinstance(model, DenseNet)
    return model
