"""The table on the last layer: the whole network against a linear head on its features.

    memexp features spec.yaml --out features.npz
    # a spec with `dataset: {source: npz, path: features.npz}` and `model: {arch: memexp_mlp, hidden: []}`
    memexp launch linear.yaml
    python analysis/table_last_layer.py runs/WHOLE runs/LINEAR [--out figures]

Deviations are over trials. The paper's 457 pairs of the linear head cannot all have one of its 38
memorized examples, so that number probably rests on influence alone; ours asks for both.
"""

from __future__ import annotations

import numpy as np
from common import arguments, print_table, read, write_csv
from published_values import published

from memexp.cli.console import explained
from memexp.errors import InputError

HEAD = ("what", "value", "deviation")


@explained
def main() -> None:
    """Accuracies, memorized examples and pairs of both."""
    options = arguments(__doc__ or "", ("whole", "linear"))
    rows: list[tuple[object, ...]] = []
    found = [read(root, options) for root in (options.whole, options.linear)]
    whole, linear = (run for run, _, _ in found)
    whole.require_same_data(linear, ("y_train", "y_test"))  # the images became features
    if whole.manifest.data["x_train"] == linear.manifest.data["x_train"]:
        raise InputError(
            f"{options.linear} is on the same inputs as {options.whole}, not on features of its network; make these "
            "with `memexp features SPEC --out features.npz` and launch a linear head on them"
        )
    for name, (run, merged, estimates) in zip(("whole network", "linear head"), found, strict=True):
        scores, pairs = estimates.scores, estimates.pairs.passing()
        model = run.spec.model
        settings = ", ".join(f"{key} {value}" for key, value in model.arguments.items())
        rows += [
            (f"model, {name}", f"{model.arch} {settings}".strip(), ""),
            (f"trials, {name}", merged.n_trials, ""),
            accuracy(f"test accuracy, {name}", merged.per_trial("test_accuracy")),
            accuracy(f"accuracy on its own training examples, {name}", merged.per_trial("in_accuracy")),
            (f"examples with memorization of 0.25 or more, {name}", int((scores.memorization >= 0.25).sum()), ""),
            (f"mean memorization, {name}", f"{np.nanmean(scores.memorization):.4f}", ""),
            (f"high-influence pairs, {name}", len(pairs), ""),
            (f"of them at a false discovery rate of 0.05, {name}", int((pairs.rate <= 0.05).sum()), ""),
        ]
    rows += [
        (f"published: {row['row']}", row["value"], row["error"]) for row in published("tables", table="last layer")
    ]
    write_csv(options.out / "table_last_layer.csv", HEAD, rows)
    print_table([HEAD, *rows])


def accuracy(name: str, values: np.ndarray) -> tuple[object, ...]:
    """A row: mean and standard deviation over trials."""
    return name, f"{values.mean():.4f}", f"{values.std(ddof=1):.4f}" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
