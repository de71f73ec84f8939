"""Try a fresh model on a few random images, before hundreds of trials are trained with it.

Refused is what would give plausible wrong numbers: a network that never sees part of its image, one that
is random in evaluation, one whose answer to an image depends on the others in its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memexp.errors import InputError, MemexpError
from memexp.spec.python_files import blamed

Image = tuple[int, int, int]  # (H, W, C)

# Measured on 80 networks of timm and 5 of ours: those that see everything leave not one input without a gradient;
# convolutions of stride 2 without padding miss one row and column (nasnetalarge, legacy_xception: 7.0 % at 28 pixels,
# 6.2 % at 32, 0.9 % at 224) or three (inception_v3 at 224: 2.7 %); patches that do not fit miss 12 % and more of small
# images (patch 4 at 30 pixels; 16 at 28: 67 %).
MOST_UNSEEN = 0.03
_ROUNDS = 8  # of random images, where global max pooling looks at few places of each

# Of the largest logit. Measured on the same networks: none for the same images twice, 2e-6 for one alone; bf16 rounds
# to 4e-3. Dropout that stays on, and normalization by the batch, change logits by tens of percent.
SAME = 1e-2


def try_out(model: nn.Module, image: Image, n_classes: int) -> float:
    """Pass random images through a model of its own (its weights are changed), in evaluation mode.

    Returns
    -------
    unseen
        Share of the image that the answer does not depend on, at most ``MOST_UNSEEN``.

    Raises
    ------
    InputError
        If it cannot take the images, gives something else than logits (B, classes), never sees more of the
        image, is random, or lets the answer to an image depend on its neighbours in the batch.
    """
    height, width, channels = image
    draws = torch.Generator().manual_seed(0)
    _make_generic(model.eval(), draws)
    count = 4 if height * width <= 32 * 32 else 2
    x = torch.randn(count, channels, height, width, generator=draws)
    with torch.random.fork_rng(devices=[]):
        with _explained(f"the model cannot take images of {height}x{width}x{channels}"):
            logits, seen = _gradient(model, x)
        require_logits(logits, count, n_classes, "the model")
        require_steady(model, x, "the model")
        unseen = _never_seen(model, x, seen)
    share = float(unseen.float().mean())
    if share > MOST_UNSEEN:
        raise InputError(
            f"the network never sees {100 * share:.0f} % of the {_places(unseen)}: its answer stays the same whatever "
            "is there. Networks of patches need sides that are multiples of the patch, and strides without padding "
            "miss a border of some sizes: choose another size of the images, or an argument such as patch_size or "
            "img_size"
        )
    return share


def try_training(model: nn.Module, image: Image, n_classes: int, batch: int) -> None:
    """Pass a small batch forward and back in training mode, where some models do other things than after it.

    Raises
    ------
    InputError
        If the model fails (as batch norm does on a single value per channel), or gives no logits.
    """
    height, width, channels = image
    count = min(batch, 2)
    x = torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng(devices=[]):
        with _explained(f"the model cannot train on batches of {batch} {height}x{width}x{channels}"):
            logits = model.train()(x)
        require_logits(logits, count, n_classes, "the model", " in training", " then too")
        with _explained(f"the model cannot train on batches of {batch} {height}x{width}x{channels}"):
            F.cross_entropy(logits, torch.zeros(count, dtype=torch.int64)).backward()


def require_logits(given: Any, count: int, n_classes: int, who: str, when: str = "", also: str = "") -> None:
    """Refuse an answer of a model to ``count`` images that is no tensor (count, classes).

    Raises
    ------
    InputError
        With what it is.
    """
    if isinstance(given, Tensor) and tuple(given.shape) == (count, n_classes):
        return
    hint = "" if isinstance(given, Tensor) else "; return the logits alone"
    raise InputError(
        f"{who} gives {_described(given)} for {count} images{when}; it must give ({count}, {n_classes}) logits"
        f"{also}{hint}"
    )


@torch.no_grad()
def require_steady(model: nn.Module, x: Tensor, who: str) -> None:
    """Refuse a model in evaluation mode that answers otherwise when asked again, or without the other images.

    Raises
    ------
    InputError
        With the difference of the logits.
    """
    with _explained(f"{who} cannot answer the same images twice"):
        first, again = model(x), model(x)
    difference = _difference(first, again)
    if difference > SAME:
        raise InputError(
            f"{who} is random in evaluation: asked twice about the same images it gives logits that differ by "
            f"{100 * difference:.3g} % of the largest; dropout and noise must end with training (nn.Dropout, or "
            "F.dropout(..., training=self.training))"
        )
    with _explained(f"{who} cannot take an image alone in evaluation mode"):
        alone = model(x[-1:])
    difference = _difference(first[-1:], alone)
    if difference > SAME:
        raise InputError(
            f"{who} answers an image otherwise without the other images of its batch: logits differ by "
            f"{100 * difference:.3g} % of the largest in evaluation mode. Normalize by running statistics there "
            "(track_running_stats=True), never by those of the batch"
        )


def _difference(a: Tensor, b: Tensor) -> float:
    """Largest difference in units of the largest logit; 0 where both are no numbers."""
    scale = a.nan_to_num().abs().max()
    return float(((a - b).nan_to_num().abs().max() / scale).nan_to_num())


@torch.no_grad()
def _make_generic(model: nn.Module, draws: torch.Generator) -> None:
    """Noise on parameters that are one value throughout: a last layer that starts at zero hides all before it."""
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws).to(parameter))


def _gradient(model: nn.Module, x: Tensor) -> tuple[Any, Tensor]:
    """The answer to the images, and which inputs (C, H, W) any logit of any image depends on, by its gradient."""
    x = x.clone().requires_grad_()
    logits = model(x)
    if isinstance(logits, Tensor) and logits.requires_grad and logits.is_floating_point():
        weights = torch.linspace(1.0, 2.0, logits.numel()).reshape(logits.shape)  # so that a softmax does not cancel
        (logits * weights).sum().backward()
    seen = torch.zeros(x.shape[1:], dtype=torch.bool) if x.grad is None else (x.grad != 0).any(0)
    return logits.detach() if isinstance(logits, Tensor) else logits, seen


def _never_seen(model: nn.Module, x: Tensor, seen: Tensor) -> Tensor:
    """Inputs (C, H, W) that may be replaced without changing one bit of the answer.

    A gradient of zero is not enough: of each image, pooling may look at few places. So what had no
    gradient yet is replaced by other noise; where that changes the answer, further images are tried.
    """
    draws = torch.Generator().manual_seed(2)
    for _ in range(_ROUNDS):
        if seen.all() or not _matters(model, x, ~seen, draws):
            return ~seen
        seen = seen | _gradient(model, torch.randn(x.shape, generator=draws))[1]
    return torch.zeros_like(seen)  # they matter together, and no few images tell which


@torch.no_grad()
def _matters(model: nn.Module, x: Tensor, places: Tensor, draws: torch.Generator) -> bool:
    """Whether the answer changes when the inputs at ``places`` do."""
    other = torch.where(places, 3 * torch.randn(x.shape, generator=draws), x)
    return not torch.equal(model(x), model(other))


def _places(unseen: Tensor) -> str:
    """What is never seen (C, H, W), in words: rows, columns and channels of which nothing is."""
    if unseen.shape[1:] == (1, 1):
        return f"features ({_ranges(unseen.flatten())})"
    words = [
        f"{name} {_ranges(unseen.all(dim=axes[0]).all(dim=axes[1]))}"
        for name, axes in (("rows", (2, 0)), ("columns", (1, 0)), ("channels", (2, 1)))
        if unseen.all(dim=axes[0]).all(dim=axes[1]).any()
    ]
    return f"image ({', '.join(words)})" if words else "image"


def _ranges(flags: Tensor) -> str:
    """Numbers of the true flags, such as "0, 16 to 27"."""
    numbers = [number for number, flag in enumerate(flags.tolist()) if flag]
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    parts = [str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, ends, strict=True)]
    return ", ".join(parts[:6]) + (", ..." if len(parts) > 6 else "")


def _described(given: Any) -> str:
    if isinstance(given, Tensor):
        return str(tuple(given.shape))
    if isinstance(given, dict):
        return f"a dict with {', '.join(map(str, list(given)[:5]))}"
    if isinstance(given, tuple | list):
        return f"a {type(given).__name__} of {len(given)}"
    return f"a {type(given).__name__}"


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever a network raises, as one line."""
    try:
        with blamed():
            yield
    except (MemexpError, MemoryError):
        raise
    except Exception as error:  # of whichever library the network is made of
        raise InputError(f"{what}: {error or type(error).__name__}") from error
