"""Runs on data in memory: the data are saved below the run, as a source that its spec names."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from memexp.data.arrays import from_arrays
from memexp.data.python_data import named_arrays
from memexp.errors import InputError, SpecError
from memexp.files import explain_unwritable
from memexp.runs.plan import make_plan
from memexp.runs.run import Run, prepare_run
from memexp.spec.reading import SpecFile, read_spec, spec_of
from memexp.spec.yaml_file import parse_file
from memexp.spec.yaml_text import parse

_FOLDER = "data"  # below the run


def create_run(spec: Mapping[str, Any] | str | Path, data: Any, runs: Path) -> Run:
    """Create the run of a spec, or open it if it is there, and save the data below it.

    Parameters
    ----------
    spec
        As a mapping (paths in it start at the working folder) or the file. With ``data``, its dataset section has no
        source, and may be absent.
    data
        ``(x, y, x_test, y_test)`` or ``(x, y)``; a dict of these; map-style data sets, one or ``(train, test)``; a
        DataFrame or ``(train, test)`` of them; a data set of Hugging Face's library. None: what the spec names.

    Raises
    ------
    SpecError
        If spec and data do not fit.
    DataError
        If the data alone cannot be used.
    RunMismatch
        If the run's folder holds another experiment, such as one on other data.
    """
    if data is None:
        file = _with_dataset(spec, None) if isinstance(spec, Mapping) else read_spec(Path(spec))
        plan = make_plan(file)
        return prepare_run(plan.spec, plan.data, runs)
    runs = runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".data.", dir=runs) as name,
        explain_unwritable(runs, "Nothing was changed."),
    ):
        folder = Path(name) / _FOLDER
        folder.mkdir()
        source = _save(data, folder)
        file = _with_dataset(spec, source | {key: str(folder / source[key]) for key in _paths(source)})
        plan = make_plan(file)
        final = runs / plan.spec.name / _FOLDER
        moved = {key: str(final / source[key]) for key in _paths(source)}
        resolved = plan.spec.model_copy(update={"dataset": plan.spec.dataset.model_copy(update=moved)})
        run = prepare_run(resolved, plan.data, runs)
        if not final.exists():
            folder.rename(final)
    return run


def start(run: Run, options: list[str]) -> subprocess.Popen[bytes]:
    """Train what is missing in processes of their own, as `memexp resume` does; what it says is in the run's logs."""
    with (run.paths.logs / "launch.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "memexp", "resume", str(run.paths.root), "--executor", "local", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # an interrupted cell, or a notebook that ends, does not end the training
        )


def _paths(source: Mapping[str, str]) -> list[str]:
    return [key for key in ("path", "test_path") if key in source]


def _with_dataset(spec: Mapping[str, Any] | str | Path, source: Mapping[str, str] | None) -> SpecFile:
    """The spec with a source in its dataset section, checked as a file is."""
    path = Path.cwd() / "spec" if isinstance(spec, Mapping) else Path(spec)
    value = dict(spec) if isinstance(spec, Mapping) else parse_file(path, "spec").value
    if source is not None and isinstance(value, dict):
        section = value.get("dataset") or {}
        if not isinstance(section, Mapping) or {"source", "path"} & set(section):
            raise SpecError(
                f"{path.name}: the data are given, so dataset names no source or path; keep only keys such as label, "
                "features, test, limit or label_noise"
            )
        value = value | {"dataset": {**section, **source}}
    parsed = parse(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    return spec_of(path, replace(parsed, lines={}) if isinstance(spec, Mapping) else parsed)  # its user has no lines


def _save(data: Any, folder: Path) -> dict[str, str]:
    """Write the data, and give the keys of the dataset section that read them, file names without the folder."""
    frames = data if isinstance(data, tuple | list) else (data,)
    if all(hasattr(part, "to_parquet") and hasattr(part, "columns") for part in frames) and 1 <= len(frames) <= 2:
        for part, name in zip(frames, ("train", "test"), strict=False):
            part.to_parquet(folder / f"{name}.parquet", index=False)
        test = {"test_path": "test.parquet"} if len(frames) == 2 else {}
        return {"source": "table", "path": "train.parquet", **test}
    if hasattr(data, "save_to_disk"):
        data.save_to_disk(str(folder / "huggingface"))
        return {"source": "huggingface", "path": "huggingface"}
    arrays = {name: _savable(name, values) for name, values in named_arrays("data", data).items() if values is not None}
    from_arrays("data", arrays)  # whose faults would name a file that goes again
    np.savez(folder / "arrays.npz", **arrays)
    return {"source": "npz", "path": "arrays.npz"}


def _savable(name: str, values: Any) -> Any:
    """As an array that an .npz holds without pickles: objects that are all text become text."""
    found = np.asarray(values)
    if found.dtype.kind == "O":
        if not all(isinstance(each, str) for each in found.ravel()):
            raise InputError(f"data: {name} holds objects; give numbers, or text")
        found = found.astype(str)
    return found
