"""The note in a sweep's folder: which runs are its own, in which order. Read by every command, so it imports little."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from memexp.errors import InputError, StoreError
from memexp.spec.user_paths import NAME, read_text
from memexp.spec.yaml_text import parse, short
from memexp.store.paths import SWEEP_FILE, RunPaths


def runs_of(folder: Path) -> tuple[list[Path], list[str]] | None:
    """Folders of a sweep's runs that exist, in order, and the names of the others; None if it is not one of a sweep.

    Raises
    ------
    InputError
        If none of its runs was created yet.
    """
    runs = noted_runs(folder)
    if not runs:
        return None
    created = [root for root in runs if RunPaths(root).manifest.is_file()]
    if not created:
        raise InputError(f"{folder}: none of the sweep's {len(runs)} runs was created yet; launch its file again")
    return created, [root.name for root in runs if root not in created]


def noted_runs(folder: Path) -> list[Path]:
    """The runs that a sweep's folder notes; none without a note.

    Raises
    ------
    StoreError
        If the note is damaged.
    """
    note = folder / SWEEP_FILE
    if not note.is_file():
        return []
    try:
        parsed = parse(read_text(note), stored=True)
        names = parsed.value["runs"]
        if not isinstance(names, list) or not all(isinstance(name, str) and re.fullmatch(NAME, name) for name in names):
            raise ValueError(f"runs is {short(names)}, no list of names")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise StoreError(
            f"{note} is damaged ({why}); delete it and launch the sweep's file again, which writes it anew and "
            "trains nothing twice"
        ) from error
    return [folder / name for name in names]
