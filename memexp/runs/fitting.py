"""Whether a spec's subsets fit its training set: neither empty nor whole, and long enough for its recipe."""

from __future__ import annotations

import numpy as np

from memexp.spec.designs import Groups, count_groups, subset_size, subset_sizes
from memexp.spec.index_sets import unpack
from memexp.spec.spec import Spec, Training
from memexp.spec.yaml_file import Fault

_LARGE = 0.2  # share of the training set from which on a group is worth a note


def fit(spec: Spec, n_train: int, groups: Groups | None) -> list[Fault]:
    """What is wrong with this spec on a training set of this size, and of these groups if it draws groups."""
    subsets, faults = spec.subsets, []
    outside = {name: found[-1] for name in subsets.index_sets if len(found := unpack(subsets.index_sets[name]))}
    faults += [
        Fault(("subsets", "removed"), f"index {index} is outside the {n_train} training examples")
        for index in outside.values()
        if index >= n_train
    ]
    if faults:
        return faults
    if groups is not None and (alone := _too_few(count_groups(groups))):
        return [alone]
    size, most = subset_sizes(subsets, n_train, groups)
    drawn = n_train if groups is None else count_groups(groups)
    if size < 1 or (subsets.design != "remove" and subset_size(subsets, drawn) >= drawn):
        what = "training examples" if groups is None else "groups"
        empty = f"no {what.split()[-1][:-1]} {'out' if size else 'in'}"
        faults.append(Fault(("subsets", "ratio"), f"{subsets.ratio} of {drawn} {what} leaves {empty}; move it to .5"))
    elif isinstance(spec.training, Training):
        faults += _length_faults(spec.training, size, most, count(spec, n_train) or 0)
    return faults


def _length_faults(recipe: Training, size: int, most: int, steps: int) -> list[Fault]:
    """What is wrong with the steps of trials that train on ``size`` to ``most`` examples."""
    from memexp.training.sgd import warmup_steps

    if recipe.batch_size > size:
        trial = "a trial" if size == most else "the smallest trial"
        text = f"{recipe.batch_size} exceeds the {size} examples that {trial} trains on; make it at most that"
        return [Fault(("training", "batch_size"), text)]
    if recipe.epochs < 1 or steps * recipe.batch_size < most:
        text = f"{recipe.epochs:g} passes leave examples of a trial's subset unseen; use 1 or more"
        if recipe.epochs >= 1:
            text = (
                f"{steps} steps of {recipe.batch_size} leave some of a trial's up to {most} examples unseen; use more"
            )
        return [Fault(("training", "epochs"), text)]
    if recipe.warmup_epochs and warmup_steps(recipe, steps) >= steps:
        text = f"{recipe.warmup_epochs:g} of {recipe.epochs:g} epochs are all {steps} steps of a trial; use less"
        return [Fault(("training", "warmup_epochs"), text)]
    return []


def count(spec: Spec, n_train: int) -> int | None:
    """Optimizer steps of a trial; None where a user's file trains it."""
    from memexp.training.block import count_steps

    return count_steps(spec, n_train) if isinstance(spec.training, Training) else None


def _too_few(groups: int) -> Fault | None:
    if groups > 1:
        return None
    text = "all training examples are of one group, so that none can be left out; name groups of some of them"
    return Fault(("subsets", "groups"), text)


def group_notes(groups: Groups | None) -> list[str]:
    """What is drawn, and a group so large that the sizes of subsets depend on it."""
    if groups is None:
        return []
    sizes = np.bincount(groups)
    alone = int((sizes == 1).sum())
    notes = [
        f"{len(sizes):,} groups are in or out as one: of {sizes.min():,} to {sizes.max():,} examples, {alone:,} of a "
        "single one; memorization and influence are then those of an example's group"
    ]
    if sizes.max() >= _LARGE * sizes.sum():
        share = f"{100 * sizes.max() / sizes.sum():.0f} %"
        notes.append(f"the largest group is {share} of the training set: trials with it train on much more than others")
    return notes
