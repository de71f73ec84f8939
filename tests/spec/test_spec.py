"""The spec: everything wrong is said at once, with its line and a way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memexp.errors import SpecError
from memexp.spec.reading import check_spec, read_spec, write_spec
from memexp.spec.spec import Spec
from tests.conftest import ROOT, TINY, changed, make_spec


def test_all_faults_come_in_one_message_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: digits\n"
        "nme: 3\n"
        "dataset: {source: idx, pth: x}\n"
        "model: {arch: memexp_mlp}\n"
        "training:\n"
        "  epochs: many\n"
        "  batch_size: 128\n"
        "  learning_rate: 0.1\n"
        "  lr: 0.1\n"
        "  lr: 0.2\n"
        "subsets: {design: balancd, ratio: 1.7, trials: 1e3}\n"
    )
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 9 faults",
        "  line 2: nme: unknown key. Did you mean 'name'? Allowed: dataset, keep, model, name, "
        "record, subsets, training, trial",
        "  line 3: dataset.path: missing; the spec needs it",
        "  line 3: dataset.pth: unknown key. Did you mean 'path'? Allowed: class_names, label_noise, limit, path, source, "
        "tests",
        "  line 6: training.epochs: 'many': must be a valid number, unable to parse string as a number",
        "  line 8: training.learning_rate: unknown key. Did you mean 'lr'? Allowed: augment, batch_size, clip_norm, decay, "
        "ema, epochs, label_smoothing, lr, milestones, min_in_accuracy, momentum, nesterov, optimizer, "
        "optimizer_arguments, precision, schedule, standardize, warmup_epochs, weight_decay",
        "  line 10: training.lr: written twice (first in line 9); keep one",
        "  line 11: subsets.design: 'balancd' is not allowed. Did you mean 'balanced'? "
        "Allowed: uniform, balanced, bernoulli, remove, imported",
        "  line 11: subsets.ratio: 1.7: must be less than 1",
        "  line 11: subsets.trials: '1e3': must be a valid integer",
    ]


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ({"dataset": {"source": "digit"}}, "dataset.source: 'digit' is no data source. Did you mean 'digits'?"),
        ({"dataset": {"path": "x"}}, "dataset.source: missing"),
        ({"dataset": {"sorce": "digits"}}, "the dataset block needs it. Did you mean it by 'sorce'?"),
        ({"subsets": {"ratio": 0}}, "subsets.ratio: 0: must be greater than 0"),
        ({"subsets": {"trials": 0}}, "subsets.trials: 0: must be greater than or equal to 1"),
        ({"subsets": {"trials": True}}, "subsets.trials: True: must be a valid integer"),
        ({"subsets": {"trials": None}}, "subsets.trials: missing; give a number, or target_se"),
        ({"subsets": {"target_se": 0.03}}, "20 is not the 1330 that follow from target_se 0.03; delete trials or"),
        (
            {"subsets": {"trials": None, "target_se": 3}},
            "1 fault\n  line 21: subsets.target_se: 3: must be less than 1",
        ),
        (
            {"subsets": {"trials": None, "target_se": 0.1, "design": "remove", "ratio": None}},
            "subsets.trials: target_se needs a ratio, and a design",
        ),
        ({"subsets": {"ratio": None}}, "subsets: ratio is missing; 'design: balanced' needs it"),
        ({"subsets": {"design": "remove"}}, "subsets: ratio does not go with 'design: remove'"),
        ({"subsets": {"design": "remove", "ratio": None}}, "subsets: 'design: remove' needs removed"),
        ({"training": {"warmup_epochs": 3}}, "warmup_epochs = 3 must be less than epochs = 3"),
        ({"training": {"schedule": "step"}}, "'schedule: step' needs them"),
        ({"training": {"schedule": "step", "milestones": [2, 1]}}, "milestones = [2.0, 1.0] must rise"),
        ({"training": {"schedule": "step", "milestones": [1, 3]}}, "must rise, and stay below epochs = 3"),
        ({"training": {"momentum": 0, "nesterov": True}}, "nesterov needs a momentum"),
        ({"training": {"lr": float("nan")}}, "training.lr"),
        ({"record": ["margin"]}, "record: must contain 'correct'"),
        ({"name": "a/b"}, "name: 'a/b' must be 1 to 100 letters"),
    ],
)
def test_each_fault_is_named(blocks: dict[str, Any], words: str, write_spec: Callable[..., Path]) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(write_spec(**blocks))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "name: [\n", "just words"])
def test_what_is_not_a_spec_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match="spec.yaml"):
        read_spec(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\n\tdataset: {}\n", r"line 2, column 1: found character '\\t' that cannot start .* spaces, not tabs"),
        ("name: a\ndataset: {source: digits\nmodel: {}\n", "line 3, column 6: expected ',' or '}', but got ':'"),
        ("name: a: b\n", "line 1, column 8: mapping values are not allowed here"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=f"not valid YAML: {words}") as caught:
        read_spec(path)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read the spec .*No such file"):
        read_spec(tmp_path / "absent.yaml")
    (tmp_path / "digits.yaml").write_text("")
    with pytest.raises(SpecError, match="No such file or directory; did you mean .*digits.yaml?"):
        read_spec(tmp_path / "digit.yaml")
    with pytest.raises(SpecError, match="Is a directory; give the path of a YAML file"):
        read_spec(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        read_spec(tmp_path / "binary.yaml")


def test_the_resolved_spec_reads_back_the_same() -> None:
    import yaml

    spec = make_spec()
    again, faults = check_spec(yaml.safe_load(write_spec(spec)))
    assert again == spec
    assert not faults


def test_paths_start_at_the_specs_folder(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        "name: x\ndataset: {source: npz, path: data/x.npz}\nmodel: {arch: memexp_mlp}\n"
        "training: {epochs: 1, batch_size: 8, lr: 0.1}\nsubsets: {ratio: 0.5, trials: 2}\n"
    )
    dataset = read_spec(tmp_path / "spec.yaml").spec.dataset
    assert dataset.path == str(tmp_path / "data/x.npz")  # type: ignore[union-attr]


def test_moves_drawn_by_the_host_are_another_experiment_than_those_that_the_device_drew() -> None:
    plain = make_spec().science()
    assert plain["training"]["augment"] == {"crop": 0, "flip": False}, "the identity of runs that move nothing stays"
    for augment in ({"crop": 1}, {"flip": True}):
        moving = make_spec(training={"augment": augment}).science()
        assert moving["training"]["augment"].pop("drawn") == "by the host"
        assert moving == plain | {"training": plain["training"] | {"augment": {"crop": 0, "flip": False} | augment}}


def test_name_trials_and_dataset_are_not_science_but_everything_else_is() -> None:
    base = make_spec().science()
    assert make_spec(name="other", subsets={"trials": 400}).science() == base
    for blocks in (
        {"training": {"lr": 0.1}},
        {"model": {"hidden": [17]}},
        {"subsets": {"seed": 4}},
        {"subsets": {"design": "uniform"}},
        {"record": ["correct", "margin"]},
    ):
        assert make_spec(**blocks).science() != base


def test_schema_is_valid_json_and_forbids_unknown_keys() -> None:
    schema = json.loads(json.dumps(Spec.model_json_schema()))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {
        "name", "trial", "dataset", "model", "training", "subsets", "record", "keep"
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_spec_of_the_project_is_valid(path: Path) -> None:
    assert read_spec(path).spec.name == path.stem


def test_the_tiny_spec_of_the_tests_is_valid() -> None:
    assert Spec.model_validate(TINY) == Spec.model_validate(changed())
