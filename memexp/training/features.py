"""Features of the last layer but one: train once on everything, keep what the linear head sees.

The paper's question whether the last layer suffices: a linear head on these features, trained on
subsets by the same machine, memorizes far less than the whole network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memexp.data import Data
from memexp.errors import InputError, MemexpError
from memexp.files import explain_unwritable
from memexp.spec.index_sets import pack
from memexp.spec.spec import Spec
from memexp.training.batches import Work, normalized, on_device, prepare
from memexp.training.block import train
from memexp.training.devices import set_up_torch
from memexp.training.evaluation import evaluate
from memexp.training.models import StackedLinear
from memexp.training.outcome import Progress
from memexp.training.precision import computing

_BATCH = 1024
_FEW = 8  # images that tell which layer is the last
_LINEAR = nn.Linear | nn.Conv2d | StackedLinear


def extract(
    spec: Spec, data: Data, device: str, tell: Progress = lambda _: None, threads: int = 1
) -> tuple[dict[str, Any], float]:
    """Train the spec's model on the whole training set and represent every example.

    Parameters
    ----------
    device, threads
        Where to train, with torch set up as for trials.
    tell
        Called with the share that is trained.

    Returns
    -------
    arrays
        For an .npz source: x_train (N, 1, 1, D) and x_test (M, 1, 1, D) float32, y_train, y_test,
        classes.
    test_accuracy
        Of the trained network.

    Raises
    ------
    MemexpError
        If the training diverged.
    InputError
        If no linear layer gives the logits.
    """
    set_up_torch(device, threads)
    everything = spec.subsets.model_copy(update={"design": "remove", "removed": {"nothing": pack([])}, "ratio": None})
    work = prepare(spec.model_copy(update={"subsets": everything}), data, device)
    stack = train(work, np.ones((1, len(data.y_train)), np.bool_), [0], tell)
    test_accuracy, finite = evaluate(work, stack)
    if not finite:
        raise MemexpError("the network's loss is not finite: lower the learning rate of the spec")
    with computing("fp32", work.device, dense=False):
        head = _head(work, stack)
        x_train, x_test = (_features(work, stack, head, x) for x in (work.x_train, work.x_test))
    arrays = {
        "x_train": x_train,
        "y_train": data.y_train,
        "x_test": x_test,
        "y_test": data.y_test,
        "classes": np.array(data.classes),
    }
    return arrays, test_accuracy


def _answers(work: Work, stack: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = stack(normalized(work, on_device(work, images))[None])
    return logits


@torch.no_grad()
def _head(work: Work, stack: nn.Module) -> nn.Module:
    """The linear layer whose output is the logits: found by what the layers give, not by where they are written.

    Raises
    ------
    InputError
        If there is none: something comes after the last linear layer, or the network has none.
    """
    given: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given.append((layer, inputs[0].detach().clone(), output.detach().clone()))

    layers = [layer for layer in stack.modules() if isinstance(layer, _LINEAR)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        logits = _answers(work, stack, work.x_train[:_FEW]).flatten()
    finally:
        for hook in hooks:
            hook.remove()
    found = [
        layer for layer, x, output in given if torch.equal(output.flatten(), logits) and _is_linear(layer, x, output)
    ]
    if not found:
        raise InputError(
            f"model {work.spec.model.arch}: no linear layer's output is the logits, so nothing says what the last "
            "layer sees; let the network end with nn.Linear, without anything after it"
        )
    return found[-1]


def _is_linear(layer: nn.Module, x: Tensor, output: Tensor) -> bool:
    """Whether the layer multiplies what enters it by its weights, one row of features for each image."""
    if isinstance(layer, nn.Conv2d) and x.shape[-2:] != (1, 1):
        return False
    weight, bias = layer.weight, layer.bias
    if isinstance(layer, StackedLinear):
        again = torch.bmm(x, layer.weight) + layer.bias
    else:
        assert isinstance(weight, Tensor)
        again = x.flatten(1) @ weight.flatten(1).t() + (bias if isinstance(bias, Tensor) else 0)
    return torch.allclose(again.flatten(), output.flatten(), rtol=1e-2, atol=1e-2 * float(output.abs().max()))


@torch.no_grad()
def _features(work: Work, stack: nn.Module, head: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """What enters the last layer, shape (N, 1, 1, D)."""
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))
    try:
        for images in x.split(_BATCH):
            _answers(work, stack, images)
            seen[-1] = seen[-1].reshape(len(images), -1)
    finally:
        hook.remove()
    return torch.cat(seen).numpy()[:, None, None, :]


def save(arrays: dict[str, Any], path: Path) -> None:
    """Write the .npz file, whole or not at all."""
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it, or give another --out")
    temporary = path.with_name(f".{path.name}.part")
    try:
        with explain_unwritable(path, "Nothing was written."), temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
