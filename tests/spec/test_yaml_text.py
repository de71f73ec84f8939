"""YAML: what is read is what is written again, type by type; nothing means something else; nothing hangs."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memexp.data import load_data
from memexp.errors import InputError, SpecError
from memexp.files import digest
from memexp.runs.run import Run, open_run, prepare_run
from memexp.runs.worker import Trainer
from memexp.slurm.profile import read_profile
from memexp.spec import yaml_text
from memexp.spec.reading import read_spec, write_spec
from memexp.spec.spec import Spec
from memexp.spec.sweep import read_file
from memexp.spec.sweep_note import runs_of
from memexp.spec.yaml_text import Unquoted, as_yaml, first_lost, parse, same
from memexp.store.manifest import Manifest
from tests.conftest import SHARED, changed, make_spec

# ------------------------------------------------------------------------------- written and read again

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
SINGLE = st.one_of(
    TEXT, st.integers(-(10**40), 10**40), st.floats(), st.booleans(), st.none(), st.dates(), st.binary(max_size=9),
    st.datetimes(timezones=st.just(dt.UTC) | st.none()),
    st.sampled_from(["1e-3", "0o17", "010", "1:30", "no", "None", "nan", "~", "a\x85b\nc"]),
    st.sampled_from(["x\r\ny", "\u2028", " \n x", "\ufeff", "\t\n", "a: b", "- a", "=", "<<", "\x0c\n"]),
)  # fmt: skip
KEYS = st.one_of(TEXT, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False), st.dates())
VALUES = st.recursive(
    SINGLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.sets(KEYS, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_again_type_by_type(value: Any) -> None:
    text = as_yaml({"value": value})
    for stored in (True, False):
        parsed = parse(text, stored)
        assert not parsed.faults
        assert same(parsed.value, {"value": value}), text
    assert first_lost(value) is None


def test_same_tells_types_apart() -> None:
    different = [
        0,
        0.0,
        -0.0,
        False,
        None,
        "",
        "0",
        math.nan,
        b"",
        [],
        {},
        set(),
        [0],
        [0.0],
        {0: 1},
        {"0": 1},
        {0: 1.0},
    ]
    for a, b in itertools.product(enumerate(different), repeat=2):
        assert same(a[1], b[1]) == (a[0] == b[0])


ARGUMENTS = """
  weights: {0: 50.0, 1: 0.0, true: 2, null: 3, 1.5: 4, 2026-01-02: 5}
  far: [.inf, -.inf, .nan, 1.0e-3]
  day: 2026-01-02
  moment: 2026-01-02 03:04:05
  names: !!set {a, 1}
  raw: !!binary aGk=
  quoted: ["0100", "1:30", "no", '1e-3', "None"]
""".replace("true: 2", "false: 2").replace("0: 50.0", "2: 50.0")


def test_arguments_reach_model_and_recipe_as_they_were_read(tmp_path: Path) -> None:
    code = "LINE = 'a\x85b'\n\ndef train(model, images, labels, seed, **more):\n    pass\n"
    (tmp_path / "recipe.py").write_text(code, encoding="utf-8")
    text = yaml.safe_dump(changed(training=None))
    text = text.replace("training: null", f"training:\n  file: recipe.py{ARGUMENTS}")
    (tmp_path / "spec.yaml").write_text(text)
    spec = read_spec(tmp_path / "spec.yaml").spec
    run = open_run(prepare_run(spec, load_data(spec.dataset), tmp_path / "runs").paths.root)
    assert same(run.spec.model_dump(), spec.model_dump())
    found = run.spec.training.arguments  # type: ignore[union-attr]
    assert same(found["weights"], {2: 50.0, 1: 0.0, False: 2, None: 3, 1.5: 4, dt.date(2026, 1, 2): 5})
    assert same(found["far"], [math.inf, -math.inf, math.nan, 0.001])
    assert same(found["names"], {"a", 1})
    assert same(found["raw"], b"hi")
    assert same(found["quoted"], ["0100", "1:30", "no", "1e-3", "None"])
    assert run.spec.training.code.source == code  # type: ignore[union-attr]
    found["weights"].clear()  # a recipe may change what it gets
    assert len(run.spec.training.arguments["weights"]) == 6  # type: ignore[union-attr]
    assert same(read_spec(run.paths.spec).spec.model_dump(), spec.model_dump())  # a run's spec is a spec


def test_the_case_of_integer_keys_trains_with_the_weights_of_the_plan(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if not SHARED.exists():
        pytest.skip("needs the shared cases")
    spec = read_spec(SHARED / "cases/yaml_int_keys/spec.yaml").spec
    run = open_run(prepare_run(spec, load_data(spec.dataset), tmp_path).paths.root)
    Trainer(run, "cpu").train(0)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("weights used")]
    assert len(lines) == 10
    assert {line.split("weights used: ")[1] for line in lines} == {f"{[50.0, 0.0] + [1.0] * 8} keys: [0, 1]"}


@pytest.mark.parametrize("lost", [(16,), {"a": (1,)}, [1 + 2j], [object()], "\ud800", {"a": Unquoted("1e-3")}])
def test_what_would_be_something_else_is_not_written(lost: Any) -> None:
    with pytest.raises(InputError, match=r"model\.hidden.* read it as something else"):
        write_spec(make_spec(model={"hidden": lost}))


# ------------------------------------------------------------------------------------------- identity


def test_the_identity_tells_types_apart() -> None:
    values = [0, 0.0, False, None, "0", "", math.nan, math.inf, "nan", b"0", [0], {0: 1}, {"0": 1}, {False: 1},
              {0.0: 1},
              {None: 1}, {"null": 1}, {"!!map": [[0, 1]]}, {0}, {"!!set": [0]}, dt.date(2026, 1, 2), "2026-01-02",
              dt.datetime(2026, 1, 2), {"!!date": "2026-01-02"}]  # fmt: skip
    sciences = [make_spec(model={"value": value}).science() for value in values]
    assert len({digest(science) for science in sciences}) == len(values)
    manifests = [Manifest(science, {}, "", 1, 1, 1, [], {}, "") for science in sciences]
    for (i, a), (j, b) in itertools.product(enumerate(manifests), repeat=2):
        assert bool(a.differences(b)) == (i != j)
    assert digest(make_spec(model={"a": {1: 2, "x": 3}}).science()) == digest(
        make_spec(model={"a": {"x": 3, 1: 2}}).science()
    )


@pytest.mark.parametrize(
    ("blocks", "known"),
    [
        ({}, "55aa1f560962404f3cb965252e3b74193afdc240da80293f84a75d9552cf3d3a"),
        (
            {"model": {"arch": "resnet18", "drop": 0.5, "n": {"a": [1, None, True, "x"], "b": {}}, "stem": None}},
            "a26f91e4cd5bb647d28131298fe7de30899ca722addcb56d9eedb6739db1c26d",
        ),
        (
            {
                "subsets": {
                    "design": "remove", "ratio": None, "seed": 0, "trials": 4, "control": True,
                    "removed": {"memorization >= 0.5": [1, 2]},
                }
            },
            "ecef58aa1cee038b0b65d76ed0932bc315819bc17fd9747c2a64d314129531ba",
        ),
    ],
)  # fmt: skip
def test_the_identity_of_older_runs_stays(blocks: dict[str, Any], known: str) -> None:
    """Digests of the version before types were kept, whose default was to record `correct` alone."""
    assert digest(make_spec(record=["correct"], **blocks).science()) == known


def test_texts_that_an_older_version_wrote_without_quotes_stay_texts() -> None:
    assert parse("a: [1e-3, None, nan, 0o17]", stored=True).value == {"a": ["1e-3", "None", "nan", "0o17"]}


# ------------------------------------------------------------------------- what means something else

SPEC = """name: x
dataset: {source: digits}
model:
  arch: memexp_mlp
  given: MODEL
training:
  epochs: 1
  batch_size: 8
  lr: 0.1
  GIVEN
subsets: {ratio: 0.5, trials: 2}
"""


def refusal(tmp_path: Path, text: str) -> str:
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(tmp_path / "spec.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("momentum: no", "momentum: 'no': must be a valid number"),
        ("momentum: false", "momentum: False: must be a number"),
        ("weight_decay: true", "weight_decay: True: must be a number"),
        ("warmup_epochs: on", "warmup_epochs: 'on': must be a valid number"),
        ("decay: .nan", "decay: nan: must be a finite number"),
        ("milestones: [yes]", "milestones[0]: 'yes': must be a valid number"),
        ("milestones: [010]", "milestones[0]: '010' starts with 0, which YAML reads as octal"),
        ("weight_decay: 1:30", "weight_decay: '1:30' has a colon, which YAML reads as base 60"),
        ("weight_decay: 1:30.5", "weight_decay: '1:30.5' has a colon"),
        ("weight_decay: -0100", "weight_decay: '-0100' starts with 0"),
        ("weight_decay: 00", "weight_decay: '00' starts with 0"),
        ("weight_decay: 1.0e+400", "weight_decay: '1.0e+400' is beyond the largest number"),
        ("nesterov: 1", "nesterov: 1: must be true or false"),
        ("nesterov: 'yes'", "nesterov: 'yes': must be true or false"),
        ("augment: {crop: 1.0}", "augment.crop: 1.0: must be a valid integer"),
        ("augment: {crop: yes}", "augment.crop: 'yes': must be a valid integer"),
        ("augment: {flip: maybe}", "augment.flip: 'maybe': must be true or false"),
        ("schedule: 1", "schedule: 1 is not allowed"),
    ],
)
def test_what_means_something_else_is_refused_with_its_line(given: str, said: str, tmp_path: Path) -> None:
    assert f"line 10: training.{said}" in refusal(tmp_path, SPEC.replace("GIVEN", given).replace("MODEL", "1"))


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("momentum: 1e-3", {"momentum": 0.001}),
        ("weight_decay: 5.e-4", {"weight_decay": 0.0005}),
        ("nesterov: yes", {"nesterov": True}),
        ("augment: {flip: On, crop: 4}", {"augment": {"crop": 4, "flip": True}}),
        ("standardize: no", {"standardize": False}),
        ("momentum: 0", {"momentum": 0.0}),
    ],
)
def test_what_is_clear_is_taken(given: str, value: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("GIVEN", given).replace("MODEL", "1_000"))
    spec = read_spec(tmp_path / "spec.yaml").spec
    assert same({key: spec.training.model_dump(exclude_unset=True)[key] for key in value}, value)
    assert same(spec.model.arguments, {"given": 1000})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("1e-3", "given: 1e-3 is text in YAML 1.1 and a number elsewhere"),
        ("[2, [1E5]]", "given[1][0]: 1E5 is text"),
        ("nan", "given: nan is text in YAML 1.1 and a number"),
        ("0o17", "given: 0o17 is text"),
        ("None", "given: None is text in YAML; write null"),
        ("off", "given: off is false in YAML 1.1 and text in YAML 1.2; write true or false"),
        ("{no: 1}", "given.no: no is false in YAML 1.1"),
        ("!!set {no}", "given[0]: no is false"),
        ("0100", "given: '0100' starts with 0"),
        ("{010: 1}", "given: '010' starts with 0"),
        ("{1: 2, true: 3}", "given.true: written twice"),
        ("{1: 2, 1.0: 3}", "given.1.0: written twice"),
        ("!!omap [a: 1]", "given[0]: the tasks of a run would read it as something else"),
        ("2026-02-30", "given: '2026-02-30' cannot be read as timestamp"),
        ("0x_", "given: '0x_' cannot be read as int"),
        ("!!bool abc", "given: 'abc' cannot be read as bool"),
        ("!!null abc", "given: 'abc' is no null"),
        ("!!float abc", "given: 'abc' cannot be read as float"),
        ("!!timestamp abc", "given: 'abc' cannot be read as timestamp"),
        ("!!binary a", "given: 'a' cannot be read as binary"),
        ("!!python/object/apply:os.system [ls]", "given: this cannot be read as python/object/apply:os.system"),
        ("9" * 5000, "(5,002 characters) cannot be read as int"),
        ("0x" + "f" * 5000, "(5,004 characters) is beyond the largest number"),
        ("[" * 5000, "line 5: nested more than 40 deep"),
        ("[" * 60 + "]" * 60, "line 5: nested more than 40 deep"),
        ("&a [*a]", "line 5: *a refers to what it stands in"),
        ("&a {k: {l: *a}}", "line 5: *a refers to what it stands in"),
        ("*a", "line 5, column 10: found undefined alias"),
        ("{? [1] : 2}", "given: a key must be a single value"),
        ('"\\0"', "given: '\\x00' holds a character that no file can"),
        ("{<<: 1}", "line 5, column 15: expected a mapping or list of mappings for merging"),
        ("\x07", "line 5: a character that YAML does not allow, '\\x07'"),
    ],
)
def test_an_unclear_or_impossible_argument_is_refused_with_its_line(given: str, said: str, tmp_path: Path) -> None:
    before = time.monotonic()
    said_all = refusal(tmp_path, SPEC.replace("MODEL", given).replace("GIVEN", ""))
    assert said in said_all
    assert "line 5" in said_all
    assert len(said_all) < 1000
    assert time.monotonic() - before < 5


def bomb(inner: str, levels: int = 9) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"[: levels + 1]
    lines = [f"{b}: &{b} " + inner.replace("X", ", ".join([f"*{a}"] * 9)) for a, b in itertools.pairwise(letters)]
    return "\n".join(["a: &a {k: 1}", *lines, ""])


@pytest.mark.parametrize("text", [bomb("[X]"), bomb("{<<: [X]}"), bomb("{v: [X]}")])
def test_bombs_of_aliases_are_refused_before_they_go_off(text: str, tmp_path: Path) -> None:
    before = time.monotonic()
    assert "more than 500,000 values, aliases counted as often as they are used" in refusal(tmp_path, text)
    assert time.monotonic() - before < 5


def test_long_chains_of_anchors_are_refused_before_they_are_followed(tmp_path: Path) -> None:
    chain = "".join(f"a{n}: &a{n} [*a{n - 1}]\n" if n else "a0: &a0 [1]\n" for n in range(3000))
    assert "nested more than 40 deep" in refusal(tmp_path, chain)


def test_merge_keys_and_aliases_are_what_they_stand_for(tmp_path: Path) -> None:
    text = SPEC.replace("MODEL", "&m {a: 1, b: [2]}\n  more: {<<: *m, a: 3}\n  again: *m").replace("GIVEN", "")
    (tmp_path / "spec.yaml").write_text(text)
    given = read_spec(tmp_path / "spec.yaml").spec.model.arguments
    assert same(given, {"given": {"a": 1, "b": [2]}, "more": {"a": 3, "b": [2]}, "again": {"a": 1, "b": [2]}})


def test_without_libyaml_values_and_lines_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        SPEC.replace("MODEL", "[1, {a: no, 2: 1e-3}]").replace("GIVEN", ""),
        "a: &x [1]\nb: [*x, '010', 010]\nc: {d: 1, d: 2}\n",
    ]
    found = [parse(text) for text in texts]
    monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)
    for text, before in zip(texts, found, strict=True):
        again = parse(text)
        assert (again.lines, again.faults) == (before.lines, before.faults)
        assert same(again.value, before.value)


@pytest.mark.long
def test_a_long_list_of_indices_is_read_soon_and_faults_keep_their_lines(tmp_path: Path) -> None:
    rows = "\n".join(f"    - {index}" for index in range(0, 128_000, 2))
    text = yaml.safe_dump(changed(subsets=None), sort_keys=False).replace(
        "subsets: null\n", f"subsets:\n  design: remove\n  removed:\n{rows}"
    )
    before = time.process_time()
    said = refusal(tmp_path, text + "\n  trials: 0\n")
    seconds = time.process_time() - before
    assert f"line {text.count(chr(10)) + 2}: subsets.trials: 0: must be greater than" in said
    assert "1 fault\n" in said
    assert seconds < 6 or not yaml.__with_libyaml__


# -------------------------------------------------------------------------------------- profile, sweep


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time_min: 1:30", "line 1: time_min: '1:30' has a colon"),
        ("time_min: 0100", "line 1: time_min: '0100' starts with 0"),
        ("time_min: yes", "line 1: time_min: 'yes': must be a valid integer"),
        ("time_min: 1e1", "line 1: time_min: '1e1': must be a valid integer"),
        ("time_min: 60\nmem_gb: true", "line 2: mem_gb: True: must be a number"),
        ("time_min: 60\nsbatch: {time: 1:30:00}", "line 2: sbatch.time: '1:30:00' has a colon"),
        ("time_min: 60\nsbatch: {begin: 16:00}", "line 2: sbatch.begin: '16:00' has a colon"),
        ("time_min: 60\nsbatch: {nice: [1]}", "line 2: sbatch.nice: [1]: must be text, a number, true or false"),
        ("time_min: 60\nsetup: module load cuda", "line 2: setup: 'module load cuda': must be a valid list"),
        ("time_min: 60\nenv: {A: 1}", "line 2: env.A: 1: must be a valid string"),
        ('time_min: 60\npython: "a\\0b"', "line 2: python: 'a\\x00b' holds a character"),
    ],
)
def test_a_profile_is_read_as_strictly(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        read_profile(str(tmp_path / "p.yaml"))
    assert said in str(caught.value)
    assert "1 fault\n" in str(caught.value)


def test_options_of_sbatch_keep_their_types(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "time_min: 60\nsbatch: {exclusive: yes, gres: 'gpu:1', nice: 5, hint: 1e5}\nenv: {A: no}"
    )
    profile = read_profile(str(tmp_path / "p.yaml"))
    assert same(dict(profile.sbatch), {"exclusive": True, "gres": "gpu:1", "nice": 5, "hint": "1e5"})
    assert profile.env == {"A": "no"}


def test_a_sweep_keeps_types_and_names(tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text("def train(model, images, labels, seed, lr, w):\n    pass\n")
    base = changed(name="base", training=None) | {"training": {"file": "recipe.py", "lr": 0.1}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    sweep = "name: s\nbase: base.yaml\nvary:\n  training.w: [{0: 1}, {'1': 1}]\n  training.standardize: [yes, no]\n"
    (tmp_path / "sweep.yaml").write_text(sweep)
    files = read_file(tmp_path / "sweep.yaml").files
    names = [f"w_{key}_1_-standardize{flag}" for key in ("0", "1") for flag in ("True", "False")]
    assert [file.spec.name for file in files] == names
    assert same([file.spec.training.arguments["w"] for file in files[::2]], [{0: 1}, {"1": 1}])  # type: ignore[union-attr]
    assert [file.spec.training.standardize for file in files] == [True, False] * 2
    for change, said in (
        (("w: [{0: 1}", "w: [{no: 1}"), "training.w.no: no is false"),
        (("base.yaml", "~nobody-of-this-name/x"), "starts with the home of an unknown user"),
        (("[yes, no]", "[010]"), "'010' starts with 0"),
        (("[yes, no]", f"{list(range(600))}"), "vary makes 1,200 runs; a sweep may have 1,000"),
    ):
        (tmp_path / "sweep.yaml").write_text(sweep.replace(*change))
        with pytest.raises(SpecError, match="sweep.yaml") as caught:
            read_file(tmp_path / "sweep.yaml")
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "note", ["", "runs", "runs: 3", "runs: [../x]", "runs: [[a]]", "{", "other: []", "runs: {a: 1}"]
)
def test_a_damaged_note_of_a_sweep_names_its_repair(note: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(note)
    with pytest.raises(Exception, match=r"sweep\.yaml is damaged .* launch the sweep's file again"):
        runs_of(tmp_path)


# ------------------------------------------------------------------------------------------------ paths

BAD_PATHS = ['"a\\0b"', "~nobody-of-this-name/data", "x" * 300, "y/" * 3000, '""', '"\\ud800"']


@pytest.mark.parametrize("path", BAD_PATHS, ids=range(len(BAD_PATHS)))
@pytest.mark.parametrize("where", ["dataset", "model", "training", "removed", "python"])
def test_an_impossible_path_is_refused_wherever_it_stands(where: str, path: str, tmp_path: Path) -> None:
    spec = changed()
    if where in ("dataset", "python"):
        spec["dataset"] = {"source": "npz" if where == "dataset" else "python", "path": "PATH"}
    elif where == "removed":
        spec["subsets"] = {"design": "remove", "trials": 2, "removed": "PATH"}
    else:
        spec[where] = spec[where] | {"file": "PATH"}
    said = refusal(tmp_path, yaml.safe_dump(spec).replace("PATH", path))
    assert "path" in said or "character" in said
    assert len(said) < 2000


def test_pipes_and_far_too_large_files_are_refused_at_once(tmp_path: Path, memexp: Callable[..., Any]) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(1 << 40)
    for name, said in (("pipe.yaml", "it is no ordinary file"), ("large.yaml", "far too large for a text")):
        done = memexp("plan", name)
        assert done.returncode == 2
        assert said in done.stderr
        spec = changed(training=None) | {"training": {"file": name}}
        assert said in refusal(tmp_path, yaml.safe_dump(spec))
        spec = changed() | {"subsets": {"design": "remove", "trials": 2, "removed": name}}
        assert said in refusal(tmp_path, yaml.safe_dump(spec))


@pytest.mark.parametrize("path", ["x" * 300, "y/" * 3000, "a\udce4b", ""])
def test_an_impossible_path_on_the_command_line_is_refused(path: str, memexp: Callable[..., Any]) -> None:
    for command in (["plan", path], ["status", path], ["launch", "x.yaml", "--runs", path], ["merge", path, path],
                    ["export", "x", "--out", path], ["resume", "x", "--profile", path or "\udce4"]):  # fmt: skip
        done = memexp(*command)
        assert done.returncode == 2, command
        assert "Traceback" not in done.stderr
        assert 10 < len(done.stderr) < 600


# ------------------------------------------------------------------------------- seeds, names of lists


@pytest.mark.long
@pytest.mark.parametrize("seed", [2**63 - 1, 2**63, 122807528840384100672342137672332424406])
def test_a_seed_of_any_size_works_down_to_the_estimates(seed: int, new_run: Callable[..., Run]) -> None:
    from memexp.analysis.estimates import estimate
    from memexp.analysis.merged import open_merged
    from memexp.analysis.pairs import Selection

    noise = {"fraction": 0.1, "seed": seed}
    run = new_run(
        dataset={"source": "digits", "limit": {"train": 100, "test": 20}, "label_noise": noise},
        training={"epochs": 1}, subsets={"seed": seed, "trials": 10},
    )  # fmt: skip
    Trainer(run, "cpu").train(0)
    merged = open_merged(run.paths)
    assert estimate(merged, Selection()).scores.memorization.shape == (100,)
    assert open_merged(run.paths).n_trials == 10  # merged again: the trials are known by their seed


def test_the_names_of_lists_are_names_only(tmp_path: Path) -> None:
    from memexp.analysis.removal import read_conditions
    from memexp.report.removal_report import removal_section

    lists = {"memorization by Alice": [1, 2, 3], "memorization >= high": [7], "memorization": [8], "other": [4, 5]}
    spec = make_spec(subsets={"design": "remove", "ratio": None, "trials": 4, "removed": lists})
    run = prepare_run(spec, load_data(spec.dataset), tmp_path)
    Trainer(run, "cpu").train(0)
    section = removal_section(read_conditions(run.spec, run.store()), 200)
    assert section["figure"] is None
    assert [row[0] for row in section["rows"]] == list(lists)  # type: ignore[attr-defined]
    stated = spec.model_copy(update={"subsets": spec.subsets.model_copy(update={"removed_thresholds": {"other": 0.3}})})
    conditions = read_conditions(stated, run.store())
    assert [c.threshold for c in conditions] == [None, None, None, 0.3]
    assert removal_section(conditions, 200)["figure"] is not None


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 300])
def test_a_list_has_a_name_that_can_be_shown(name: str) -> None:
    with pytest.raises(ValueError, match="must be a name of 1 to 200 printable characters"):
        make_spec(subsets={"design": "remove", "ratio": None, "removed": {name: [1]}})


def test_a_spec_of_python_objects_is_checked_as_one_of_yaml() -> None:
    with pytest.raises(ValueError, match="must be a number"):
        Spec.model_validate(changed(training={"lr": True}))


@pytest.mark.long
@pytest.mark.parametrize("case", ["seed_128_bits", "removed_list_name"])
def test_the_cases_of_the_spec_train_and_are_reported(case: str, tmp_path: Path, memexp: Callable[..., Any]) -> None:
    if not SHARED.exists():
        pytest.skip("needs the shared cases")
    for path in sorted((SHARED / "cases" / case).glob("*.yaml")):
        done = memexp("launch", path, "--yes", "--executor", "local", "--device", "cpu", "--workers", "0")
        assert done.returncode == 0, done.stderr
        done = memexp("report", tmp_path / "runs" / read_spec(path).spec.name)
        assert done.returncode == 0, done.stderr
