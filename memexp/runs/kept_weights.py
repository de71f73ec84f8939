"""Trials whose weights were kept: the model again, and what it says of every example.

Axes: N train, M test, K classes.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import nn

from memexp.data import Data
from memexp.errors import InputError
from memexp.runs.run import Run
from memexp.spec.sections import Model
from memexp.store.receipts import Receipt, read_committed
from memexp.store.weights import read_weights, receipt_with_weights, weights_path
from memexp.training import models
from memexp.training.batches import prepare
from memexp.training.block import count_stacked
from memexp.training.evaluation import evaluate_again
from memexp.training.weights_file import with_weights

_FIRST_WEIGHTS = ("weights", "pretrained", "checkpoint_path")  # arguments that say what training begins with


def load_model(run: Run, trial: int, data: Data) -> nn.Module:
    """The network of a trial as it was after training, in evaluation mode on the CPU: (B, C, H, W) -> (B, K).

    It takes images as training does: float32, of uint8 pixels divided by 255, standardized where the spec says so.

    Raises
    ------
    InputError
        If no weights of this trial were kept, or ``training.file`` trained another network than the spec's.
    StoreError
        If they are gone or changed.
    """
    receipt = _receipt(run, trial)
    model = models.create_for(data, _without_first_weights(run.spec.model))
    return with_weights(model, read_weights(run.paths, receipt, trial), str(weights_path(run.paths, trial)))


def evaluate_kept(run: Run, trial: int, data: Data) -> dict[str, NDArray[Any]]:
    """What the kept weights of a trial say of every example, by the names of the store's arrays.

    On the kind of machine that trained the trial these are the recorded outcomes, bit for bit. Raises as
    :func:`load_model` does.
    """
    work, receipt = prepare(run.spec, data, "cpu"), _receipt(run, trial)
    content, _ = read_committed(run.paths, run.store(), receipt.block)
    mask = content["mask"][trial - receipt.first]
    model = load_model(run, trial, data)
    arrays = evaluate_again(work, model, mask, count_stacked(work, model, receipt.trained, trial)).arrays
    return {name: value for name, value in arrays.items() if name != "seconds"}


def _without_first_weights(model: Model) -> Model:
    """The same network from random weights: the file that trials began with may be gone, and the kept ones replace it.

    A network of the user's own has whatever arguments it likes.
    """
    kept = {name: value for name, value in model.arguments.items() if name not in _FIRST_WEIGHTS}
    return model if model.code is not None else Model.model_validate({"arch": model.arch} | kept)


def _receipt(run: Run, trial: int) -> Receipt:
    layout = run.store().layout
    if not 0 <= trial < layout.n_trials:
        raise InputError(f"trial {trial} is none of {run.paths.root}, which has 0 to {layout.n_trials - 1}")
    return receipt_with_weights(run.paths, layout.block(trial // layout.block_size).start, trial)
