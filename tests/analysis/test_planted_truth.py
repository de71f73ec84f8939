"""What was planted is found: duplicates of test images as influences, flipped labels as memorized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from memexp.analysis.estimates import Estimates, estimate
from memexp.analysis.merged import Merged, open_merged
from memexp.analysis.pairs import Selection
from memexp.data import load_data
from memexp.launch.launch import launch_local
from memexp.runs.pool import Resources
from memexp.runs.run import Run
from tests.conftest import make_spec

RECIPE: dict[str, Any] = {"model": {"hidden": [64]}, "training": {"epochs": 30, "lr": 0.1}}


def trained(run: Run) -> tuple[Merged, Estimates]:
    launch_local(run, Resources(workers=2), lambda _: None)
    merged = open_merged(run.paths)
    return merged, estimate(merged, Selection())


def accuracy_per_test_example(merged: Merged) -> NDArray[np.float64]:
    """Share of trials that get each test example right, (M,)."""
    return np.concatenate([band.mean(axis=1) for _, (band,) in merged.bands("test_correct")])


@pytest.mark.process
def test_duplicates_of_hard_test_images_are_the_strongest_influences(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    """Test images that nine in ten networks get wrong are planted in the training set, labels as they are.

    Only those: the influence of a duplicate is bounded by the share of networks that err without it.
    """
    data = load_data(make_spec(dataset={"source": "digits", "limit": {"train": 600, "test": 300}}).dataset)
    arrays: dict[str, NDArray[Any]] = {
        "x_train": data.x_train, "y_train": data.y_train, "x_test": data.x_test, "y_test": data.y_test,
    }  # fmt: skip

    def run(name: str) -> Run:
        np.savez(tmp_path / f"{name}.npz", **arrays)
        dataset = {"source": "npz", "path": str(tmp_path / f"{name}.npz")}
        return new_run(name, dataset=dataset, subsets={"trials": 60}, **RECIPE)

    before, _ = trained(run("before"))
    hardest = np.flatnonzero(accuracy_per_test_example(before) < 0.1)
    assert len(hardest) >= 3
    arrays["x_train"] = np.concatenate([arrays["x_train"], arrays["x_test"][hardest]])
    arrays["y_train"] = np.concatenate([arrays["y_train"], arrays["y_test"][hardest]])
    _, found = trained(run("after"))
    strongest = set(
        zip(found.pairs.train[: len(hardest)].tolist(), found.pairs.test[: len(hardest)].tolist(), strict=True)
    )
    assert strongest == {(600 + rank, int(index)) for rank, index in enumerate(hardest)}
    assert found.pairs.influence[: len(hardest)].min() > 0.8


@pytest.mark.process
def test_flipped_labels_are_the_most_memorized(new_run: Callable[..., Run]) -> None:
    noise = {"fraction": 0.05, "seed": 1}
    dataset = {"source": "digits", "limit": {"train": 1000, "test": 100}, "label_noise": noise}
    run = new_run(dataset=dataset, subsets={"trials": 60}, **RECIPE)
    _, found = trained(run)
    flipped = run.load_data().flipped
    assert flipped.sum() == 50
    ranks = rankdata(found.scores.memorization)[flipped]
    auroc = (ranks.sum() - 50 * 51 / 2) / (50 * 950)
    assert auroc == pytest.approx(1, abs=0.02)
