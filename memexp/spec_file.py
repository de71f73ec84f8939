"""Read a spec from YAML, and write it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from memexp.errors import InputError, SpecError
from memexp.index_sets import read_sets
from memexp.spec import Spec
from memexp.yaml_file import Fault, Place, describe_faults, read_yaml, validate


@dataclass(frozen=True)
class SpecFile:
    """A spec with the YAML it came from, so that later checks can name lines too (none for a run of a sweep)."""

    path: Path
    spec: Spec
    lines: dict[Place, int]

    def refuse(self, faults: list[Fault]) -> None:
        """Raise :class:`SpecError` with all ``faults``, if there are any."""
        if faults:
            name = str(self.path) if self.lines else f"{self.path}, run {self.spec.name}"
            raise SpecError(describe_faults(name, faults, self.lines))


def read_spec(path: Path) -> SpecFile:
    """Read and check a spec file.

    Raises
    ------
    SpecError
        With every fault: unknown keys (and what was probably meant), wrong values, missing keys.
    """
    spec, lines = read_yaml(path, Spec, "spec")
    return resolve(SpecFile(path, spec, lines), path.parent)


def resolve(file: SpecFile, folder: Path) -> SpecFile:
    """Paths made absolute (they are relative to ``folder``), a file of index lists replaced by its content.

    Raises
    ------
    SpecError
        If that file cannot be used.
    """
    spec = _with_absolute_path(file.spec, folder)
    removed = spec.subsets.removed
    if isinstance(removed, dict):
        return replace(file, spec=spec)
    try:
        sets, labels = read_sets(folder / Path(removed).expanduser())
    except InputError as error:
        file.refuse([Fault(("subsets", "removed"), str(error))])
        raise
    subsets = spec.subsets.model_copy(update={"removed": sets, "removed_labels": labels})
    return replace(file, spec=spec.model_copy(update={"subsets": subsets}))


def check_spec(value: Any) -> tuple[Spec | None, list[Fault]]:
    """Validate parsed YAML: the spec, or what is wrong with it."""
    return validate(value, Spec, "spec")


def write_spec(spec: Spec) -> str:
    """The resolved spec as YAML: every default filled in."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _with_absolute_path(spec: Spec, folder: Path) -> Spec:
    """Paths in a spec are relative to the spec's own folder."""
    given = getattr(spec.dataset, "path", None)
    if given is None:
        return spec
    path = str((folder.resolve() / Path(given).expanduser()).resolve())
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"path": path})})
