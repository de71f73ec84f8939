"""Which scores predict retraining: influence by correctness, by margin, ridge datamodels; digits, flipped labels.

    python benchmarks/lds.py [--run RUN]

Scores are made from the first half of 1,024 trials and judged on the second: the mean linear datamodelling score, by
margin and by correctness, with its 95 % interval over tests and trials. Without --run the trials are trained first.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from memexp.analysis import datamodel
from memexp.analysis.lds import linear_datamodelling_score
from memexp.analysis.merged import open_merged
from memexp.analysis.trial_table import TrialTable, chosen, table_of_merged
from memexp.cli.app import app
from memexp.runs.run import open_run

SPEC = """name: lds
dataset: {source: digits, label_noise: {fraction: 0.05, seed: 1}}
model: {arch: memexp_mlp, hidden: [256]}
training: {epochs: 60, batch_size: 128, lr: 0.2, schedule: linear, standardize: true, min_in_accuracy: 0.95}
subsets: {design: balanced, ratio: 0.5, trials: 1024, seed: 0}
record: [correct, margin]
"""


def main() -> None:
    """Train if need be, and print a line for each kind of scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run of 1,024 trials with margins")
    given = parser.parse_args().run
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(given or trained(Path(folder)))
        table = table_of_merged(open_merged(run.paths), run.spec.subsets)
        compare(chosen(table, "0:512"), chosen(table, "512:"))


def trained(folder: Path) -> Path:
    """A new run of the spec."""
    (folder / "lds.yaml").write_text(SPEC, encoding="utf-8")
    app(["launch", str(folder / "lds.yaml"), "--runs", str(folder), "--executor", "local"], standalone_mode=False)
    return folder / "lds"


def compare(fitted: TrialTable, others: TrialTable) -> None:
    """Scores from some trials, judged by others."""
    for name, kind, outcome in (
        ("influence by correctness", "difference", "correct"),
        ("influence by margin", "difference", "margin"),
        ("ridge datamodel by margin", "ridge", "margin"),
    ):
        scores = np.empty((fitted.n_test, fitted.n_train), np.float32)

        def write(tests: slice, trains: slice, part: np.ndarray, scores: np.ndarray = scores) -> None:
            scores[tests, trains] = part

        if kind == "ridge":
            datamodel.fit(fitted, outcome, None, write)
        else:
            datamodel.difference(fitted, outcome, write)
        found = [linear_datamodelling_score(others, scores, by) for by in ("margin", "correct")]
        words = [f"{each.mean:.3f} [{each.low:.3f}, {each.high:.3f}] of {each.tests} tests" for each in found]
        print(f"{name:<27}margin {words[0]:<36}correct {words[1]}")


if __name__ == "__main__":
    main()
