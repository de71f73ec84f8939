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
from memexp.store.receipts import Receipt, read_committed
from memexp.store.weights import read_weights, receipt_with_weights, weights_path
from memexp.training import models
from memexp.training.batches import prepare
from memexp.training.block import count_stacked
from memexp.training.evaluation import evaluate_again
from memexp.training.weights_file import with_weights


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
    model = models.create_for(data, run.spec.model)
    return with_weights(model, read_weights(run.paths, receipt, trial), str(weights_path(run.paths, trial)))


def evaluate_kept(run: Run, trial: int, data: Data) -> dict[str, NDArray[Any]]:
    """What the kept weights of a trial say of every example, by the names of the store's arrays.

    On the kind of machine that trained the trial these are the recorded outcomes, bit for bit. Raises as
    :func:`load_model` does.
    """
    work, receipt = prepare(run.spec, data, "cpu"), _receipt(run, trial)
    content, _ = read_committed(run.paths, run.store(), receipt.block)
    mask = content["mask"][trial - receipt.first]
    stacked = count_stacked(work, receipt.trained, trial)
    arrays = evaluate_again(work, load_model(run, trial, data), mask, stacked).arrays
    return {name: value for name, value in arrays.items() if name != "seconds"}


def _receipt(run: Run, trial: int) -> Receipt:
    layout = run.store().layout
    if not 0 <= trial < layout.n_trials:
        raise InputError(f"trial {trial} is none of {run.paths.root}, which has 0 to {layout.n_trials - 1}")
    return receipt_with_weights(run.paths, layout.block(trial // layout.block_size).start, trial)
