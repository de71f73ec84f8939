"""A model is tried before it is trained: on what it sees, whether it is steady, what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import memexp.training.models as models
from memexp.errors import InputError
from memexp.training.tryout import try_out, try_training


def tried(arch: str, size: int, channels: int = 3, **arguments: object) -> float:
    image = (size, size, channels)
    return try_out(models.create(arch, arguments, image, 10, 0), image, 10)


class Net(nn.Module):
    """A linear layer on what ``see`` leaves of an 8x8 image."""

    def __init__(self, see: Callable[[Tensor], Tensor], channels: int = 1, zero: bool = False) -> None:
        super().__init__()
        self.see = see
        self.head = nn.Linear(see(torch.zeros(2, channels, 8, 8)).flatten(1).shape[1], 10)
        if zero:
            nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.see(x).flatten(1))


@pytest.mark.long
@pytest.mark.parametrize(
    ("arch", "size", "arguments", "words"),
    [
        ("vit_tiny_patch16_224", 28, {}, r"never sees 67 % of the image \(rows 16 to 27, columns 16 to 27\)"),
        ("vit_tiny_patch16_224", 40, {}, r"never sees 36 % of the image \(rows 32 to 39, columns 32 to 39\)"),
        ("vit_tiny_patch16_224", 30, {"patch_size": 4}, r"never sees 13 % of the image \(rows 28 to 29"),
        ("convmixer_768_32", 32, {}, "never sees 23 % of the image"),
        ("legacy_xception", 28, {}, r"never sees 7 % of the image \(rows 27, columns 27\)"),
    ],
)
def test_networks_that_never_see_part_of_the_image_are_refused_with_the_share(
    arch: str, size: int, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=f"{words}.*multiples of the patch.*: choose another size"):
        tried(arch, size, **arguments)


@pytest.mark.long
@pytest.mark.parametrize(
    ("arch", "size", "arguments"),
    [
        ("memexp_mlp", 8, {}),
        ("memexp_cnn", 32, {}),
        ("memexp_resnetv2_18", 8, {}),  # its last layer starts at zero
        ("memexp_inception", 28, {}),
        ("resnet10t", 9, {}),
        ("vit_tiny_patch16_224", 28, {"patch_size": 7, "depth": 2}),
        ("mobilenetv3_small_050", 33, {}),
        ("legacy_xception", 29, {}),  # the size that its strides fit
    ],
)
def test_networks_that_see_everything_pass(arch: str, size: int, arguments: dict[str, object]) -> None:
    assert tried(arch, size, 1, **arguments) == 0


def test_a_border_that_strides_leave_out_is_told_and_not_refused() -> None:
    stride = Net(lambda x: F.conv2d(F.pad(x, (0, 16, 0, 16)), torch.ones(1, 1, 3, 3), stride=2), zero=True)
    assert try_out(stride, (8, 8, 1), 10) == 0
    border = Net(lambda x: x[..., :-1, :], channels=1)
    with pytest.raises(InputError, match=r"never sees 12 % of the image \(rows 7\)"):
        try_out(border, (8, 8, 1), 10)
    border = Net(lambda x: x.flatten(1)[:, :-2])
    with pytest.raises(InputError, match="never sees 3 % of the image"):
        try_out(border, (8, 8, 1), 10)
    little = Net(lambda x: x.flatten(1)[:, :-1])
    assert try_out(little, (8, 8, 1), 10) == pytest.approx(1 / 64)


def test_global_max_pooling_without_norm_sees_everything_although_each_gradient_is_sparse() -> None:
    class Max(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 10)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.conv(x).amax((-2, -1)))
            return out

    assert try_out(Max(), (48, 48, 1), 10) == 0


def test_channels_and_features_that_are_never_seen_are_named() -> None:
    with pytest.raises(InputError, match=r"never sees 67 % of the image \(channels 1 to 2\)"):
        try_out(Net(lambda x: x[:, :1], channels=3), (8, 8, 3), 10)
    table = nn.Sequential(nn.Flatten(), nn.Linear(20, 10))
    assert try_out(table, (1, 1, 20), 10) == 0
    with torch.no_grad():
        table[1].weight[:, 5:] = 0
    with pytest.raises(InputError, match=r"never sees 75 % of the features \(5 to 19\)"):
        try_out(table, (1, 1, 20), 10)


def noise(x: Tensor) -> Tensor:
    return x + torch.rand_like(x)


def counting() -> Callable[[Tensor], Tensor]:
    calls: Iterator[int] = iter(range(10**6))
    return lambda x: x * (1 + next(calls) % 2)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("see", [F.dropout, lambda x: F.dropout(x, 0.05), noise, counting()])
def test_a_model_that_is_random_in_evaluation_is_refused(see: Callable[[Tensor], Tensor], zero: bool) -> None:
    """Also where a last layer of zeros hides it until it has been trained."""
    with pytest.raises(InputError, match="random in evaluation: .* logits that differ by .* training=self.training"):
        try_out(Net(see, zero=zero), (8, 8, 1), 10)


@pytest.mark.parametrize(
    "see",
    [
        nn.BatchNorm2d(1, track_running_stats=False),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: x - x.mean(0),
        lambda x: x.softmax(0),
        lambda x: x + torch.arange(len(x))[:, None, None, None],
    ],
)
@pytest.mark.parametrize("zero", [False, True])
def test_a_model_whose_answer_depends_on_the_neighbours_is_refused(see: Callable[[Tensor], Tensor], zero: bool) -> None:
    with pytest.raises(InputError, match="answers an image otherwise without the other images of its batch"):
        try_out(Net(see, zero=zero), (8, 8, 1), 10)


def test_a_model_that_takes_no_image_alone_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10, track_running_stats=False))
    with pytest.raises(InputError, match="cannot take an image alone in evaluation mode: Expected more than 1 value"):
        try_out(model, (8, 8, 1), 10)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.BatchNorm2d(1), nn.GroupNorm(1, 1), nn.InstanceNorm2d(1), nn.Dropout2d(0.5)]
)
def test_layers_that_end_with_training_or_look_at_one_image_pass(layer: nn.Module) -> None:
    assert try_out(Net(layer), (8, 8, 1), 10) == 0


class Returning(nn.Module):
    def __init__(self, form: Callable[[Tensor], Any], always: bool = True) -> None:
        super().__init__()
        self.head, self.form, self.always = nn.Linear(64, 10), form, always

    def forward(self, x: Tensor) -> Any:
        logits = self.head(x.flatten(1))
        return self.form(logits) if self.always or self.training else logits


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda logits: (logits, logits), r"gives a tuple of 2 for .* images.*; return the logits alone"),
        (lambda logits: [logits], r"gives a list of 1 for .* images.*; return the logits alone"),
        (lambda logits: {"logits": logits}, r"gives a dict with logits for .* images.*; return the logits alone"),
        (lambda logits: None, r"gives a NoneType for .* images"),
        (lambda logits: logits[:, :4], r"gives \(\d, 4\) for . images.*; it must give \(\d, 10\) logits"),
        (lambda logits: logits.argmax(1), r"gives \(\d,\) for . images"),
        (lambda logits: logits.mean(), r"gives \(\) for . images"),
    ],
)
def test_whatever_is_no_tensor_of_logits_is_answered_in_words(form: Callable[[Tensor], Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        try_out(Returning(form), (8, 8, 1), 10)
    try_out(Returning(form, always=False), (8, 8, 1), 10)
    with pytest.raises(InputError, match=words):
        try_training(Returning(form, always=False), (8, 8, 1), 10, 64)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    model = Net(nn.Dropout(0.5))
    state = torch.random.get_rng_state()
    try_out(model, (8, 8, 1), 10)
    try_training(model, (8, 8, 1), 10, 64)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(before, state)
