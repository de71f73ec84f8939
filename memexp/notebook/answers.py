"""What else the trials of a run say, as methods: a skin over the same functions that the commands call."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from memexp.runs.run import Run

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from memexp.analysis.attack import Attack
    from memexp.analysis.lds import Score
    from memexp.analysis.merged import Merged
    from memexp.analysis.trial_table import TrialTable
    from memexp.data import Data


class Answers:
    """A run, and what its trials answer; everything is read when it is asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def merged(self) -> Merged:
        """The finished trials, transposed.

        Raises
        ------
        Incomplete
            If there is none yet.
        """
        from memexp.analysis.merged import open_merged

        return open_merged(self.run.paths)

    @cached_property
    def data(self) -> Data:
        """Images and labels, checked against the run's fingerprint."""
        return self.run.load_data()

    def labels(self) -> pandas.DataFrame:
        """One row for each training and test example, those first whose label is most probably wrong."""
        from memexp.analysis.labels import labels_frame
        from memexp.analysis.votes import Votes

        self.run.require_random_subsets()
        classes = self.run.manifest.classes
        return labels_frame(Votes(self.merged, len(classes)), classes)

    def values(self) -> pandas.DataFrame:
        """One row for each training example: what it is worth to the test accuracy, and its C-score."""
        from memexp.analysis.values import values_frame

        self.run.require_random_subsets()
        return values_frame(self.merged, self.run.spec.subsets, self.run.manifest.classes)

    def learning(self) -> pandas.DataFrame:
        """One row for each training example: its loss while it was learned, when it was, how often it was forgotten.

        Raises
        ------
        InputError
            If the spec does not say `record: [..., learning]`.
        """
        from memexp.analysis.learning import learned_frame

        return learned_frame(self.merged, self.run.manifest.classes)

    def attack(self, targets: int | None = None, trials: tuple[int, int] | None = None) -> Attack:
        """Membership inference, each trial attacked with the others as shadow models.

        Parameters
        ----------
        targets
            How many trials are attacked; None for all.
        trials
            First and end of the trials that take part, by number; None for all.

        Returns
        -------
        attack
            ``methods``: of each attack ``auc``, ``tpr``, ... with intervals; ``risk``: of each training example.
        """
        from memexp.analysis.attack import attack_run

        self.run.require_random_subsets()
        return attack_run(self.merged, self._table(trials), self.run.spec.subsets, targets)

    def lds(
        self, scores: NDArray[Any] | str | Path, outcome: str | None = None, trials: tuple[int, int] | None = None
    ) -> Score:
        """The linear datamodelling score of attributions: how well they predict retraining.

        Parameters
        ----------
        scores : shape (M, N)
            What each training example does for each test example; or a .npy file of it. Trials that a file of
            `memexp datamodel` was made from are left out; with an array, name others by ``trials``.
        outcome
            ``margin`` or ``correct``; None for margins where they were recorded.
        trials
            First and end of the trials to predict, by number; None for all.

        Returns
        -------
        score
            ``mean``, ``low`` and ``high`` (95 %), ``se_tests``, ``se_trials``, and ``each`` test example's.
        """
        from memexp.analysis.ground_truth import without_used
        from memexp.analysis.lds import linear_datamodelling_score, open_scores

        table = self._table(trials)
        if isinstance(scores, str | Path):
            table, _ = without_used(table, self.run.manifest, Path(scores))
            scores = open_scores(Path(scores))
        outcome = outcome or ("margin" if "test_margin" in table.recorded else "correct")
        return linear_datamodelling_score(table, scores, outcome)

    def _table(self, trials: tuple[int, int] | None) -> TrialTable:
        from memexp.analysis.trial_table import chosen, table_of_merged

        words = None if trials is None else f"{trials[0]}:{trials[1]}"
        return chosen(table_of_merged(self.merged, self.run.spec.subsets), words, "trials")

    def model(self, trial: int) -> nn.Module:
        """The network of a trial whose weights were kept, (B, C, H, W) -> (B, K); images float32, pixels over 255.

        Raises
        ------
        InputError
            If none were kept of it.
        """
        from memexp.runs.kept_weights import load_model

        return load_model(self.run, trial, self.data)

    def evaluate(self, trial: int) -> dict[str, NDArray[Any]]:
        """What the kept weights of a trial say of every example: the recorded outcomes, by the names of the store."""
        from memexp.runs.kept_weights import evaluate_kept

        return evaluate_kept(self.run, trial, self.data)
