"""The influence matrix at CIFAR-100's size against the public demo's way; pairs at ImageNet's size.

    python benchmarks/influence.py [--cifar] [--soft] [--imagenet] [--rounds 3] [--scale 1.0] [--folder FOLDER]

CIFAR-100: 4,000 trials, 50,000 training and 10,000 test examples; bits of a synthetic run with a mask
ratio of 0.7. Contenders run in turn, each in a process of its own that reports its time and its
highest memory; both leave a float32 matrix (test, train).

(a) The demo's way, written here in numpy from its description: float32 masks, whole-array products for
    the trials with and without, each divided by its count, their difference; the matrix stays in memory.
(b) memexp: `write_dense` from the packed bits to the file of estimates.zarr.

The limit is the product alone: its multiply-adds divided by the best speed that torch's int8 and
float32 products of this shape, the operands ready in memory, reach on this machine.

Soft: at CIFAR-100's size the dense matrix of soft influence from random margins, in turn with that of 0/1 influence,
both by `write_dense`. Besides the wall clock the processor time is told, which others on the machine disturb less.

ImageNet: 2,000 trials, 1,281,167 training and 50,000 test examples in 1,000 classes. All pairs of one
class are looked at; of the pairs of all classes a part is measured and the whole is extrapolated.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

CIFAR = {"trials": 4000, "train": 50_000, "test": 10_000, "classes": 100}
IMAGENET = {"trials": 2000, "train": 1_281_167, "test": 50_000, "classes": 1000}
CORES = len(os.sched_getaffinity(0))


def make_bits(size: dict[str, int], folder: Path) -> None:
    """Packed masks and outcomes of a synthetic run: examples differ in how often they are right."""
    draws = np.random.default_rng(0)
    for name, count, share in (("mask", size["train"], None), ("test", size["test"], draws.beta(1.5, 0.5, 2**20))):
        packed = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.uint8, (count, -(-size["trials"] // 8))
        )  # fmt: skip
        for top in range(0, count, 8192):
            rows = slice(top, min(top + 8192, count))
            level = 0.7 if share is None else share[rows, None]
            packed[rows] = np.packbits(draws.random((rows.stop - top, size["trials"]), np.float32) < level, axis=1)


def load(folder: Path, size: dict[str, int]) -> Any:
    """The bits as memexp's merged store gives them."""
    import torch

    from memexp.analysis.products import Trials

    torch.set_num_threads(CORES)
    return Trials(np.load(folder / "test.npy"), np.load(folder / "mask.npy"), size["trials"])


def demo(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """(a) Whole-array products, in and out separately. Loading and unpacking are not timed."""
    correct, mask = (
        np.unpackbits(np.load(folder / f"{name}.npy"), axis=1, count=size["trials"]).astype(np.float32).T
        for name in ("test", "mask")
    )
    start = time.perf_counter()
    inverse = 1 - mask
    inside = (correct.T @ mask) / np.maximum(mask.sum(0, keepdims=True), 1e-10)
    outside = (correct.T @ inverse) / np.maximum(inverse.sum(0, keepdims=True), 1e-10)
    influence = inside - outside
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "check": float(influence[::97, ::101].astype(np.float64).sum())}


def ours(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """(b) From the packed bits to the matrix on disk."""
    import zarr

    from memexp.analysis.dense import write_dense
    from memexp.analysis.products import fastest_kind

    fastest_kind()
    target = folder / "influence.zarr"
    shutil.rmtree(target, ignore_errors=True)
    start = time.perf_counter()
    trials = load(folder, size)
    write_dense(trials, trials.influence, target, "benchmark", memory_gb=0.5)
    seconds = time.perf_counter() - start
    check = float(np.asarray(zarr.open_array(target)[::97])[:, ::101].astype(np.float64).sum())
    shutil.rmtree(target)
    return {"seconds": seconds, "check": check}


def zero_one(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """The matrix of 0/1 influence, as ``estimate --dense`` writes it."""
    return _written(folder, size, soft=False)


def soft(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """That of soft influence; making margins is not timed."""
    return _written(folder, size, soft=True)


def _written(folder: Path, size: dict[str, int], soft: bool) -> dict[str, float]:
    from memexp.analysis.dense import write_dense
    from memexp.analysis.levels import STEPS, Levels, probabilities
    from memexp.analysis.products import fastest_kind

    fastest_kind()
    trials, draws = load(folder, size), np.random.default_rng(2)
    values = np.empty((size["test"], size["trials"]) if soft else (0, 0), np.uint16)
    for top in range(0, len(values), 512):
        margin = 4 * draws.standard_normal((min(512, len(values) - top), size["trials"]), np.float32)
        values[top : top + 512] = probabilities(margin.astype(np.float16))
    target = folder / "influence.zarr"
    start, used = time.perf_counter(), time.process_time()
    operands = Levels(trials, values, STEPS) if soft else trials
    write_dense(operands, operands.difference if soft else trials.influence, target, "benchmark")
    result = {"seconds": time.perf_counter() - start, "processor": time.process_time() - used}
    shutil.rmtree(target)
    return result


def limit(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """Seconds of the product alone at the best measured speed, and both speeds."""
    import torch

    from memexp.analysis.products import multiply

    torch.set_num_threads(CORES)
    tests = torch.from_numpy(np.unpackbits(np.load(folder / "test.npy"), axis=1).view(np.int8))
    trains = torch.from_numpy(np.unpackbits(np.load(folder / "mask.npy")[:1024], axis=1).view(np.int8))
    speeds = {}
    for kind in ("int8", "float32"):
        a, b = (tests, trains) if kind == "int8" else (tests.float(), trains.float())
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            multiply(a, b, kind)
            seconds.append(time.perf_counter() - start)
        speeds[kind] = len(tests) * len(trains) * size["trials"] / min(seconds)
    work = size["test"] * size["train"] * size["trials"]
    return {"seconds": work / max(speeds.values()), **speeds}


def same_class(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """Selection among the pairs of one class; the classes of training examples are mixed, as in CIFAR-100."""
    from memexp.analysis.pairs import Selection
    from memexp.analysis.search import select_pairs

    draws = np.random.default_rng(1)
    labels = tuple(draws.permutation(np.arange(size[axis]) % size["classes"]) for axis in ("test", "train"))
    start = time.perf_counter()
    trials = load(folder, size)
    memorization = np.ones(size["train"], np.float32)
    pairs, tested, _ = select_pairs(trials, labels, memorization, Selection(influence=0.1), memory_gb=0.5)
    return {"seconds": time.perf_counter() - start, "tested": tested, "found": len(pairs)}


def all_classes(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """A part of the selection among all pairs: every test example, as many training examples as last a minute."""
    from memexp.analysis.pairs import Selection
    from memexp.analysis.products import in_parallel, tiles
    from memexp.analysis.search import Search

    trials = load(folder, size)
    search = Search(trials, np.ones(size["train"], np.float32), Selection(influence=0.1, all_classes=True))
    start, seen = time.perf_counter(), 0
    stop = start + 60
    part = takewhile(lambda _: time.perf_counter() < stop, tiles(trials, slice(None), slice(None), 0.5))
    for area, found in in_parallel(lambda tile: (len(tile.tests) * len(tile.trains), search.look_at(tile)), part):
        search.keep(found)
        seen += area
    seconds = time.perf_counter() - start
    whole = size["test"] * size["train"]
    return {"seconds": seconds, "seen": seen, "whole": seconds * whole / seen, "speed": seen * size["trials"] / seconds}


JOBS = {
    "demo": demo, "ours": ours, "limit": limit, "zero_one": zero_one, "soft": soft,
    "same_class": same_class, "all_classes": all_classes,
}  # fmt: skip


def in_process(job: str, folder: Path, size: dict[str, int]) -> dict[str, float]:
    """Run one job in a process of its own; adds its highest resident memory in GB."""
    command = [sys.executable, __file__, "--only", job, "--folder", str(folder), "--size", json.dumps(size)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(CORES))
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | threads, encoding="utf-8"
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(size: dict[str, int], folder: Path, rounds: int) -> None:
    """Print the table of the dense matrix."""
    make_bits(size, folder)
    found: dict[str, list[dict[str, float]]] = {"demo": [], "ours": [], "limit": []}
    for _ in range(rounds):
        for job in found:
            found[job].append(in_process(job, folder, size))
    seconds = {job: [r["seconds"] for r in results] for job, results in found.items()}
    median = {job: statistics.median(each) for job, each in seconds.items()}
    print(f"{size['trials']:,} trials x {size['train']:,} x {size['test']:,}, {CORES} cores, medians of {rounds}")
    print("| | seconds | against the demo's way | times the limit | memory, GB |")
    print("|---|---|---|---|---|")
    for job, name in (("demo", "the demo's way"), ("ours", "memexp, matrix on disk")):
        memory = max(r["memory_gb"] for r in found[job])
        print(
            f"| {name} | {median[job]:.2f} | {median['demo'] / median[job]:.1f} "
            f"| {median[job] / median['limit']:.2f} | {memory:.2f} |"
        )
    speeds = ", ".join(f"{k} {max(r[k] for r in found['limit']) / 1e9:.0f}" for k in ("int8", "float32"))
    for job, each in seconds.items():  # whatever else runs here shows as a spread
        print(f"{job}: {', '.join(f'{s:.2f}' for s in each)} s")
    print(f"limit {median['limit']:.2f} s; billion multiply-adds per second: {speeds}")
    print(f"sums of a sample of the matrix: {found['demo'][0]['check']:.6f} and {found['ours'][0]['check']:.6f}")


def compare_soft(size: dict[str, int], folder: Path, rounds: int) -> None:
    """Print the table of both dense matrices."""
    make_bits(size, folder)
    found: dict[str, list[dict[str, float]]] = {"zero_one": [], "soft": []}
    for _ in range(rounds):
        for job in found:
            found[job].append(in_process(job, folder, size))
    least = {job: [min(r[what] for r in each) for what in ("seconds", "processor")] for job, each in found.items()}
    print(f"{size['trials']:,} trials x {size['train']:,} x {size['test']:,}, {CORES} cores, least of {rounds}")
    print("| | seconds | processor | processor, of 0/1 | memory, GB |")
    print("|---|---|---|---|---|")
    for job, (seconds, processor) in least.items():
        memory = max(r["memory_gb"] for r in found[job])
        ratio = processor / least["zero_one"][1]
        print(f"| {job} | {seconds:.2f} | {processor:.2f} | {ratio:.2f} | {memory:.2f} |")


def pairs(size: dict[str, int], folder: Path) -> None:
    """Print what selection takes at ImageNet's size."""
    make_bits(size, folder)
    same, part = in_process("same_class", folder, size), in_process("all_classes", folder, size)
    print(f"{size['trials']:,} trials x {size['train']:,} x {size['test']:,}, {CORES} cores")
    print(
        f"pairs of one class: {same['tested']:,.0f} looked at in {same['seconds']:.0f} s, "
        f"{same['memory_gb']:.2f} GB at most"
    )
    print(
        f"all pairs: {part['seen']:,.0f} looked at in {part['seconds']:.0f} s ({part['speed'] / 1e9:.0f} billion "
        f"multiply-adds per second, {part['memory_gb']:.2f} GB at most); "
        f"{size['test'] * size['train']:,} would take {part['whole'] / 3600:.1f} h"
    )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", action="store_true", help="only the dense matrix at CIFAR-100's size")
    parser.add_argument("--soft", action="store_true", help="only the dense matrix of soft influence at that size")
    parser.add_argument("--imagenet", action="store_true", help="only the pairs at ImageNet's size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="scale down the numbers of examples")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="needs 3 GB")
    parser.add_argument("--only", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        result = JOBS[given.only](given.folder, given.size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(result | {"memory_gb": peak}))
        return

    def scaled(size: dict[str, int]) -> dict[str, int]:
        return size | {axis: int(size[axis] * given.scale) for axis in ("train", "test")}

    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        everything = not (given.cifar or given.soft or given.imagenet)
        if given.cifar or everything:
            compare(scaled(CIFAR), Path(folder), given.rounds)
        if given.soft or everything:
            compare_soft(scaled(CIFAR), Path(folder), given.rounds)
        if given.imagenet or everything:
            pairs(scaled(IMAGENET), Path(folder))


if __name__ == "__main__":
    main()
