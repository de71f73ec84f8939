"""Where the time of a trial goes, and how far it is from what the device's arithmetic allows.

python benchmarks/time_trial.py specs/digits.yaml
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memexp.errors import InputError
from memexp.runs.arithmetic import multiply_adds
from memexp.runs.pilot import Pace, measure_pace
from memexp.runs.plan import Plan, make_plan
from memexp.spec.reading import read_spec
from memexp.store.layout import Layout
from memexp.store.trials import DONE, TrialStore, create_store
from memexp.training.batches import Draws, Work, batches

_BATCHES = 20


@dataclass(frozen=True)
class TrialTimes:
    """Seconds of one trial on one worker with one thread, by what they are spent on.

    ``batches``: choosing, augmenting and scaling images. ``network``: forward, backward, update.
    ``evaluation``: all training and test examples after training. ``writing``: its share of a block's
    commit. ``multiply_adds``: of the whole trial. ``peak``: multiply-adds per second of a large product
    in the spec's precision on this device, the limit of arithmetic.
    """

    batches: float
    network: float
    evaluation: float
    writing: float
    multiply_adds: float
    peak: float

    @property
    def total(self) -> float:
        """Seconds of the trial."""
        return self.batches + self.network + self.evaluation + self.writing

    @property
    def limit(self) -> float:
        """Seconds that the arithmetic alone would take."""
        return self.multiply_adds / self.peak


def time_trial(plan: Plan, device: str = "cpu") -> TrialTimes:
    """Measure a few steps, a few evaluations and the commit of an empty block; see :class:`TrialTimes`.

    Raises
    ------
    InputError
        If trials are trained by a user's file, whose steps memexp does not see.
    """
    if plan.steps is None:
        raise InputError(
            "the time trial looks into memexp's own recipe, and this spec trains by a file of its own (training.file); "
            "`memexp plan` shows what a trial costs"
        )
    pace: Pace = measure_pace(plan, device)
    per_batch = _seconds_per_batch(pace.work, pace.stacked)
    evaluated = plan.layout.n_train + plan.layout.n_test
    batches = plan.steps * min(per_batch, pace.per_step)
    return TrialTimes(
        batches=batches,
        network=plan.steps * pace.per_step - batches,
        evaluation=evaluated * pace.per_example,
        writing=_seconds_of_writing(plan.layout),
        multiply_adds=multiply_adds(plan),
        peak=peak_multiply_adds(device, plan.spec.sgd.precision),
    )


def _seconds_per_batch(work: Work, stacked: int) -> float:
    """Of one trial's batch, made as training makes them."""
    draws = [Draws(0, k) for k in range(stacked)]
    order = torch.randint(len(work.y_train), (_BATCHES, stacked, work.spec.sgd.batch_size))
    return seconds(lambda: deque(batches(work, order, draws), maxlen=0), work.device, 3) / (_BATCHES * stacked)


def _seconds_of_writing(layout: Layout) -> float:
    """Writing a block of random outcomes to a store beside the temporary files, per trial."""
    draws = np.random.default_rng(0)
    small = Layout(layout.block_size, layout.n_train, layout.n_test, layout.block_size, layout.recorded)
    sizes = {"train": (layout.n_train,), "test": (layout.n_test,), "": ()}
    content: dict[str, Any] = {
        name: draws.integers(0, 2, (layout.block_size, *sizes[axis])).astype(dtype)
        for name, (axis, dtype) in small.outcome_arrays().items()
    }
    content["status"][:] = DONE
    with tempfile.TemporaryDirectory(prefix="memexp-") as folder:
        create_store(Path(folder) / "trials.zarr", small, {})
        store = TrialStore(Path(folder) / "trials.zarr", writable=True)
        start = time.perf_counter()
        store.write_block(0, content)
        return (time.perf_counter() - start) / layout.block_size


def peak_multiply_adds(device: str, precision: str) -> float:
    """Multiply-adds per second of a large square product: what this device (one thread of a CPU) reaches."""
    n = 1024 if device == "cpu" else 8192
    where = torch.device(device)
    a, b = (torch.randn(n, n, device=where) for _ in range(2))
    if precision == "bf16":
        a, b = a.bfloat16(), b.bfloat16()
    return float(n**3 / seconds(lambda: a @ b, where, 10))


def seconds(work: Callable[[], Any], device: torch.device, times: int) -> float:
    """Wall seconds of one call, the median of ``times`` after a first one that is not counted."""
    found = []
    for _ in range(times + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))


def main() -> None:
    """Measure the trial of a spec and print its parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    plan = make_plan(read_spec(given.spec))
    times = time_trial(plan, given.device)
    for name in ("batches", "network", "evaluation", "writing", "total"):
        value = getattr(times, name)
        print(f"{name:<14}  {value:9.3f} s  {100 * value / times.total:5.1f} %")
    print(f"{'arithmetic':<14}  {times.multiply_adds:.3g} multiply-adds")
    print(
        f"{'limit':<14}  {times.limit:9.3f} s at {times.peak:.3g} a second ({given.device}, {plan.spec.sgd.precision})"
    )
    print(f"{'share of limit':<14}  {100 * times.limit / times.total:.0f} %")


if __name__ == "__main__":
    main()
