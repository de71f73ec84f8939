"""What is cheap to know of a run, in words: nothing is estimated for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from memexp.analysis import SHOWN_FDR
from memexp.brief import counted, in_classes
from memexp.errors import StoreError
from memexp.runs.run import Run
from memexp.store.trials import DONE, FAILED, MISSING

if TYPE_CHECKING:
    from memexp.analysis.estimates import Estimates


def trials(run: Run) -> str:
    """How many are done, failed and missing."""
    states = run.store().status()
    done, failed, missing = ((states == state).sum() for state in (DONE, FAILED, MISSING))
    return f"{counted(done, 'trial')} done, {failed:,} failed, {missing:,} missing"


def examples(run: Run) -> str:
    """How many there are to train and to test on."""
    tests = f"{run.manifest.n_test:,}" if run.manifest.n_test else "no"
    return f"{run.manifest.n_train:,} training and {tests} test examples"


def facts(run: Run, estimates: Estimates | None) -> list[tuple[str, str]]:
    """Names and values.

    Parameters
    ----------
    estimates
        Those that are in memory; None: those in the run's folder, which may be older than the newest trials.
    """
    spec, manifest = run.spec, run.manifest
    store = run.store()
    done = store.status() == DONE
    found = [
        ("folder", str(run.paths.root)),
        ("data", f"{spec.origin}: {examples(run)}{in_classes(len(manifest.classes))}"),
        ("model", spec.arch),
        ("subsets", _subsets(run)),
        ("trials", trials(run)),
    ]
    if done.any():
        names = ("in", "out", "test") if manifest.n_test else ("in", "out")
        means = (f"{name} {store.per_trial(f'{name}_accuracy')[done].mean():.4f}" for name in names)
        measure = "score" if "score" in spec.record else "accuracy"
        found.append((measure, f"{', '.join(means)} (mean of the trials done)"))
    return [*found, ("memorization", _memorization(run, estimates))]


def _subsets(run: Run) -> str:
    subsets = run.spec.subsets
    share = f", {subsets.ratio:g} of all" if subsets.ratio else ""
    return f"{subsets.design}{share}" + (f" groups ({subsets.groups})" if subsets.groups else "")


def _memorization(run: Run, estimates: Estimates | None) -> str:
    from memexp.analysis.estimates import open_estimates
    from memexp.analysis.summary import describe_memorization

    try:
        found = estimates or open_estimates(run.paths)
    except StoreError:
        return "not estimated yet; .estimates does it"
    memorization = describe_memorization(found.scores)
    if np.isnan(found.scores.memorization).all():
        return memorization
    cut, passing = found.cut(), found.pairs.passing()
    return (
        f"{memorization} ({counted(found.n_trials, 'trial')}); "
        f"{len(passing.discoveries()):,} pairs of high influence at a false discovery rate of {SHOWN_FDR:g}, "
        f"{len(passing):,} at any" + (f" ({cut})" if cut else "")
    )
