"""One trial of each fast spec against a plain PyTorch loop of the same recipe, on whatever device is here.

    python benchmarks/engine.py [--device auto] [--specs NAME ...] [--cifar10 FOLDER] [--cifar100 FOLDER]
                                [--rounds 3] [--whole]

Both train the same network on the same subsets with the same recipe and precision, in one process and with one
processor thread, and take turns. Times are seconds of one trial with its evaluation; imports, loading the
data and the first use of every kernel are left out for both. The plain loop is that of the tutorials: a
Dataset with transforms for each image, a DataLoader that shuffles, optimizer and scheduler, one evaluation.

memexp may train several trials as one stack; its time is then the stack's divided by the trials.

On a CPU the specs are reduced (examples, epochs) unless --whole is given: accuracies then say only that both
loops learn alike. Without the CIFAR files their specs run on random images: times are true, accuracies chance.

The share of the peak is the trial's multiply-adds, divided by its seconds and by the multiply-adds per second
of a large square product in the same precision on this device.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from time_trial import peak_multiply_adds
from torch import nn
from torch.utils.data import DataLoader, Dataset

from memexp.data import Data
from memexp.runs.arithmetic import multiply_adds
from memexp.runs.plan import Plan, make_plan
from memexp.spec.designs import draw_masks
from memexp.spec.reading import read_spec
from memexp.spec.spec import Spec
from memexp.training import models
from memexp.training.batches import prepare
from memexp.training.block import train_block

ROOT = Path(__file__).parent.parent
# On a CPU: training and test examples, epochs.
REDUCED = {
    "digits": (1438, 359, 20),
    "fashion_mnist": (12_000, 2000, 2),
    "cifar100_small": (1500, 500, 4),
    "cifar10_fast": (500, 100, 1),
    "cifar100_fast": (600, 200, 6),
}
FEW_CLASSES = [4, 35, 38, 50, 98]  # those of cifar100_small: with a hundred, few examples teach nothing


@dataclass
class Measured:
    """Seconds of one trial, its test accuracy, and how many trials were trained together."""

    seconds: float
    accuracy: float
    together: int = 1


class Images(Dataset[Any]):
    """Images and labels, with the transforms applied one by one."""

    def __init__(self, x: Any, y: Any, transform: Any) -> None:
        self.x, self.y, self.transform = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2), y, transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.x[index]), int(self.y[index])


def plain_trial(spec: Spec, data: Data, mask: Any, device: str, seed: int) -> Measured:
    """What one writes by hand."""
    from torchvision.transforms import v2

    recipe = spec.training
    torch.manual_seed(seed)
    pixels = data.x_train.astype(np.float32) / 255
    mean, deviation = (pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))) if recipe.standardize else ([0.0], [1.0])
    still = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(deviation))]
    moving: list[Any] = [v2.RandomCrop(data.x_train.shape[1], recipe.augment.crop)] if recipe.augment.crop else []
    moving += [v2.RandomHorizontalFlip()] if recipe.augment.flip else []
    start = time.perf_counter()
    train = Images(data.x_train[mask], data.y_train[mask], v2.Compose(moving + still))
    loader = DataLoader(train, recipe.batch_size, shuffle=True)
    model = models.create(spec.model.arch, spec.model.arguments, data.x_train.shape[1:], len(data.classes), seed)
    model.to(device).train()
    options = {name: getattr(recipe, name) for name in ("lr", "momentum", "nesterov", "weight_decay")}
    optimizer = torch.optim.SGD(model.parameters(), **options)
    steps, warm = int(recipe.epochs * len(loader)), round(recipe.warmup_epochs * len(loader))
    falls = recipe.schedule == "linear"

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return (steps - step) / (steps - warm) if falls else 1.0

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    lossy = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bf16")
    for _ in range(round(recipe.epochs)):
        for x, y in loader:
            optimizer.zero_grad()
            with lossy:
                logits = model(x.to(device))
            F.cross_entropy(logits.float(), y.to(device), label_smoothing=recipe.label_smoothing).backward()
            optimizer.step()
            scheduler.step()
    with lossy:
        correct = [
            _correct(model, Images(x, y, v2.Compose(still)), device)
            for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
        ]
    return Measured(time.perf_counter() - start, float(np.mean(correct[1])))


@torch.no_grad()
def _correct(model: nn.Module, images: Images, device: str) -> Any:
    model.eval()
    return np.concatenate(
        [(model(x.to(device)).argmax(1).cpu() == y).numpy() for x, y in DataLoader(images, 1024)]
    )  # fmt: skip


def engine_trial(spec: Spec, data: Data, device: str, trials: list[int]) -> Measured:
    """What memexp's workers do with a block."""
    work = prepare(spec, data, device)
    masks = draw_masks(spec.subsets, len(data.y_train), trials)
    start = time.perf_counter()
    outcomes = train_block(work, masks, trials)
    seconds = (time.perf_counter() - start) / len(trials)
    return Measured(seconds, statistics.mean(float(o.arrays["test_accuracy"]) for o in outcomes), len(trials))


def plans(given: argparse.Namespace, place: Path) -> Iterator[tuple[str, Plan, bool]]:
    """Each spec that was asked for, as planned here, and whether its images are real."""
    for name in given.specs:
        file = read_spec(ROOT / "specs" / f"{name}.yaml")
        block = file.spec.dataset.model_dump(exclude_none=True)
        folder = getattr(given, block["source"], None)
        if folder:
            block["path"] = str(folder.absolute())
        real = "path" not in block or Path(block["path"]).exists()
        if not real:
            classes = int(block["source"].removeprefix("cifar")) if name.endswith("_fast") else 5
            block = {"source": "npz", "path": str(_random_images(place / f"{name}.npz", classes))}
        training: dict[str, Any] = {"min_in_accuracy": 0.0}
        if given.device == "cpu" and not given.whole:
            train, test, epochs = REDUCED[name]
            few = {"classes": FEW_CLASSES} if name == "cifar100_fast" and real else {}
            block["limit"] = block.get("limit", {}) | few | {"train": train, "test": test}
            share = epochs / file.spec.training.epochs
            training |= {"epochs": epochs, "warmup_epochs": file.spec.training.warmup_epochs * share}
            batch = min(file.spec.training.batch_size, train // 8)
            rate = file.spec.training.lr * batch / file.spec.training.batch_size
            training |= {"batch_size": batch, "lr": rate}
        value = file.spec.model_dump(exclude_none=True)
        spec = Spec.model_validate(value | {"dataset": block, "training": value["training"] | training})
        yield name, make_plan(replace(file, spec=spec)), real


def _random_images(path: Path, classes: int) -> Path:
    draws = np.random.default_rng(0)
    sizes = {"train": 50_000, "test": 10_000}
    arrays = {f"x_{split}": draws.integers(0, 256, (count, 32, 32, 3), np.uint8) for split, count in sizes.items()}
    labels = {f"y_{split}": np.arange(count) % classes for split, count in sizes.items()}
    np.savez(path, **arrays, **labels)
    return path


def measure(name: str, plan: Plan, real: bool, given: argparse.Namespace) -> None:
    """Both loops in turn; one row of the table."""
    spec, data = plan.spec, plan.data
    model = models.create(spec.model.arch, spec.model.arguments, data.x_train.shape[1:], len(data.classes), 0)
    stacked = min(models.stack_size(model, given.device), plan.layout.block_size)

    plain, ours = [], []
    for number in range(given.rounds + 1):  # the first turn does not count: kernels are chosen in it
        trials = list(range(number * stacked, (number + 1) * stacked))
        ours.append(engine_trial(spec, data, given.device, trials))
        (mask,) = draw_masks(spec.subsets, len(data.y_train), trials[:1])
        plain.append(plain_trial(spec, data, mask, given.device, number))
    a, b = (statistics.median(m.seconds for m in found[1:]) for found in (plain, ours))
    peak = peak_multiply_adds(given.device, spec.training.precision)
    share = multiply_adds(plan) / peak
    accuracy = [f"{100 * statistics.mean(m.accuracy for m in found[1:]):.1f}" for found in (plain, ours)]
    images = f"{len(data.y_train):,}" + ("" if real else " random")
    print(
        f"| {name} | {spec.model.arch}, {spec.training.precision} | {images}, {spec.training.epochs:g} epochs "
        f"| {a:.2f} | {b:.2f} ({ours[-1].together} at once) | {a / b:.1f} | {accuracy[0]}, {accuracy[1]} "
        f"| {100 * share / a:.1f}, {100 * share / b:.1f} |",
        flush=True,
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--specs", nargs="+", choices=REDUCED, default=list(REDUCED))
    parser.add_argument("--cifar10", type=Path, help="the official python files")
    parser.add_argument("--cifar100", type=Path, help="the official python files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="on a CPU too: all examples and epochs")
    given = parser.parse_args()
    if given.device == "auto":
        given.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    print(f"device: {torch.cuda.get_device_name() if given.device == 'cuda' else 'CPU, one thread'}")
    print(
        "| spec | network | training examples | plain loop, s | memexp, s | ratio | test accuracy, % | of the peak, % |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for name, plan, real in plans(given, Path(place)):
            measure(name, plan, real, given)


if __name__ == "__main__":
    main()
