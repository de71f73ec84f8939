"""Irrelevant information in networks: the bits of a training example that say nothing of its label, read out again.

    memexp launch specs/sweeps/hypercube.yaml      # clusters of the hypercube, over the number of epochs
    python analysis/irrelevant.py runs/hypercube [--attack sign] [--examples 20] [--out figures]

Runs (or folders of sweeps) with `source: hypercube`. The first trial of each is made again, with the same bits, and
asked for examples that were alone in their cluster: which value of each bit makes their label likelier. Left the
share of their bits that come back (half of them by chance), beside test accuracy on their clusters, and on
clusters that the trial did not see. Right what one such example does to the accuracy on its cluster: in minus out,
over all trials. Error bars: two standard errors, over examples left and right.

`--attack sign` asks five times for each bit; `ascent` climbs bit by bit, for networks that are not linear.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from common import arguments, given_runs, print_table, read, save, standard_error, write_csv
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.long_tail import read_multiplicity
from memexp.analysis.merged import Merged
from memexp.analysis.recovery import ATTACKS, Answer
from memexp.cli.console import explained
from memexp.data.generated import fixed_bits, frequencies
from memexp.errors import InputError
from memexp.report.figures import BLUE, ORANGE
from memexp.runs.run import Run
from memexp.spec.designs import draw_masks
from memexp.training.batches import prepare
from memexp.training.block import train
from memexp.training.devices import set_up_torch

HEAD = ("run", "epochs", "examples", "bits back", "se", "coins back", "accuracy alone", "se", "unseen", "influence",
        "se", "examples in and out")  # fmt: skip


@explained
def main() -> None:
    """Attack, draw it, and print the numbers."""
    options = arguments(
        __doc__ or "",
        runs=["run..."],
        attack=("sign", "sign or ascent"),
        examples=(20, "examples that are asked for"),
    )
    if options.attack not in ATTACKS:
        raise InputError(f"--attack {options.attack}: must be {' or '.join(ATTACKS)}")
    rows = []
    for root in given_runs(options):
        run, merged, _ = read(root, options)
        if run.spec.dataset.source != "hypercube" or run.spec.dataset.limit is not None:
            raise InputError(f"{root}: its examples are no bits; give runs of `source: hypercube` without a limit")
        found = read_multiplicity(run.paths, run.store(), frequencies(run.spec.dataset), len(run.manifest.classes))
        bits, coins = _recovered(run, options.attack, options.examples)
        alone, influence = found.accuracy[:, 1], _influence_on_own_cluster(merged)
        rows.append((root.resolve().name, f"{getattr(run.spec.training, 'epochs', math.nan):g}", len(bits),
                     *_mean(bits), f"{coins.mean():.4f}", *_mean(alone), f"{np.nanmean(found.accuracy[:, 0]):.4f}",
                     *_mean(influence), len(influence)))  # fmt: skip
    print_table([[row[k] for k in (0, 2, 3, 4, 5, 6, 8, 9, 10)] for row in [HEAD, *rows]])
    save(_draw(rows), options.out / "irrelevant")
    write_csv(options.out / "irrelevant.csv", HEAD, rows)


def _recovered(run: Run, attack: str, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the bits of examples that trial 0 saw alone in their cluster: of all bits, and of the coins among them.

    Examples are evenly spaced; shapes (examples,).
    """
    dataset = run.spec.dataset
    assert dataset.source == "hypercube"
    data = run.load_data()
    mask = draw_masks(run.spec.subsets, len(data.y_train), range(1))
    seen = np.bincount(data.y_train[mask[0]], minlength=dataset.clusters)
    alone = np.flatnonzero(mask[0] & (seen[data.y_train] == 1))
    if not len(alone):
        raise InputError(f"{run.paths.root}: no example is alone in its cluster; give fewer examples or more clusters")
    asked = alone[np.unique(np.linspace(0, len(alone) - 1, min(count, len(alone))).round().astype(int))]
    set_up_torch("cpu", 1)
    network = train(prepare(run.spec, data, "cpu"), mask, [0])
    fixed, _ = fixed_bits(dataset)
    bits, coins = [], []
    for place in asked:
        label, truth = int(data.y_train[place]), data.x_train[place, 0, 0]
        random = np.random.default_rng([int(place), 0])
        right = ATTACKS[attack](_answer(network, label), dataset.dim, random) == truth
        bits.append(right.mean())
        coins.append(right[~fixed[label]].mean())
    return np.array(bits), np.array(coins)


def _answer(network: torch.nn.Module, label: int) -> Answer:
    @torch.no_grad()
    def answer(x: NDArray[np.float32]) -> NDArray[np.float64]:
        logits = network(torch.from_numpy(x)[None, :, :, None, None])[0].double()
        return np.asarray((logits[:, label] - logits.logsumexp(1)).numpy())

    return answer


def _influence_on_own_cluster(merged: Merged) -> NDArray[np.float64]:
    """Mean accuracy on the tests of its cluster with an example in minus out, of all that are alone in theirs."""
    labels, tests = merged.examples["train_label"], merged.examples["test_label"]
    alone = np.flatnonzero(np.bincount(labels)[labels] == 1)
    right = np.concatenate([band for _, (band,) in merged.bands("test_correct")])
    inside = np.concatenate([band for _, (band,) in merged.bands("mask")])
    found = []
    for place in alone:
        own = right[tests == labels[place]]
        if len(own) and 0 < inside[place].sum() < merged.n_trials:
            found.append(own[:, inside[place]].mean() - own[:, ~inside[place]].mean())
    return np.array(found)


def _mean(values: NDArray[Any]) -> tuple[str, str]:
    known = values[~np.isnan(values)]
    return (f"{known.mean():.4f}" if len(known) else "nan"), f"{standard_error(known):.4f}"


def _draw(rows: list[tuple[Any, ...]]) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [float(row[1]) for row in rows]
    for column, color, label in ((3, ORANGE, "bits of the examples that come back"),
                                 (6, BLUE, "accuracy on clusters seen once")):  # fmt: skip
        values, errors = ([float(row[k]) for row in rows] for k in (column, column + 1))
        left.errorbar(epochs, values, [2 * error for error in errors], marker="o", color=color, label=label)
    left.plot(epochs, [float(row[8]) for row in rows], marker="o", color="0.6", label="accuracy on unseen clusters")
    right.errorbar(
        epochs, [float(row[9]) for row in rows], [2 * float(row[10]) for row in rows], marker="o", color=BLUE
    )
    right.set(ylabel="influence on tests of its own cluster", title="What one example is worth")
    left.set(ylabel="share", title="What a network keeps of one example", ylim=(0, 1.03))
    left.legend(fontsize=8)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(epochs, [row[1] for row in rows])
        axes.set(xlabel="epochs")
    return figure


if __name__ == "__main__":
    main()
