"""The table on the last layer: the whole network against a linear head on its features.

memexp features spec.yaml --out features.npz
# a spec with `dataset: {source: npz, path: features.npz}` and `model: {arch: memexp_mlp, hidden: []}`
memexp launch linear.yaml
python analysis/table_last_layer.py runs/WHOLE runs/LINEAR [--out figures]
"""

from __future__ import annotations

from common import arguments, print_table, read, write_csv

from memexp.analysis.published import published
from memexp.console import explained


@explained
def main() -> None:
    """Accuracies, memorized examples and pairs of both."""
    options = arguments(__doc__ or "", ("whole", "linear"))
    rows: list[tuple[str, str]] = []
    found = [read(root, options) for root in (options.whole, options.linear)]
    found[0][0].require_same_data(found[1][0], ("y_train", "y_test"))  # the images became features
    for name, (_, merged, estimates) in zip(("whole network", "linear head"), found, strict=True):
        scores, pairs = estimates.scores, estimates.pairs.passing()
        accuracy = merged.per_trial("test_accuracy")
        rows += [
            (f"test accuracy, {name}", f"{accuracy.mean():.4f} +/- {accuracy.std(ddof=1):.4f}"),
            (f"accuracy on its own training examples, {name}", f"{merged.per_trial('in_accuracy').mean():.4f}"),
            (f"examples with memorization of 0.25 or more, {name}", f"{int((scores.memorization >= 0.25).sum()):,}"),
            (f"mean memorization, {name}", f"{scores.memorization[scores.out_count > 0].mean():.4f}"),
            (f"high-influence pairs, {name}", f"{len(pairs):,}"),
            (f"of them at a false discovery rate of 0.05, {name}", f"{int((pairs.fdr <= 0.05).sum()):,}"),
        ]
    rows += [(f"published: {row['row']}", row["value"]) for row in published("tables", table="last layer")]
    write_csv(options.out / "table_last_layer.csv", ("what", "value"), rows)
    print_table(rows)


if __name__ == "__main__":
    main()
