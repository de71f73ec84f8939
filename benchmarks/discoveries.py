"""Which pairs are discoveries: a test of margins against Fisher's of accuracy, on digits and where truth is known.

    python benchmarks/discoveries.py [--run RUN] [--folder FOLDER] [--repetitions 60]

Digits: 1,000 trials of an MLP on 500 examples, kept in --folder. Pairs of one class, helpful ones, at a false discovery
rate of 5 %: how many are found from T trials, how many of these have an influence of 0.15 or more ("strong") in the 500
other trials, and the same of the pairs that also pass the paper's thresholds in the T trials, which is what pages list.
Then the trials of test examples are shuffled against those of the masks, so that nothing is true.

Simulations: 100 trials, 120 test and 200 training examples of which some move some margins by a known amount. Margins
have heavy tails; trials differ in how good they are, which moves all test examples together, or are dealt in groups of
ten as in the `balanced` design; 80 training examples are twins, and test examples too. The share of discoveries that
are false is averaged over the repetitions, for each sign and with its standard error, as is the share of intervals of
listed pairs that miss their truth.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr
from scipy.stats import false_discovery_control, ttest_ind

from memexp.analysis.counts import count_train
from memexp.analysis.levels import STEPS, Levels, probabilities, ranks
from memexp.analysis.merged import open_merged
from memexp.analysis.pairs import Pairs, Selection
from memexp.analysis.products import Trials
from memexp.analysis.rank_test import RankTest
from memexp.analysis.search import select_pairs
from memexp.analysis.soft import Soft
from memexp.cli.app import app
from memexp.runs.run import open_run

SPEC = """name: discoveries
dataset: {source: digits, limit: {train: 500, test: 350}, label_noise: {fraction: 0.06, seed: 1}}
model: {arch: memexp_mlp, hidden: [128]}
training: {epochs: 60, batch_size: 128, lr: 0.2, schedule: linear, standardize: true}
subsets: {design: uniform, ratio: 0.7, trials: 1000, seed: 0}
record: [correct, margin]
"""
EVERYTHING = Selection(memorization=-1, influence=-1, most=10**9)
N_TRAIN, N_TEST, N_TRIALS, TWINS = 200, 120, 100, 80


@dataclass(frozen=True)
class Table:
    """Trials: mask (N, T); margin and right, of test examples, (M, T); labels; memorization of training examples."""

    mask: np.ndarray
    margin: np.ndarray
    right: np.ndarray
    labels: tuple[np.ndarray, np.ndarray]
    memorization: np.ndarray

    def search(self, selection: Selection = EVERYTHING) -> Pairs:
        """What ``estimate`` finds."""
        n_trials = self.mask.shape[1]
        trials = Trials(np.packbits(self.right, axis=1), np.packbits(self.mask, axis=1), n_trials)
        soft = Soft(Levels(trials, probabilities(self.margin), STEPS), RankTest(trials, ranks(self.margin)))
        return select_pairs(trials, self.labels, self.memorization, selection, soft=soft).pairs


def fisher(pairs: Pairs) -> np.ndarray:
    """False discovery rates of Fisher's test in a family of all pairs, without Tarone's cut; (P,)."""
    return _adjusted(pairs.p_value, pairs.influence > 0)


def _adjusted(p_value: np.ndarray, positive: np.ndarray) -> np.ndarray:
    rates = np.ones(len(p_value))
    for sign in (True, False):
        mine = positive == sign
        one_sided = np.where(mine & (p_value < 1), p_value / 2, 1.0)
        rates[mine] = false_discovery_control(one_sided)[mine]
    return rates


def welch(table: Table, pairs: Pairs) -> np.ndarray:
    """The same of Welch's t test of the margins."""
    margin = table.margin.astype(np.float64)
    p_value, positive = np.ones(len(pairs)), np.zeros(len(pairs), bool)
    for train in np.unique(pairs.train):
        mine = np.flatnonzero(pairs.train == train)
        sees = table.mask[train]
        values = margin[pairs.test[mine]]
        found = ttest_ind(values[:, sees], values[:, ~sees], axis=1, equal_var=False)
        p_value[mine], positive[mine] = np.nan_to_num(found.pvalue, nan=1.0), found.statistic > 0
    return _adjusted(p_value, positive)


def tests(table: Table, pairs: Pairs) -> dict[str, np.ndarray]:
    """False discovery rates by each test."""
    return {
        "Fisher": fisher(pairs), "Fisher, Tarone's family": pairs.fdr, "Welch's t of margins": welch(table, pairs),
        "ranks of margins": pairs.fdr_soft,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ digits


def trained(folder: Path) -> Path:
    """The run of the spec, kept there."""
    (folder / "discoveries.yaml").write_text(SPEC, encoding="utf-8")
    told = ["launch", str(folder / "discoveries.yaml"), "--runs", str(folder), "--executor", "local", "--yes"]
    app(told, standalone_mode=False)
    return folder / "discoveries"


def read(root: Path) -> Callable[[Any], Table]:
    """The run's trials, of which any can be taken."""
    merged = open_merged(open_run(root).paths)
    order = np.argsort(np.asarray(merged.group["trial"]))
    names = "mask", "train_correct", "test_margin", "test_correct"
    mask, correct, margin, right = (merged.rows(name, slice(None))[:, order] for name in names)
    labels = merged.examples["test_label"], merged.examples["train_label"]

    def take(trials: Any) -> Table:
        memorization = count_train(mask[:, trials], correct[:, trials]).value().astype(np.float32)
        return Table(mask[:, trials], margin[:, trials], right[:, trials], labels, memorization)

    return take


def influence(table: Table) -> np.ndarray:
    """Of all pairs, (M, N)."""
    mask, right = table.mask.astype(float), table.right.astype(float)
    inside = right @ mask.T
    return inside / mask.sum(1) - (right.sum(1, keepdims=True) - inside) / (1 - mask).sum(1)


def digits(take: Callable[[Any], Table]) -> None:
    """Print what is found from T trials, judged by 500 others."""
    truth = influence(take(slice(500, 1000)))
    same = np.equal.outer(*take(slice(0, 10)).labels)
    print(f"{same.sum():,} pairs of one class, {(truth[same] >= 0.15).sum()} strong")
    print("| T | test | found | strong | listed | strong | truth <= 0 | mean estimate | mean truth | intervals hold |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in (50, 100, 200):
        rows: dict[str, list[list[float]]] = {}
        for top in range(0, 500 - size + 1, size):
            table = take(slice(top, top + size))
            pairs = table.search()
            real = truth[pairs.test, pairs.train]
            passing = Selection().passes(table.memorization[pairs.train], pairs.influence)
            for name, rate in tests(table, pairs).items():
                found = (rate <= 0.05) & (pairs.influence > 0)
                listed = found & passing
                estimate = pairs.influence[listed]
                held = _held(table, name, truth)
                numbers = [found.sum(), (found & (real >= 0.15)).sum(), listed.sum(), (listed & (real >= 0.15)).sum()]
                numbers += [(listed & (real <= 0)).sum(), estimate.mean(), real[listed].mean(), held]
                rows.setdefault(name, []).append([float(number) for number in numbers])
        for name, each in rows.items():
            mean = np.mean(each, axis=0)
            words = [f"{number:.1f}" for number in mean[:5]] + [f"{number:.3f}" for number in mean[5:]]
            print(f"| {size} | {name} | {' | '.join(words)} |")


def _held(table: Table, name: str, truth: np.ndarray) -> float:
    """Share of the intervals of listed pairs that hold the truth, as far as 500 trials tell it; NaN without a list."""
    judge = {"Fisher, Tarone's family": "accuracy", "ranks of margins": "margins"}.get(name)
    if judge is None:
        return np.nan
    pairs = table.search(Selection(test=judge))
    pairs = pairs.take(pairs.rate <= 0.05)
    real = truth[pairs.test, pairs.train]
    return float(((pairs.influence_listed_low <= real) & (real <= pairs.influence_listed_high)).mean())


def shuffled(take: Callable[[Any], Table], runs: int = 40) -> None:
    """Print how many shuffles of the trials give a discovery at all: each is a false one."""
    draws = np.random.default_rng(0)
    print(f"trials shuffled, {runs} times, T = 100: times a sign has discoveries (of {2 * runs}), and all of them")
    found: dict[str, dict[float, np.ndarray]] = {}
    for _ in range(runs):
        table = take(draws.choice(1000, 100, replace=False))
        order = draws.permutation(100)
        table = Table(table.mask, table.margin[:, order], table.right[:, order], table.labels, table.memorization)
        pairs = table.search()
        for name, rate in tests(table, pairs).items():
            for level in (0.05, 0.1):
                # with nothing true the smallest rate tells all; signs of margins and of influence need not agree
                helpful = pairs.influence > 0
                each = np.array([(rate[helpful == sign] <= level).sum() for sign in (True, False)])
                total = found.setdefault(name, {}).setdefault(level, np.zeros(2))
                total += (each > 0).sum(), each.sum()
    for name, levels in found.items():
        print(f"  {name:<26}" + "; ".join(f"at {level}: {n[0]:.0f}, {n[1]:.0f}" for level, n in levels.items()))


# ------------------------------------------------------------------------------------------------ simulations


def simulated(kind: str, draws: np.random.Generator) -> tuple[Table, np.ndarray, np.ndarray]:
    """Trials, which pairs have an influence on margins (-1, 0, 1), and influence on accuracy; both (M, N)."""
    effect = np.zeros((N_TEST, N_TRAIN))
    for test in range(0, N_TEST, 2):
        helpers = draws.choice(N_TRAIN, 4, replace=False)
        effect[test, helpers] = draws.uniform(0.5, 3.0, 4) * np.array([1, 1, 1, -1])
    mask = _masks(kind, draws)
    sees = mask.astype(float)
    common = draws.normal(size=N_TRIALS) * (1.0 if kind == "dependent trials" else 0.0)
    if kind == "near-duplicates":  # examples 2k and 2k + 1 are twins: either does what both would
        effect[:, 1:TWINS:2] = 0
        sees[0:TWINS:2] = mask[0:TWINS:2] | mask[1:TWINS:2]
    level = draws.normal(1.0, 1.0, (N_TEST, 1))
    noise = draws.normal(size=(N_TEST, N_TRIALS)) + 4 * (draws.random((N_TEST, N_TRIALS)) < 0.05)
    if kind == "near-duplicates":  # and so are test examples
        noise[1::4], effect[1::4] = noise[0::4], effect[0::4]
        level[1::4] = level[0::4] + 0.1
    fixed = level - 0.7 * effect.sum(1, keepdims=True) + effect @ sees
    margin = fixed + common + noise
    real = np.sign(effect)
    if kind == "near-duplicates":
        real[:, 1:TWINS:2] = real[:, 0:TWINS:2]
    zeros = np.zeros(N_TEST, int), np.zeros(N_TRAIN, int)
    table = Table(mask, margin.astype(np.float16), margin > 0, zeros, np.ones(N_TRAIN, np.float32))
    return table, real, _accuracy_effect(kind, effect, level[:, 0], draws)


def _masks(kind: str, draws: np.random.Generator) -> np.ndarray:
    """Uniform ones, or dealt in groups of ten trials of which each example is in seven."""
    if kind == "groups of trials":
        groups = draws.random((N_TRAIN, N_TRIALS // 10, 10)).argsort(axis=2) < 7
        return np.asarray(groups.reshape(N_TRAIN, N_TRIALS))
    return np.asarray(draws.random((N_TRAIN, N_TRIALS)).argsort(axis=0).argsort(axis=0) < 0.7 * N_TRAIN)


def _accuracy_effect(kind: str, effect: np.ndarray, level: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Influence on accuracy, from 1,000 draws of the other examples and the exact distribution of the noise."""
    spread = np.sqrt(2.0) if kind == "dependent trials" else 1.0
    truth = np.zeros(effect.shape)
    for test in np.flatnonzero(effect.any(1)):
        who = np.flatnonzero(effect[test])
        size = effect[test, who]
        twin = (who < TWINS) & (kind == "near-duplicates")
        seen = draws.random((1000, len(who))) < np.where(twin, 0.91, 0.7)  # that it or its twin is in
        for k, train in enumerate(who):
            right = []
            for inside in (1.0, 0.7 if twin[k] else 0.0):
                rest = level[test] - 0.7 * size.sum() + np.delete(seen * size, k, axis=1).sum(1)
                both = [
                    weight * (0.95 * ndtr((rest + add) / spread) + 0.05 * ndtr((rest + add + 4) / spread))
                    for weight, add in ((inside, size[k]), (1 - inside, 0.0))
                ]
                right.append(np.mean(both[0] + both[1]))
            truth[test, train] = right[0] - right[1]
            if twin[k]:
                truth[test, train + 1] = truth[test, train]
    return truth


def simulate(repetitions: int) -> None:
    """Print rates of false discoveries, power, and misses of listed intervals."""
    for kind in ("independent", "dependent trials", "groups of trials", "near-duplicates"):
        draws = np.random.default_rng(0)
        false: dict[tuple[str, float, int], list[float]] = {}
        true: dict[str, list[float]] = {}
        missed: dict[str, list[float]] = {"accuracy": [], "margins": []}
        for _ in range(repetitions):
            table, real, truth = simulated(kind, draws)
            pairs = table.search()
            signs = real[pairs.test, pairs.train]
            for name, rate in tests(table, pairs).items():
                for level, sign in ((0.05, 1), (0.05, -1), (0.1, 1), (0.1, -1)):
                    found = (rate <= level) & (np.sign(pairs.influence) == sign)
                    share = (signs[found] != sign).mean() if found.any() else 0.0
                    false.setdefault((name, level, sign), []).append(float(share))
                true.setdefault(name, []).append(float(((rate <= 0.05) & (signs > 0) & (pairs.influence > 0)).sum()))
            for judge, misses in missed.items():
                misses.append(_missed(table.search(Selection(test=judge)), truth))  # type: ignore[arg-type]
        print(f"{kind}: share of false discoveries among the helpful and the harmful, {repetitions} repetitions")
        for name, powers in true.items():
            words = [_words(false[name, level, sign]) for level in (0.05, 0.1) for sign in (1, -1)]
            print(f"| {name} | {' | '.join(words)} | {np.mean(powers):.1f} |")
        listed = "; ".join(f"{judge} {_words(misses)}" for judge, misses in missed.items())
        print(f"intervals of listed pairs that miss: {listed}", flush=True)


def _missed(pairs: Pairs, truth: np.ndarray) -> float:
    pairs = pairs.take(pairs.rate <= 0.05)
    real = truth[pairs.test, pairs.train]
    held = (pairs.influence_listed_low <= real) & (real <= pairs.influence_listed_high)
    return float(1 - held.mean()) if len(pairs) else 0.0


def _words(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


def folders(given: Path | None) -> Iterator[Path]:
    """The folder to keep the run in, or one for as long as this lasts."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    """Digits, then simulations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="the run of 1,000 trials, if it is trained already")
    parser.add_argument("--folder", type=Path, help="where to train and keep it")
    parser.add_argument("--repetitions", type=int, default=60)
    given = parser.parse_args()
    for folder in folders(given.folder):
        take = read(given.run or trained(folder))
        digits(take)
        shuffled(take)
    simulate(given.repetitions)


if __name__ == "__main__":
    main()
