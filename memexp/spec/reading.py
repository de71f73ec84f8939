"""Read a spec from YAML, and write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memexp.errors import InputError, SpecError
from memexp.spec.index_sets import read_sets
from memexp.spec.python_files import read_python_file
from memexp.spec.spec import Dataset, Spec
from memexp.spec.yaml_file import Fault, Place, describe_faults, read_yaml, validate


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
    """Paths made absolute (they are relative to ``folder``), named files replaced by their content.

    Raises
    ------
    SpecError
        If one of these files cannot be used.
    """
    spec, faults = file.spec, []
    update: dict[str, Any] = {"dataset": _with_absolute_path(spec.dataset, folder)}
    readers: list[tuple[str, str, Callable[[Path], dict[str, Any]]]] = [
        ("model", "file", lambda path: {"file": read_python_file(path)}),
        ("training", "file", lambda path: {"file": read_python_file(path)}),
        ("subsets", "removed", lambda path: dict(zip(("removed", "removed_labels"), read_sets(path), strict=True))),
    ]
    for block, key, read in readers:
        given = getattr(getattr(spec, block), key, None)
        if isinstance(given, str):
            try:
                update[block] = getattr(spec, block).model_copy(update=read(folder / Path(given).expanduser()))
            except InputError as error:
                faults.append(Fault((block, key), str(error)))
    resolved = replace(file, spec=spec.model_copy(update=update))
    resolved.refuse(faults)
    return resolved


def check_spec(value: Any) -> tuple[Spec | None, list[Fault]]:
    """Validate parsed YAML: the spec, or what is wrong with it."""
    return validate(value, Spec, "spec")


def write_spec(spec: Spec) -> str:
    """The resolved spec as YAML: every default filled in."""
    return spec.to_yaml()


def _with_absolute_path(dataset: Dataset, folder: Path) -> Dataset:
    """Paths in a spec are relative to the spec's own folder."""
    given = getattr(dataset, "path", None)
    if given is None:
        return dataset
    return dataset.model_copy(update={"path": str((folder.resolve() / Path(given).expanduser()).resolve())})
