"""Every file name of a run directory, in one place."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from memexp.errors import InputError, command

SWEEP_FILE = "sweep.yaml"  # in the folder of a sweep: its runs, in order


@dataclass(frozen=True)
class RunPaths:
    """File names below one run directory."""

    root: Path

    @classmethod
    def of_run(cls, root: Path) -> RunPaths:
        """Paths of an existing run.

        Raises
        ------
        InputError
            If ``root`` is not a run directory.
        """
        paths = cls(root)
        if not paths.manifest.is_file():
            if (note := root / SWEEP_FILE).is_file():
                raise InputError(f"{root} is the folder of a sweep; name one of its runs ({note} lists them)")
            what = "is not a run directory (it has no manifest.json)" if root.exists() else "does not exist"
            raise InputError(f"{root} {what}; give the folder that `memexp launch` made, such as {_runs_near(root)}")
        return paths

    @property
    def spec(self) -> Path:
        """The resolved spec."""
        return self.root / "spec.yaml"

    @property
    def manifest(self) -> Path:
        """Identity of the run and versions of what made it."""
        return self.root / "manifest.json"

    @property
    def trials(self) -> Path:
        """Outcomes, one row for each trial."""
        return self.root / "trials.zarr"

    @property
    def blocks(self) -> Path:
        """Receipts: one file for each committed block, and outcomes on their way into the store."""
        return self.root / "blocks"

    @property
    def weights(self) -> Path:
        """Weights of the trials that the spec keeps."""
        return self.root / "weights"

    @property
    def partial(self) -> Path:
        """Checkpoints of blocks that are long and not committed yet; the folder comes with the first one."""
        return self.root / "partial"

    @property
    def launches(self) -> Path:
        """One file for each submission."""
        return self.root / "launches"

    @property
    def attempts(self) -> Path:
        """One file for each worker: what it met."""
        return self.root / "attempts"

    @property
    def logs(self) -> Path:
        """Standard error of the workers."""
        return self.root / "logs"

    def cancelled(self, launch_id: str) -> Path:
        """Exists once a launch was cancelled: its jobs do nothing any more."""
        return self.launches / f"{launch_id}.cancelled"

    @property
    def lock(self) -> Path:
        """Held by the process that launches."""
        return self.root / "launches" / ".lock"

    @property
    def derived_lock(self) -> Path:
        """Held by the process that merges, estimates or writes the report."""
        return self.root / ".derived.lock"

    @property
    def merged(self) -> Path:
        """Trials transposed for analysis."""
        return self.root / "merged.zarr"

    @property
    def estimates(self) -> Path:
        """Memorization and influence."""
        return self.root / "estimates.zarr"

    def matrix(self, name: str) -> Path:
        """A whole matrix, such as ``influence``, until it is finished and part of the estimates."""
        return self.root / f".{name}.zarr"

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.root / "report" / "index.html"

    def make_folders(self) -> None:
        """Create the folders that the launcher and the workers write to."""
        for folder in (self.root, self.blocks, self.launches, self.attempts, self.logs):
            folder.mkdir(parents=True, exist_ok=True)


def by_repair(root: Path) -> str:
    """What mends damaged trials: the end of a message."""
    return f"run `{command('verify', root, '--repair')}`, then `{command('resume', root)}`; all other trials are kept"


def _runs_near(root: Path) -> str:
    """Up to three runs that may be meant: in the folder, beside it, or in runs/; the most similar names first."""
    for folder in (root, root.parent, Path("runs")):
        names = {manifest.parent.name for manifest in folder.glob("*/manifest.json")}
        if names:
            alike = difflib.get_close_matches(root.stem, sorted(names), 3, 0.0)
            return ", ".join(str(folder / name) for name in alike)
    return "runs/NAME"
