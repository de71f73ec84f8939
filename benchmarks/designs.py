"""Mean squared error of memorization: `balanced` against `uniform`, the same learner and number of trials.

    python benchmarks/designs.py [--trials 6000] [--size 300] [--folder FOLDER]

A long run of each design is cut into stretches of --size consecutive trials, each as good as a run of
its own. The truth that a stretch is compared with is estimated from all other trials of both designs,
so neither is favoured; its own error, the same for both, is in both figures. Confidence: 1.96 standard
errors over the stretches, which share nothing but that reference.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from memexp.analysis.counts import Counts, count_train
from memexp.analysis.merged import merge
from memexp.data import load_data
from memexp.launch.launch import launch_local
from memexp.launch.where import available_cpus
from memexp.runs.pool import Resources
from memexp.runs.run import prepare_run
from memexp.spec.spec import Spec

DESIGNS = ("uniform", "balanced")
LEARNER = {
    "dataset": {
        "source": "digits",
        "limit": {"train": 400, "test": 100},
        "label_noise": {"fraction": 0.05, "seed": 1},
    },
    "model": {"arch": "memexp_mlp", "hidden": [64]},
    "training": {"epochs": 25, "batch_size": 32, "lr": 0.05, "standardize": True},
}


def train(design: str, trials: int, folder: Path) -> list[Counts]:
    """Counts of every block of ten trials, in the order of the trials."""
    subsets = {"design": design, "ratio": 0.7, "trials": trials, "seed": 0}
    spec = Spec.model_validate(LEARNER | {"name": design, "subsets": subsets})
    run = prepare_run(spec, load_data(spec.dataset), folder, block_size=10)
    launch_local(run, Resources(available_cpus(), 1, "cpu"), lambda _: None)
    merged = merge(run.paths)
    order = np.argsort(np.asarray(merged.group["trial"]))
    parts = [[part[:, order] for part in band] for _, band in merged.bands("mask", "train_correct")]
    mask, correct = (np.concatenate(each) for each in zip(*parts, strict=True))
    return [count_train(mask[:, k : k + 10], correct[:, k : k + 10]) for k in range(0, trials, 10)]


def total(parts: list[Counts]) -> Counts:
    """The sum over trials."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result


def squared_errors(stretches: dict[str, list[Counts]], design: str) -> np.ndarray[Any, Any]:
    """Mean over the examples of the squared error, for each stretch."""
    found = []
    for stretch in stretches[design]:
        others = [each for parts in stretches.values() for each in parts if each is not stretch]
        found.append(np.mean((stretch.value() - total(others).value()) ** 2))
    return np.array(found)


def binomial_variance(stretch: Counts, truth: Counts) -> float:
    """What the stretch's numbers of trials in and out alone make of the true accuracies: no noise of its own."""
    p_in, p_out = truth.in_accuracy, truth.out_accuracy
    return float(np.mean(p_in * (1 - p_in) / stretch.in_count + p_out * (1 - p_out) / stretch.out_count))


def main() -> None:
    """Train, cut, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6000, help="of each design; a multiple of --size")
    parser.add_argument("--size", type=int, default=300, help="trials of a stretch; a multiple of 10")
    parser.add_argument("--folder", type=Path, help="keep the runs there, to go on or to look at them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        blocks = {design: train(design, given.trials, folder) for design in DESIGNS}
    in_stretch = given.size // 10
    stretches = {
        design: [total(parts[k : k + in_stretch]) for k in range(0, len(parts), in_stretch)]
        for design, parts in blocks.items()
    }
    errors = {design: squared_errors(stretches, design) for design in DESIGNS}
    reference = 2 * given.trials - given.size
    print(f"{given.trials // given.size} stretches of {given.size} trials each, reference of {reference:,} trials")
    print("| design | mean squared error | its root |\n|---|---|---|")
    for design, values in errors.items():
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        print(f"| `{design}` | {values.mean():.6f} ± {half:.6f} | {np.sqrt(values.mean()):.4f} |")
    means, relative = zip(
        *((v.mean(), v.std(ddof=1) / np.sqrt(len(v)) / v.mean()) for v in errors.values()), strict=True
    )
    ratio, spread = means[1] / means[0], np.exp(1.96 * np.hypot(*relative))
    print(f"balanced / uniform: {ratio:.3f}, 95 % interval {ratio / spread:.3f} to {ratio * spread:.3f}")
    truth = total([each for parts in stretches.values() for each in parts])
    noise = {design: np.mean([binomial_variance(each, truth) for each in stretches[design]]) for design in DESIGNS}
    print(
        f"binomial noise alone: {noise['uniform']:.6f} and {noise['balanced']:.6f}, "
        f"ratio {noise['balanced'] / noise['uniform']:.4f}"
    )


if __name__ == "__main__":
    main()
