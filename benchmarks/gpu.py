"""The first hour on a GPU: what was reckoned, beside what is found. Each part takes at most ten minutes.

    python benchmarks/gpu.py peak                ceilings: products in each precision, copies of memory
    python benchmarks/gpu.py step [NETWORK ...]  milliseconds of a step: precisions, determinism, kernels chosen by a
                                                 clock, compiled; the share that the host needs to launch it
    python benchmarks/gpu.py trial [SPEC ...]    whole trials by memexp: seconds, accuracies, the same bits twice or not
    python benchmarks/gpu.py readme              the rows of README's table, from what the parts before have found
    python benchmarks/gpu.py reckon [SPEC ...]   what the specs' headers and docs/models.md say of an H100; needs no GPU

    [--device cuda] [--out gpu.jsonl] [--minutes 10] [--cifar10 FOLDER] [--cifar100 FOLDER] [--tiny]

Findings go to standard output, and to a file of JSON lines that `readme` reads. Predictions are of an H100 (80 GB):
arithmetic at 60 % of its ceiling and memory at 3.0 TB/s in turn, and a quarter more for whole trials. A convolution
or dense layer reads or writes its input and its output three times each in a step, batch norm with ReLU its output 13
times, and once and four times in evaluation; layer norm and GELU count as batch norm does.

Without the CIFAR files trials train on random images: times are true, accuracies chance. --tiny tries the script
itself, also with --device cpu: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from engine import plans
from time_trial import peak_multiply_adds, seconds
from torch.utils.flop_counter import FlopCounterMode

from memexp.runs.arithmetic import multiply_adds
from memexp.runs.plan import Plan
from memexp.spec.designs import draw_masks
from memexp.spec.reading import read_spec
from memexp.spec.spec import Spec, Training
from memexp.training import compiled, models
from memexp.training.block import count_steps, prepare_block, train_block
from memexp.training.devices import set_up_torch
from memexp.training.precision import computing
from memexp.training.sgd import SGD

PRECISIONS = ("fp32", "tf32", "bf16")
# Batch, pixels and classes of a step; what was reckoned: milliseconds of a step by precision, and compiled.
STEPS: dict[str, tuple[tuple[int, int, int], dict[str, float]]] = {
    "memexp_resnet9": ((512, 32, 100), {"bf16": 4.7, "bf16, compiled": 4.0}),
    "memexp_resnetv2_50": ((512, 32, 100), {"fp32": 173.0, "tf32": 57.0, "bf16": 28.0, "bf16, compiled": 23.0}),
    "memexp_resnetv2_18": ((512, 32, 100), {"bf16": 7.3, "bf16, compiled": 6.4}),
    "memexp_inception": ((512, 32, 100), {"bf16": 5.5, "bf16, compiled": 4.6}),
    "memexp_densenet100": ((256, 32, 100), {"bf16": 14.0, "bf16, compiled": 9.7}),
    "resnet50": ((256, 224, 1000), {"bf16": 49.0, "bf16, compiled": 39.0}),
}
CEILINGS = {"fp32, TFLOP/s": 50.0, "tf32, TFLOP/s": 400.0, "bf16, TFLOP/s": 798.0, "copy, TB/s": 3.0}
TRIALS = {  # seconds of a trial
    "cifar10_fast": 9.9,
    "cifar10_fast, compiled": 8.3,
    "cifar100_fast": 16.3,
    "cifar100_fast, compiled": 14.0,
}
ROOT = Path(__file__).parent.parent
# Of the data of the specs that are reckoned: training and test examples, pixels, channels, classes.
CIFAR = (50_000, 10_000, 32, 3, 100)
IMAGENET = (1_281_167, 50_000)
SHAPES: dict[str, tuple[int, int, int, int, int]] = {
    "cifar10_fast": (50_000, 10_000, 32, 3, 10),
    "cifar100_fast": CIFAR,
    "cifar100_coarse": (22_840, 4_560, 32, 3, 20),  # 1, 1/2, ..., 1/5 of the five classes of each label
    "vit_cifar10": (50_000, 10_000, 32, 3, 10),
    "cifar100_resnet50": CIFAR,
    "cifar100_resnet18": CIFAR,
    "cifar100_inception": CIFAR,
    "cifar100_densenet100": CIFAR,
    "imagenet_resnet50": (*IMAGENET, 224, 3, 1000),
    "imagenet_fast": (*IMAGENET, 160, 3, 1000),
    "mnist_inception": (60_000, 10_000, 28, 1, 10),
}


class Report:
    """Prints what is found beside what was reckoned, and keeps it."""

    def __init__(self, out: Path, minutes: float) -> None:
        self._out, self._end = out, time.monotonic() + 60 * minutes

    def row(self, part: str, what: str, found: float | str, predicted: float | None = None, **more: Any) -> None:
        """One finding."""
        beside = f"{found / predicted:.2f} of {predicted:g}" if predicted and isinstance(found, float) else "-"
        words = " ".join(f"{name} {value:.3g}" for name, value in more.items())
        text = f"{found:.4g}" if isinstance(found, float) else found
        print(f"| {part} | {what} | {text} | {beside} | {words} |", flush=True)
        with self._out.open("a", encoding="utf-8") as file:
            record = {"part": part, "what": what, "found": found, "predicted": predicted} | more
            file.write(json.dumps(record) + "\n")

    @property
    def over(self) -> bool:
        """Whether nothing more should begin."""
        return time.monotonic() > self._end


def peak(given: argparse.Namespace, report: Report) -> None:
    """Ceilings of arithmetic and memory."""
    device = torch.device(given.device)
    for precision in PRECISIONS:
        with computing(precision, device, dense=False):
            rate = 2 * peak_multiply_adds("cpu" if given.tiny else given.device, precision) / 1e12
        what = f"{precision}, TFLOP/s"
        report.row("peak", what, rate, CEILINGS[what])
    big = torch.zeros(1 << (16 if given.tiny else 32), dtype=torch.uint8, device=device)
    other = torch.empty_like(big)
    speed = 2 * big.numel() / seconds(lambda: other.copy_(big), device, 5) / 1e12
    report.row("peak", "copy, TB/s", speed, CEILINGS["copy, TB/s"])


def step(given: argparse.Namespace, report: Report) -> None:
    """A step of each network in every way that might be worth it."""
    for name in given.what or ["memexp_resnet9", "memexp_resnetv2_50"]:
        (batch, size, classes), predicted = STEPS[name]
        if given.tiny:
            batch, size = 2, 32
        for precision in PRECISIONS:
            for way in ("", "any kernels", "chosen by a clock", "compiled"):
                if report.over or (way and precision != "bf16"):
                    continue
                what = f"{precision}, {way}" if way else precision
                with _kernels(deterministic=not way, by_clock=way == "chosen by a clock"):
                    ms: float | str
                    try:
                        ms, host = _step_ms(given, name, precision, (batch, size, classes), way == "compiled")
                    except Exception as error:  # a compiler that is not there, memory that is full
                        report.row("step", f"{name}: {what}", f"{type(error).__name__}: {error}".splitlines()[0])
                        continue
                report.row("step", f"{name}: {what}", ms, predicted.get(what), host_ms=host, per_s=1000 * batch / ms)


@contextmanager
def _kernels(deterministic: bool, by_clock: bool) -> Iterator[None]:
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = by_clock
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def _step_ms(
    given: argparse.Namespace, name: str, precision: str, sizes: tuple[int, int, int], compiled: bool
) -> tuple[float, float]:
    """Milliseconds of a step by memexp's recipe, and of launching it."""
    (batch, size, classes), device = sizes, torch.device(given.device)
    arguments = {"width": 4} if given.tiny and name == "memexp_resnet9" else {}
    model = models.stack([models.create(name, arguments, (size, size, 3), classes, 0)]).to(device).train()
    optimizer = SGD(model, Training(epochs=1, batch_size=batch, lr=0.01, nesterov=True, weight_decay=5e-4))
    x = torch.rand(1, batch, 3, size, size, device=device)
    y = torch.zeros(batch, dtype=torch.int64, device=device)
    logits_of = torch.compile(model, dynamic=False, backend=given.backend) if compiled else model

    with computing(precision, device, dense=False) as forward:

        def one() -> None:
            optimizer.before_backward()
            with forward():
                logits = logits_of(x)[0]
            F.cross_entropy(logits.float(), y, label_smoothing=0.1).backward()
            optimizer.step(0.01)

        one()
        ms = 1000 * seconds(one, device, 1 if given.tiny else 40)
        return ms, 1000 * launching(one, device)


def launching(one: Callable[[], None], device: torch.device) -> float:
    """Seconds of the host for a step, one at a time: a GPU lets it be about a thousand kernels ahead, then it waits."""
    found = []
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        one()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def plans_of(given: argparse.Namespace, names: list[str]) -> Iterator[tuple[str, Any, bool]]:
    """Plans of specs as benchmarks/engine.py makes them, in a folder that goes again."""
    with tempfile.TemporaryDirectory() as place:
        device = "cpu" if given.tiny else given.device  # which reduces them
        options = argparse.Namespace(**(vars(given) | {"specs": names, "device": device, "whole": not given.tiny}))
        yield from plans(options, Path(place))


def trial(given: argparse.Namespace, report: Report) -> None:
    """Whole trials, as a worker trains them: the first one starts everything, the second is timed, and made again."""
    for name, plan, real in plans_of(given, given.what or ["cifar10_fast", "cifar100_fast"]):
        if report.over:
            return
        alone = models.stack_size(models.create_for(plan.data, plan.spec.model), given.device) == 1
        for what in (name, f"{name}, compiled") if alone else (name,):  # stacks are not compiled
            _whole_trials(given, report, plan, what, real)


def _whole_trials(given: argparse.Namespace, report: Report, plan: Plan, what: str, real: bool) -> None:
    work = prepare_block(plan.spec, plan.data, given.device, compiled=what.endswith("compiled"))
    compiled.BACKEND = given.backend
    masks = draw_masks(plan.spec.subsets, plan.layout.n_train, [0, 1])
    outcomes = []
    for number in (0, 1, 1):
        start = time.perf_counter()
        outcomes += train_block(work, masks[[number]], [number])
        took = time.perf_counter() - start
    if work.compiled and compiled.given_up():
        report.row("trial", what, "does not compile")
        return
    accuracy = {key: float(outcomes[1].arrays[f"{key}_accuracy"]) for key in ("in", "out", "test")} if real else {}
    rate = 2 * multiply_adds(plan) / took / 1e12
    report.row("trial", what, took, TRIALS.get(what), teraflops=rate, per_hour=3600 / took, **accuracy)
    first, second = (outcome.arrays["train_margin"] for outcome in outcomes[1:])
    report.row("trial", f"{what}: margins that are the same bits again", float(np.mean(first == second)))


def reckon(given: argparse.Namespace, _: Report) -> None:
    """Rows of docs/models.md: seconds of a trial and GPU-hours of a spec, by arithmetic and memory alone."""
    for name in given.what or SHAPES:
        spec, one = reckoned(name)
        hours = one * spec.subsets.trials / 3600
        print(f"| {name} | {spec.sgd.precision} | {_short(one)} | {spec.subsets.trials:,} | {_short(hours)} |")


def _short(number: float) -> str:
    return f"{float(f'{number:.3g}'):,g}"


def reckoned(name: str) -> tuple[Spec, float]:
    """A spec, and the seconds of one of its trials on an H100."""
    path = next(path for path in (ROOT / "specs").rglob("*.yaml") if path.stem == name)
    spec, (train, test, *shape) = read_spec(path).spec, SHAPES[name]
    step, evaluation = _reckoned_ms(spec, *shape)
    whole = count_steps(spec, train) * step + (train + test) / spec.sgd.batch_size * evaluation
    return spec, 1.25 * whole / 1000


def _reckoned_ms(spec: Spec, size: int, channels: int, classes: int) -> tuple[float, float]:
    """Milliseconds of a step, and of evaluating as many images, on an H100."""
    recipe = spec.sgd
    model = models.create(spec.model.arch, spec.model.arguments, (size, size, channels), classes, 0).to("meta")
    elements = {"product": 0, "norm": 0}  # of two images

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            elements["product"] += inputs[0].numel() + output.numel()
        elif isinstance(layer, torch.nn.BatchNorm2d | torch.nn.LayerNorm | torch.nn.GELU):
            elements["norm"] += output.numel()

    x, y = torch.zeros(2, channels, size, size, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as both:
        F.cross_entropy(model(x), y).backward()
    for layer in model.modules():
        layer.register_forward_hook(count)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.eval()(x)
    wide = 2 if recipe.precision == "bf16" else 4
    traffic = [wide * (a * elements["product"] + b * elements["norm"]) for a, b in ((3, 13), (1, 4))]
    rate, copied = (1e12 * CEILINGS[what] for what in (f"{recipe.precision}, TFLOP/s", "copy, TB/s"))
    flops = (both.get_total_flops(), forward.get_total_flops())
    step, evaluation = (
        500 * recipe.batch_size * (f / (0.6 * rate) + moved / copied) for f, moved in zip(flops, traffic, strict=True)
    )
    return step, evaluation


def readme(given: argparse.Namespace, _: Report) -> None:
    """Rows for README's table of what was measured, from the last finding of each kind."""
    lines = given.out.read_text(encoding="utf-8").splitlines() if given.out.exists() else []
    last = {(found["part"], found["what"]): found for found in map(json.loads, lines)}
    top = last.get(("peak", "bf16, TFLOP/s"), {}).get("found")
    for (part, what), found in last.items():
        if part == "trial" and "per_hour" in found:
            share = f", {100 * found['teraflops'] / top:.0f} % of the arithmetic limit" if top else ""
            test = f", test accuracy {found['test']:.3f}" if "test" in found else ""
            print(
                f"| {what} on one GPU: a trial | {found['found']:.1f} s, {found['per_hour']:.0f} an hour{share}{test} "
                f"| `python benchmarks/gpu.py trial {what.split(',')[0]}` |"
            )


PARTS = {"peak": peak, "step": step, "trial": trial, "readme": readme, "reckon": reckon}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("what", nargs="*", help="networks or specs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"), help="JSON lines, added to")
    parser.add_argument("--minutes", type=float, default=10, help="begin nothing after these")
    parser.add_argument("--backend", default="inductor", help="of torch.compile; aot_eager needs no compiler")
    parser.add_argument("--cifar10", type=Path, help="the official python files")
    parser.add_argument("--cifar100", type=Path, help="the official python files")
    parser.add_argument("--tiny", action="store_true", help="try the script: little work, meaningless numbers")
    given = parser.parse_args()
    set_up_torch(given.device)
    if given.device.startswith("cuda") and given.part not in ("readme", "reckon"):
        print(f"{torch.cuda.get_device_name(given.device)}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    PARTS[given.part](given, Report(given.out, given.minutes))


if __name__ == "__main__":
    main()
