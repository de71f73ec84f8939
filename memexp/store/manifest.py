"""manifest.json: what a run is, so that results are never mixed with those of another experiment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memexp.errors import NewerSchema, RunMismatch, StoreError
from memexp.files import digest, read_record, to_record, write_atomic
from memexp.store.paths import RunPaths
from memexp.store.records import made_of
from memexp.version import __version__

SCHEMA_VERSION = 2

_RESTORE = "restore it from a backup"

# What another training of the same trial reproduces, by where it is trained; see tests/training/test_determinism.py.
DETERMINISM = {
    "everywhere": "Masks and all seeds are pure functions of (seed, trial): the same on every machine.",
    "cpu": (
        "With the same block size, threads per worker, processor type and versions the outcomes are the same bits, "
        "whatever the number of workers and however often they were stopped. With other threads, processors or "
        "versions they agree statistically: sums are rounded in another order."
    ),
    "cuda": (
        "Deterministic algorithms are asked for, but not every operation has one: count on statistical agreement "
        "only. Bits on GPUs have not been measured."
    ),
    "between devices": "Outcomes agree statistically; runs of several devices may be merged.",
}


@dataclass(frozen=True)
class Manifest:
    """Identity of a run.

    Attributes
    ----------
    science
        The spec's part of the identity (:meth:`memexp.spec.spec.Spec.science`).
    data
        sha256 of each array of the data set.
    masks
        sha256 of the masks of the first trials: a guard on the mask generator itself.
    block_size
        Trials committed together; one chunk of the store. A layout, not part of the identity.
    n_train, n_test
        Examples.
    classes
        Names of the labels.
    versions
        Of Python and the libraries that created the run.
    determinism
        What is reproduced bit by bit and what only statistically, by device: a statement for readers,
        not part of the identity.
    """

    science: dict[str, Any]
    data: dict[str, str]
    masks: str
    block_size: int
    n_train: int
    n_test: int
    classes: list[str]
    versions: dict[str, str]
    created: str
    schema_version: int = SCHEMA_VERSION
    determinism: dict[str, str] = field(default_factory=DETERMINISM.copy)

    @property
    def identity(self) -> str:
        """One digest of science, data and masks."""
        return digest({"science": self.science, "data": self.data, "masks": self.masks})

    def write(self, paths: RunPaths) -> None:
        """Write manifest.json."""
        write_atomic(paths.manifest, to_record({"identity": self.identity} | asdict(self)))

    def differences(self, other: Manifest) -> list[tuple[str, Any, Any]]:
        """What is not the same in two experiments: name, value here, value there."""
        here, there = (flat({"data": m.data, "masks": m.masks} | m.science) for m in (self, other))
        names = sorted(here.keys() | there.keys())
        return [
            (name, here.get(name, "(absent)"), there.get(name, "(absent)"))
            for name in names
            if digest(here.get(name)) != digest(there.get(name))  # 1, 1.0 and True are equal to Python
        ]

    def require_same(self, other: Manifest, run: str) -> None:
        """Raise :class:`RunMismatch` with a field-by-field difference unless ``other`` is the same experiment."""
        changed = [f"  {name}: {here} there, {there} in this spec" for name, here, there in self.differences(other)]
        if changed:
            raise RunMismatch(
                "\n".join([f"{run} holds another experiment; nothing was changed. Differences:", *changed])
                + "\nGive this spec another name (or another --runs), or restore the spec of that run."
            )


def read_manifest(paths: RunPaths) -> Manifest:
    """Read manifest.json.

    Raises
    ------
    NewerSchema
        If a newer memexp wrote it.
    StoreError
        If it is damaged.
    """
    content = read_record(paths.manifest, _RESTORE, _refuse_newer)
    identity = content.pop("identity", None)
    manifest = made_of(Manifest, content, paths.manifest, _RESTORE)
    if manifest.identity != identity:
        raise StoreError(f"{paths.manifest} was edited: its identity does not match its content; {_RESTORE}")
    return manifest


def _refuse_newer(path: Path, content: dict[str, Any]) -> None:
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchema(
            f"{path.parent} was written with schema {version}; memexp {__version__} reads up to {SCHEMA_VERSION}. "
            "Install a newer memexp"
        )


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, whose keys are joined by dots."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}
