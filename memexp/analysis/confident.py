"""cleanlab, the library of confident learning: its input as files, and its count of labels where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from memexp.analysis.export import make_folder, new_array
from memexp.analysis.votes import Floats, Votes
from memexp.errors import InputError, command
from memexp.files import explain_unwritable

_LARGEST = 1 << 30  # bytes of a table that cleanlab is given whole

_NAMES = {
    "train": "",
    "test": "test_",
}  # of the files: those of the training examples have the names that cleanlab's have


def write_cleanlab(votes: Votes, folder: Path, tell: Callable[[float], None] = lambda _: None) -> list[Path]:
    """Write pred_probs.npy (N, K) float32 and labels.npy (N,), and the same of the test examples with ``test_`` before.

    Rows are mean probabilities out of sample, where these are not recorded shares of the votes: what cleanlab asks for
    and cross-validation gives once.

    Raises
    ------
    InputError
        If the folder cannot be made, or a training example is in every trial, so that nothing is known of it.
    """
    make_folder(folder, "cleanlab")
    written = []
    with explain_unwritable(folder, "The trials are untouched."):
        for before in _NAMES.values():  # of another run, which may have had a test set where this one has none
            for name in ("pred_probs", "labels"):
                (folder / f"{before}{name}.npy").unlink(missing_ok=True)
        for number, axis in enumerate(votes.axes):
            labels = votes.labels(axis)
            path = folder / f"{_NAMES[axis]}pred_probs.npy"
            with new_array(path, np.float32, (len(labels), votes.n_classes)) as table:
                for band in votes.bands(axis):
                    _require_votes(votes, band.rows.start, band.n)
                    table[band.rows] = band.said
                    tell((number + band.rows.stop / len(labels)) / len(votes.axes))
            np.save(path.with_name(f"{_NAMES[axis]}labels.npy"), labels)
            written += [path, path.with_name(f"{_NAMES[axis]}labels.npy")]
    return written


def _require_votes(votes: Votes, first: int, n: Any) -> None:
    never = np.flatnonzero(n == 0)
    if len(never):
        raise InputError(
            f"training example {first + never[0]} is in every trial of {votes.merged.paths.root} that is done, so "
            "nothing is known of it out of sample, and cleanlab takes no gaps. Train more trials: "
            f"`{command('resume', votes.merged.paths.root)}`, or launch the spec again with more `trials`"
        )


def count_by_cleanlab(votes: Votes, axis: str) -> tuple[int, str] | None:
    """How many labels cleanlab expects to be wrong, and its version; None where it is not installed, or has no room."""
    try:
        import cleanlab
        from cleanlab.count import num_label_issues
    except ImportError:
        return None
    labels = votes.labels(axis)
    if 8 * len(labels) * votes.n_classes > _LARGEST or len(np.unique(labels)) < votes.n_classes:
        return None
    shares: Floats = np.concatenate([band.said for band in votes.bands(axis)])
    known = ~np.isnan(shares[:, 0])
    return int(num_label_issues(labels[known], shares[known])), str(cleanlab.__version__)
