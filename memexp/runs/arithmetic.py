"""How much a trial computes, and what that takes on a GPU that has not been timed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from memexp.runs.plan import Plan
from memexp.training import models
from memexp.training.precision import precision_of

# Of a GPU that nobody timed, by precision: what a busy one of an older generation still does.
CAUTIOUS_TERAFLOPS = {"fp32": 8.0, "tf32": 20.0, "bf16": 40.0}
# A GPU was timed with ResNet-9, which convolves most of the time. Networks that normalize more reach half of that:
# reckoned for ResNet-50 on small images, whose batch norms are bound by memory.
_OTHER_NETWORKS = 0.5


def multiply_adds(plan: Plan) -> float:
    """Of one trial: every step forward and backward, and the evaluation of every example."""
    model, (height, width, channels) = models.create_for(plan.data, plan.spec.model), plan.data.x_train.shape[1:]
    where = "cpu" if plan.spec.model.code else "meta"  # where nothing is computed; a user's network may look at numbers
    model, x, y = model.to(where), torch.zeros(2, channels, height, width, device=where), torch.zeros(2, device=where)
    with FlopCounterMode(display=False) as both:
        F.cross_entropy(model(x), y.long()).backward()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.eval()(x)
    # two images were passed through, and torch counts a multiplication and an addition as two
    per_step = plan.spec.sgd.batch_size * both.get_total_flops() / 4
    evaluated = plan.layout.n_train + plan.layout.n_test
    assert plan.steps is not None
    return float(plan.steps * per_step + evaluated * forward.get_total_flops() / 4)


def seconds_on_gpu(plan: Plan, teraflops: dict[str, float] | None = None) -> float | None:
    """Wall seconds of a trial, rather too many; None where a user's file trains it.

    Parameters
    ----------
    teraflops
        What a step of ResNet-9 reached on the GPU (:func:`memexp.training.gpu_check.try_gpu`); None: not known.
    """
    if plan.steps is None or plan.spec.trial is not None:
        return None
    precision = precision_of(plan.spec)
    measured = (teraflops or {}).get(precision) or (teraflops or {}).get("fp32")
    rate = _OTHER_NETWORKS * measured if measured else CAUTIOUS_TERAFLOPS[precision]
    return 2 * multiply_adds(plan) / (1e12 * rate)
