"""A run that becomes as large as its next round."""

from __future__ import annotations

from memexp.runs.run import Run, layout_of, require_room
from memexp.spec.spec import Spec


def with_trials(spec: Spec, trials: int) -> Spec:
    """The spec with so many trials, whatever error it wanted to reach in the worst case."""
    subsets = spec.subsets.model_copy(update={"trials": trials, "target_se": None})
    return spec if spec.subsets.trials == trials else spec.model_copy(update={"subsets": subsets})


def enlarged(run: Run, trials: int) -> Run:
    """The run with at least so many trials; as with :func:`prepare_run` nothing on the disk changes yet.

    Raises
    ------
    OutOfSpace
        If the disk has not enough room for the outcomes.
    """
    if trials <= run.spec.subsets.trials:
        return run
    spec = with_trials(run.spec, trials)
    require_room(run.paths.root, layout_of(spec, run.manifest))
    return Run(run.paths, spec, run.manifest)
