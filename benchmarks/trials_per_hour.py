"""Trials per hour on Fashion-MNIST: memexp against the two loops that a user would write by hand.

    python benchmarks/trials_per_hour.py [--data FOLDER] [--rounds 3] [--trials 20] [--share]

All contenders do the same work: MLP 784-512-256-10 on a random 70 % of 60,000 images, 10 epochs of
full batches of 128, SGD with learning rate 0.1 and momentum 0.9, then correctness on all 70,000 images.
(A last batch of 16 at this learning rate costs accuracy, and JAX a second compilation.)
They take turns, each with the whole machine to itself; every process reports its own steady seconds
per trial (imports, data loading and compilation are left out for all of them).

(a) PyTorch, DataLoader over a Subset, default threads: the loop of the tutorials.
(b) JAX, data in memory, one jitted step, default threads.
(c) memexp, the local executor's processes, float32 and bf16 products.

The limit is what the machine's best matrix product of the same precision, on all cores, would need. With --share only
memexp's share of it is measured, in processor time of one process, products and trials in turn: other programs on the
machine disturb it little.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RECIPE = {"epochs": 10, "batch": 128, "lr": 0.1, "momentum": 0.9, "ratio": 0.7}
WIDTHS = (784, 512, 256, 10)


def load(folder: Path) -> tuple[Any, ...]:
    """Images (N, 784) float32 in 0..1 and labels, training then test."""

    def read(name: str, offset: int) -> Any:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=offset)

    arrays: list[Any] = []
    for split in ("train", "t10k"):
        arrays.append(read(f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(np.float32) / 255)
        arrays.append(read(f"{split}-labels-idx1-ubyte.gz", 8).astype(np.int64))
    return tuple(arrays)


def multiply_adds_per_trial() -> float:
    """Of the matrix products: forward, gradients of weights, of activations (not of the images), evaluation."""
    weights = [a * b for a, b in itertools.pairwise(WIDTHS)]
    per_example = 3 * sum(weights) - weights[0]
    return RECIPE["epochs"] * RECIPE["ratio"] * 60_000 * per_example + 70_000 * sum(weights)


def torch_loop(folder: Path, trials: int) -> list[dict[str, float]]:
    """(a) What one writes by hand in PyTorch."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Subset, TensorDataset

    x_train, y_train, x_test, y_test = (torch.from_numpy(a) for a in load(folder))
    results = []
    for trial in range(trials):
        start = time.perf_counter()
        torch.manual_seed(trial)
        chosen = torch.randperm(60_000)[: int(RECIPE["ratio"] * 60_000)]
        model = nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=RECIPE["lr"], momentum=RECIPE["momentum"])
        loader = DataLoader(
            Subset(TensorDataset(x_train, y_train), chosen.tolist()), batch_size=int(RECIPE["batch"]), shuffle=True,
            drop_last=True,
        )  # fmt: skip
        for _ in range(int(RECIPE["epochs"])):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        with torch.no_grad():
            train_correct, test_correct = model(x_train).argmax(1) == y_train, model(x_test).argmax(1) == y_test
        assert len(train_correct) == 60_000
        results.append({"seconds": time.perf_counter() - start, "test": test_correct.float().mean().item()})
    return results


def jax_loop(folder: Path, trials: int) -> list[dict[str, float]]:
    """(b) A plain JAX loop with one jitted step."""
    import jax
    import jax.numpy as jnp

    x_train, y_train, x_test, y_test = load(folder)

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 3)
        pairs = list(itertools.pairwise(WIDTHS))
        return [
            (jax.random.uniform(k, (a, b), minval=-1, maxval=1) / np.sqrt(a), jnp.zeros(b))
            for k, (a, b) in zip(keys, pairs, strict=True)
        ]

    def forward(weights: Any, x: Any) -> Any:
        for w, b in weights[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = weights[-1]
        return x @ w + b

    def loss(weights: Any, x: Any, y: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(forward(weights, x)), y[:, None], 1))

    @jax.jit
    def step(weights: Any, velocity: Any, x: Any, y: Any) -> Any:
        gradient = jax.grad(loss)(weights, x, y)
        velocity = jax.tree.map(lambda v, g: RECIPE["momentum"] * v + g, velocity, gradient)
        return jax.tree.map(lambda w, v: w - RECIPE["lr"] * v, weights, velocity), velocity

    predict = jax.jit(lambda weights, x: jnp.argmax(forward(weights, x), 1))
    results = []
    for trial in range(-1, trials):  # trial -1 compiles
        start = time.perf_counter()
        draws = np.random.RandomState(trial + 1)
        chosen = draws.permutation(60_000)[: int(RECIPE["ratio"] * 60_000)]
        weights = init(jax.random.PRNGKey(trial))
        velocity = jax.tree.map(jnp.zeros_like, weights)
        for _ in range(int(RECIPE["epochs"]) if trial >= 0 else 1):
            order = draws.permutation(chosen)
            for batch in order[: len(order) - len(order) % int(RECIPE["batch"])].reshape(-1, int(RECIPE["batch"])):
                weights, velocity = step(weights, velocity, x_train[batch], y_train[batch])
        train_correct = np.asarray(predict(weights, x_train)) == y_train
        test_correct = np.asarray(predict(weights, x_test)) == y_test
        assert len(train_correct) == 60_000
        if trial >= 0:
            results.append({"seconds": time.perf_counter() - start, "test": float(test_correct.mean())})
    return results


def write_spec(place: Path, folder: Path, trials: int, precision: str) -> Path:
    """The same work as a spec."""
    (spec := place / "spec.yaml").write_text(
        f"name: bench\ndataset: {{source: idx, path: {folder}}}\nmodel: {{arch: memexp_mlp}}\n"
        f"training: {{epochs: 10, batch_size: 128, lr: 0.1, momentum: 0.9, precision: {precision}}}\n"
        f"subsets: {{design: uniform, ratio: 0.7, trials: {trials}}}\n",
        encoding="utf-8",
    )
    return spec


def share_of_limit(folder: Path, precision: str, rounds: int) -> list[dict[str, float]]:
    """Of whole trials, four to a stack, by processor time."""
    import torch

    from memexp.runs.plan import make_plan
    from memexp.spec.designs import draw_masks
    from memexp.spec.reading import read_spec
    from memexp.training.block import prepare_block, train_block
    from memexp.training.devices import set_up_torch

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(2048, 2048).to(kind) for _ in range(2))
    x, upstream, weights = (
        [torch.randn(shape).to(kind) for shape in shapes]
        for shapes in zip(*(((4, 128, n), (4, 128, m), (4, n, m)) for n, m in itertools.pairwise(WIDTHS)), strict=True)
    )

    def products() -> None:
        """Those of a step of four trials, and nothing else."""
        for layer, weight in enumerate(weights):
            torch.bmm(x[layer], weight)
            torch.bmm(x[layer].mT, upstream[layer])
            if layer:
                torch.bmm(upstream[layer], weight.mT)

    def seconds_of(work: Callable[[], Any]) -> float:
        work()
        start, count = time.process_time(), 0
        while time.process_time() - start < 1:
            work()
            count += 1
        return (time.process_time() - start) / count

    set_up_torch("cpu")
    with tempfile.TemporaryDirectory() as place:
        plan = make_plan(read_spec(write_spec(Path(place), folder, 4, precision)))
    work, masks = prepare_block(plan.spec, plan.data, "cpu"), draw_masks(plan.spec.subsets, 60_000, range(4))
    found = []
    for _ in range(rounds):
        before, start = seconds_of(lambda: a @ b), time.process_time()
        train_block(work, masks, range(4))
        seconds = (time.process_time() - start) / 4
        each = (before + seconds_of(lambda: a @ b)) / 2 / 2048**3  # of a multiply-add
        step = 4 * 128 * (3 * sum(w[0].numel() for w in weights) - weights[0][0].numel())
        found.append(
            {
                "seconds": seconds,
                "limit": each * multiply_adds_per_trial(),
                "alone": each * step / seconds_of(products),
            }
        )
    return found


def memexp_launch(folder: Path, trials: int, precision: str) -> list[dict[str, float]]:
    """(c) `memexp launch`: steady seconds per trial of the whole machine, from the blocks' receipts."""
    from memexp.launch.where import available_cpus
    from memexp.runs.run import open_run
    from memexp.store.receipts import read_receipts

    with tempfile.TemporaryDirectory() as place:
        spec = write_spec(Path(place), folder, trials, precision)
        command = [sys.executable, "-m", "memexp", "launch", spec, "--yes", "--runs", place, "--device", "cpu"]
        subprocess.run([*command, "--block", "4"], check=True, capture_output=True)
        run = open_run(Path(place) / "bench")
        workers = available_cpus()
        test = run.store().per_trial("test_accuracy")
        return [
            {"seconds": receipt.seconds / len(receipt.trained) / workers, "test": float(test[trial])}
            for receipt in read_receipts(run.paths)
            for trial in receipt.trained
        ]


def machine_limit(precision: str) -> float:
    """Multiply-adds per second of large products of such tensors, one process of one thread per core."""
    program = (
        "import time, torch; torch.set_num_threads(1)\n"
        f"n, kind = 2048, torch.{'bfloat16' if precision == 'bf16' else 'float32'}\n"
        "a, b = (torch.randn(n, n).to(kind) for _ in range(2)); a @ b\n"
        "start = time.perf_counter(); count = 0\n"
        "while time.perf_counter() - start < 4: a @ b; count += 1\n"
        "print(count * n**3 / (time.perf_counter() - start))"
    )
    from memexp.launch.where import available_cpus

    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, encoding="utf-8")
        for _ in range(available_cpus())
    ]
    return sum(float(process.communicate()[0]) for process in processes)


CONTENDERS = {
    "PyTorch, DataLoader": torch_loop,
    "JAX, one jitted step": jax_loop,
    "memexp, fp32": lambda folder, trials: memexp_launch(folder, trials, "fp32"),
    "memexp, bf16": lambda folder, trials: memexp_launch(folder, trials, "bf16"),
}


def measure(name: str, folder: Path, trials: int) -> list[dict[str, float]]:
    """Run a contender in a process of its own."""
    command = [sys.executable, __file__, "--data", str(folder), "--trials", str(trials), "--only", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    return list(json.loads(done.stdout.splitlines()[-1]))


def shares(given: argparse.Namespace) -> None:
    """memexp's share of the limit in both precisions."""
    from memexp.runs.pool import MALLOC

    for precision in ("fp32", "bf16"):
        command = [sys.executable, __file__, "--data", given.data, "--rounds", str(given.rounds), "--only", precision]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, encoding="utf-8", env=os.environ | MALLOC
        )
        found = json.loads(done.stdout.splitlines()[-1])
        share = statistics.median(100 * each["limit"] / each["seconds"] for each in found)
        seconds, limit = (statistics.median(each[key] for each in found) for key in ("seconds", "limit"))
        alone = 100 * statistics.median(each["alone"] for each in found)
        print(f"{precision}: {seconds:.2f} processor seconds a trial, limit {limit:.2f}: {share:.0f} %;", end=" ")
        print(f"the products of a step alone {alone:.0f} %", flush=True)


def main() -> None:
    """Measure all contenders in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16, help="of memexp in a round; the loops do a quarter")
    parser.add_argument("--share", action="store_true", help="only memexp's share of the limit, in processor time")
    parser.add_argument("--only", choices=[*CONTENDERS, "fp32", "bf16"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.share:
        shares(given)
        return
    if given.only in ("fp32", "bf16"):
        print(json.dumps(share_of_limit(given.data, given.only, given.rounds)))
        return
    if given.only:
        print(json.dumps(CONTENDERS[given.only](given.data, given.trials)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    ratios: list[float] = []
    for _ in range(given.rounds):
        for name in CONTENDERS:
            found[name] += measure(name, given.data, given.trials if "memexp" in name else max(1, given.trials // 4))
    median = {name: statistics.median(r["seconds"] for r in results) for name, results in found.items()}
    ratios = [median["JAX, one jitted step"] / median[name] for name in CONTENDERS]
    work = multiply_adds_per_trial()
    limits = {precision: work / machine_limit(precision) for precision in ("fp32", "bf16")}
    print(f"{work / 1e9:.0f} billion multiply-adds per trial")
    print("| | seconds per trial | trials per hour | against JAX | test accuracy | limit, s | share of the limit |")
    print("|---|---|---|---|---|---|---|")
    for (name, results), ratio in zip(found.items(), ratios, strict=True):
        tests = [100 * r["test"] for r in results]
        test = f"{statistics.mean(tests):.2f} ± {statistics.stdev(tests) / len(tests) ** 0.5:.2f} %"
        limit = limits["bf16" if "bf16" in name else "fp32"]
        print(
            f"| {name} | {median[name]:.2f} | {3600 / median[name]:,.0f} | {ratio:.2f} | {test} "
            f"| {limit:.2f} | {100 * limit / median[name]:.0f} % |"
        )


if __name__ == "__main__":
    main()
