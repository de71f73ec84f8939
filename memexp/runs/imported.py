"""Trials that were trained elsewhere, as a run: masks and outcomes from files, nothing trained.

What is imported is checked like what is trained: shapes and orientations, masks that are masks, and whether trials
do better on what they saw. The run is marked: its design and its source are ``imported``.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memexp.errors import InputError
from memexp.files import KEPT, explain_unwritable, versions
from memexp.runs.run import Run, layout_of, open_run
from memexp.runs.tables import Tables
from memexp.spec.reading import write_spec
from memexp.spec.spec import Spec
from memexp.store.commit import commit
from memexp.store.manifest import Manifest
from memexp.store.paths import RunPaths
from memexp.store.spec_text import write_spec_text
from memexp.store.trials import DONE, TrialStore, create_store

_BLOCK_VALUES = 4_000_000  # of an outcome in a chunk
_TELLING = 32  # training examples from which on no two masks agree by chance
_LARGEST = float(np.finfo(np.float16).max)
_RECIPE = "# These trials were trained elsewhere; `memexp import` wrote what they gave.\n"


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes
    ----------
    run
        The new run.
    share
        Mean share of the training examples that a trial saw.
    gain, gain_se
        How much better trials are on examples that they saw than on the others, on average: by margin, or by
        correctness where no margins are known; None without outcomes of training examples.
    guessed
        Whether correctness was read off margins.
    """

    run: Run
    share: float
    gain: float | None
    gain_se: float | None
    guessed: bool

    def remarks(self) -> list[str]:
        """What a user must know of it."""
        said = []
        if self.guessed:
            said.append(
                "correct is taken to be a margin above 0: exact for margins over the best other class, but with "
                "log p - log(1 - p) a right answer with p below 1/2 counts as wrong; --correct or --logits tell"
            )
        if self.gain is not None and self.gain_se is not None and not self.gain > 2 * self.gain_se:
            said.append(
                f"trials do hardly better on what they saw (by {self.gain:.3g} ± {2 * self.gain_se:.2g}): are masks "
                "and outcomes in the same order of trials and of examples?"
            )
        return said


def import_trials(out: Path, tables: Tables, tell: Callable[[float], None] = lambda _: None) -> Imported:
    """Make a run of tables.

    Parameters
    ----------
    out
        The run's folder; must not exist.
    tables
        Masks, outcomes and labels, already of fitting shapes.
    tell
        Takes the share done.

    Raises
    ------
    InputError
        If the folder exists, a mask or an outcome is none, or the masks seem to mark what was left out.
    """
    if out.exists():
        raise InputError(f"{out} exists; give the folder of a new run")
    if not out.parent.is_dir():
        raise InputError(f"the folder {out.parent} does not exist; create it, or give another place")
    spec = _spec(out.name, tables)
    classes = [
        str(label) for label in range(1 + max(int(half.labels.max(initial=0)) for half in (tables.train, tables.test)))
    ]
    block = max(1, min(tables.n_trials, _BLOCK_VALUES // max(tables.n_train, tables.n_test)))
    building = RunPaths(out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.new"))
    try:
        with explain_unwritable(out, KEPT):
            building.make_folders()
            layout = layout_of(spec, _manifest(spec, tables, "", classes, block))
            create_store(building.trials, layout, _examples(tables))
            write_spec_text(building, write_spec(spec))
            digest, share, gains = _write_blocks(building, tables, tell)
            _manifest(spec, tables, digest, classes, block).write(building)
            building.root.rename(out)
    finally:
        shutil.rmtree(building.root, ignore_errors=True)
    gain, error = _mean(gains) if len(gains) else (None, None)
    return Imported(open_run(out), share, gain, error, tables.train.guessed or tables.test.guessed)


def _mean(gains: NDArray[np.float64]) -> tuple[float, float]:
    return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else np.inf


def _spec(name: str, tables: Tables) -> Spec:
    try:
        return Spec.model_validate(
            {
                "name": name,
                "dataset": {"source": "imported"},
                "model": {"arch": "imported"},
                "training": {"file": {"name": "imported", "source": _RECIPE}},
                "subsets": {"design": "imported", "trials": tables.n_trials},
                "record": ["correct", "margin"] if tables.has_margins else ["correct"],
            }
        )
    except ValueError as error:
        raise InputError(f"{name} cannot be the name of a run ({error}); give the folder another name") from error


def _examples(tables: Tables) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for axis, half in (("train", tables.train), ("test", tables.test)):
        found[f"{axis}_label"] = half.labels
        found[f"{axis}_index"] = np.arange(len(half.labels))
        if not half.known and len(half.labels):
            found[f"{axis}_unknown"] = np.ones(len(half.labels), np.bool_)
    return found


def _write_blocks(
    paths: RunPaths, tables: Tables, tell: Callable[[float], None]
) -> tuple[str, float, NDArray[np.float64]]:
    """Write all blocks; digest of everything, mean share of the masks, and each trial's gain on what it saw."""
    store = TrialStore(paths.trials, writable=True)
    layout = store.layout
    digest, seen, gains, rows = hashlib.sha256(), 0, [], dict[bytes, int]()
    for number in range(layout.n_blocks):
        trials = layout.block(number)
        content = _block(tables, slice(trials.start, trials.stop))
        for name, values in content.items():
            if name != "seconds":
                digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
        _require_new(content, trials.start, rows)
        seen += int(content["mask"].sum())
        if tables.train.known:
            gains.append(_gains(content))
        made_by = {"device": "imported", "threads": 1, "versions": versions()}
        commit(paths, store, number, content, trained=[*trials], failures={}, seconds=0.0, made_by=made_by)
        tell((number + 1) / layout.n_blocks)
    found = np.concatenate(gains) if gains else np.empty(0)
    if len(found):
        _require_gain(found)
    return digest.hexdigest(), seen / (tables.n_trials * tables.n_train), found


def _block(tables: Tables, trials: slice) -> dict[str, NDArray[Any]]:
    mask = tables.mask(trials)
    content: dict[str, NDArray[Any]] = {"mask": mask}
    for axis, half in (("train", tables.train), ("test", tables.test)):
        correct, margin = half.outcomes(trials)
        content[f"{axis}_correct"] = correct
        if margin is not None:
            content[f"{axis}_margin"] = np.clip(margin, -_LARGEST, _LARGEST).astype(np.float16)
    rows = len(mask)
    right, unknown = content["train_correct"], np.full(rows, np.nan, np.float32)
    number: dict[str, NDArray[Any]] = {
        "seconds": np.zeros(rows),
        "train_loss": unknown,
        "in_accuracy": unknown,
        "out_accuracy": unknown,
    }
    if tables.train.known:
        number["in_accuracy"] = (right & mask).sum(axis=1) / mask.sum(axis=1)
        number["out_accuracy"] = (right & ~mask).sum(axis=1) / (~mask).sum(axis=1)
    number["test_accuracy"] = content["test_correct"].mean(axis=1) if tables.test.known else unknown
    content |= {name: values.astype(np.float32) for name, values in number.items()}
    return content | {"status": np.full(rows, DONE, np.uint8)}


def _require_new(content: dict[str, NDArray[Any]], first: int, rows: dict[bytes, int]) -> None:
    """Refuse a trial that is in the tables twice, and so would count twice; ``rows``: those before, by digest."""
    if content["mask"].shape[1] < _TELLING:
        return
    parts = [each for name, each in content.items() if name == "mask" or name.endswith(("_correct", "_margin"))]
    for row in range(len(content["mask"])):
        found = hashlib.sha256(b"".join(np.ascontiguousarray(part[row]).tobytes() for part in parts)).digest()
        if (other := rows.setdefault(found, first + row)) != first + row:
            raise InputError(
                f"trials {other} and {first + row} are the same one: mask and outcomes agree in every bit, and it "
                "would count twice; leave one of them out"
            )


def _gains(content: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Of each trial: mean outcome on what it saw less that on the rest."""
    mask = content["mask"]
    outcome = content.get("train_margin", content["train_correct"]).astype(np.float64)
    return np.asarray((outcome * mask).sum(axis=1) / mask.sum(axis=1) - (outcome * ~mask).sum(axis=1) / (~mask).sum(1))


def _require_gain(gains: NDArray[np.float64]) -> None:
    gain, error = _mean(gains)
    if gain + 4 * error < 0:
        raise InputError(
            f"the trials do worse on examples that the masks mark than on the others (by {-gain:.3g} on average): the "
            "masks seem to mark what was left out; give --left-out if they do"
        )


def _manifest(spec: Spec, tables: Tables, digest: str, classes: list[str], block: int) -> Manifest:
    labels = {
        f"y_{name}": hashlib.sha256(np.ascontiguousarray(half.labels).tobytes()).hexdigest()
        for name, half in (("train", tables.train), ("test", tables.test))
    }
    return Manifest(
        science=spec.science(),
        data={"x_train": f"imported with {digest}", "x_test": f"imported with {digest}"} | labels,
        masks=hashlib.sha256(np.packbits(tables.mask(slice(0, 2))).tobytes()).hexdigest(),
        block_size=block,
        n_train=tables.n_train,
        n_test=tables.n_test,
        classes=classes,
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
