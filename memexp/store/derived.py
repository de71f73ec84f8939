"""What is derived from trials (merged.zarr, estimates.zarr, report/): made by one process at a time, whole or absent.

A folder is built under a name of its own, renamed to say that it is whole, and then takes the place of the old
one. A process killed in between leaves a state that the next one finishes: nothing that was whole is lost.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memexp.errors import command
from memexp.store.lock import exclusive
from memexp.store.paths import RunPaths

MATRICES = ("influence", "influence_soft")  # of the estimates: test x train, on request, long in the making

_WAIT_SECONDS = 10.0


@contextmanager
def derived_lock(paths: RunPaths, wait_seconds: float = _WAIT_SECONDS) -> Iterator[None]:
    """Be the only process that makes what is derived from the run's trials.

    Raises
    ------
    RunBusy
        If another process still does so after ``wait_seconds``.
    InputError
        If the run is not writable for this user, or its file system has no locks.
    """
    busy = "merged, estimated or reported", "Run the same command again when that has ended"
    otherwise = (
        f"its results are absent or not up to date: ask its owner to run `{command('report', paths.root)}`, "
        "or copy the run to a place of your own and work on the copy"
    )
    with exclusive(paths, paths.derived_lock, wait_seconds, busy, otherwise):
        for final in (paths.merged, paths.estimates, paths.report.parent):
            _finish(final)
        for name in MATRICES:
            unfinished = building(paths.estimates) / name
            if unfinished.is_dir() and not paths.matrix(name).exists():  # it took hours, and is checked before use
                unfinished.rename(paths.matrix(name))
        yield


def building(final: Path) -> Path:
    """Where a folder is built that will stand at ``final``."""
    return final.with_name(f".{final.name}.new")


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """Give an absent folder to build in; without a fault it takes the place of ``final`` at the end.

    Only under :func:`derived_lock`.
    """
    folder = building(final)
    if folder.exists():
        shutil.rmtree(folder)
    try:
        yield folder
        folder.rename(_ready(final))
        _finish(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finish(final: Path) -> None:
    """Put a folder that is whole into its place, wherever another process was killed while doing so."""
    ready, aside = _ready(final), final.with_name(f".{final.name}.old")
    if ready.exists():
        if final.exists():
            shutil.rmtree(aside, ignore_errors=True)
            final.rename(aside)
        ready.rename(final)
    shutil.rmtree(aside, ignore_errors=True)


def _ready(final: Path) -> Path:
    return final.with_name(f".{final.name}.ready")
