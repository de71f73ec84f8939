"""Evaluate trained trials on every example, and make of that what is recorded of each.

Axes: S trials in a stack, B batch, N train, M test, K classes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memexp.spec.designs import Mask
from memexp.spec.sections import UserTraining
from memexp.store.layout import PROBABILITY_STEPS
from memexp.training import models
from memexp.training.architectures import MLP
from memexp.training.batches import Work, normalized, on_device
from memexp.training.compiled import answers
from memexp.training.outcome import Outcome
from memexp.training.precision import Forward, computing, precision_of

_EVALUATED = 2048  # examples of one evaluation pass of all its trials, at most
_EVALUATED_PIXELS = _EVALUATED * 64 * 64  # and their pixels: larger images come in smaller numbers


class Evaluation(NamedTuple):
    """What S trials say of each example: correct, predicted class, cross-entropy and margin, each (S, examples)."""

    correct: NDArray[np.bool_]
    predicted: NDArray[np.int64]  # the class of the largest logit; of equal ones the first, as for correct
    loss: NDArray[np.float32]
    margin: NDArray[np.float32] | None  # None where the spec does not record it
    probabilities: NDArray[np.uint16] | None  # (S, examples, K) in steps; None the same


@torch.no_grad()
def evaluated(work: Work, stack: nn.Module, x: Tensor, y: Tensor, n_trials: int, forward: Forward) -> Evaluation:
    """Every example as ``n_trials`` see it after training, without augmentation; x (M, C, H, W), y (M,)."""
    stack.eval()
    size = min(max(64, _EVALUATED // n_trials), max(16, _EVALUATED_PIXELS // math.prod(x.shape[2:])))
    if work.compiled:  # for one shape, that of training and test examples both
        size = max(1, min(size, max(len(work.x_train), len(work.x_test))))
    correct, predicted, margin, loss, probabilities = [], [], [], [], []
    answer = answers(work.compiled)
    for start in range(0, max(1, len(x)), size):  # without examples one part, which is empty
        labels = y[start : start + size]
        images = on_device(work, x[start : start + size])
        if work.compiled:
            images = _filled(images, size)
        with forward():
            logits = answer(stack, normalized(work, images).expand(n_trials, *images.shape)).float()  # (S, B, K)
        logits = logits[:, : len(labels)]
        index = labels.expand(n_trials, -1)[..., None]
        true = logits.gather(2, index)[..., 0]
        predicted.append(logits.argmax(2))
        correct.append(predicted[-1] == labels)
        loss.append(logits.logsumexp(2) - true)
        if "margin" in work.spec.record:
            margin.append(true - logits.scatter(2, index, -math.inf).logsumexp(2))
        if "probabilities" in work.spec.record:
            whole = logits.softmax(2).mul_(PROBABILITY_STEPS).round_().int()
            probabilities.append(whole.cpu().numpy().astype(np.uint16))

    def rows(parts: list[Tensor]) -> NDArray[Any]:
        return torch.cat(parts, 1).cpu().numpy()

    return Evaluation(
        rows(correct),
        rows(predicted),
        rows(loss),
        rows(margin) if margin else None,
        np.concatenate(probabilities, axis=1) if probabilities else None,
    )


def _filled(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W), and black ones after them, so that they are ``size`` in all and as others in memory."""
    if len(images) == size:
        return images
    _, channels, height, width = images.shape
    whole = images.new_zeros((size, height, width, channels)).permute(0, 3, 1, 2)  # channels last, as all images
    whole[: len(images)] = images
    return whole


def outcome_of(work: Work, mask: Mask, train: Evaluation, test: Evaluation, s: int, seconds: float) -> Outcome:
    """The record of trial ``s`` of a stack."""
    correct, loss = train.correct[s], train.loss[s]
    arrays: dict[str, Any] = {
        "mask": mask,
        "train_correct": correct,
        "test_correct": test.correct[s],
        "seconds": seconds,
    }
    for name, margin in (("train_margin", train.margin), ("test_margin", test.margin)):
        if margin is not None:
            largest = float(np.finfo(np.float16).max)
            arrays[name] = np.clip(margin[s], -largest, largest).astype(np.float16)
    if "predicted" in work.spec.record:
        kind = np.min_scalar_type(work.n_classes - 1)
        arrays |= {"train_predicted": train.predicted[s].astype(kind), "test_predicted": test.predicted[s].astype(kind)}
    if train.probabilities is not None and test.probabilities is not None:
        arrays["train_probabilities"] = train.probabilities[s] * ~mask[:, None]  # out of sample
        arrays["test_probabilities"] = test.probabilities[s]
    arrays["in_accuracy"] = correct[mask].mean()
    arrays["out_accuracy"] = correct[~mask].mean() if not mask.all() else math.nan
    tested = test.correct[s][: work.first_tests]
    arrays["test_accuracy"] = tested.mean() if len(tested) else math.nan
    arrays["train_loss"] = loss[mask].mean()
    least = work.spec.training.min_in_accuracy
    failure = None
    if not (np.isfinite(loss).all() and np.isfinite(test.loss[s]).all()):
        failure = "the loss is not finite (NaN or infinity): the learning rate may be too high"
    elif arrays["in_accuracy"] < least:
        failure = f"in_accuracy {arrays['in_accuracy']:.4f} is below min_in_accuracy {least:g}"
    return Outcome(arrays, failure)


def evaluate(work: Work, stack: nn.Module) -> tuple[float, bool]:
    """Test accuracy of a single trial, and whether all its losses are finite."""
    with computing(precision_of(work.spec), work.device, isinstance(stack, MLP)) as forward:
        found = evaluated(work, stack, work.x_test, work.y_test, 1, forward)
    accuracy = float(found.correct.mean()) if found.correct.size else math.nan
    return accuracy, bool(np.isfinite(found.loss).all())


def evaluate_again(work: Work, model: nn.Module, mask: Mask, stacked: int) -> Outcome:
    """What a trained model says of every example, as if it had just been trained as one of ``stacked`` trials.

    So many copies of it are evaluated, because a product of more or fewer may be summed in another order.
    """
    torch.set_flush_denormal(True)
    with computing(precision_of(work.spec), work.device, isinstance(model, MLP)) as forward:
        together = isinstance(work.spec.training, UserTraining) or work.spec.training.together
        stack = models.stack([model] * stacked, together).to(work.device)
        train = evaluated(work, stack, work.x_train, work.y_train, stacked, forward)
        test = evaluated(work, stack, work.x_test, work.y_test, stacked, forward)
    return outcome_of(work, mask, train, test, 0, math.nan)
