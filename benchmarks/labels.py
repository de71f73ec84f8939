"""Wrong labels found in digits of which 5 % are flipped: trials out of sample against cross-validation.

    python benchmarks/labels.py [--trials 60] [--folds 5] [--repeats 3] [--folder FOLDER]

The same network by the same recipe either trains on random halves, as memexp's trials do, or on all
folds but one, which is how cleanlab's documentation makes its input. cleanlab is given both; needs
`pip install 'memexp[labels]'`. AUROC: of the flips, by the score; F1: of cleanlab's find_label_issues
as it comes. Cross-validation is repeated with other folds and seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from memexp.analysis.labels import judge_labels
from memexp.analysis.merged import merge
from memexp.analysis.votes import Votes
from memexp.data import load_data
from memexp.launch.launch import launch_local
from memexp.launch.where import available_cpus
from memexp.runs.pool import Resources
from memexp.runs.run import prepare_run
from memexp.spec.spec import Spec
from memexp.training.batches import normalized, prepare
from memexp.training.block import train

SPEC: dict[str, Any] = {
    "dataset": {"source": "digits", "label_noise": {"fraction": 0.05, "seed": 1}},
    "model": {"arch": "memexp_mlp"},
    "training": {"epochs": 60, "batch_size": 128, "lr": 0.2},
    "record": ["correct", "margin", "predicted", "probabilities"],
}


def spec_of(trials: int, seed: int = 0) -> Spec:
    """Digits, with so many trials on random halves."""
    subsets = {"design": "balanced", "ratio": 0.5, "trials": trials, "seed": seed}
    return Spec.model_validate(SPEC | {"name": "labels", "subsets": subsets})


def cross_validated(folds: int, seed: int) -> Any:
    """Softmax of each training example by the network that did not see its fold, (N, K)."""
    import torch

    spec = spec_of(2 * folds, seed)
    data = load_data(spec.dataset)
    work = prepare(spec, data, "cpu")
    fold = np.random.default_rng(seed).permutation(np.arange(len(data.y_train)) % folds)
    found = np.empty((len(fold), len(data.classes)), np.float32)
    for number in range(folds):
        stack = train(work, (fold != number)[None], [number])
        with torch.no_grad():
            left = torch.from_numpy(np.flatnonzero(fold == number))
            found[left] = stack(normalized(work, work.x_train[left])[None])[0].softmax(1).numpy()
    return found


def judged_by_cleanlab(labels: Any, shares: Any, flipped: Any) -> str:
    """How well cleanlab finds the flips with these shares."""
    called = find_label_issues(labels, shares)
    auroc = roc_auc_score(flipped, -get_label_quality_scores(labels, shares))
    scores = (score(flipped, called) for score in (precision_score, recall_score, f1_score))
    return f"AUROC {auroc:.4f}, {called.sum():>3} called, " + "precision {:.3f}, recall {:.3f}, F1 {:.3f}".format(
        *scores
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to keep the run; a temporary folder without")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        spec = spec_of(given.trials)
        run = prepare_run(spec, load_data(spec.dataset), given.folder or Path(temporary))
        launch_local(run, Resources(available_cpus(), 1, "cpu"), lambda _: None)
        votes = Votes(merge(run.paths), 10)
        labels, flipped = votes.labels("train"), votes.merged.examples["train_label_flipped"]
        judged = judge_labels(votes).judged["train"]
        shares, said = (
            np.concatenate([getattr(band, name) for band in votes.bands("train")]) for name in ("shares", "said")
        )
        print(f"{flipped.sum()} of {len(labels):,} labels flipped")
        print(f"memexp labels, {given.trials} trials: AUROC of the rank {roc_auc_score(flipped, -judged.rank):.4f}, "
              f"of memorization {roc_auc_score(flipped, judged.memorization):.4f}; {judged.issue.sum()} called, "
              f"F1 {f1_score(flipped, judged.issue):.3f}")  # fmt: skip
        print(f"cleanlab on votes of {given.trials} trials: {judged_by_cleanlab(labels, shares, flipped)}")
        print(f"cleanlab on their mean probabilities: {judged_by_cleanlab(labels, said, flipped)}")
    for seed in range(given.repeats):
        found = judged_by_cleanlab(labels, cross_validated(given.folds, seed), flipped)
        print(f"cleanlab on {given.folds}-fold cross-validation: {found}")


if __name__ == "__main__":
    main()
