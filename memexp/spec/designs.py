"""Designs: which training examples a trial sees, as pure functions of (seed, trial).

A mask is a boolean row of shape (train,): True where the trial trains on the example. No design
looks at the number of trials, so a run of 400 grows to 4,000 without redoing one. Masks are built
from raw generator words and stable sorts only; ``tests/spec/test_designs.py`` pins their bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from memexp.seeds import raw_words
from memexp.spec.index_sets import unpack
from memexp.spec.sampling_error import balanced_group
from memexp.spec.spec import Subsets

Mask = NDArray[np.bool_]
Groups = NDArray[np.int64]

_RARE = math.log(2e8)  # with the number of groups: fewer than one trial in 10^8 is beyond a bound of subset_sizes


def draw_masks(subsets: Subsets, n_train: int, trials: Sequence[int], groups: Groups | None = None) -> Mask:
    """Masks of the given trials.

    Parameters
    ----------
    subsets
        The spec's block: design, ratio, seed, and for ``remove`` the indices.
    n_train
        Number of training examples.
    trials
        Trial numbers, from 0, in any order.
    groups : int64, shape (n_train,), or None
        Group of each example, 0, 1, ... without gaps, where the spec names groups: the design draws groups then, in
        the place of examples, and all examples of a group are in or out with it.

    Returns
    -------
    masks : bool, shape (len(trials), n_train)
    """
    assert (groups is None) == (subsets.groups is None), "masks of a spec with groups are drawn over its groups"
    if groups is not None:
        of_groups = draw_masks(subsets.model_copy(update={"groups": None}), count_groups(groups), trials)
        return np.asarray(of_groups[:, groups])
    row = {"uniform": _uniform, "balanced": _balanced, "bernoulli": _bernoulli, "remove": _remove}
    rows = [row[subsets.design](subsets, n_train, trial) for trial in trials]
    return np.stack(rows) if rows else np.zeros((0, n_train), dtype=np.bool_)


def count_groups(groups: Groups) -> int:
    """How many groups there are."""
    return int(groups.max(initial=-1)) + 1


def subset_size(subsets: Subsets, n_train: int, trial: int = 0) -> int:
    """Examples that a trial trains on: m of n (exact for ``uniform`` and ``remove``; of groups it is the mean)."""
    if subsets.design == "remove":
        return n_train - len(removed_by(subsets, trial)[0])
    assert subsets.ratio is not None
    return round(subsets.ratio * n_train)


def subset_sizes(subsets: Subsets, n_train: int, groups: Groups | None = None) -> tuple[int, int]:
    """Fewest and most examples that any trial trains on.

    For ``bernoulli`` six standard deviations from the mean: beyond are fewer than one trial in 10^8. So it is with
    groups, by Bernstein's inequality, where the smallest and the largest groups alone do not bound it more closely.
    """
    if groups is not None:
        return _sizes_of_groups(subsets, np.sort(np.bincount(groups)))
    if subsets.design == "bernoulli":
        assert subsets.ratio is not None
        mean, far = subsets.ratio * n_train, 6 * math.sqrt(subsets.ratio * (1 - subsets.ratio) * n_train)
        return max(0, math.floor(mean - far)), min(n_train, math.ceil(mean + far))
    if subsets.design == "balanced" and (group := balanced_group(subsets.ratio or 0.0)) is not None:
        size, out = group
        return n_train + -n_train * out // size, n_train - n_train * out // size
    sizes = [subset_size(subsets, n_train, trial) for trial in range(max(1, len(subsets.conditions)))]
    return min(sizes), max(sizes)


def _sizes_of_groups(subsets: Subsets, sizes: NDArray[np.int64]) -> tuple[int, int]:
    """The same, of groups of these sizes, the smallest first."""
    assert subsets.ratio is not None
    fewest, most = subset_sizes(subsets.model_copy(update={"groups": None}), len(sizes))
    mean = subsets.ratio * sizes.sum()
    variance = subsets.ratio * (1 - subsets.ratio) * float(sizes @ sizes)
    far = math.sqrt(2 * variance * _RARE) + _RARE * float(sizes[-1]) / 3
    if subsets.design != "bernoulli":
        far += float(sizes[-1])  # the number of groups is rounded
    by_size = int(sizes[:fewest].sum()), int(sizes[len(sizes) - most :].sum())
    return max(by_size[0], math.floor(mean - far)), min(by_size[1], math.ceil(mean + far))


def removed_by(subsets: Subsets, trial: int) -> tuple[NDArray[np.int64], bool]:
    """For ``remove``: the index list that the trial leaves out, and whether only its size counts (a control)."""
    conditions = subsets.conditions
    name, control = conditions[trial % len(conditions)]
    return unpack(subsets.index_sets[name]), control


def _uniform(subsets: Subsets, n_train: int, trial: int) -> Mask:
    """Exactly m of n, every m-subset equally likely: the paper's design (Algorithm 1, step 1)."""
    keys = raw_words(n_train, subsets.seed, "uniform", trial)
    mask = np.zeros(n_train, dtype=np.bool_)
    mask[np.argsort(keys, kind="stable")[: subset_size(subsets, n_train)]] = True
    return mask


def _bernoulli(subsets: Subsets, n_train: int, trial: int) -> Mask:
    """Each example on its own with probability ``ratio`` (what Data Banzhaf's estimator assumes)."""
    assert subsets.ratio is not None
    keys = raw_words(n_train, subsets.seed, "bernoulli", trial) >> np.uint64(11)
    return keys < np.uint64(subsets.ratio * 2.0**53)


def _remove(subsets: Subsets, n_train: int, trial: int) -> Mask:
    """Everything but an index list, or but as many examples at random; lists take turns from trial to trial."""
    removed, control = removed_by(subsets, trial)
    if control:
        keys = raw_words(n_train, subsets.seed, "control", trial)
        removed = np.argsort(keys, kind="stable")[: len(removed)]
    mask = np.ones(n_train, dtype=np.bool_)
    mask[removed] = False
    return mask


def _balanced(subsets: Subsets, n_train: int, trial: int) -> Mask:
    """Each example is out in exactly the same number of trials of every group.

    At ratio 0.7 a group has 10 trials and every example is out in 3 of them; the sizes of the ten
    training sets differ by at most one example.
    """
    group = balanced_group(subsets.ratio or 0.0)
    assert group is not None, "the spec's check lets only ratios with a group through"
    size, out = group
    mask: Mask = _balanced_group(subsets.seed, n_train, size, out, trial // size)[trial % size]
    return mask


@lru_cache(maxsize=2)
def _balanced_group(seed: int, n_train: int, size: int, out: int, group: int) -> Mask:
    """Masks of one group, shape (size, n_train).

    Examples are put in random order and dealt to the trials like cards: the example at place p is
    out in the next ``out`` trials after those of place p - 1, round and round, so that after any
    number of examples the trials' numbers of outs differ by at most one. Every ``size`` places
    (when each trial has had its turn equally often) the trials are relabelled at random, which
    keeps pairs of examples from always being out together.
    """
    place = np.argsort(raw_words(n_train, seed, "balanced-order", group), kind="stable")
    deals = -(-n_train // size)
    labels = np.argsort(
        raw_words(deals * size, seed, "balanced-labels", group).reshape(deals, size), axis=1, kind="stable"
    )
    turn = (np.arange(n_train)[:, None] * out + np.arange(out)) % size
    outs = labels[np.arange(n_train)[:, None] // size, turn]
    mask = np.ones((size, n_train), dtype=np.bool_)
    mask[outs, place[:, None]] = False
    mask.setflags(write=False)
    return mask
