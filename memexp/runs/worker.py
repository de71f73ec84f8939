"""The worker: trains blocks and commits them. One process trains many blocks.

``Trainer`` is what every executor uses. Run as ``python -m memexp.runs.worker RUN ATTEMPT DEVICE THREADS SHARING S
COMPILE`` it reads block numbers from standard input, one a line, and answers on standard output with one JSON object
a line: ``{"ready": true, "software": {...}}``, ``{"progress": share}``, ``{"committed": block, ...}`` or, as its last,
``{"error": text, "exit_code": n}`` (null where memexp has no explanation). To ``keep`` it answers ``{"kept": block}``
once the block's checkpoint is written, as it does every quarter of an hour. It ends when its input ends, so that it
never outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from memexp.errors import MemexpError, StoreError
from memexp.files import KEPT, explain_unwritable, here
from memexp.runs.attempt import Attempt
from memexp.runs.checkpoints import block_keeper
from memexp.runs.pool import KEEP, KEEP_EVERY_SECONDS, Progress
from memexp.runs.run import Run, open_run
from memexp.runs.software import provenance, software
from memexp.spec.designs import draw_masks
from memexp.spec.python_files import blamed
from memexp.store.checkpoints import checkpoint_path
from memexp.store.commit import commit
from memexp.store.layout import Layout
from memexp.store.trials import DONE, FAILED, MISSING
from memexp.training.batches import Work
from memexp.training.block import Outcome, prepare_block, train_block
from memexp.training.checkpoint import BlockKeeper
from memexp.training.compiled import given_up
from memexp.training.devices import gpu_facts, set_up_torch
from memexp.training.precision import remark

_TELL_EVERY_SECONDS = 0.5


class Trainer:
    """Trains blocks of one run in this process; the data are loaded once.

    Parameters
    ----------
    run
        The run.
    device
        ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: a GPU where there is one.
    threads
        Processor threads of this process.
    sharing
        Workers that share the device.
    keep_every
        Seconds between two checkpoints of a block.
    compile
        ``auto``: compile networks on a GPU; ``off``.
    """

    def __init__(
        self,
        run: Run,
        device: str = "auto",
        threads: int = 1,
        sharing: int = 1,
        keep_every: float = KEEP_EVERY_SECONDS,
        compile: str = "off",
    ) -> None:
        device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        set_up_torch(device, threads)
        where = gpu_facts(device) if device.startswith("cuda") else {"device": f"cpu ({_processor()})"}
        self.run = run
        self.store = run.store(writable=True)
        run.require_same_files()
        data = run.load_data()
        self.groups = data.groups
        compiled = compile == "auto" and device.startswith("cuda")
        self.work = prepare_block(run.spec, data, device, sharing, compiled)
        where |= {"compile": compile} if compiled else {}
        if run.spec.trial is None and (said := remark(run.spec, torch.device(device))):
            sys.stderr.write(f"{said}\n")
            where |= {"remark": said}
        self.made_by = here() | where | {"threads": threads} | provenance()
        self._keep_every = keep_every
        self._keeper: BlockKeeper | None = None

    def train(
        self,
        block: int,
        tell: Callable[[float], None] = lambda _: None,
        kept: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Train what is missing of a block, from its checkpoint where it has one, and commit it.

        Parameters
        ----------
        block
            Its number.
        tell
            Called now and then with the share that is done.
        kept
            Called after each checkpoint.

        Returns
        -------
        summary
            trials trained, failed trials with reasons, seconds, and whether this attempt counts.
        """
        start = time.time()
        trials = self.store.layout.block(block)
        missing = [trial for trial, state in zip(trials, self.store.status(trials), strict=True) if state == MISSING]
        if not missing:
            return {"trained": 0, "failed": {}, "seconds": 0.0, "counts": False}
        if isinstance(self.work, Work):
            self._keeper = block_keeper(self.run, block, missing, self.work.device.type, self._keep_every, kept)
        spent = self._keeper.spent if self._keeper else 0.0
        outcomes = self.retrain(missing, tell, self._keeper)
        content = self._empty_block(len(trials)) if len(missing) == len(trials) else self.store.read_block(block)
        failures: dict[int, str] = {}
        sums = self.store.layout.block_sums()
        for trial, outcome in zip(missing, outcomes, strict=True):
            row = trial - trials.start
            if outcome.failure is not None:
                failures[trial] = outcome.failure
            for name, array in content.items():
                if name in sums:
                    array[0] += _recorded(name, outcome, self.store.layout)
                elif name != "status":
                    array[row] = _recorded(name, outcome, self.store.layout)
            content["status"][row] = DONE if outcome.failure is None else FAILED
        found = zip(missing, outcomes, strict=True)
        weights = {trial: outcome.weights for trial, outcome in found if outcome.weights is not None}
        seconds = spent + time.time() - start
        counts = commit(
            self.run.paths, self.store, block, content,
            trained=missing, failures=failures, seconds=seconds, made_by=self._made_by_now(), weights=weights,
        )  # fmt: skip
        checkpoint_path(self.run.paths, block).unlink(missing_ok=True)
        return {"trained": len(missing), "failed": failures, "seconds": seconds, "counts": counts}

    def _made_by_now(self) -> dict[str, Any]:
        """Without a compiler that was wanted and failed, so that ``verify`` trains again as was trained."""
        return {key: value for key, value in self.made_by.items() if key != "compile" or not given_up()}

    def keep(self) -> None:
        """Write the checkpoint of the block that trains now at its next step; called by another thread."""
        if (keeper := self._keeper) is not None:
            keeper.ask()

    def retrain(
        self, trials: list[int], tell: Callable[[float], None] = lambda _: None, keeper: BlockKeeper | None = None
    ) -> list[Outcome]:
        """Train some trials together and give their outcomes, without recording them.

        Raises
        ------
        StoreError
            If a trial was not fed exactly its mask: a fault of memexp that must never be recorded.
        InputError
            If the user's model or recipe fails.
        """
        masks = draw_masks(self.run.spec.subsets, self.store.layout.n_train, trials, self.groups)
        with blamed():
            outcomes = train_block(self.work, masks, trials, tell, keeper)
        for trial, mask, outcome in zip(trials, masks, outcomes, strict=True):
            if outcome.failure is None and not np.array_equal(mask, outcome.arrays["mask"]):
                raise StoreError(f"trial {trial} was not fed exactly its mask; nothing of it was recorded. Report this")
        return outcomes

    def _empty_block(self, rows: int) -> dict[str, np.ndarray[Any, Any]]:
        layout = self.store.layout
        kinds = layout.outcome_arrays()
        return {name: np.zeros(layout.shape(name, rows), dtype) for name, (_, dtype) in kinds.items()}


def _recorded(name: str, outcome: Outcome, layout: Layout) -> Any:
    """A failed trial keeps its mask and its numbers (to find out why), but leaves no outcome."""
    if outcome.failure is not None and name in layout.recorded_arrays() | layout.block_sums():
        return 0
    return outcome.arrays[name]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


def _read_commands(lines: TextIO, blocks: queue.Queue[int], keep: Callable[[], None]) -> None:
    """Pass block numbers on; when the input ends, the launching process is gone and so are we."""
    for line in lines:
        if line.strip() == KEEP:
            keep()
        else:
            blocks.put(int(line))
    os._exit(0)


def serve(
    root: Path,
    attempt_id: str,
    device: str,
    threads: int,
    commands: TextIO,
    answers: TextIO,
    sharing: int = 1,
    keep_every: float = KEEP_EVERY_SECONDS,
    compile: str = "off",
) -> None:
    """Train the blocks that arrive on ``commands`` until it ends."""

    def say(**event: Any) -> None:
        answers.write(json.dumps(event) + "\n")
        answers.flush()

    blocks: queue.Queue[int] = queue.Queue()
    trainer: Trainer | None = None

    def keep() -> None:
        if trainer is not None:
            trainer.keep()

    threading.Thread(target=_read_commands, args=(commands, blocks, keep), daemon=True).start()
    attempt = None
    try:
        with explain_unwritable(root, KEPT):
            attempt = Attempt(root, attempt_id, device)
            trainer = Trainer(open_run(root), device, threads, sharing, keep_every, compile)
            say(ready=True, software=software(), keeps=trainer.run.spec.resumable)
            while True:
                _train_and_tell(trainer, blocks.get(), attempt, say)
    except Exception as error:  # the launcher decides whether to try again
        explained = isinstance(error, MemexpError)
        message = str(error) if explained else _in_words(error)
        with suppress(OSError):  # a full disk must not hide the reason
            sys.stderr.write(f"{message if explained else traceback.format_exc()}\n")
            sys.stderr.flush()
            if attempt is not None:
                attempt.update(error=message)
        say(error=message, exit_code=error.exit_code if isinstance(error, MemexpError) else None)


def train_here(
    run: Run, attempt_id: str, device: str, threads: int, blocks: Sequence[int], on_progress: Callable[[Progress], None]
) -> Progress:
    """Train blocks in this process, one after the other: what ``--workers 0`` does, so that a debugger can look in.

    Raises
    ------
    MemexpError
        If the user's model or recipe fails, or the disk is full; finished blocks are kept.
    """
    progress = Progress()
    attempt = Attempt(run.paths.root, attempt_id, device)
    try:
        trainer = Trainer(run, device, threads)
        for block in blocks:

            def tell(share: float, block: int = block) -> None:
                progress.running[block] = share
                on_progress(progress)

            summary = trainer.train(block, tell)
            attempt.update(block)
            progress.settle(block, summary["trained"], summary["failed"])
            on_progress(progress)
    except Exception as error:
        attempt.update(error=str(error))
        raise
    return progress


def _in_words(error: Exception) -> str:
    """A fault that memexp did not expect, in one text; running out of memory with the next step."""
    text = f"{type(error).__name__}: {error}"
    # torch's own allocator, the driver, cuBLAS and cuDNN each say it in their way.
    if isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in text or "_ALLOC_FAILED" in text:
        return (
            f"{text}. The GPU's memory is full: use fewer workers for each GPU (--workers, or workers in the profile), "
            "or a GPU with more memory. A smaller batch_size needs less, but is another experiment"
        )
    if isinstance(error, MemoryError):
        return f"{text}. The memory is full: use fewer --workers, or ask for more (--mem-gb, or mem_gb in the profile)"
    return text


def _train_and_tell(trainer: Trainer, block: int, attempt: Attempt, say: Callable[..., None]) -> None:
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL_EVERY_SECONDS:
            told = time.monotonic()
            say(progress=share)

    summary = trainer.train(block, tell, lambda: say(kept=block))
    attempt.update(block)
    say(committed=block, **summary)


def main() -> None:
    """Entry point of a local worker process; see the module's docstring."""
    root, attempt, device, threads, *more = sys.argv[1:]  # a launch of an earlier memexp says less
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):  # for the launcher, which ends us
        signal.signal(name, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to the log, not between our answers
    kinds = (int, float, str)  # of how many share the GPU, seconds between checkpoints, compile
    given = [kind(text) for kind, text in zip(kinds, more, strict=False)]
    serve(Path(root), attempt, device, int(threads), sys.stdin, answers, *given)
    answers.close()
    os._exit(1)  # serve only returns after a fault


if __name__ == "__main__":
    main()
