"""Verify a run: checksums, receipts, masks from seeds, labels; retrain some trials and compare bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from memexp.errors import StoreError
from memexp.files import versions
from memexp.runs.run import Run
from memexp.seeds import generator
from memexp.spec.designs import draw_masks
from memexp.store.commit import set_aside
from memexp.store.receipts import Receipt, read_committed, read_receipt, receipt_files
from memexp.store.trials import DONE, MISSING, Arrays, TrialStore

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
    retrained
        Trials that were trained again.
    differing
        Of those, what differs, by trial number.
    same_machine
        Whether they were first trained with these versions and this type of processor; if not, bits may differ.
    """

    blocks: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    retrained: list[int] = field(default_factory=list)
    differing: dict[int, str] = field(default_factory=dict)
    same_machine: bool = True


def verify(run: Run, retrain: int, tell: Callable[[float], None] = lambda _: None) -> Verdict:
    """Check every committed block, and retrain at least ``retrain`` trials (whole stacks of them).

    Raises
    ------
    DataError
        If the data are not those of the run.
    StoreError
        If the labels in the store are not those of the data.
    """
    data = run.load_data()
    store = run.store()
    labels = store.examples()
    for name, values in (("train_label", data.y_train), ("test_label", data.y_test)):
        if not np.array_equal(labels[name], values):
            raise StoreError(f"{run.paths.trials}/{name} differs from the data's labels; launch the spec as a new run")
    verdict = Verdict()
    status = store.status()
    sound: list[Receipt] = []
    for number in range(store.layout.n_blocks):
        trials = store.layout.block(number)
        if (status[trials.start : trials.stop] == MISSING).all():
            continue
        verdict.blocks += 1
        try:
            sound += _checked_receipts(run, store, number)
        except StoreError as error:
            verdict.faults[number] = str(error)
        tell((number + 1) / store.layout.n_blocks)
    if retrain and sound:
        _retrain(run, store, sound, retrain, verdict)
    return verdict


def repair(run: Run, verdict: Verdict) -> list[int]:
    """Mark the damaged blocks as missing and set their receipts aside; the trials to train again."""
    store = run.store(writable=True)
    lost: list[int] = []
    for number in verdict.faults:
        trials = store.layout.block(number)
        store.forget_block(number)
        for path in receipt_files(run.paths, trials.start):
            set_aside(path, "damaged")
        lost += trials
    return lost


def _checked_receipts(run: Run, store: TrialStore, number: int) -> list[Receipt]:
    """The receipts of a sound block."""
    content, receipt = read_committed(run.paths, store, number)
    trials = list(range(receipt.first, receipt.last + 1))
    masks = draw_masks(run.spec.subsets, store.layout.n_train, trials)
    for row, trial in enumerate(trials):
        if content["status"][row] == DONE and not np.array_equal(content["mask"][row], masks[row]):
            raise StoreError(f"trial {trial}: the stored mask is not the one that the spec's seed gives")
    return [read_receipt(path) for path in receipt_files(run.paths, receipt.first)]


def _retrain(run: Run, store: TrialStore, receipts: list[Receipt], at_least: int, verdict: Verdict) -> None:
    """Train again whole attempts (trials that were stacked together), drawn over the whole run."""
    from memexp.runs.worker import Trainer

    trainers: dict[tuple[str, int], Trainer] = {}
    for place in generator(0, "verify", len(receipts)).permutation(len(receipts)):
        receipt = receipts[place]
        if len(verdict.retrained) >= at_least:
            break
        device = "cpu" if receipt.made_by["device"].startswith("cpu") else "auto"
        key = (device, receipt.made_by["threads"])
        trainer = trainers.setdefault(key, trainers.get(key) or Trainer(run, *key))
        same = receipt.made_by["device"] == trainer.made_by["device"] and receipt.made_by["versions"] == versions()
        verdict.same_machine &= same
        _compare(store, receipt, trainer, verdict)


def _compare(store: TrialStore, receipt: Receipt, trainer: Trainer, verdict: Verdict) -> None:
    content = store.read_block(receipt.block)
    for trial, outcome in zip(receipt.trained, trainer.retrain(receipt.trained), strict=True):
        verdict.retrained.append(trial)
        difference = _difference(content, trial - receipt.first, outcome)
        if difference is not None:
            verdict.differing[trial] = difference


def _difference(content: Arrays, row: int, outcome: Outcome) -> str | None:
    """What of a trial, trained again, is not as it was stored; measured times aside."""
    if (outcome.failure is None) != (content["status"][row] == DONE):
        return f"its stored status is {content['status'][row]}, now it is {outcome.failure or 'done'}"
    for name, values in content.items():
        if name in ("seconds", "status") or (outcome.failure and name.endswith(("_correct", "_margin"))):
            continue
        again = np.asarray(outcome.arrays[name]).astype(values.dtype)
        if not np.array_equal(values[row], again, equal_nan=values.dtype.kind == "f"):
            return f"{name} differs in {int(np.sum(values[row] != again))} of {again.size} values"
    return None
