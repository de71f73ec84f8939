"""A sweep: one YAML file that expands to the specs of several runs.

    name: architectures
    base: fashion.yaml             # a spec; the path is relative to this file
    vary:
      subsets.seed: [0, 1]         # a key of the spec, and its values
      network:                     # a name of one's own, and named changes of the spec
        mlp: {}
        cnn: {model: {arch: memexp_cnn}, training: {lr: 0.05}}

makes four runs, seed0-mlp, seed0-cnn, seed1-mlp and seed1-cnn, below the folder ``architectures``. A key
with one value does not show in their names.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from memexp.errors import InputError, SpecError
from memexp.files import write_atomic
from memexp.spec.reading import SpecFile, check_spec, resolve, spec_of
from memexp.spec.sweep_note import noted_runs
from memexp.spec.user_paths import NAME, user_path
from memexp.spec.yaml_file import accept, describe_faults, parse_file, validate
from memexp.spec.yaml_text import Fault, Parsed, Unquoted
from memexp.store.paths import SWEEP_FILE, RunPaths

MOST_RUNS = 1000

Change = dict[str, Any]


class Sweep(BaseModel):
    """What a sweep file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=NAME)] = Field(description="the folder of its runs, below --runs")
    base: str | dict[str, Any] = Field(description="a spec, or the path of one")
    vary: Annotated[dict[str, Annotated[list[Any] | dict[str, Change], Field(min_length=1)]], Field(min_length=1)] = (
        Field(description="a key of the spec with its values; or a name of one's own with named changes of the spec")
    )


@dataclass(frozen=True)
class SweepFile:
    """A sweep and the specs of its runs, in the order of the file, the last key varying fastest."""

    name: str
    files: list[SpecFile]


def read_file(path: Path) -> SpecFile | SweepFile:
    """Read a spec, or a sweep of one: a file with the key ``vary``.

    Raises
    ------
    SpecError
        With every fault of the file, or of the specs of all its runs.
    """
    parsed = parse_file(path, "spec")
    return _sweep_of(path, parsed) if "vary" in parsed.value else spec_of(path, parsed)


def _sweep_of(path: Path, parsed: Parsed) -> SweepFile:
    sweep = accept(path, parsed, *validate(parsed.value, Sweep, "sweep"))
    folder, base = path.parent, sweep.base
    if isinstance(base, str):
        folder, base = _read_base(path, base)
    axes = [_changes(key, values) for key, values in sweep.vary.items()]
    if (count := math.prod(map(len, axes))) > MOST_RUNS:
        raise SpecError(f"{path}: vary makes {count:,} runs; a sweep may have {MOST_RUNS:,}, so make several of it")
    files, faults, seen = [], [], set()
    for chosen in itertools.product(*axes):
        name = "-".join(label for (label, _), axis in zip(chosen, axes, strict=True) if len(axis) > 1) or chosen[0][0]
        value = copy.deepcopy(base) | {"name": name}
        for _, change in chosen:
            _apply(value, change)
        spec, found = check_spec(value)
        if value["name"] != name:
            found = [*found, Fault(("name",), f"a run of a sweep is named after its values, here {name}; omit the key")]
        if name in seen:
            found = [*found, Fault(("name",), f"{name!r} is the name of two runs; name the values, {{name: ...}}")]
        seen.add(name)
        faults += [f"  run {name}: {text.strip()}" for text in describe_faults(path, found, {}).splitlines()[1:]]
        if spec is not None and not faults:
            files.append(resolve(SpecFile(path, spec, {}), folder))
    if faults:
        raise SpecError("\n".join([f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}", *faults]))
    return SweepFile(sweep.name, files)


def _read_base(path: Path, base: str) -> tuple[Path, dict[str, Any]]:
    """The folder of the spec that a sweep varies, and its keys."""
    try:
        source = user_path(base, path.parent)
    except InputError as error:
        raise SpecError(f"{path}: base: {error}") from error
    parsed = parse_file(source, "spec")
    if parsed.faults:
        raise SpecError(describe_faults(source, parsed.faults, parsed.lines))
    return source.parent, parsed.value


def write_order(folder: Path, files: Sequence[SpecFile]) -> list[str]:
    """Note in the sweep's folder which runs are its own, in which order.

    Returns
    -------
    left
        Names of runs in the folder that an earlier note named and these files do not.

    Raises
    ------
    InputError
        If the folder cannot be written, or is a run.
    """
    if RunPaths(folder).manifest.exists():
        raise InputError(f"{folder} is a run; give the sweep another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create {folder}: {error.strerror}; choose another place with --runs") from error
    names = [file.spec.name for file in files]
    before = [root for root in noted_runs(folder) if RunPaths(root).manifest.is_file()]
    write_atomic(folder / SWEEP_FILE, yaml.safe_dump({"runs": names}, sort_keys=False).encode())
    return [root.name for root in before if root.name not in names]


def _changes(key: str, values: list[Any] | dict[str, Change]) -> list[tuple[str, Change]]:
    """Each value of an axis as its part of the run's name and the change that it makes."""
    if isinstance(values, dict):
        return list(values.items())
    last = key.rsplit(".", 1)[-1]
    return [(_label(last, value), _nested(key.split("."), value)) for value in values]


def _label(key: str, value: Any) -> str:
    """A value as a part of a run's name."""
    switch = value.switch if isinstance(value, Unquoted) else None
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"{key}{value if switch is None else switch}")


def _nested(keys: list[str], value: Any) -> Change:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _apply(value: dict[str, Any], change: Change) -> None:
    """Put a change into a spec: key by key within blocks; a block that names its arch or source is replaced."""
    for key, new in change.items():
        old = value.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and not {"arch", "source"} & new.keys():
            _apply(old, new)
        else:
            value[key] = copy.deepcopy(new)
