"""How each training example was learned: read off the forward passes of training, so that nothing is evaluated anew.

An example is seen once in each pass of its trial. What is measured is what the network said of it then: with the
weights of that step, in training mode (dropout and batch statistics at work), on the augmented image.

Axes: S trials in a stack, B batch, N train, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from memexp.spec.designs import Mask

_COUNTS = ("_loss", "_right", "_learned", "_forgotten")
_LAST = np.iinfo(np.uint16).max


class Learning:
    """What S trials that are trained together show of the examples that they see.

    Parameters
    ----------
    masks : bool, shape (S, N)
        The examples of each trial.
    """

    def __init__(self, masks: Mask) -> None:
        self._masks = masks
        self._sizes = masks.sum(axis=1)
        self._position = 0  # in each trial's stream of examples: a pass of m examples after the other
        self._loss = np.zeros(masks.shape, np.float64)
        self._right = np.zeros(masks.shape, np.bool_)  # the last time it was seen
        self._learned = np.ones(masks.shape, np.int64)
        self._forgotten = np.zeros(masks.shape, np.int64)
        self._steps: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def step(self, logits: Tensor, y: Tensor) -> None:
        """Note what a step's forward pass said: (S * B, K), of the labels (S * B,); nothing is waited for."""
        loss = F.cross_entropy(logits.detach().float(), y, reduction="none")
        self._steps.append((loss, logits.detach().argmax(1) == y))

    def end_epoch(self, order: Tensor) -> None:
        """Count what was noted since the last call; ``order``: the examples of these steps, (steps, S, B)."""
        chosen = order[: len(self._steps)].cpu().numpy()
        loss, right = (torch.stack(each).cpu().numpy().reshape(chosen.shape) for each in zip(*self._steps, strict=True))
        self._steps = []
        for s, size in enumerate(self._sizes.tolist()):
            examples, losses, rights = (each[:, s].ravel() for each in (chosen, loss, right))
            start = 0
            while start < len(examples):  # a batch may cross the end of a pass, and within one no example comes twice
                number, within = divmod(self._position + start, size)
                part = slice(start, start + size - within)
                self._see(s, number + 1, examples[part], losses[part], rights[part])
                start = part.stop
        self._position += chosen.shape[0] * chosen.shape[2]

    def _see(
        self, s: int, number: int, examples: NDArray[np.int64], loss: NDArray[np.float32], right: NDArray[np.bool_]
    ) -> None:
        self._loss[s, examples] += loss
        self._forgotten[s, examples] += self._right[s, examples] & ~right
        self._learned[s, examples] = np.where(right, self._learned[s, examples], number + 1)
        self._right[s, examples] = right

    def state_dict(self) -> dict[str, Any]:
        """All counts, and what was noted since the last epoch's end, as tensors."""
        counts = {name: torch.from_numpy(getattr(self, name)) for name in _COUNTS}
        return counts | {"position": self._position, "steps": [list(each) for each in self._steps]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with :meth:`state_dict`."""
        for name in _COUNTS:
            getattr(self, name)[:] = state[name].cpu().numpy()
        self._position, self._steps = state["position"], [(loss, right) for loss, right in state["steps"]]

    def arrays(self, s: int) -> dict[str, NDArray[Any]]:
        """What is recorded of trial ``s``, each (N,); NaN and 0 for examples that it did not see.

        ``train_learning_loss``: cross-entropy of the label, summed over the times it was seen. ``train_learned``: the
        pass from which it stayed right; one more than there were if it was wrong the last time.
        ``train_forgotten``: how often it was wrong though it had been right the time before.
        """
        seen = self._masks[s]
        learned, forgotten = (
            np.where(seen, np.minimum(each[s], _LAST), 0).astype(np.uint16) for each in (self._learned, self._forgotten)
        )
        loss = np.where(seen, self._loss[s], np.nan).astype(np.float32)
        return {"train_learning_loss": loss, "train_learned": learned, "train_forgotten": forgotten}
