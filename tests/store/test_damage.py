"""Damage of every kind to every kind of file of a run: the right answer, or an error that names the repair.

``MEMEXP_MUTANTS=500`` makes so many instead of a few.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memexp.analysis import estimates as store
from memexp.analysis.export import export
from memexp.analysis.merged import Merged, merge, open_merged
from memexp.errors import MemexpError
from memexp.launch.status import read_status
from memexp.report.report import Source, write_report
from memexp.runs.run import open_run
from memexp.runs.verify import verify
from memexp.store.paths import RunPaths

pytestmark = pytest.mark.long

COUNT = int(os.environ.get("MEMEXP_MUTANTS", "36"))
HOW = ("delete", "empty", "cut", "flip", "swap", "value")
REPAIR = re.compile(r"`memexp [^`]+`|[Rr]estore|move it away|delete it|Bring it back|not a run directory|newer memexp")


def kinds_of_files(root: Path) -> dict[str, list[Path]]:
    """Files of a run by their name without numbers and random words; pages, logs and locks are one kind each."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        name = path.relative_to(root).as_posix()
        folder = name.partition("/")[0]
        alike = folder if folder in ("logs", "report") else re.sub(r"\d+[^/.]*", "#", name)
        kinds.setdefault("locks" if name.endswith("lock") else alike, []).append(path)
    return kinds


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every value within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, each in inner for found in places(each, (*place, key)))] if inner else [place]


def other(value: Any, draw: np.random.Generator) -> Any:
    """Another value, of the same type or not."""
    near = {bool: not value, int: 0, float: 0.0, str: f"{value}x", type(None): 1}
    if type(value) in (int, float):
        near[type(value)] = value + int(draw.integers(1, 9)) * int(draw.choice([-1, 1]))
    wild = [None, -1, "\x1b[31m", [], {}, 10**400, True, "../../../x", [[[]]], 1e308]
    return wild[draw.integers(len(wild))] if draw.random() < 0.4 else near.get(type(value))


def damage(path: Path, kinds: dict[str, list[Path]], how: str, draw: np.random.Generator) -> str | None:
    """Damage one file; what was done, or None if that cannot be done to it."""
    content = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut" and len(content) > 1:
        path.write_bytes(content[: int(draw.integers(1, len(content)))])
    elif how == "flip" and content:
        place = int(draw.integers(len(content)))
        path.write_bytes(content[:place] + bytes([content[place] ^ int(draw.integers(1, 256))]) + content[place + 1 :])
    elif how == "swap":
        alike = [each for files in kinds.values() for each in files if each.suffix == path.suffix and each != path]
        alike = [each for each in alike if each.read_bytes() != content]
        if not alike:
            return None
        near = sorted(alike, key=lambda each: abs(each.stat().st_size - len(content)))[:6]
        with_it = near[draw.integers(len(near))]
        path.write_bytes(with_it.read_bytes())
        with_it.write_bytes(content)
        return f"swap with {with_it}"
    elif how == "value" and path.suffix == ".json":
        value = json.loads(content)
        found = [place for place in places(value) if place]
        place = found[draw.integers(len(found))]
        inner = value
        for key in place[:-1]:
            inner = inner[key]
        before, inner[place[-1]] = inner[place[-1]], other(inner[place[-1]], draw)
        path.write_text(json.dumps(value))
        return f"{'.'.join(map(str, place))}: {str(before)[:40]} -> {str(inner[place[-1]])[:40]}"
    else:
        return None
    return how


def tell_status(root: Path) -> Any:
    return asdict(read_status(root)) | {"run": "", "standard_error": None}  # which also tells of the last estimates


def tell_merged(root: Path) -> Any:
    return bits(merge(RunPaths(root)))


def bits(merged: Merged) -> Any:
    columns = {name: merged.per_trial(name) for name in ("trial", "seed", "in_accuracy", "seconds")}
    matrices = {name: merged.packed(name) for name in ("mask", "train_correct", "test_correct")}
    return merged.n_failed, merged.n_missing, columns | matrices | merged.examples


def tell_estimates(root: Path) -> Any:
    merged = open_merged(RunPaths(root))
    found = store.current_estimates(merged)
    return asdict(found)


def tell_report(root: Path) -> Any:
    run = open_run(root)
    merged = open_merged(run.paths)
    found = store.current_estimates(merged)
    page = write_report(Source(run.spec, run.manifest, merged, found, run.load_data()), run.paths.report)
    return {each.name: each.read_bytes() for each in sorted(page.parent.rglob("*")) if each.is_file()}


def tell_export(root: Path) -> Any:
    run = open_run(root)
    merged = open_merged(run.paths)
    found = store.current_estimates(merged)
    return [path.read_bytes() for path in export(merged, found, "csv", root / "out.csv")]


def tell_verify(root: Path) -> Any:
    return verify(open_run(root), retrain=0).problems


COMMANDS: dict[str, Callable[[Path], Any]] = {
    "status": tell_status, "merge": tell_merged, "estimate": tell_estimates, "report": tell_report,
    "export": tell_export, "verify": tell_verify,
}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    try:
        np.testing.assert_equal(a, b)
    except AssertionError:
        return False
    return True


def test_damage_is_never_another_number(trained_run: Path, tmp_path: Path) -> None:
    """And where verification finds nothing, every command gives its right answer."""
    whole = tmp_path / "whole"
    shutil.copytree(trained_run, whole)
    (whole / "logs/20260101T000000Z-abcd-w0.log").write_text("a worker's last words\n")
    merged = open_merged(RunPaths(whole))
    store.estimate(merged, store.chosen_selection(merged.paths), dense=True)
    right = {name: tell(whole) for name, tell in COMMANDS.items()}
    assert right["verify"] == []
    (whole / "out.csv").unlink(), (whole / "out-pairs.csv").unlink()
    draw = np.random.default_rng(int(os.environ.get("MEMEXP_SEED", "0")))
    wrong, counts = [], dict.fromkeys(("right", "refused"), 0)
    turn = 0
    while sum(counts.values()) + len(wrong) < 3 * COUNT:
        copy = tmp_path / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        if draw.random() < 0.4:  # what is made from trials is made anew, from the damaged ones
            shutil.rmtree(copy / "merged.zarr")
            shutil.rmtree(copy / "estimates.zarr")
        kinds = kinds_of_files(copy)
        names = list(kinds)
        kind = names[draw.integers(len(names))]
        done = damage(kinds[kind][draw.integers(len(kinds[kind]))], kinds, HOW[draw.integers(len(HOW))], draw)
        if done is None:
            continue
        turn += 1
        others = ("merge", "estimate", "report", "export")
        said: dict[str, Any] = {}
        for name in ("verify", "status", others[turn % 4]):  # the first two change nothing
            try:
                said[name] = COMMANDS[name](copy)
            except MemexpError as error:
                counts["refused"] += 1
                said[name] = error
                if not REPAIR.search(str(error)):
                    wrong.append(f"{kind} {done}: {name} names no repair: {error}")
                continue
            except Exception as error:
                wrong.append(f"{kind} {done}: {name} fails with {type(error).__name__}: {error}")
                continue
            if name != "verify" and not same(said[name], right[name]):
                wrong.append(f"{kind} {done}: {name} gives another answer")
            counts["right"] += 1
        refused = {name: error for name, error in said.items() if isinstance(error, MemexpError)}
        if refused and said.get("verify") == []:
            wrong.append(f"{kind} {done}: verification found nothing, and {refused}")
        if kind in ("logs", "locks", "report") and (refused or said["verify"]):
            wrong.append(f"{kind} {done}: nothing depends on it, and {refused or said}")
    print(f"{turn} mutants: {counts}")
    assert not wrong, "\n".join(wrong)
    assert counts["refused"]
    assert counts["right"]
