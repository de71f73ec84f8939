"""Read a spec from YAML, and write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from memexp.errors import InputError, SpecError
from memexp.spec.argument_files import with_absolute_paths
from memexp.spec.datasets import PythonData
from memexp.spec.index_sets import read_sets
from memexp.spec.python_files import read_python_file
from memexp.spec.sections import Model, UserTraining, UserTrial
from memexp.spec.spec import Spec
from memexp.spec.subsets import names_file
from memexp.spec.user_paths import absolute, user_path
from memexp.spec.yaml_file import accept, describe_faults, parse_file, validate
from memexp.spec.yaml_text import Fault, Location, Parsed, Unquoted, first_lost, parse


@dataclass(frozen=True)
class SpecFile:
    """A spec with the YAML it came from, so that later checks can name lines too (none for a run of a sweep)."""

    path: Path
    spec: Spec
    lines: dict[Location, int]

    @property
    def files(self) -> list[SpecFile]:
        """Itself, as a sweep has those of its runs."""
        return [self]

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
    return spec_of(path, parse_file(path, "spec"))


def spec_of(path: Path, parsed: Parsed) -> SpecFile:
    """The spec that a parsed file says; raises as :func:`read_spec` does."""
    spec = accept(path, parsed, *check_spec(parsed.value))
    return resolve(SpecFile(path, spec, parsed.lines), path.parent)


def resolve(file: SpecFile, folder: Path) -> SpecFile:
    """Paths made absolute (they are relative to ``folder``), named files replaced by their content.

    Raises
    ------
    SpecError
        If one of these files cannot be used.
    """
    spec, faults = file.spec, []
    update: dict[str, Any] = {
        name: _with_paths_in_arguments(section, folder)
        for name in ("dataset", "model", "training", "trial")
        if (section := getattr(spec, name)) is not None
    }
    readers: list[tuple[str, str, Callable[[Path], dict[str, Any]]]] = [
        ("model", "file", lambda path: {"file": read_python_file(path)}),
        ("training", "file", lambda path: {"file": read_python_file(path)}),
        ("trial", "file", lambda path: {"file": read_python_file(path)}),
        ("subsets", "removed", read_sets),
        ("dataset", "path", lambda path: {"path": str(absolute(path))}),
        ("dataset", "test_path", lambda path: {"test_path": str(absolute(path))}),
    ]
    if names_file(spec.subsets.groups):
        readers.append(("subsets", "groups", lambda path: {"groups": str(absolute(path))}))
    for block, key, read in readers:
        given = getattr(getattr(spec, block), key, None)
        if isinstance(given, str):
            try:
                there = read(user_path(given, folder))
                update[block] = update.get(block, getattr(spec, block)).model_copy(update=there)
            except InputError as error:
                faults.append(Fault((block, key), str(error)))
    tests = {} if spec.trial is not None else spec.dataset.tests or {}
    for name, section in tests.items():
        try:
            found = _with_paths_in_arguments(section, folder)
            places = {key: getattr(section, key, None) for key in ("path", "test_path")}
            paths = {key: str(absolute(user_path(each, folder))) for key, each in places.items() if each is not None}
            tests = tests | {name: found.model_copy(update=paths)}
        except InputError as error:
            faults.append(Fault(("dataset", "tests", name), str(error)))
    if tests:
        update["dataset"] = update["dataset"].model_copy(update={"tests": tests})
    file.refuse(faults)
    return replace(file, spec=spec.model_copy(update=update))


def check_spec(value: Any) -> tuple[Spec | None, list[Fault]]:
    """Validate parsed YAML: the spec, or what is wrong with it."""
    spec, faults = validate(value, Spec, "spec")
    blocks = value if isinstance(value, dict) else {}
    return spec, faults + [fault for name in _TAKERS for fault in _argument_faults(name, blocks.get(name))]


def write_spec(spec: Spec) -> str:
    """The resolved spec as YAML: every default filled in.

    Raises
    ------
    InputError
        If something in it would be something else when it is read again.
    """
    if (lost := first_lost(spec.model_dump())) is not None:
        raise InputError(f"{'.'.join(map(str, lost))}: {_LOST}")
    return spec.to_yaml()


def read_written(text: str) -> tuple[Spec | None, list[Fault]]:
    """The spec that :func:`write_spec` wrote, of this or an earlier version; or what is wrong with it.

    Raises
    ------
    yaml.YAMLError
        If it is no YAML.
    """
    parsed = parse(text, stored=True)
    spec, faults = check_spec(parsed.value)
    return spec, parsed.faults + faults


# Blocks that take arguments for a network or a user's own code, which memexp hands on as they are.
_TAKERS: dict[str, type[BaseModel]] = {
    "model": Model,
    "training": UserTraining,
    "trial": UserTrial,
    "dataset": PythonData,
}
_LOST = (
    "the tasks of a run would read it as something else; allowed are text, numbers, true, false, null, dates, and "
    "lists, sets and mappings of these"
)


def _argument_faults(block: str, keys: Any) -> list[Fault]:
    """What is unclear, or would not survive, among the arguments in a block."""
    own = _TAKERS[block].model_fields
    if not isinstance(keys, dict):
        return []
    if (block == "training" and "file" not in keys) or (block == "dataset" and keys.get("source") != "python"):
        return []  # they take none
    arguments = {key: value for key, value in keys.items() if key not in own}
    if unclear := list(_unclear(arguments, (block,))):
        return unclear
    lost = first_lost(arguments, (block,))
    return [] if lost is None else [Fault(lost, _LOST)]


def _unclear(value: Any, location: Location) -> Iterator[Fault]:
    """Words without quotes that mean something else elsewhere."""
    if isinstance(value, Unquoted):
        yield Fault(location, f"{value.meaning}, or quote the text: '{value}'")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _unclear(key, (*location, str(key)))
            yield from _unclear(inner, (*location, key))
    elif isinstance(value, list | set):
        for position, inner in enumerate(value):
            yield from _unclear(inner, (*location, position))


S = TypeVar("S", bound=BaseModel)


def _with_paths_in_arguments(section: S, folder: Path) -> S:
    """A section whose further keys are arguments of the user's: see :mod:`memexp.spec.argument_files`."""
    arguments = section.model_extra
    return section.model_copy(update=with_absolute_paths(arguments, folder)) if arguments else section
