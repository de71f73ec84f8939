"""Verify a run: seals, checksums, receipts, masks from seeds, labels; retrain some trials and compare bit by bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memexp.data import Data
from memexp.errors import StoreError, command
from memexp.files import KEPT, explain_unwritable, versions, write_atomic
from memexp.runs.examples import example_arrays
from memexp.runs.run import Run, layout_of
from memexp.seeds import generator
from memexp.spec.designs import draw_masks
from memexp.store.commit import restore_states, set_aside
from memexp.store.launches import read_launch
from memexp.store.layout import PROBABILITY_STEPS, Layout
from memexp.store.lock import launch_lock
from memexp.store.paths import RunPaths, by_repair
from memexp.store.receipts import Receipt, read_committed, read_receipt, receipt_files, require_fitting
from memexp.store.sealed import NotWhole, read_everything
from memexp.store.trials import DONE, MISSING, Arrays, TrialStore, create_store
from memexp.store.weights import require_weights

if TYPE_CHECKING:
    from memexp.runs.worker import Trainer
    from memexp.training.block import Outcome


@dataclass
class Verdict:
    """What verification found.

    Attributes
    ----------
    blocks
        Committed blocks that were read.
    faults
        What is wrong, by block number.
    store
        What is wrong with trials.zarr as a whole: its metadata, or the arrays of the examples. Then no block was read.
    receipts
        Receipts that are damaged, and what is wrong with them.
    results
        What is wrong with merged.zarr, estimates.zarr and the records of launches: the messages name what mends them.
    retrained
        Trials that were trained again.
    differing
        Of those, what differs, by trial number.
    same_machine
        Whether they were first trained with these versions and this type of processor; if not, bits may differ.
    """

    blocks: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    store: str | None = None
    receipts: dict[Path, str] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    retrained: list[int] = field(default_factory=list)
    differing: dict[int, str] = field(default_factory=dict)
    same_machine: bool = True

    @property
    def problems(self) -> list[str]:
        """All that is wrong, but for trials that came out otherwise when they were trained again."""
        whole = [self.store] if self.store is not None else []
        return [*whole, *self.receipts.values(), *self.faults.values(), *self.results]

    @property
    def repairable(self) -> bool:
        """Whether :func:`repair` has something to do."""
        return self.store is not None or bool(self.receipts or self.faults)


def verify(run: Run, retrain: int, tell: Callable[[float], None] = lambda _: None) -> Verdict:
    """Check everything in a run, and retrain at least ``retrain`` trials (whole stacks of them).

    Raises
    ------
    DataError
        If the data are not those of the run.
    StoreError
        If the names of the classes in the manifest are not those of the data.
    """
    data = None if run.is_imported else run.load_data()
    if data is not None and list(data.classes) != run.manifest.classes:
        raise StoreError(
            f"{run.paths.manifest} names other classes than the data "
            f"({', '.join(run.manifest.classes)}; {', '.join(data.classes)}); restore it from a backup"
        )
    verdict = Verdict(results=_faults_of_results(run.paths))
    try:
        store = run.store()
        examples = store.examples()
        if data is not None:
            _require_examples(run, examples, data)
    except StoreError as error:
        verdict.store = str(error)
        return verdict
    verdict.receipts = _damaged_receipts(run, store)
    sound: list[Receipt] = []
    for number in range(store.layout.n_blocks):
        trials = store.layout.block(number)
        try:
            if (store.status(trials) == MISSING).all() and not _is_committed(run, trials):
                continue
            verdict.blocks += 1
            sound += _checked_receipts(run, store, number, examples)
        except StoreError as error:
            verdict.faults[number] = str(error)
        tell((number + 1) / store.layout.n_blocks)
    if retrain and sound and not run.is_imported:
        _retrain(run, store, sound, retrain, verdict)
    return verdict


def repair(run: Run, verdict: Verdict) -> list[int]:
    """Make damaged metadata again, mark damaged blocks as missing, set their receipts aside; the trials to train again.

    Raises
    ------
    RunBusy
        If the run is being trained now.
    """
    if run.is_imported:
        raise StoreError(
            f"{run.paths.root} was imported, so nothing of it can be made again; import it anew from its files"
        )
    with launch_lock(run.paths), explain_unwritable(run.paths.root, KEPT):
        if verdict.store is not None:
            _rebuild(run)
            verdict = verify(run, 0)
            if verdict.store is not None:
                raise StoreError(verdict.store)
        for path in verdict.receipts:
            set_aside(path, "damaged")
        if verdict.receipts:  # their blocks have none now
            verdict = verify(run, 0)
        store = run.store(writable=True)
        lost: list[int] = []
        for number in verdict.faults:
            if _restore_states(run, store, number):
                continue
            trials = store.layout.block(number)
            for path in receipt_files(run.paths, trials.start):  # first: nothing restores the states without them
                set_aside(path, "damaged")
            store.forget_block(number)
            lost += trials
    return lost


def _restore_states(run: Run, store: TrialStore, number: int) -> bool:
    """Whether only the states of a block were lost; they are written again."""
    try:
        if not restore_states(run.paths, store, number):
            return False
        _checked_receipts(run, store, number, store.examples())
    except StoreError:
        return False
    return True


def _require_examples(run: Run, stored: Arrays, data: Data) -> None:
    for name, values in example_arrays(data).items():
        if name.endswith("_id") and name not in stored:
            continue  # an earlier memexp kept no names of examples
        if name not in stored or not np.array_equal(stored[name], values):
            raise StoreError(f"{run.paths.trials}/{name} differs from the data's; {by_repair(run.paths.root)}")


def _damaged_receipts(run: Run, store: TrialStore) -> dict[Path, str]:
    found = {}
    for path in sorted(run.paths.blocks.glob("*.json")):
        try:
            require_fitting(run.paths, store, read_receipt(path))
        except StoreError as error:
            found[path] = str(error)
    return found


def _is_committed(run: Run, trials: range) -> bool:
    """Whether a block has a receipt, though its states are missing, and is not just being published."""
    receipts = receipt_files(run.paths, trials.start)
    return bool(receipts) and not any(run.paths.blocks.glob(f"{receipts[-1].stem}.*.npz"))


def _faults_of_results(paths: RunPaths) -> list[str]:
    found = []
    for path, again in ((paths.merged, "merge"), (paths.estimates, "estimate")):
        try:
            if path.exists():
                read_everything(path, f"make it again with `{command(again, paths.root)}`")
        except NotWhole as error:
            found.append(str(error))
    for note in sorted(paths.launches.glob("*.json")):
        try:
            read_launch(paths, note.stem)
        except StoreError as error:
            found.append(str(error))
    return found


def _rebuild(run: Run) -> None:
    """Make the metadata of trials.zarr and the arrays of the examples again; chunks of outcomes stay as they are."""
    lasts = (int(path.stem[-6:]) for path in run.paths.blocks.glob("[0-9]*-[0-9]*.json") if path.stem[-6:].isdecimal())
    layout = replace(layout_of(run.spec, run.manifest), n_trials=max(run.spec.subsets.trials, *(n + 1 for n in lasts)))
    building = run.paths.trials.with_name(".trials.zarr.new")
    shutil.rmtree(building, ignore_errors=True)
    try:
        create_store(building, layout, example_arrays(run.load_data()))
        run.paths.trials.mkdir(exist_ok=True)
        root = building / "zarr.json"
        for file in [*(each for each in sorted(building.rglob("*")) if each.is_file() and each != root), root]:
            target = run.paths.trials / file.relative_to(building)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, file.read_bytes())
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _checked_receipts(run: Run, store: TrialStore, number: int, examples: Arrays) -> list[Receipt]:
    """The receipts of a sound block; ``examples``: the store's arrays of these."""
    content, receipt = read_committed(run.paths, store, number)
    trials = list(range(receipt.first, receipt.last + 1))
    if not run.is_imported:
        masks = draw_masks(run.spec.subsets, store.layout.n_train, trials, examples.get("train_group"))
        for row, trial in enumerate(trials):
            if content["status"][row] == DONE and not np.array_equal(content["mask"][row], masks[row]):
                raise StoreError(f"trial {trial}: the stored mask is not the one that the spec's seed gives")
    _require_agreement(store, content, trials, examples)
    _require_sums(store, content, trials)
    receipts = [read_receipt(path) for path in receipt_files(run.paths, receipt.first)]
    for each in receipts:
        require_weights(run.paths, each)
    return receipts


def _require_agreement(store: TrialStore, content: Arrays, trials: list[int], examples: Arrays) -> None:
    """Raise :class:`StoreError` unless a trial is right exactly where it predicted the label."""
    for axis in ("train", "test"):
        if f"{axis}_predicted" not in content:
            continue
        right = content[f"{axis}_predicted"] == examples[f"{axis}_label"]
        differ = (right != content[f"{axis}_correct"]) & (content["status"] == DONE)[:, None]
        for row in np.flatnonzero(differ.any(axis=1)).tolist():
            raise StoreError(
                f"trial {trials[row]}: {axis}_correct and {axis}_predicted disagree on {differ[row].sum():,} examples; "
                f"{by_repair(store.path.parent)}"
            )


def _require_sums(store: TrialStore, content: Arrays, trials: list[int]) -> None:
    """Raise :class:`StoreError` unless an example's probabilities sum to the number of trials that they are of."""
    done = content["status"] == DONE
    for name in store.layout.block_sums():
        seen = content["mask"][done] if name.startswith("train") else np.zeros((1, store.layout.n_test), np.bool_)
        n_trials = done.sum() - (seen.sum(axis=0) if name.startswith("train") else 0)
        total = content[name][0].sum(axis=1, dtype=np.int64)
        wrong = abs(total - PROBABILITY_STEPS * n_trials) > n_trials * (store.layout.n_classes / 2 + 1)
        if wrong.any():
            raise StoreError(
                f"trials {trials[0]} to {trials[-1]}: {name} of {wrong.sum():,} examples does not sum to the number of "
                f"trials that it is of; {by_repair(store.path.parent)}"
            )


def _retrain(run: Run, store: TrialStore, receipts: list[Receipt], at_least: int, verdict: Verdict) -> None:
    """Train again whole attempts (trials that were stacked together), drawn over the whole run."""
    from memexp.runs.worker import Trainer

    trainers: dict[tuple[str, int, str], Trainer] = {}
    for place in generator(0, "verify", len(receipts)).permutation(len(receipts)):
        receipt = receipts[place]
        if len(verdict.retrained) >= at_least:
            break
        device = "cpu" if receipt.made_by["device"].startswith("cpu") else "auto"
        threads, compiles = receipt.made_by["threads"], receipt.made_by.get("compile", "off")
        if (key := (device, threads, compiles)) not in trainers:
            trainers[key] = Trainer(run, device, threads, compile=compiles)
        trainer = trainers[key]
        same = receipt.made_by["device"] == trainer.made_by["device"] and receipt.made_by["versions"] == versions()
        verdict.same_machine &= same
        _compare(store, receipt, trainer, verdict)


def _compare(store: TrialStore, receipt: Receipt, trainer: Trainer, verdict: Verdict) -> None:
    content = store.read_block(receipt.block)
    outcomes = trainer.retrain(receipt.trained)
    for name in store.layout.block_sums() if len(outcomes) == len(content["status"]) else ():  # all trials of the sums
        again = sum((each.arrays[name].astype(np.int64) for each in outcomes if each.failure is None), np.int64(0))
        if not np.array_equal(content[name][0], again):
            verdict.differing[receipt.first] = f"{name} of the block that begins with it differs"
    for trial, outcome in zip(receipt.trained, outcomes, strict=True):
        verdict.retrained.append(trial)
        difference = _difference(content, trial - receipt.first, outcome, store.layout)
        kept, again = receipt.weights.get(str(trial)), outcome.weights
        if difference is None and kept and again is not None and sha256(again).hexdigest() != kept:
            difference = "its weights differ"
        if difference is not None:
            verdict.differing[trial] = difference


def _difference(content: Arrays, row: int, outcome: Outcome, layout: Layout) -> str | None:
    """What of a trial, trained again, is not as it was stored; measured times aside."""
    if (outcome.failure is None) != (content["status"][row] == DONE):
        return f"its stored status is {content['status'][row]}, now it is {outcome.failure or 'done'}"
    left = layout.recorded_arrays() if outcome.failure else {}
    for name, values in content.items():
        if name in ("seconds", "status") or name in left or name in layout.block_sums():
            continue
        again = np.asarray(outcome.arrays[name]).astype(values.dtype)
        if not np.array_equal(values[row], again, equal_nan=values.dtype.kind == "f"):
            return f"{name} differs in {int(np.sum(values[row] != again))} of {again.size} values"
    return None
