"""The references say what the code does: spec and profile are made from the models, the store's tables are a run's.

Editors get a schema with every word in it.
"""

from __future__ import annotations

import difflib
import json
import re
import runpy
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zarr
from pydantic import BaseModel

from memexp.analysis.estimates import ESTIMATES_SCHEMA, estimate
from memexp.analysis.merged import MERGED_SCHEMA, open_merged
from memexp.analysis.pairs import Selection
from memexp.runs.run import Run, open_run
from memexp.slurm.profile import Profile
from memexp.spec.spec import Spec
from memexp.store.derived import MATRICES
from memexp.store.manifest import SCHEMA_VERSION
from tests.conftest import ROOT, make_spec
from tests.documents import table_below

STORE = ROOT / "docs/store.md"


def test_the_references_are_what_the_models_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "docs/make_reference.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--out", str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    for name in ("spec.md", "profile.md"):
        committed, made = ((folder / name).read_text().splitlines() for folder in (ROOT / "docs", tmp_path))
        changes = "\n".join(difflib.unified_diff(committed, made, lineterm=""))
        assert not changes, f"{changes}\nIf that is meant: python docs/make_reference.py"


@pytest.mark.parametrize("model", [Spec, Profile])
def test_every_key_is_described(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    blocks = {model.__name__: schema} | schema.get("$defs", {})
    silent = [
        f"{block}.{key}"
        for block, content in blocks.items()
        for key, value in content["properties"].items()
        if "description" not in value and key != "source"
    ]
    assert not silent, "Field(description=...) is missing"


@pytest.mark.parametrize(
    "removed", [[3, 5], {"one": [3], "two": [4, 5]}, "removed.json"], ids=["a list", "named lists", "a file"]
)
def test_the_schema_takes_what_the_spec_takes(removed: Any) -> None:
    """An editor must not mark a bare list of indices as wrong."""
    make_spec(subsets={"design": "remove", "ratio": None, "trials": 2, "removed": removed})
    allowed = Spec.model_json_schema()["$defs"]["Subsets"]["properties"]["removed"]["anyOf"]
    assert {list: "array", dict: "object", str: "string"}[type(removed)] in [each["type"] for each in allowed]


# --------------------------------------------------------------------------------------------- store


@pytest.fixture(scope="module")
def whole_run(recording_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with everything that a store can have: all that is recorded, flipped labels, the dense matrix."""
    run = open_run(shutil.copytree(recording_run, tmp_path_factory.mktemp("whole") / "copy"))
    estimate(open_merged(run.paths), Selection(strongest=1), dense=True)
    return run


def arrays_of(group: zarr.Group, sizes: dict[int, str], place: str = "") -> dict[str, tuple[str, str, str]]:
    """(dimensions, type, chunk) of each array as the page writes them; ``sizes`` has words for lengths of chunks."""
    found = {}
    for name, array in group.arrays():
        chunk = ", ".join(sizes.get(size, str(size)) for size in array.chunks)
        names = [str(name) for name in array.metadata.dimension_names or ()]  # type: ignore[union-attr]
        found[place + name] = (", ".join(names), str(array.dtype), chunk)
    for name, inner in group.groups():
        found |= arrays_of(inner, sizes, f"{name}/")
    return found


@pytest.mark.parametrize("store", ["trials.zarr", "merged.zarr", "estimates.zarr"])
def test_the_tables_of_arrays_are_those_of_a_run(store: str, whole_run: Run) -> None:
    layout = whole_run.store().layout
    pairs = zarr.open_group(whole_run.paths.estimates, mode="r")["pairs/train"].shape[0]  # type: ignore[union-attr]
    sizes = {layout.block_size: "block", layout.n_train: "train", layout.n_test: "test", pairs: "pair", 10: "class"}
    assert len(sizes) == 5, "two lengths are the same; the comparison would not tell them apart"
    group = zarr.open_group(whole_run.paths.root / store, mode="r")
    there = arrays_of(group, sizes)
    if store == "estimates.zarr":
        for name in MATRICES:
            assert there[name][2] == "test, train"  # so few examples are one tile
            there[name] = (*there[name][:2], "tile")
    told = {
        name: (dimensions, dtype, chunk)
        for names, dimensions, dtype, chunk, _ in table_below(STORE, store)
        for name in re.findall(r"`([\w/]+)`", names)
    }
    assert told == there


def test_the_checksums_are_where_the_page_says(whole_run: Run) -> None:
    for store in ("trials", "merged", "estimates"):
        group = zarr.open_group(whole_run.paths.root / f"{store}.zarr", mode="r")
        for name in arrays_of(group, {}):
            codecs = [type(codec).__name__ for codec in group[name].compressors]  # type: ignore[union-attr]
            assert codecs == (["Crc32cCodec"] if name in MATRICES else ["ZstdCodec", "Crc32cCodec"]), name


def test_the_tables_of_files_and_keys_are_those_of_a_run(whole_run: Run) -> None:
    paths = whole_run.paths
    paths.report.parent.mkdir(exist_ok=True)
    paths.partial.mkdir()  # which only a long block makes
    told = {row[0].strip("`") for row in table_below(STORE, "A run on disk")}
    assert told == {path.name for path in paths.root.iterdir()}
    receipt = next(paths.blocks.glob("*.json"))
    for heading, file in (("manifest", paths.manifest), ("Receipts", receipt)):
        keys = [key for row in table_below(STORE, heading) for key in re.findall(r"`(\w+)`", row[0])]
        assert keys
        assert sorted(keys) == sorted(json.loads(file.read_text())), heading
    (attempt, *_) = paths.attempts.glob("*.json")
    attempts = next(row[3] for row in table_below(STORE, "A run on disk") if row[0] == "`attempts`")
    assert set(attempts.split(", ")) == {"process" if key == "pid" else key for key in json.loads(attempt.read_text())}


def test_the_attributes_named_are_there(whole_run: Run) -> None:
    text = STORE.read_text()
    marks = ["## merged.zarr", "## estimates.zarr", "## Reading it"]
    for (start, end), store in zip(pairwise(marks), ("merged.zarr", "estimates.zarr"), strict=True):
        section = text[text.index(start) : text.index(end)]
        told = section.partition("Its attributes: ")[2]
        there = dict(zarr.open_group(whole_run.paths.root / store, mode="r").attrs)
        assert sorted(re.findall(r"`(\w+)`", told)) == sorted(there)


def test_the_versions_are_the_codes() -> None:
    now = {row[1]: int(row[2]) for row in table_below(STORE, "Versions")}
    assert list(now.values()) == [SCHEMA_VERSION, SCHEMA_VERSION, MERGED_SCHEMA, ESTIMATES_SCHEMA]


@pytest.mark.long
@pytest.mark.parametrize("other", [99, 1])
def test_derived_stores_of_another_version_are_made_again(whole_run: Run, tmp_path: Path, other: int) -> None:
    paths = open_run(shutil.copytree(whole_run.paths.root, tmp_path / "copy")).paths
    for path, key, now in (
        (paths.merged, "memexp_merged_schema", MERGED_SCHEMA),
        (paths.estimates, "memexp_estimates_schema", ESTIMATES_SCHEMA),
    ):
        zarr.open_group(path, mode="r+").attrs[key] = other
        estimate(open_merged(paths), Selection())
        assert zarr.open_group(path, mode="r").attrs[key] == now
