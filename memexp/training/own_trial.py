"""Trials by the function ``trial`` of a Python file that the spec names, whatever it trains.

memexp draws the mask and the seed, and asks for a number or a class for every example. What happens
between is the file's business; what comes back is checked here, before it can be stored.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from memexp.data import Data
from memexp.data.own_trial import line_of
from memexp.data.python_data import pandas_index
from memexp.errors import InputError
from memexp.seeds import torch_seed
from memexp.spec.designs import Mask
from memexp.spec.python_files import blamed, function_in, require_call
from memexp.spec.sections import PASSED_TO_TRIAL, UserTrial
from memexp.spec.spec import Spec
from memexp.store.layout import SCALAR
from memexp.training.outcome import Outcome, Progress

_WANTED = "trial(mask, seed, ...), the keys of the block by name"
_RETURNS = "return (train, test), or a dict with train, test and any of the scalars that the spec names"


@dataclass(frozen=True)
class OwnTrials:
    """Everything that the trials of a run share.

    Attributes
    ----------
    function
        The file's ``trial``.
    y_train, y_test : int64, shape (N,) and (M,)
        Labels that answers are compared with where these are classes.
    """

    spec: Spec
    trial: UserTrial
    function: Callable[..., Any]
    y_train: NDArray[np.int64]
    y_test: NDArray[np.int64]
    n_classes: int

    @classmethod
    def of(cls, spec: Spec, trial: UserTrial, data: Data) -> OwnTrials:
        """Execute the file and find its function.

        Raises
        ------
        InputError
            If the file fails, or defines no ``trial`` that takes what it will be passed.
        """
        return cls(spec, trial, find_trial(trial), data.y_train, data.y_test, len(data.classes))

    @property
    def where(self) -> str:
        """The function's place, for messages."""
        return f"{self.trial.code.name}, line {line_of(self.function)}: trial()"

    @property
    def numbers(self) -> bool:
        """Whether the answers are numbers rather than classes."""
        return "score" in self.spec.record


def find_trial(trial: UserTrial) -> Callable[..., Any]:
    """The file's function, called with what it will be passed only in thought.

    Raises
    ------
    InputError
        If the file fails, or defines no such function.
    """
    function = function_in(trial.code, "trial", _WANTED)
    mask, seed = PASSED_TO_TRIAL
    require_call(function, trial.code.name, (mask, seed), trial.arguments)
    return function


def run_trials(work: OwnTrials, masks: Mask, trials: Sequence[int], tell: Progress) -> list[Outcome]:
    """Call the function for each of the trials.

    Raises
    ------
    InputError
        If it raises something, or its answers have another form than the spec and sizes() say.
    """
    outcomes = []
    for done, (mask, trial) in enumerate(zip(masks, trials, strict=True), 1):
        outcomes.append(_run(work, mask, trial))
        tell(done / len(trials))
    return outcomes


def _run(work: OwnTrials, mask: Mask, trial: int) -> Outcome:
    seed = torch_seed(work.spec.subsets.seed, "trial", trial) % 2**32  # which scikit-learn and NumPy take
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    start = time.perf_counter()
    threads = torch.get_num_threads()
    with blamed(during=f"in trial {trial}"), threadpool_limits(threads):
        found = work.function(mask.copy(), seed, **work.trial.arguments)
    seconds = time.perf_counter() - start
    torch.set_num_threads(threads)
    answers = _named(work, found)
    scalars = {name: _scalar(work, name, answers.pop(name)) for name in work.trial.scalars}
    train, test = (_checked(work, side, answers[side]) for side in ("train", "test"))
    bad = [name for name, value in scalars.items() if not math.isfinite(value)]
    bad += [f"the {side} examples" for side, each in (("train", train), ("test", test)) if not np.isfinite(each).all()]
    failure = f"{work.where} gave NaN or infinity for {', '.join(bad)}" if bad else None
    return Outcome(_arrays(work, mask, train, test, seconds) | {SCALAR + n: v for n, v in scalars.items()}, failure)


def _arrays(work: OwnTrials, mask: Mask, train: NDArray[Any], test: NDArray[Any], seconds: float) -> dict[str, Any]:
    """What is recorded: the answers, and their means over the examples in, out and of the test set."""
    name, more = "score" if work.numbers else "correct", {}
    if not work.numbers:
        more = {"train_predicted": train, "test_predicted": test} if "predicted" in work.spec.record else {}
        train, test = train == work.y_train, test == work.y_test
    with np.errstate(invalid="ignore"):
        means = [
            float(part.mean(dtype=np.float64)) if len(part) else math.nan for part in (train[mask], train[~mask], test)
        ]
    return {
        "mask": mask,
        f"train_{name}": train,
        f"test_{name}": test,
        "seconds": seconds,
        **dict(zip(("in_accuracy", "out_accuracy", "test_accuracy"), means, strict=True)),
        "train_loss": math.nan,
        **more,
    }


def _named(work: OwnTrials, found: Any) -> dict[str, Any]:
    """What a trial returned, by name: train, test, and exactly the scalars that the spec names."""
    if isinstance(found, tuple) and len(found) in (2, 3):
        more = dict(found[2]) if len(found) == 3 and isinstance(found[2], Mapping) else {}
        if len(found) == 3 and not isinstance(found[2], Mapping):
            raise InputError(f"{work.where} returns a third part that is no dict of scalars; {_RETURNS}")
        found = {"train": found[0], "test": found[1]} | more
    elif not isinstance(found, Mapping):
        found = {"train": found} if not len(work.y_test) and found is not None else {}
    answers = ({"test": np.zeros(0, np.int64)} if not len(work.y_test) else {}) | dict(found)
    wanted = {"train", "test", *work.trial.scalars}
    if missing := sorted(wanted - answers.keys()):
        raise InputError(f"{work.where} returns no {', '.join(missing)}; {_RETURNS}")
    if unknown := sorted(map(str, answers.keys() - wanted)):
        raise InputError(
            f"{work.where} returns {', '.join(unknown)}, which nothing keeps; write `scalars: [{', '.join(unknown)}]` "
            "in the trial block, or leave it away"
        )
    return answers


def _checked(work: OwnTrials, side: str, given: Any) -> NDArray[Any]:
    """The answers for the training or the test examples, int64 (classes) or float32 (numbers).

    Raises
    ------
    InputError
        If they are not one for each example, or no such type.
    """
    labels = work.y_train if side == "train" else work.y_test
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
    rows, in_order = pandas_index(given), range(len(labels))
    if rows is not None and rows != [*in_order] and set(rows) == {*in_order}:
        raise InputError(
            f"{work.where} gives answers for {side} whose index is not 0, 1, ... in order, and they are taken in their "
            "order; return them by .sort_index(), or .to_numpy() if they are in order"
        )
    answers = np.asarray(given)
    if answers.shape != labels.shape:
        raise InputError(
            f"{work.where} gives answers of shape {answers.shape} for {side}; wanted are {labels.shape}, one for each "
            "example, in or out"
        )
    if work.numbers:
        if answers.dtype.kind not in "fiub":
            raise InputError(f"{work.where} gives answers of type {answers.dtype} for {side}; wanted are numbers")
        return _as_float32(work, side, answers)
    if answers.dtype.kind not in "iu":
        raise InputError(
            f"{work.where} gives answers of type {answers.dtype} for {side}; sizes() gives labels, so wanted are "
            "classes (integers). For numbers, write `record: [score]` in the spec, or let sizes() return how many "
            "examples there are"
        )
    if answers.min(initial=0) < 0 or answers.max(initial=0) >= work.n_classes:
        raise InputError(
            f"{work.where} gives classes {answers.min()} to {answers.max()} for {side}; sizes() gives labels 0 to "
            f"{work.n_classes - 1}"
        )
    return answers.astype(np.int64)


def _as_float32(work: OwnTrials, side: str, answers: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        scores = answers.astype(np.float32)
    if (np.isinf(scores) & np.isfinite(answers)).any():
        raise InputError(f"{work.where} gives numbers for {side} that exceed those of float32; scale them")
    return scores


def _scalar(work: OwnTrials, name: str, given: Any) -> float:
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise InputError(f"{work.where} gives {type(given).__name__} for {name}; wanted is a number") from error
