"""The table of how examples are learned is a loop over the trials that saw them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memexp.analysis.learning import learned
from memexp.analysis.merged import merge
from memexp.errors import InputError
from memexp.notebook import RunView
from memexp.runs.run import Run, open_run
from memexp.store.trials import DONE
from tests.analysis.test_estimates import make_store, random_trials


@pytest.mark.long
def test_the_table_is_a_loop_over_the_trials(tmp_path: Path) -> None:
    trials, draws = random_trials(30, 40, 5, seed=3), np.random.default_rng(3)
    trials["mask"] = draws.random((30, 40)) < 0.5
    trials["mask"][:, 7], trials["mask"][1:, 8] = False, False
    trials["mask"][0, 8] = True
    trials["train_learning_loss"] = np.where(trials["mask"], draws.random((30, 40)), np.nan).astype(np.float32)
    for name in ("train_learned", "train_forgotten"):
        trials[name] = (draws.integers(0, 9, (30, 40)) * trials["mask"]).astype(np.uint16)
    found = learned(merge(make_store(tmp_path / "a", trials, np.full(30, DONE, np.uint8), 7)))
    names = {"loss": "train_learning_loss", "learned": "train_learned", "forgotten": "train_forgotten"}
    for i in range(40):
        seen = trials["mask"][:, i]
        assert found.trials[i] == seen.sum()
        for name, array in names.items():
            values = trials[array][seen, i].astype(float)
            mean = values.mean() if len(values) else np.nan
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            np.testing.assert_allclose(getattr(found, name)[i], mean)
            np.testing.assert_allclose(getattr(found, f"{name}_se")[i], error)


def test_without_records_it_says_what_to_record(trained_run: Path) -> None:
    with pytest.raises(InputError, match="record: .correct, margin, predicted, learning."):
        RunView(open_run(trained_run)).learning()


@pytest.mark.long
def test_what_is_learned_late_was_flipped(recording_run: Path) -> None:
    run: Run = open_run(recording_run)
    frame = RunView(run).learning()
    by_flip = frame.groupby("flipped")[["loss", "learned"]].mean()
    assert (by_flip.loc[True] > 1.1 * by_flip.loc[False]).all()
    assert len(frame) == 300
