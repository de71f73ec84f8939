"""estimates.zarr: memorization of every training example, high-influence pairs, on request all influences."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from memexp.analysis import means
from memexp.analysis.calibrated import Calibrated, calibrated, no_calibrated, smooth_out_accuracy
from memexp.analysis.counts import Counts, count_train
from memexp.analysis.dense import holds_matrix, write_dense
from memexp.analysis.grouped import groups_of
from memexp.analysis.means import ScoreTrials, TrainScores, welch
from memexp.analysis.merged import Merged, finish_store
from memexp.analysis.pairs import Pairs, Selection
from memexp.analysis.posterior import Posterior, no_posterior, posterior
from memexp.analysis.products import Operands, Tile, Trials
from memexp.analysis.search import select_pairs
from memexp.analysis.soft import no_margins, soft_of
from memexp.brief import Brief
from memexp.errors import StoreError, command
from memexp.files import explain_unwritable, link
from memexp.store.derived import MATRICES, derived_lock, replacing
from memexp.store.paths import RunPaths
from memexp.store.sealed import EVERY_CHUNK, NotWhole, Sealed, read_attributes, read_metadata

ESTIMATES_SCHEMA = 7

Matrix = tuple[str, Operands, Callable[[Tile], NDArray[np.float32]]]


@dataclass(frozen=True, repr=False)
class Memorization(Brief):
    """Memorization of each training example, shape (N,); NaN where it was never in or never out.

    Attributes
    ----------
    memorization, memorization_se, memorization_low, memorization_high : float32
        Estimate, standard error, 95% interval.
    in_accuracy, out_accuracy : float32
        Share of the trials with (without) the example that got it right; of numbers, their mean over these trials.
    in_count, out_count : int32
        Number of those trials.
    """

    memorization: NDArray[np.float32]
    memorization_se: NDArray[np.float32]
    memorization_low: NDArray[np.float32]
    memorization_high: NDArray[np.float32]
    in_accuracy: NDArray[np.float32]
    out_accuracy: NDArray[np.float32]
    in_count: NDArray[np.int32]
    out_count: NDArray[np.int32]


@dataclass(frozen=True, repr=False)
class Estimates(Brief):
    """Content of estimates.zarr.

    Attributes
    ----------
    posterior, calibrated
        Memorization for picked examples, and with the help of margins; all NaN where trials gave numbers.
    tested
        Pairs that were looked at.
    passed
        Pairs that pass the selection's thresholds; more than are kept, where they were cut to the strongest.
    """

    scores: Memorization
    pairs: Pairs
    selection: Selection
    n_trials: int
    tested: int
    passed: int
    posterior: Posterior
    calibrated: Calibrated

    def cut(self) -> str | None:
        """That pairs were cut to the strongest, for whoever counts them; None if they are whole."""
        kept = int(self.pairs.selected.sum())
        if self.passed <= kept:
            return None
        return (
            f"only the strongest {kept:,} of {self.passed:,} pairs of high influence are kept: counts of pairs and of "
            f"the examples in them are of these alone; `{command('estimate', '--most', self.passed)}` keeps all"
        )


def count_trials(merged: Merged) -> Counts:
    """Counts of all training examples, shape (N,)."""
    bands = [count_train(mask, correct) for _, (mask, correct) in merged.bands("mask", "train_correct")]
    return Counts(*(np.concatenate([getattr(band, each.name) for band in bands]) for each in fields(Counts)))


def estimate_memorization(counts: Counts) -> Memorization:
    """Estimate memorization, with its errors, from the counts of all training examples."""
    value, se, low, high, share_in, share_out = (
        each.astype(np.float32) for each in (*counts.difference(), counts.in_accuracy, counts.out_accuracy)
    )
    n_in, n_out = (each.astype(np.int32) for each in (counts.in_count, counts.out_count))
    return Memorization(value, se, low, high, share_in, share_out, n_in, n_out)


def estimate_of_numbers(scores: TrainScores) -> Memorization:
    """The same from numbers: mean in minus mean out, which stand where accuracies would."""
    inside, outside = scores.inside, scores.outside
    value, se, low, high, mean_in, mean_out = (
        each.astype(np.float32) for each in (*means.difference(welch(inside, outside)), inside.mean, outside.mean)
    )
    n_in, n_out = (each.number.astype(np.int32) for each in (inside, outside))
    return Memorization(value, se, low, high, mean_in, mean_out, n_in, n_out)


def memorization_of(merged: Merged) -> Memorization:
    """Memorization alone: a small part of the work of :func:`estimate`; nothing is written."""
    if merged.numbers:
        return estimate_of_numbers(TrainScores.of_run(merged))
    return estimate_memorization(count_trials(merged))


def trials_of(merged: Merged, device: str = "cpu") -> Trials | ScoreTrials:
    """What influence is estimated from: bits of right trials, or numbers."""
    mask = merged.packed("mask")
    if merged.numbers:
        return ScoreTrials(merged.whole("test_score"), mask, merged.n_trials)
    return Trials(merged.packed("test_correct"), mask, merged.n_trials, device)


def estimate(
    merged: Merged,
    selection: Selection,
    dense: bool = False,
    tell: Callable[[float], None] = lambda _: None,
    memory_gb: float = 1.0,
    device: str = "cpu",
) -> Estimates:
    """Estimate everything and write estimates.zarr, replacing an older one.

    Parameters
    ----------
    dense
        Write the whole influence matrix too, and that of soft influence where trials recorded margins; an
        interrupted one is finished. One that was made from the same trials stays in any case.
    tell
        Takes the share done.
    memory_gb
        What tiles of the influence matrix may take, beside the trials' bits.
    device
        Where products are made: ``cpu`` or ``cuda``.
    """
    paths = merged.paths
    with derived_lock(paths), explain_unwritable(paths.estimates, "The trials and older estimates are untouched."):
        counts = None if merged.numbers else count_trials(merged)
        scores = estimate_of_numbers(TrainScores.of_run(merged)) if counts is None else estimate_memorization(counts)
        trials = trials_of(merged, device)
        labels = merged.examples["test_label"], merged.examples["train_label"]
        soft = soft_of(merged, trials) if isinstance(trials, Trials) else None
        if soft is None and selection.test == "margins":
            raise no_margins(merged)
        matrices: list[Matrix] = [("influence", trials, trials.influence)] if dense else []
        if dense and soft is not None:
            matrices.append(("influence_soft", soft.probabilities, soft.probabilities.difference))
        told = partial(_part, tell, parts=1 + len(matrices))
        groups = groups_of(merged.examples)
        found = select_pairs(trials, labels, scores.memorization, selection, memory_gb, told(0), soft, groups)
        others = _beside(merged, counts, selection.memorization)
        estimates = Estimates(scores, found.pairs, selection, merged.n_trials, found.tested, found.passed, *others)
        for done, (name, operands, value) in enumerate(matrices, 1):
            write_dense(operands, value, paths.matrix(name), merged.trials_digest, memory_gb, told(done))
        with replacing(paths.estimates) as building, zarr.config.set(EVERY_CHUNK):
            group = zarr.create_group(building, attributes=_attributes(merged, estimates))
            for record in (scores, *others):
                _write_arrays(group, vars(record), "train")
            _write_arrays(group.create_group("pairs"), found.pairs.columns(), "pair")
            # once more, for when the root's attributes are damaged
            group["memorization"].attrs["selection"] = asdict(selection)
            made = {name for name, *_ in matrices}
            for name in MATRICES:
                if name in made:
                    paths.matrix(name).rename(building / name)
                elif holds_matrix(merged, name):
                    shutil.copytree(paths.estimates / name, building / name, copy_function=link)
            finish_store(building)
    return estimates


def _beside(merged: Merged, counts: Counts | None, threshold: float) -> tuple[Posterior, Calibrated]:
    """What stands beside memorization; without counts (of numbers) all NaN."""
    if counts is None:
        n_train = len(merged.examples["train_label"])
        return no_posterior(n_train), no_calibrated(n_train)
    smoothed = smooth_out_accuracy(merged)
    return posterior(counts, threshold, smoothed), calibrated(counts, smoothed)


def _part(tell: Callable[[float], None], done: int, parts: int) -> Callable[[float], None]:
    """Progress of the part of the work that comes after ``done`` others."""
    return lambda share: tell((done + share) / parts)


def open_estimates(paths: RunPaths) -> Estimates:
    """Read estimates.zarr.

    Raises
    ------
    NotWhole
        If it is absent, damaged, or of another version.
    """
    store = _open(paths)
    scores = Memorization(**{field.name: store.read(field.name) for field in fields(Memorization)})
    likely = Posterior(**{field.name: store.read(field.name) for field in fields(Posterior)})
    margins = Calibrated(**{field.name: store.read(field.name) for field in fields(Calibrated)})
    columns = {name: store.read(f"pairs/{name}") for name in Pairs.names()}
    pairs = Pairs(**columns, judged_by=store.attributes["discoveries_by"])
    selection = Selection(**store.attributes["selection"])
    trials, tested, passed = (int(store.attributes[name]) for name in ("trials", "pairs_tested", "pairs_passed"))
    return Estimates(scores, pairs, selection, trials, tested, passed, likely, margins)


def read_current(merged: Merged) -> Estimates | None:
    """Read estimates.zarr; None unless it is whole and was made from exactly these merged trials."""
    try:
        return open_estimates(merged.paths) if is_current(merged.paths, merged) else None
    except NotWhole:
        return None


def current_estimates(merged: Merged, tell: Callable[[float], None] = lambda _: None) -> Estimates:
    """Read estimates.zarr, made anew where it is not of exactly these merged trials; pairs selected as they were."""
    return read_current(merged) or estimate(merged, chosen_selection(merged.paths), tell=tell)


def chosen_selection(paths: RunPaths, otherwise: Selection | None = None) -> Selection:
    """That of the run's last estimates, from whatever trials and version; the paper's rule where there are none.

    What a user chose holds until they choose otherwise, also when trials that came later are estimated.

    Parameters
    ----------
    otherwise
        What holds where the estimates are so damaged that they do not tell.

    Raises
    ------
    StoreError
        If they are, without ``otherwise``.
    """
    if not paths.estimates.exists():
        return Selection()
    try:
        try:
            attributes = read_attributes(paths.estimates)
        except NotWhole:
            attributes = read_metadata(paths.estimates / "memorization")["attributes"]
        return Selection(**attributes["selection"])
    except (NotWhole, KeyError, TypeError) as error:
        if otherwise is not None:
            return otherwise
        raise StoreError(
            f"{paths.estimates} is damaged and does not tell any more how its pairs were selected; make it again with "
            f"`{command('estimate', paths.root)}`, and the options that you gave, if any"
        ) from error


def is_current(paths: RunPaths, merged: Merged) -> bool:
    """Whether estimates.zarr was made from exactly these merged trials."""
    try:
        attributes = read_attributes(paths.estimates)
    except NotWhole:
        return False
    current: bool = attributes.get("memexp_estimates_schema") == ESTIMATES_SCHEMA
    return current and attributes.get("trials_digest") == merged.trials_digest


def _open(paths: RunPaths) -> Sealed:
    again = f"make it again with `{command('estimate', paths.root)}`"
    return Sealed(paths.estimates, ("memexp_estimates_schema", ESTIMATES_SCHEMA), again, unread=MATRICES)


def _attributes(merged: Merged, estimates: Estimates) -> dict[str, Any]:
    return {
        "memexp_estimates_schema": ESTIMATES_SCHEMA,
        "trials_digest": merged.trials_digest,
        "trials": merged.n_trials,
        "failed_trials_left_out": merged.n_failed,
        "selection": asdict(estimates.selection),
        "pairs_tested": estimates.tested,
        "pairs_passed": estimates.passed,
        "discoveries_by": estimates.pairs.judged_by,
        "median_se": _median(estimates.scores.memorization_se),
    }


def _median(values: NDArray[np.float32]) -> float | None:
    """For those who only read attributes, as ``status`` does; None where nothing is defined."""
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if len(defined) else None


def _write_arrays(group: zarr.Group, arrays: dict[str, NDArray[Any]], axis: str) -> None:
    for name, values in arrays.items():
        codecs = [ZstdCodec(level=3), Crc32cCodec()]
        group.create_array(name, data=values, compressors=codecs, dimension_names=(axis,))
