"""The references of the spec and the profile are made from the models; editors get a schema with every word in it."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from memexp.profile import Profile
from memexp.spec import Spec

from .conftest import ROOT, make_spec


def test_the_references_are_what_the_models_say(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "docs/make_reference.py", "--out", tmp_path]
    subprocess.run(command, check=True, cwd=tmp_path)
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


def test_the_guides_table_names_every_key_of_a_profile() -> None:
    text = (ROOT / "docs/slurm.md").read_text()
    table = text[text.index("| key | meaning |") :].partition("\n\n")[0]
    named = [key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(Profile.model_fields)
