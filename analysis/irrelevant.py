"""Irrelevant information in networks: the bits of a training example that say nothing of its label, read out again.

    memexp launch specs/sweeps/hypercube.yaml      # clusters of the hypercube, over the number of epochs
    python analysis/irrelevant.py runs/hypercube [--examples 20] [--out figures]

Runs (or folders of sweeps) with `source: hypercube` and `keep: {weights: 1}`. The network of the first trial of each
is asked for examples that were alone in their cluster, by two attacks: `sign` asks for each bit which value makes
the label likelier, on five random inputs; `ascent` climbs bit by bit from a random input, which networks that are not
linear may need. Left the share of their bits that come back (half of them by chance), beside test accuracy on their
clusters, and on clusters that the trial did not see. Right what one such example does to the accuracy on its cluster:
in minus out, over all trials. Error bars: two standard errors, of bits and influence over examples, of accuracy over
trials.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from common import arguments, given_runs, print_table, read, save, standard_error, write_csv
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memexp.analysis.long_tail import read_multiplicity
from memexp.analysis.merged import Merged
from memexp.analysis.recovery import ATTACKS, Answer
from memexp.cli.console import explained
from memexp.data.generated import fixed_bits, frequencies
from memexp.errors import InputError
from memexp.report.figures import BLUE, COLOURS, ORANGE
from memexp.runs.kept_weights import load_model
from memexp.runs.run import Run
from memexp.training.batches import Work, normalized, prepare

LINES = {"sign": (ORANGE, "o-"), "ascent": (COLOURS[2], "s--")}
HEAD = ("run", "epochs", "examples", *(attack + more for attack in ATTACKS for more in ("", " se", " coins")),
        "seen once", "seen once se", "unseen", "influence", "influence se", "examples in and out")  # fmt: skip


@explained
def main() -> None:
    """Attack, draw it, and print the numbers."""
    options = arguments(__doc__ or "", runs=["run..."], examples=(20, "examples that are asked for"))
    rows = []
    for root in given_runs(options):
        run, merged, _ = read(root, options)
        if run.spec.dataset.source != "hypercube" or run.spec.dataset.limit is not None:
            raise InputError(f"{root}: its examples are no bits; give runs of `source: hypercube` without a limit")
        found = read_multiplicity(run.paths, run.store(), frequencies(run.spec.dataset), len(run.manifest.classes))
        back = _recovered(run, options.examples)
        bits = [word for right, coins in back.values() for word in (*_mean(right), f"{coins.mean():.4f}")]
        influence = _influence_on_own_cluster(merged)
        rows.append((root.resolve().name, f"{getattr(run.spec.training, 'epochs', math.nan):g}",
                     len(back["sign"][0]), *bits, *_mean(found.accuracy[:, 1]), *_mean(found.accuracy[:, 0])[:1],
                     *_mean(influence), len(influence)))  # fmt: skip
    print_table([[*row[:1], *row[2:-1]] for row in [HEAD, *rows]])
    save(_draw([dict(zip(HEAD, row, strict=True)) for row in rows]), options.out / "irrelevant")
    write_csv(options.out / "irrelevant.csv", HEAD, rows)


def _recovered(run: Run, count: int) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Share of the bits of examples that trial 0 saw alone in their cluster: of all bits, and of the coins among them.

    By attack. Examples are evenly spaced; shapes (examples,).
    """
    dataset = run.spec.dataset
    assert dataset.source == "hypercube"
    data, mask = run.load_data(), run.store().read_block(0)["mask"][0]
    network, work = load_model(run, 0, data), prepare(run.spec, data, "cpu")
    seen = np.bincount(data.y_train[mask], minlength=dataset.clusters)
    alone = np.flatnonzero(mask & (seen[data.y_train] == 1))
    if not len(alone):
        raise InputError(f"{run.paths.root}: no example is alone in its cluster; give fewer examples or more clusters")
    asked = alone[np.unique(np.linspace(0, len(alone) - 1, min(count, len(alone))).round().astype(int))]
    fixed, _ = fixed_bits(dataset)
    truth, coins, found = data.x_train[asked, 0, 0], ~fixed[data.y_train[asked]], {}
    for name, attack in ATTACKS.items():
        right = truth == [
            attack(_answer(network, work, int(data.y_train[place])), dataset.dim, np.random.default_rng([place, 0]))
            for place in asked
        ]
        found[name] = right.mean(axis=1), (right & coins).sum(axis=1) / coins.sum(axis=1)
    return found


def _answer(network: torch.nn.Module, work: Work, label: int) -> Answer:
    """Log-probability of a label, by the odds against it, so that one of nearly 0 is not rounded to 0."""

    @torch.no_grad()
    def answer(x: NDArray[np.float32]) -> NDArray[np.float64]:
        logits = network(normalized(work, torch.from_numpy(x)[:, :, None, None])).double()
        own = logits[:, label].clone()
        logits[:, label] = -math.inf
        return np.asarray(-torch.nn.functional.softplus(logits.logsumexp(1) - own).numpy())

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


def _draw(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)

    def column(name: str) -> list[float]:
        return [float(row[name]) for row in rows]

    def line(axes: Axes, name: str, color: str, label: str = "", style: str = "o-") -> None:
        errors = [2 * error for error in column(f"{name} se")]
        axes.errorbar(column("epochs"), column(name), errors, fmt=style, color=color, label=label)

    for attack, (color, style) in LINES.items():
        line(left, attack, color, f"bits that come back by {attack}", style)
    left.axhline(0.5, color="0.6", linestyle=":", label="bits by chance")
    line(left, "seen once", BLUE, "accuracy on clusters seen once")
    left.plot(column("epochs"), column("unseen"), marker="o", color="0.6", label="accuracy on unseen clusters")
    line(right, "influence", BLUE)
    right.set(ylabel="influence on tests of its own cluster", title="What one example is worth")
    left.set(ylabel="share", title="What a network keeps of one example", ylim=(0, 1.03))
    left.legend(fontsize=7)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(column("epochs"), [row["epochs"] for row in rows])
        axes.set(xlabel="epochs")
    return figure


if __name__ == "__main__":
    main()
