"""Figure 2: what memorized examples are worth, against as many random ones.

memexp select runs/NAME --out removed.json
# a spec with `subsets: {design: remove, removed: removed.json, control: true, trials: ...}`
memexp launch removal.yaml
python analysis/figure2.py runs/NAME_removal [--published cifar100] [--out figures]
"""

from __future__ import annotations

from common import arguments, read_run, save, write_csv
from matplotlib.figure import Figure

from memexp.analysis.figures import draw_marginal_utility
from memexp.analysis.published import published
from memexp.analysis.removal import difference, read_conditions
from memexp.console import explained


@explained
def main() -> None:
    """Draw it, and tell the difference to the control with its standard error."""
    options = arguments(__doc__ or "", published="cifar100")
    run = read_run(options.run, options)
    conditions = read_conditions(run.spec, run.store())
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes, kept = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_marginal_utility(axes, kept, conditions, published("figure2", dataset=options.published))
    save(figure, options.out / "figure2")
    rows = []
    for condition in conditions:
        control = next((c for c in conditions if c.control and c.name == condition.name), None)
        gap, error = difference(condition, control) if control and not condition.control else (float("nan"),) * 2
        rows.append(
            (condition.name, condition.control, condition.removed, len(condition.accuracy), f"{condition.mean:.5f}",
             f"{condition.deviation:.5f}", f"{gap:.5f}", f"{error:.5f}")
        )  # fmt: skip
    head = (
        "removed",
        "random control",
        "examples",
        "trials",
        "accuracy",
        "deviation",
        "minus control",
        "standard error",
    )
    write_csv(options.out / "figure2.csv", head, rows)


if __name__ == "__main__":
    main()
