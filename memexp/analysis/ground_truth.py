"""Masks and outcomes of trials in the forms that other programs score attributions against; and which trials they are.

trak reads ``masks.npy`` and ``margins.npy``, dattri ``indices.pt`` and ``target_values.pt``, quanda
``lds_subsets.yaml``. Scores that were made from trials have these trials' names beside them, so that nobody judges
them by the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from memexp.analysis.arrivals import experiment_of
from memexp.analysis.export import make_folder, new_array
from memexp.analysis.trial_table import TrialTable
from memexp.errors import InputError
from memexp.files import explain_unwritable, write_atomic
from memexp.store.manifest import Manifest

_FILES = (
    "trials.json", "masks.npy", "margins.npy", "correct.npy", "lds_subsets.yaml", "indices.pt", "target_values.pt"
)  # fmt: skip


def write_ground_truth(
    table: TrialTable, manifest: Manifest, out: Path, tell: Callable[[float], None] = lambda _: None
) -> list[Path]:
    """Write the tables of all programs into a folder; the files written.

    ``masks.npy`` (T, N) bool; ``margins.npy`` (T, M) float16 and ``correct.npy`` (T, M) bool, as far as recorded;
    ``lds_subsets.yaml``: indices of each trial's examples. Where all trials saw as many: ``indices.pt`` (T, m) int64
    and ``target_values.pt`` (T, M) float32, margins (or correctness). ``trials.json``: seed and number of each row,
    written last.

    Raises
    ------
    InputError
        If the folder cannot be made, or nothing was recorded of test examples.
    """
    outcomes = [name for name in ("margin", "correct") if f"test_{name}" in table.recorded]
    if not outcomes:
        table.require("test_correct")
    make_folder(out, "lds")
    with explain_unwritable(out, "The trials are untouched."):
        for name in _FILES:  # of other trials, some of which may have no successor
            (out / name).unlink(missing_ok=True)
        files = [out / "masks.npy"]
        masks = _transposed(table, "mask", files[0], (table.n_trials, table.n_train), tell)
        names = {"margin": "margins.npy", "correct": "correct.npy"}
        arrays = {}
        for outcome in outcomes:
            files.append(out / names[outcome])
            shape = table.n_trials, table.n_test
            arrays[outcome] = _transposed(table, f"test_{outcome}", files[-1], shape, tell)
        files.append(out / "lds_subsets.yaml")
        write_atomic(files[-1], lambda stream: [stream.write(_line(mask)) for mask in masks])
        sizes = {int(mask.sum()) for mask in masks}
        if len(sizes) == 1:
            indices = np.stack([np.flatnonzero(mask) for mask in masks])
            files += [_save(out / "indices.pt", indices)]
            files += [_save(out / "target_values.pt", arrays[outcomes[0]].astype(np.float32))]
        files.append(out / "trials.json")
        write_atomic(files[-1], trial_names(table, manifest))
    return files


def _save(path: Path, values: NDArray[Any]) -> Path:
    """As a tensor."""
    write_atomic(path, lambda stream: torch.save(torch.from_numpy(values), stream))
    return path


def _line(mask: NDArray[np.bool_]) -> bytes:
    return b"- [" + ", ".join(map(str, np.flatnonzero(mask).tolist())).encode() + b"]\n"


def _transposed(
    table: TrialTable, name: str, path: Path, shape: tuple[int, int], tell: Callable[[float], None]
) -> NDArray[Any]:
    """A matrix as (trials, examples), written part by part under another name, and mapped."""
    found: NDArray[Any]
    with new_array(path, np.float16 if name.endswith("_margin") else np.bool_, shape) as found:
        for rows, (band,) in table.bands(name):
            found[:, rows] = band.T
            tell(rows.stop / shape[1])
    return found


def trial_names(table: TrialTable, manifest: Manifest) -> bytes:
    """The experiment, and seed and number of each trial, as JSON."""
    return (json.dumps({"experiment": experiment_of(manifest), "trials": table.names}) + "\n").encode()


def beside(scores: Path) -> Path:
    """Where the names of the trials stand that scores were made from."""
    return scores.with_name(scores.name + ".trials.json")


def without_used(table: TrialTable, manifest: Manifest, scores: Path) -> tuple[TrialTable, int]:
    """The trials that can judge scores, and how many cannot: they made these, or are of a group with one that did.

    Which trials made them is noted beside the scores. A run's trials are known in a run of another seed too, into
    which they were merged and where the scores were made.

    Raises
    ------
    InputError
        If the note is damaged, or no trial is left.
    """
    note = beside(scores)
    if not note.exists():
        return table, 0
    try:
        noted = json.loads(note.read_bytes())
        mine = noted["experiment"] in (experiment_of(manifest), manifest.identity)  # the latter by an earlier version
        used = {(int(seed), int(number)) for seed, number in noted["trials"]} if mine else set()
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{note} cannot be read ({error}); write the scores again") from error
    fresh = table.without(used)
    if not fresh.n_trials:
        raise InputError(
            f"{scores} was made from all of these {table.n_trials:,} trials or their groups, which therefore tell "
            "nothing of it; make it from some of them (--trials) and score it on the others"
        )
    return fresh, table.n_trials - fresh.n_trials
