"""Status: counts from the store and receipts, then what Slurm says of its tasks; starts without torch."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from memexp.errors import StoreError
from memexp.launch.slurm_status import SlurmStatus, read_slurm_status, without_numbers
from memexp.runs.software import deciding, trained_with
from memexp.spec.sampling_error import trials_for, worst_case_se
from memexp.spec.yaml_text import parse
from memexp.store.goal import Goal
from memexp.store.launches import read_launches
from memexp.store.lock import lock_holder
from memexp.store.manifest import Manifest, read_manifest
from memexp.store.paths import RunPaths
from memexp.store.receipts import Receipt, read_states
from memexp.store.sealed import NotWhole, read_attributes
from memexp.store.spec_text import read_spec_text
from memexp.store.trials import DONE, FAILED, MISSING, TrialStore

_RECENT_SECONDS = 600.0


@dataclass(frozen=True)
class StandardError:
    """Of memorization: see :func:`memexp.spec.sampling_error.worst_case_se`.

    Attributes
    ----------
    now, end
        At worst, with the trials done and with all of the spec's; None without trials.
    goal
        What the spec asks for, or None.
    measured, measured_trials
        Median over the examples when estimates were last made, and from how many trials; None before.
    trials_left
        To the goal, or None.
    """

    now: float | None
    end: float | None
    goal: float | None
    measured: float | None
    measured_trials: int | None
    trials_left: int | None


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
    worker_hours_left
        What the missing trials will need at the median time of those trained; None if unknown.
    standard_error
        Now, at the end, and to the goal; None for a design without a ratio.
    software
        What trained the blocks, where that was not one and the same: trials by versions, in words.
    until
        The measured error that the last launch trains for, if it does.
    slurm
        Where its Slurm tasks stand.
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
    worker_hours_left: float | None = None
    standard_error: StandardError | None = None
    software: dict[str, int] = field(default_factory=dict)
    until: Goal | None = None
    slurm: SlurmStatus = field(default_factory=SlurmStatus)

    @property
    def trials(self) -> int:
        """All trials of the spec."""
        return self.done + self.failed + self.missing

    @property
    def exit_code(self) -> int:
        """0 all done, 1 settled but some failed, 3 some are missing, or the next round to a goal."""
        return 3 if self.missing or self.between_rounds else 1 if self.failed else 0

    @property
    def between_rounds(self) -> bool:
        """Whether all its trials are settled, but not whether more are needed for the goal."""
        return self.until is not None and not self.until.ended and not self.missing

    def as_json(self) -> dict[str, Any]:
        """All of it in one table, Slurm's beside the run's."""
        found = asdict(self)
        slurm: dict[str, Any] = found.pop("slurm")
        if self.until is not None:
            found["until"] |= {"what": self.until.what, "reached": self.until.reached, "ended": self.until.ended}
        return found | slurm


def read_status(root: Path) -> Status:
    """Count the trials of a run, and ask Slurm about its tasks if it has any."""
    paths = RunPaths.of_run(root)
    manifest = read_manifest(paths)  # refuses what this version cannot read
    store = TrialStore(paths.trials)
    states, receipts = read_states(paths, store)
    counts = {state: int((states == state).sum()) for state in (DONE, FAILED, MISSING)}
    receipts = sorted(receipts, key=lambda receipt: receipt.finished)
    speed = _speed(receipts)
    # Reasons differ in their numbers; the words before the first number group them.
    reasons = Counter(without_numbers(reason) for r in receipts for reason in r.failures.values())
    per_trial = statistics.median(r.seconds / len(r.trained) for r in receipts if r.trained) if receipts else None
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
        worker_hours_left=per_trial * counts[MISSING] / 3600 if per_trial is not None else None,
        standard_error=_standard_error(paths, manifest, counts),
        software=_software(receipts, manifest),
        until=_until(paths),
        slurm=read_slurm_status(paths, store.layout.blocks_with(states == MISSING)),
    )


def _until(paths: RunPaths) -> Goal | None:
    launches = read_launches(paths)
    return launches[-1].until if launches else None


def _speed(receipts: Sequence[Receipt]) -> float | None:
    """Trials per hour of the last blocks, which come oldest first."""
    if not receipts:
        return None
    newest = receipts[-1].finished
    recent = [r for r in receipts if newest - r.finished < _RECENT_SECONDS]
    began = min(r.finished - r.seconds for r in recent)
    return 3600 * sum(len(r.trained) for r in recent) / max(newest - began, 1e-3)


def _software(receipts: Sequence[Receipt], manifest: Manifest) -> dict[str, int]:
    """Trials by what trained them; empty where that was the same, as far as the receipts know."""
    arch = str(manifest.science.get("model", {}).get("arch", ""))
    made = [(deciding(trained_with(receipt), arch), len(receipt.trained)) for receipt in receipts]
    known = set.intersection(*(set(found) for found, _ in made)) if made else set()
    differing = sorted(name for name in known if len({found[name] for found, _ in made}) > 1)
    trials: Counter[str] = Counter()
    for found, count in made:
        trials[", ".join(f"{'code of memexp' if name == 'code' else name} {found[name]}" for name in differing)] += (
            count
        )
    return dict(trials) if differing else {}


def _goal(paths: RunPaths) -> float | None:
    """The error that the spec asks for."""
    try:
        goal = parse(read_spec_text(paths), stored=True).value["subsets"].get("target_se")
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"{paths.spec} cannot be read ({error}); restore it from a backup") from error
    return goal if isinstance(goal, float) else None


def _standard_error(paths: RunPaths, manifest: Manifest, counts: dict[int, int]) -> StandardError | None:
    ratio = manifest.science["subsets"].get("ratio")
    if ratio is None or "score" in manifest.science["record"]:  # numbers may spread as they like
        return None
    done, missing = counts[DONE], counts[MISSING]
    goal = _goal(paths)
    try:
        estimates = read_attributes(paths.estimates)
    except NotWhole:  # absent, damaged, or being replaced
        estimates = {}
    return StandardError(
        now=worst_case_se(ratio, done) if done else None,
        end=worst_case_se(ratio, done + missing) if done + missing else None,
        goal=goal,
        measured=estimates.get("median_se"),
        measured_trials=estimates.get("trials"),
        trials_left=max(0, trials_for(ratio, goal) - done) if goal is not None else None,
    )
