"""Estimates that use margins against those of right and wrong: squared errors, strong pairs, picked examples.

    python benchmarks/estimators.py [--runs FOLDER] [--data digits,mixture]

Estimates come from windows of 20 to 250 of 2,000 trials, the truth of each from all trials outside its window: the 0/1
definition, whose own variance is subtracted. Two data sets: digits with flipped labels, and a mixture with a long tail
of rare subpopulations. Their trials are trained once and kept below --runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from memexp.analysis.calibrated import calibrated, smooth_out_accuracy
from memexp.analysis.counts import Counts, count_train
from memexp.analysis.levels import STEPS, Levels, probabilities
from memexp.analysis.merged import Merged, open_merged
from memexp.analysis.posterior import posterior
from memexp.analysis.products import Tile, Trials
from memexp.cli.app import app
from memexp.runs.run import open_run
from memexp.store.paths import RunPaths

Floats = NDArray[np.float64]

SPEC = """name: {name}
dataset: {dataset}
model: {{arch: memexp_mlp, hidden: [128]}}
training: {training}
subsets: {{design: uniform, ratio: 0.7, trials: 2000, seed: 0}}
record: [correct, margin]
"""
DATA = {
    "digits": (
        "{source: digits, limit: {train: 500, test: 350}, label_noise: {fraction: 0.06, seed: 1}}",
        "{epochs: 60, batch_size: 128, lr: 0.2, schedule: linear, standardize: true, min_in_accuracy: 0.95}",
    ),
    "mixture": (
        "{source: subpopulations, classes: 10, kinds: 30, train: 600, test: 400, dim: 64, spread: 0.5, seed: 0}",
        "{epochs: 30, batch_size: 100, lr: 0.1, schedule: linear, standardize: true, min_in_accuracy: 0.95}",
    ),
}
WINDOWS = {20: 20, 50: 20, 100: 20, 250: 8}  # trials, and how many windows of them
STRONG = 0.15  # the paper's threshold of influence
MEMORIZED = 0.25
SLACK = 0.01  # the truth's own error, in an interval


class Window:
    """Some trials of a run, as merged.zarr gives all."""

    def __init__(self, run: Merged, trials: NDArray[np.int64]) -> None:
        self.matrices, self.examples, self.n_trials = run.matrices, run.examples, len(trials)
        self.whole = {name: run.whole(name)[:, trials] for name in run.matrices}

    def bands(self, *names: str) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
        """All rows at once."""
        yield slice(0, len(self.whole[names[0]])), [self.whole[name] for name in names]

    def per_trial(self, name: str) -> NDArray[np.int64]:
        """Number and seed."""
        return np.arange(self.n_trials) if name == "trial" else np.zeros(self.n_trials, np.int64)

    def counts(self) -> Counts:
        """Of the training examples."""
        return count_train(self.whole["mask"], self.whole["train_correct"])

    def influences(self) -> tuple[Floats, Floats]:
        """By right and wrong, and by probabilities, (M, N)."""
        right, mask = (np.packbits(self.whole[name], axis=1) for name in ("test_correct", "mask"))
        trials = Trials(right, mask, self.n_trials)
        tile = Tile(*(slice(0, n) for n in trials.shape))
        soft = Levels(trials, probabilities(self.whole["test_margin"]), STEPS)
        return trials.influence(tile).astype(np.float64), soft.difference(tile).astype(np.float64)

    def pair_counts(self) -> list[Floats]:
        """Right and all trials with, right and all trials without, of each pair."""
        right, mask = self.whole["test_correct"].astype(np.float32), self.whole["mask"].astype(np.float32)
        inside, n_in = right @ mask.T, mask.sum(1)[None]
        each = inside, n_in, right.sum(1)[:, None] - inside, self.n_trials - n_in
        return [np.asarray(values, np.float64) for values in each]


def truth(right_in: Any, n_in: Any, right_out: Any, n_out: Any) -> tuple[Floats, Floats]:
    """Difference of the shares, and its variance."""
    shares = right_in / n_in, right_out / n_out
    variance = sum(share * (1 - share) / (n - 1) for share, n in zip(shares, (n_in, n_out), strict=True))
    return shares[0] - shares[1], np.asarray(variance)


def main() -> None:
    """Train what is not there, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/estimators"), help="where the runs are kept")
    parser.add_argument("--data", default=",".join(DATA), help="which data sets")
    given = parser.parse_args()
    for name in given.data.split(","):
        merged = open_merged(RunPaths(trained(given.runs, name)))
        print(f"{name}: {merged.n_trials} trials\n{HEADING}")
        for n_trials, most in WINDOWS.items():
            order = np.lexsort((merged.per_trial("trial"), merged.per_trial("seed")))
            print(row(merged, order, n_trials, min(most, merged.n_trials // n_trials)), flush=True)


def trained(runs: Path, name: str) -> Path:
    """The run of a data set; what is missing of it is trained."""
    runs.mkdir(parents=True, exist_ok=True)
    dataset, training = DATA[name]
    spec = runs / f"{name}.yaml"
    spec.write_text(SPEC.format(name=name, dataset=dataset, training=training), encoding="utf-8")
    if not (runs / name).exists() or open_run(runs / name).missing():
        app(["launch", str(spec), "--runs", str(runs), "--executor", "local"], standalone_mode=False)
    return runs / name


HEADING = (
    "        | squared error, of the 0/1 estimate's           | of the strong pairs       | of picked examples\n"
    " trials | memorization  soft influence  of pairs >= .1   | found by 0/1  soft  mean  | truths held, width"
)


def row(merged: Merged, order: NDArray[np.int64], n_trials: int, windows: int) -> str:
    """Sums over windows, as a line of the table."""
    sums: dict[str, float] = dict.fromkeys(
        ("raw", "calibrated", "hard", "soft", "hard.strong", "soft.strong", "strong", "by hard", "by soft", "by both",
         "picked", "held", "held usual", "width", "usual"), 0.0
    )  # fmt: skip
    everything = Window(merged, order)
    all_pairs, all_counts = everything.pair_counts(), everything.counts()
    for first in range(0, windows * n_trials, n_trials):
        window = Window(merged, order[first : first + n_trials])
        for name, value in (of_memorization(window, all_counts) | of_pairs(window, all_pairs)).items():
            sums[name] += value
    ratio = {of: sums[of] / sums[to] for of, to in (
        ("calibrated", "raw"), ("soft", "hard"), ("soft.strong", "hard.strong"), ("by hard", "strong"),
        ("by soft", "strong"), ("by both", "strong"), ("held", "picked"), ("held usual", "picked"), ("width", "usual"),
    )}  # fmt: skip
    return (
        f"{n_trials:7} | {ratio['calibrated']:.3f}         {ratio['soft']:.3f}           {ratio['soft.strong']:.3f}"
        f"            | {ratio['by hard']:.2f}          {ratio['by soft']:.2f}  {ratio['by both']:.2f}   "
        f"| {ratio['held']:.3f} (today's {ratio['held usual']:.3f}), {ratio['width']:.2f}"
    )


def of_memorization(window: Window, everything: Counts) -> dict[str, float]:
    """Squared errors, and the intervals of examples picked for an estimate of 0.25 or more."""
    counts = window.counts()
    values = ("in_correct", "in_count", "out_correct", "out_count")
    true, noise = truth(*(getattr(everything, name) - getattr(counts, name) for name in values))
    smoothed = smooth_out_accuracy(cast(Merged, window))
    usual, found = counts.difference(), calibrated(counts, smoothed).memorization_calibrated
    likely = posterior(counts, MEMORIZED, smoothed)
    known = np.isfinite(usual.value) & np.isfinite(found)
    pick = known & (usual.value >= MEMORIZED)
    low, high = likely.memorization_posterior_low, likely.memorization_posterior_high
    return {
        "raw": float(((usual.value - true) ** 2 - noise)[known].sum()),
        "calibrated": float(((found - true) ** 2 - noise)[known].sum()),
        "picked": float(pick.sum()),
        "held": float(((low <= true + SLACK) & (true <= high + SLACK))[pick].sum()),
        "held usual": float(((usual.low <= true + SLACK) & (true <= usual.high + SLACK))[pick].sum()),
        "width": float((high - low)[pick].sum()),
        "usual": float((usual.high - usual.low)[pick].sum()),
    }


def of_pairs(window: Window, everything: list[Floats]) -> dict[str, float]:
    """Squared errors of all pairs and of those truly at 0.1 or more; strong pairs among as many of the highest."""
    hard, soft = window.influences()
    true, noise = truth(*(a - b for a, b in zip(everything, window.pair_counts(), strict=True)))
    known = np.isfinite(hard) & np.isfinite(soft)
    strong = known & (true >= 0.1)
    one_class = known & (window.examples["test_label"][:, None] == window.examples["train_label"][None])
    target = (true >= STRONG)[one_class]
    found: dict[str, float] = {"strong": float(target.sum())}
    for name, value in (("hard", hard), ("soft", soft), ("both", (hard + soft) / 2)):
        error = (value - true) ** 2 - noise
        if name != "both":
            found[name], found[f"{name}.strong"] = float(error[known].sum()), float(error[strong].sum())
        highest = np.argsort(-value[one_class], kind="stable")[: int(target.sum())]
        found[f"by {name}"] = float(target[highest].sum())
    return found


if __name__ == "__main__":
    main()
