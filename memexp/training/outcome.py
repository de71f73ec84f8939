"""What a trial leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Progress = Callable[[float], None]  # takes the share of the block that is done


@dataclass(frozen=True)
class Outcome:
    """What is recorded of one trial.

    ``arrays``: mask (N,), train_correct (N,), test_correct (M,) bool; train_margin, test_margin float16 and
    train_predicted, test_predicted where recorded; of each class train_probabilities (N, K) and test_probabilities
    (M, K), uint16, those of examples that the trial saw 0; train_learning_loss, train_learned, train_forgotten;
    seconds, in_accuracy, out_accuracy, test_accuracy, train_loss scalars. Of a trial that gives numbers: train_score
    and test_score float32, whose means stand in the place of accuracies. ``failure``: why the trial must not be used,
    or None. ``weights``: the model as a safetensors file, where it is kept.
    """

    arrays: dict[str, Any]
    failure: str | None = None
    weights: bytes | None = None
