"""Status: counts from the store and receipts; starts without torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from memexp.store.lock import lock_holder
from memexp.store.manifest import read_manifest
from memexp.store.paths import RunPaths
from memexp.store.receipts import read_receipts
from memexp.store.trials import DONE, FAILED, MISSING, TrialStore

_RECENT_SECONDS = 600.0


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes
    ----------
    done, failed, missing
        Trials by state.
    trials_per_hour
        Speed over the last finished blocks; None before the first.
    seconds_left
        At that speed; None if unknown.
    worker_hours
        Time that workers spent on committed blocks.
    launcher
        Host and process that trains the run now, or None.
    failures
        Number of failed trials by reason.
    """

    run: str
    done: int
    failed: int
    missing: int
    trials_per_hour: float | None
    seconds_left: float | None
    worker_hours: float
    launcher: dict[str, object] | None
    failures: dict[str, int]

    @property
    def trials(self) -> int:
        """All trials of the spec."""
        return self.done + self.failed + self.missing

    @property
    def exit_code(self) -> int:
        """0 all done, 1 settled but some failed, 3 some are missing."""
        return 3 if self.missing else 1 if self.failed else 0


def read_status(root: Path) -> Status:
    """Count the trials of a run."""
    paths = RunPaths.of_run(root)
    read_manifest(paths)  # refuses what this version cannot read
    states = TrialStore(paths.trials).status()
    counts = {state: int((states == state).sum()) for state in (DONE, FAILED, MISSING)}
    receipts = sorted(read_receipts(paths), key=lambda receipt: receipt.finished)
    speed = None
    if receipts:
        newest = receipts[-1].finished
        recent = [r for r in receipts if newest - r.finished < _RECENT_SECONDS]
        began = min(r.finished - r.seconds for r in recent)
        speed = 3600 * sum(len(r.trained) for r in recent) / max(newest - began, 1e-3)
    # Reasons differ in their numbers; the words before the first number group them.
    reasons = Counter(_without_numbers(reason) for r in receipts for reason in r.failures.values())
    return Status(
        run=str(root),
        done=counts[DONE],
        failed=counts[FAILED],
        missing=counts[MISSING],
        trials_per_hour=speed,
        seconds_left=counts[MISSING] / speed * 3600 if speed and counts[MISSING] else None,
        worker_hours=sum(r.seconds for r in receipts) / 3600,
        launcher=lock_holder(paths),
        failures=dict(reasons),
    )


def _without_numbers(reason: str) -> str:
    """ "in_accuracy 0.31 is below min_in_accuracy 0.9" -> "in_accuracy is below min_in_accuracy"."""
    return " ".join(word for word in reason.split() if not word.replace(".", "").isdigit())
