"""Weights that a network begins with: read from a file, put where they fit, refused where they are another network's.

Files are read as tensors alone (safetensors, or torch's without pickled objects), so that a foreign file runs nothing.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memexp.errors import InputError

_WRAPPED = ("state_dict", "model", "model_state_dict")  # keys under which training scripts keep the weights


@torch.no_grad()
def load_weights(model: nn.Module, file: Any) -> list[str]:
    """Put the weights of a file into a fresh model; names of those of its last layer that stay as they are.

    The last layer stays fresh where it has another shape in the file, or is missing there: the classes are others.

    Raises
    ------
    InputError
        If there is no such file, or its weights are those of another network.
    """
    path = Path(file) if isinstance(file, str) else None
    if path is None or not path.is_file():
        raise InputError(
            f"the weights file {file} does not exist (relative paths start at the spec's folder); write it, for "
            "example with `keep: {weights: 1}` in another spec, or torch.save(model.state_dict(), ...)"
        )
    state, wanted = path.stat(), model.state_dict()
    found = _read(str(path), state.st_size, state.st_mtime_ns)
    last = _last_layer(model)
    fits = {name for name, tensor in found.items() if name in wanted and tensor.shape == wanted[name].shape}
    fresh = sorted(wanted.keys() - fits)
    if foreign := [name for name in [*fresh, *sorted(found.keys() - fits)] if not name.startswith(last)]:
        raise InputError(
            f"{path} has not this network's weights: {len(foreign)} differ in name or shape, such as {foreign[0]}, "
            "which only the last layer may. Name the network that they are of, with its arguments"
        )
    model.load_state_dict({name: found[name] for name in fits}, strict=False)
    return fresh


@lru_cache(maxsize=1)
def _read(path: str, size: int, changed: int) -> dict[str, Tensor]:
    """Names and tensors of a file; each process reads it once."""
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise what they like
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} is no file of weights that can be read safely: {first}") from error
    for key in _WRAPPED:
        content = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    if not isinstance(content, dict) or not content or not all(isinstance(each, Tensor) for each in content.values()):
        raise InputError(f"{path} is no file of weights: it should have names and tensors, as a state_dict does")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _last_layer(model: nn.Module) -> str:
    """The beginning of the names of the layer that gives the logits: the last dense one, or convolution."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return f"{names[-1]}." if names else "."
