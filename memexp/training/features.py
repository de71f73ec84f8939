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
from memexp.files import explain_full_disk
from memexp.spec.index_sets import pack
from memexp.spec.spec import Spec
from memexp.training.batches import Work, normalized, on_device, prepare
from memexp.training.block import Progress, evaluate, train
from memexp.training.models import StackedLinear

_BATCH = 1024


def extract(spec: Spec, data: Data, device: str, tell: Progress = lambda _: None) -> tuple[dict[str, Any], float]:
    """Train the spec's model on the whole training set and represent every example.

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
    """
    everything = spec.subsets.model_copy(update={"design": "remove", "removed": {"nothing": pack([])}, "ratio": None})
    work = prepare(spec.model_copy(update={"subsets": everything}), data, device)
    stack = train(work, np.ones((1, len(data.y_train)), np.bool_), [0], tell)
    test_accuracy, finite = evaluate(work, stack)
    if not finite:
        raise MemexpError("the network's loss is not finite: lower the learning rate of the spec")
    arrays = {
        "x_train": _features(work, stack, work.x_train),
        "y_train": data.y_train,
        "x_test": _features(work, stack, work.x_test),
        "y_test": data.y_test,
        "classes": np.array(data.classes),
    }
    return arrays, test_accuracy


@torch.no_grad()
def _features(work: Work, stack: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """What enters the last linear layer, shape (N, 1, 1, D)."""
    layers = [layer for layer in stack.modules() if isinstance(layer, nn.Linear | StackedLinear)]
    if not layers:
        raise InputError(f"model {work.spec.model.arch} has no linear layer; features are what its last one sees")
    seen: list[Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))
    try:
        for images in x.split(_BATCH):
            stack(normalized(work, on_device(work, images))[None])
    finally:
        hook.remove()
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in seen]).numpy()[:, None, None, :]


def save(arrays: dict[str, Any], path: Path) -> None:
    """Write the .npz file, whole or not at all."""
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it, or give another --out")
    temporary = path.with_name(f".{path.name}.part")
    try:
        with explain_full_disk(path, "Nothing was written."), temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
