"""Read a spec from YAML, and write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memexp.errors import InputError, SpecError
from memexp.index_sets import read_sets
from memexp.python_files import read_python_file
from memexp.spec import Dataset, Spec
from memexp.yaml_file import Fault, Place, describe_faults, read_yaml, validate


@dataclass(frozen=True)
class SpecFile:
    """A spec with the YAML it came from, so that later checks can name lines too."""

    path: Path
    spec: Spec
    lines: dict[Place, int]

    def refuse(self, faults: list[Fault]) -> None:
        """Raise :class:`SpecError` with all ``faults``, if there are any."""
        if faults:
            raise SpecError(describe_faults(self.path, faults, self.lines))


def read_spec(path: Path) -> SpecFile:
    """Read and check a spec file.

    Raises
    ------
    SpecError
        With every fault: unknown keys (and what was probably meant), wrong values, missing keys.
    """
    spec, lines = read_yaml(path, Spec, "spec")
    faults: list[Fault] = []
    update: dict[str, Any] = {"dataset": _with_absolute_path(spec.dataset, path.parent)}
    readers: list[tuple[str, str, Callable[[Path], Any]]] = [
        ("model", "file", read_python_file),
        ("training", "file", read_python_file),
        ("subsets", "removed", read_sets),
    ]
    for block, key, read in readers:
        given = getattr(getattr(spec, block), key, None)
        if isinstance(given, str):
            try:
                content = read(path.parent / Path(given).expanduser())
            except InputError as error:
                faults.append(Fault((block, key), str(error)))
            else:
                update[block] = getattr(spec, block).model_copy(update={key: content})
    file = SpecFile(path, spec.model_copy(update=update), lines)
    file.refuse(faults)
    return file


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
