"""A run: the directory of one launched spec. Create it, open it, grow it; refuse what does not fit."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from memexp.data import Data, load_examples
from memexp.data.class_names import composed
from memexp.errors import DataError, Incomplete, InputError, OutOfSpace, RunMismatch, StoreError, command
from memexp.files import digest, explain_unwritable, versions
from memexp.runs.examples import example_arrays
from memexp.spec.argument_files import MARK
from memexp.spec.designs import draw_masks
from memexp.spec.reading import read_written, write_spec
from memexp.spec.spec import Spec
from memexp.store.layout import Layout, recorded_kinds
from memexp.store.manifest import Manifest, flat, read_manifest
from memexp.store.paths import RunPaths
from memexp.store.spec_text import edited, read_spec_text, write_spec_text
from memexp.store.trials import MISSING, TrialStore, create_store, extend_store


@dataclass(frozen=True)
class Run:
    """An existing run directory."""

    paths: RunPaths
    spec: Spec
    manifest: Manifest

    def store(self, writable: bool = False) -> TrialStore:
        """The run's trials.zarr."""
        return TrialStore(self.paths.trials, writable)

    def missing(self) -> int:
        """Trials that the store has neither as done nor as failed; receipts are not asked."""
        return int((self.store().status() == MISSING).sum())

    def load_data(self) -> Data:
        """The run's data set, checked against the fingerprint.

        Raises
        ------
        DataError
            If the files are not what they were when the run was created.
        """
        data = load_examples(self.spec)
        changed = [name for name, digest in data.fingerprint().items() if digest != self.manifest.data[name]]
        if changed:
            raise DataError(
                f"the data of {self.paths.root} have changed since it was created ({', '.join(changed)} differ). "
                f"{self._same_data_again()}, or launch the spec under another name"
            )
        if wrong := self.other_names(data.classes):
            text = f"{wrong[0]} in the data ({len(wrong)} such names). Restore the names there, or manifest.json from"
            raise DataError(f"{text} a backup")
        return data

    def pictures(self, trust: bool = False) -> Data | None:
        """The data set, to be drawn; None without images, and without ``trust`` where a Python file makes them."""
        hidden = self.spec.trial is not None or self.is_imported or (self.spec.dataset.source == "python" and not trust)
        return None if hidden else self.load_data()

    def _same_data_again(self) -> str:
        if self.spec.trial is not None:
            return f"sizes() of {self.spec.arch} must give the same each time"
        dataset = self.spec.dataset
        again = ", give the same arrays each time (seed what is random)" if dataset.source == "python" else ""
        return f"Restore the files of dataset {dataset.model_dump(mode='json', exclude_none=True)}{again}"

    def other_names(self, classes: Sequence[str]) -> list[str]:
        """Labels that another name is given to than in the manifest, in words.

        Names are no part of the identity, so they are compared by themselves: a report must not mix them up.
        """
        names = enumerate(zip(map(composed, self.manifest.classes), classes, strict=True))
        return [
            f"label {label} is {there!r} in {self.paths.manifest}, but {here!r}"
            for label, (there, here) in names
            if there != here
        ]

    def require_same_files(self) -> None:
        """Check the files that arguments of the model or the recipe name, as :meth:`load_data` checks the data.

        Raises
        ------
        RunMismatch
            If one is not what it was when the run was created.
        """
        now = replace(self.manifest, science=self.spec.science())
        changed = [
            f"  {name}: {then} then, {there} now"
            for name, then, there in self.manifest.differences(now)
            if MARK in str(then)
        ]
        if changed:
            raise RunMismatch(
                "\n".join([f"files that {self.paths.root} trains with have changed since it was created:", *changed])
                + f"\nRestore them (their paths are in {self.paths.spec}), or launch the spec under another name"
            )

    def require_same_data(self, other: Run, names: Sequence[str] = ("x_train", "y_train", "x_test", "y_test")) -> None:
        """Raise :class:`RunMismatch` if another run's data differ in ``names``, arrays of the data set."""
        differ = [name for name in names if self.manifest.data[name] != other.manifest.data[name]]
        if differ:
            raise RunMismatch(
                f"{self.paths.root} and {other.paths.root} are over different data ({', '.join(differ)} differ); "
                "give runs whose specs have the same dataset block"
            )

    @property
    def is_imported(self) -> bool:
        """Whether its trials were trained elsewhere."""
        return self.spec.trial is None and self.spec.dataset.source == "imported"

    def require_trainable(self) -> None:
        """Raise :class:`InputError` for a run that was imported: there is nothing to train."""
        if self.is_imported:
            raise InputError(
                f"{self.paths.root} was imported: its trials were trained elsewhere, and none can be added here. For "
                f"more trials import all of them into a new run (`{command('import', '--help')}`)"
            )

    def require_random_subsets(self) -> None:
        """Raise :class:`InputError` for a `remove` run: its subsets were chosen, so differences are no estimates."""
        if self.spec.subsets.design == "remove":
            raise InputError(
                f"{self.paths.root} is a run of 'design: remove', which estimates nothing; "
                "give a run on random subsets instead"
            )

    def require_complete(self, missing: int | None = None) -> None:
        """Raise :class:`Incomplete` while trials are missing: what is selected from the others would change.

        ``missing``: how many, where this run is merged with others that may have them; None counts its own.
        """
        if missing is None:
            missing = self.missing()
        if missing:
            raise Incomplete(
                f"{self.paths.root}: {missing:,} trials are missing, so its estimates will still change; train them "
                f"with `{command('resume', self.paths.root)}`, or accept that with --incomplete"
            )


def open_run(root: Path) -> Run:
    """Open a run directory.

    Raises
    ------
    InputError
        If it is none.
    StoreError
        If its spec or manifest is damaged.
    """
    import yaml

    paths = RunPaths.of_run(root)
    manifest = read_manifest(paths)
    text = read_spec_text(paths)
    try:
        spec, faults = read_written(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StoreError(f"{paths.spec} cannot be read ({error}); restore it from a backup") from error
    if spec is None or faults:
        place = ".".join(map(str, faults[0].location))
        raise StoreError(
            f"{paths.spec} is not a spec this memexp reads: {place}: {faults[0].message}; restore it from a backup"
        )
    _require_launched(paths, spec, manifest)
    return Run(paths, spec, manifest)


def _require_launched(paths: RunPaths, spec: Spec, manifest: Manifest) -> None:
    """Raise :class:`StoreError` if the spec is not the one that was launched.

    What an earlier version launched may lack keys that this one knows. Files that arguments name are not read:
    :meth:`Run.require_same_files` looks at them before anything is trained, and results stay readable without them.
    """
    files = {name for name, value in flat(manifest.science).items() if MARK in str(value)}
    here, there = (
        {name: digest(value) for name, value in flat(science).items() if name not in files}
        for science in (spec.science(contents=False), manifest.science)
    )
    names = sorted(here.keys() & there.keys() if manifest.schema_version == 1 else here.keys() | there.keys())
    changed = [name for name in names if here.get(name) != there.get(name)]
    if changed:
        raise edited(paths, f" ({', '.join(changed)})")


def prepare_run(spec: Spec, data: Data, runs: Path, block_size: int | None = None) -> Run:
    """Create the run of a spec below ``runs``, or open it if it is there.

    With more trials than the run has, nothing on the disk changes yet: :func:`grow` makes room for them, once a
    launch has the run for itself.

    Raises
    ------
    RunMismatch
        If the folder holds another experiment.
    OutOfSpace
        If the disk has not enough room for the outcomes.
    """
    root = runs / spec.name
    run = open_run(root) if root.exists() else None
    if run is not None:  # it goes on with what it began with, where the spec does not say otherwise
        kept = {name: getattr(run.spec, name) for name in ("record", "keep") if name not in spec.model_fields_set}
        spec = spec.model_copy(update=kept)
    wanted = describe(spec, data, block_size or default_block_size(data))
    if run is None:
        _create(root, spec, data, wanted)
        run = open_run(root)
    run.manifest.require_same(wanted, str(root))
    if wrong := run.other_names(wanted.classes):
        raise RunMismatch(
            f"{wrong[0]} in this spec ({len(wrong)} such names). Names of classes stay as they were launched: give the "
            "spec those names, or another `name` (or another --runs)"
        )
    if block_size not in (None, run.manifest.block_size):
        raise InputError(f"{root} has blocks of {run.manifest.block_size} trials, which cannot change; omit the option")
    if spec.subsets.trials > run.store().layout.n_trials:
        require_room(root, layout_of(spec, run.manifest))
        return Run(run.paths, spec, run.manifest)
    return replace(run, spec=run.spec.model_copy(update={"keep": spec.keep}))


def grow(run: Run) -> TrialStore:
    """Make room for the trials that the run's spec has more than its store, and keep what it says; under the lock.

    The store first: killed in between, the next launch finds the trials and asks for no fewer.
    """
    if run.spec.subsets.trials > run.store().layout.n_trials:
        extend_store(run.paths.trials, run.spec.subsets.trials)
        write_spec_text(run.paths, write_spec(run.spec))
    elif run.spec.keep != (there := open_run(run.paths.root).spec).keep:
        write_spec_text(run.paths, write_spec(there.model_copy(update={"keep": run.spec.keep})))
    return run.store()


def describe(spec: Spec, data: Data, block_size: int) -> Manifest:
    """The manifest that a run of this spec on these data has."""
    first = draw_masks(spec.subsets, len(data.y_train), range(2), data.groups)
    return Manifest(
        science=spec.science(),
        data=data.fingerprint(),
        masks=hashlib.sha256(np.packbits(first).tobytes()).hexdigest(),
        block_size=block_size,
        n_train=len(data.y_train),
        n_test=len(data.y_test),
        classes=list(data.classes),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def default_block_size(data: Data) -> int:
    """Trials per block: 10, fewer where a trial is long because it sees more than 100,000 examples."""
    return max(1, min(10, 1_000_000 // len(data.y_train)))


def layout_of(spec: Spec, manifest: Manifest) -> Layout:
    """Shape of the run's store."""
    return planned_layout(spec, manifest.n_train, manifest.n_test, manifest.block_size, len(manifest.classes))


def planned_layout(spec: Spec, n_train: int, n_test: int, block_size: int, n_classes: int) -> Layout:
    """Shape of the store of a run of this spec."""
    recorded, sums = recorded_kinds(spec.record, n_classes), n_classes if "probabilities" in spec.record else 0
    return Layout(spec.subsets.trials, n_train, n_test, block_size, recorded, spec.scalars, sums)


def _create(root: Path, spec: Spec, data: Data, manifest: Manifest) -> None:
    """Build the directory under a temporary name and move it into place, so that it is whole or absent."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create {root.parent}: {error.strerror}; choose another place with --runs") from error
    if not os.access(root.parent, os.W_OK):
        raise InputError(f"{root.parent} is not writable for you; choose another place with --runs")
    layout = layout_of(spec, manifest)
    require_room(root.parent, layout)
    building = RunPaths(root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}.new"))
    try:
        with explain_unwritable(root, "No trial was lost."):
            building.make_folders()
            create_store(building.trials, layout, example_arrays(data))
            write_spec_text(building, write_spec(spec))
            manifest.write(building)
        building.root.rename(root)
    except OSError:
        if not root.exists():
            raise
        # two launches at the same moment: the other one was first, and its directory is as good
    finally:
        shutil.rmtree(building.root, ignore_errors=True)


def require_room(folder: Path, layout: Layout) -> None:
    """Raise :class:`OutOfSpace` if the disk has not enough room for the outcomes."""
    needed = layout.bytes_at_most()
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OutOfSpace(
            f"{folder} has {free / 1e6:,.0f} MB free, but {layout.n_trials} trials need up to {needed / 1e6:,.0f} MB. "
            "Free some space, or choose another place with --runs"
        )
