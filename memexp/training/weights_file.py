"""Weights of trials that were kept: written after training, and loaded to be evaluated again.

Axes: N train, M test, K classes.
"""

from __future__ import annotations

from torch import nn

from memexp.errors import InputError
from memexp.training import models


def weights_file(stack: nn.Module, s: int) -> bytes:
    """The model of trial ``s`` of a stack as a safetensors file."""
    from safetensors.torch import save

    # copies: weights that share memory cannot be written, and those of a stack are not in one piece
    return save({name: value.cpu().contiguous().clone() for name, value in models.unstack(stack, s).items()})


def with_weights(model: nn.Module, content: bytes, what: str) -> nn.Module:
    """The model with the weights of a file, in evaluation mode; ``what``: names them in a message.

    Raises
    ------
    InputError
        If they are those of another network.
    """
    from safetensors.torch import load

    try:
        model.load_state_dict(load(content))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"{what} are not those of {type(model).__name__}: {first}") from error
    return model.eval()
