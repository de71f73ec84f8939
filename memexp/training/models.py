"""Models: from ``timm.create_model``, or from a user's file; several of one kind may train as one stack.

The networks of this project are in :mod:`memexp.training.architectures`, registered beside timm's own.
"""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from memexp.data import Data
from memexp.errors import InputError, MemexpError
from memexp.spec.python_files import blamed, function_in, require_call
from memexp.spec.sections import Model, PythonFile
from memexp.training.architectures import MLP, NETWORKS, default_cfgs
from memexp.training.arguments import refused
from memexp.training.pretrained import load_weights


def create(
    arch: str,
    arguments: dict[str, Any],
    image: tuple[int, int, int],
    n_classes: int,
    seed: int,
    code: PythonFile | None = None,
) -> nn.Module:
    """A freshly initialized model.

    Parameters
    ----------
    arch, arguments
        The spec's model block; ``weights`` among the arguments names a file that :func:`load_weights` reads, unless
        a file of the user's defines the network, whose argument it then is.
    image
        (H, W, C) of one image.
    n_classes
        Width of the output.
    seed
        Decides the initial weights; the global generator is left as it was.
    code
        The user's file that defines the architecture; without it, timm does.

    Raises
    ------
    InputError
        If timm (the file) does not know the architecture, or it does not take the arguments or the image.
    """
    height, width, channels = image
    begins_with = arguments.get("weights") if code is None else None
    arguments = arguments if begins_with is None else {key: arguments[key] for key in arguments if key != "weights"}
    fitted: dict[str, Any] = {"num_classes": n_classes, "in_chans": channels}
    make: Callable[..., Any]
    if code is not None:
        make = function_in(code, arch, f"model.arch: {arch}(num_classes, in_chans, ...), which returns a torch module")
        if "img_size" in inspect.signature(make).parameters:
            fitted["img_size"] = (height, width)
        require_call(make, code.name, (), fitted | arguments)
    elif arch in NETWORKS:
        make = NETWORKS[arch]
        if arch in default_cfgs:
            fitted["img_size"] = (height, width)
    else:
        make, fixed_size = _of_timm(arch)
        if fixed_size:
            fitted["img_size"] = (height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = _made(arch, make, fitted, arguments, code is None)
    if not isinstance(made, nn.Module):
        raise InputError(f"{arch!r} gives {type(made).__name__}; it must return a torch module")
    if begins_with is not None:
        load_weights(made, begins_with)
    return made


def create_for(data: Data, model: Model) -> nn.Module:
    """The network of a spec's model section for these data: with initial weights, of seed 0, that no trial has."""
    height, width, channels = data.x_train.shape[1:]
    return create(model.arch, model.arguments, (height, width, channels), len(data.classes), 0, model.code)


def moments_of_weights(arch: str, channels: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, in units of the largest pixel, that timm's weights of a network expect.

    Raises
    ------
    InputError
        If it is none of timm's, or its weights are for images of other channels.
    """
    if arch not in NETWORKS:
        import timm

        config = timm.get_pretrained_cfg(arch) if timm.is_model(arch) else None
        if config is not None and len(config.mean) == channels:
            return list(config.mean), list(config.std)
    raise InputError(
        f"standardize: weights: {arch!r} has no mean and deviation for images of {channels} channels, only timm's "
        "networks have; write true, which takes those of the training images"
    )


def _made(arch: str, make: Callable[..., Any], fitted: dict[str, Any], arguments: dict[str, Any], timms: bool) -> Any:
    """What ``make`` gives; whatever it raises as one line."""
    pretrained = timms and arch not in NETWORKS and bool(arguments.get("pretrained"))
    try:
        with blamed(), _from_this_machine() if pretrained else nullcontext():
            return make(**(fitted | arguments))
    except (MemexpError, MemoryError):
        raise
    except Exception as error:  # networks raise what they like
        if not (pretrained and isinstance(error, OSError)):
            raise refused(arch, make, fitted, arguments, error) from error
        raise InputError(
            f"the weights of {arch!r} are not on this machine, and nothing is fetched here; fetch them once where "
            f'there is a network, such as a login node: `python -c "import timm; timm.create_model({arch!r}, '
            'pretrained=True)"`'
        ) from error


@contextmanager
def _from_this_machine() -> Iterator[None]:
    """No network for weights: without one, asking takes half a minute, and hundreds of tasks would ask at once."""
    import torch.hub
    from huggingface_hub import constants

    def refuse(url: str, *_: Any, **__: Any) -> None:
        raise FileNotFoundError(f"{url} is not in {torch.hub.get_dir()}")

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    download, torch.hub.download_url_to_file = torch.hub.download_url_to_file, refuse
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, torch.hub.download_url_to_file = before, download


def _of_timm(arch: str) -> tuple[Callable[..., Any], bool]:
    """What makes a network that timm knows, and whether it is told the size of the images."""
    import timm

    import memexp.training.timm_networks  # noqa: F401 (registers ours)

    if not timm.is_model(arch):
        raise InputError(f"{arch!r}: timm knows no such architecture.{_similar(arch)}")
    config = timm.get_pretrained_cfg(arch)
    return functools.partial(timm.create_model, arch), bool(config and config.fixed_input_size)


def _similar(arch: str) -> str:
    import timm

    close = difflib.get_close_matches(arch, timm.list_models(), n=3)
    return (f" Did you mean {' or '.join(map(repr, close))}?" if close else "") + " `memexp doctor --models` lists all"


class StackedLinear(nn.Module):
    """One dense layer of S trials: (S, B, in) -> (S, B, out) by one batched product.

    The weight is kept as (S, in, out), so that its gradient comes out of the batched product in the
    same memory order and the optimizer updates it without a transposing copy (measured: 2.5 ms
    against 1.2 ms for a step of 784-512-256-10 on one core).

    Attributes
    ----------
    kept
        Share of the weight's old gradient that a backward pass keeps and adds the new one to. With
        the momentum as share, ``weight.grad`` is the momentum buffer, filled by the product itself.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().t() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])[:, None])
        self.kept: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x : (S, B, in)."""
        if self.kept is None or not torch.is_grad_enabled():
            return torch.bmm(x, self.weight).add_(self.bias)
        out: Tensor = _AccumulatingProduct.apply(x, self.weight, self.weight.grad, self.kept)
        return out.add_(self.bias)


class _AccumulatingProduct(torch.autograd.Function):
    """x @ weight, whose backward pass makes ``gradient = kept * gradient + x^T @ upstream`` in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gradient: Tensor, kept: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gradient, ctx.kept = gradient, kept
        return torch.bmm(x, weight)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None, None]:
        x, weight = ctx.saved_tensors
        ctx.gradient.baddbmm_(x.mT, upstream, beta=ctx.kept)
        return torch.bmm(upstream, weight.mT) if ctx.needs_input_grad[0] else None, None, None, None


class OneTrial(nn.Module):
    """A single model with the face of a stack: (1, B, C, H, W) -> (1, B, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """x : (1, B, C, H, W)."""
        logits: Tensor = self.model(x[0])
        return logits[None]


def stack(models: Sequence[nn.Module], together: bool = True) -> nn.Module:
    """Several models of one architecture as one module, (S, B, C, H, W) -> (S, B, classes).

    Only for models that :func:`stack_size` allows to stack, unless there is a single one. Not ``together``: that one
    keeps its tensors as they are.
    """
    if not (together and isinstance(models[0], MLP)):
        (model,) = models
        return OneTrial(model.to(memory_format=torch.channels_last))  # as the images are
    stacked = copy.deepcopy(models[0])
    for name, layer in models[0].named_modules():
        if isinstance(layer, nn.Linear):
            stacked.set_submodule(name, StackedLinear([_linear(model, name) for model in models]))
    return stacked


def _linear(model: nn.Module, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def unstack(stacked: nn.Module, s: int) -> dict[str, Tensor]:
    """State of the model that :func:`stack` took as its number ``s``, as its own ``state_dict`` has it."""
    if isinstance(stacked, OneTrial):
        return dict(stacked.model.state_dict())
    state: dict[str, Tensor] = {}
    for name, layer in stacked.named_modules():
        if isinstance(layer, StackedLinear):
            state |= {f"{name}.weight": layer.weight.detach()[s].t(), f"{name}.bias": layer.bias.detach()[s, 0]}
    return state


def stack_size(model: nn.Module, device: str) -> int:
    """How many trials of this model train together: a function of the model alone, never of a clock.

    Dense networks share one batched product per layer while their weights stay small enough for the
    processor's caches (10 MB together; measured on 784-512-256-10: 1.8 ms a step for one trial,
    1.3 ms each for four, 1.8 ms each for ten). Convolutions gain nothing from stacking on a CPU.
    """
    if not isinstance(model, MLP):
        return 1
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    return max(1, int((10e6 if device == "cpu" else 1e9) // weights))
