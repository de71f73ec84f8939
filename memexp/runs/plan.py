"""The plan: a spec whose data and model have been tried, with its size and cost. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from memexp.data import Data, load_examples
from memexp.errors import DataError, InputError
from memexp.runs.fitting import count, fit, group_notes
from memexp.runs.recorded import record_faults, with_kind_of_answers
from memexp.runs.run import default_block_size, planned_layout
from memexp.runs.tried import Tried, recipe_faults, try_model
from memexp.spec.designs import subset_size
from memexp.spec.reading import SpecFile
from memexp.spec.sampling_error import MAX_GROUP, balanced_group
from memexp.spec.spec import Spec, Training
from memexp.spec.yaml_file import Fault
from memexp.store.layout import Layout


@dataclass(frozen=True, eq=False)  # as a key it is itself: its data are not compared
class Plan:
    """What launching a spec means.

    Attributes
    ----------
    spec, data
        Checked against each other.
    layout
        Shape of the store: trials, blocks, examples.
    subset
        Training examples of a trial.
    steps
        Optimizer steps of a trial; None where a user's file trains it.
    parameters
        Weights of the model.
    weights_bytes
        What those that are kept take on the disk.
    notes
        Things that are allowed but worth knowing.
    """

    spec: Spec
    data: Data
    layout: Layout
    subset: int
    steps: int | None
    parameters: int
    weights_bytes: int
    notes: list[str]

    @property
    def megabytes(self) -> float:
        """Disk space for the outcomes and kept weights, at most."""
        return (self.layout.bytes_at_most() + self.weights_bytes) / 1e6

    @property
    def class_counts(self) -> list[tuple[str, int]]:
        """Name and number of training examples of labels 0, 1, ..."""
        counts = np.bincount(self.data.y_train, minlength=len(self.data.classes))
        return list(zip(self.data.classes, counts.tolist(), strict=True))


def planner() -> Callable[[SpecFile], Plan]:
    """:func:`make_plan` for one spec after another; a dataset is read anew only where the last spec had another."""
    last: Plan | None = None

    def plan(file: SpecFile) -> Plan:
        nonlocal last
        if last is not None and last.spec is file.spec:
            return last
        same = last is not None and _data_of(last.spec) == _data_of(file.spec)
        last = make_plan(file, last.data if last is not None and same else None)
        return last

    return plan


def _data_of(spec: Spec) -> tuple[object, ...]:
    """What decides the data."""
    return spec.dataset, spec.trial, spec.subsets.groups


def make_plan(file: SpecFile, data: Data | None = None) -> Plan:
    """Check everything that can be checked without training.

    Parameters
    ----------
    data
        The spec's data, where they have been read already.

    Raises
    ------
    SpecError
        With all faults: data, architecture, and how they fit together.
    """
    spec, faults = file.spec, []
    tried = Tried()
    try:
        data = load_examples(spec) if data is None else data
    except DataError as error:
        place, said = ("dataset",) if spec.trial is None else ("trial", "file"), str(error)
        if said != (of_groups := said.removeprefix("subsets.groups = ")):
            place, said = ("subsets", "groups"), of_groups
        faults.append(Fault(place, said))
    try:  # without images there is nothing to try a model on, and torch is not imported to say so
        tried = Tried() if data is None or spec.trial is not None else try_model(spec, data)
    except InputError as error:
        faults.append(Fault(("model", "arch"), str(error)))
    faults += recipe_faults(spec)
    if data is not None:
        spec = with_kind_of_answers(spec, data)
        faults += _foreign_lists(spec, data) or fit(spec, len(data.y_train), data.groups)
        faults += _crop_faults(spec, min(data.x_train.shape[1:3]))
        faults += _no_test_faults(spec, data)
    faults += _group_faults(spec) + record_faults(spec, data)
    file.refuse(faults)
    assert data is not None
    sizes = len(data.y_train), len(data.y_test), default_block_size(data)
    layout = planned_layout(spec, *sizes, len(data.classes))
    subset, steps = subset_size(spec.subsets, layout.n_train), count(spec, layout.n_train)
    notes = [
        *_notes(spec),
        *group_notes(data.groups),
        *_model_notes(tried.unseen),
        *([f"not of the weights file, but fresh in each trial: {', '.join(tried.fresh)}"] if tried.fresh else []),
        *(_data_notes(data) if spec.trial is None else []),
    ]
    kept = min(spec.keep.weights, layout.n_trials) * tried.file_bytes
    return Plan(spec, data, layout, subset, steps, tried.parameters, kept, notes)


def _foreign_lists(spec: Spec, data: Data) -> list[Fault]:
    """Lists that were selected on other data, whose indices name other examples here."""
    given = spec.subsets.removed_labels
    if given is None or given == data.fingerprint()["y_train"]:
        return []
    text = (
        "these lists were selected from a run on other training examples, or in another order, or with other flipped "
        "labels; select them with `memexp select` from a run whose dataset block is this spec's"
    )
    return [Fault(("subsets", "removed"), text)]


def _crop_faults(spec: Spec, side: int) -> list[Fault]:
    """Padding so wide that a crop may show nothing of the image, whose shorter side has so many pixels."""
    if not isinstance(spec.training, Training) or spec.training.augment.crop < max(1, side):
        return []
    text = f"{spec.training.augment.crop} pixels of padding leave crops that show nothing of images of {side} pixels"
    return [Fault(("training", "augment", "crop"), f"{text}; make it less than {side}, for example {side // 8}")]


def _no_test_faults(spec: Spec, data: Data) -> list[Fault]:
    if len(data.y_test) or spec.subsets.design != "remove":
        return []
    text = "remove tells what leaving examples out costs on the test set, and there is none; add test: {fraction: 0.2}"
    return [Fault(("dataset",), text)]


def _group_faults(spec: Spec) -> list[Fault]:
    subsets = spec.subsets
    if subsets.design != "balanced" or subsets.ratio is None:
        return []
    group = balanced_group(subsets.ratio)
    if group is None:
        return [
            Fault(
                ("subsets", "ratio"),
                f"{subsets.ratio} is no fraction with a denominator up to {MAX_GROUP}, so no group of trials can be "
                "balanced; use for example 0.7 or 0.75, or 'design: uniform'",
            )
        ]
    if subsets.trials < group[0]:
        return [
            Fault(
                ("subsets", "trials"),
                f"{subsets.trials} are fewer than one balanced group of {group[0]} trials; "
                f"use at least {group[0]}, or 'design: uniform'",
            )
        ]
    return []


def _notes(spec: Spec) -> list[str]:
    notes, subsets = [], spec.subsets
    rest = subsets.trials % max(1, len(subsets.conditions))
    if rest:
        notes.append(f"{len(subsets.conditions)} conditions take turns; the last {rest} trials are an incomplete round")
    group = balanced_group(subsets.ratio) if subsets.design == "balanced" and subsets.ratio else None
    if group and subsets.trials % group[0]:
        rest = subsets.trials % group[0]
        notes.append(f"the last {rest} trials are an incomplete group of {group[0]}: slightly less balanced")
    if spec.trial is None and spec.training.min_in_accuracy == 0:
        notes.append("min_in_accuracy is 0: a trial that never learned its own training set would count")
    return notes


def _model_notes(unseen: float) -> list[str]:
    if not unseen:
        return []
    return [f"the network never sees {100 * unseen:.1f} % of the image, at its border: its strides do not fit the size"]


def _data_notes(data: Data) -> list[str]:
    """No test set; how many training images are exactly equal: of such ones, others are there when one is left out."""
    notes = [] if len(data.y_test) else ["there is no test set, so no influence; test: {fraction: 0.2} would draw one"]
    found = data.equal_images()
    if found is None:
        size = f"{data.x_train.nbytes / 1e9:.0f} GB"
        return [*notes, f"equal training images were not counted: {size} would have to be read"]
    equal, contradicting = found
    if not equal:
        return notes
    note = f"{equal:,} of {len(data.y_train):,} training images are exactly equal to another one"
    return [*notes, note + (f"; {contradicting:,} of them to one with another label" if contradicting else "")]
