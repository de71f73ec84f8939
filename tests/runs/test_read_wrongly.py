"""Specs whose data or model were once read wrongly, planned in process: each gives the right value, or one line."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memexp.errors import DataError, InputError, RunMismatch, SpecError
from memexp.files import to_json
from memexp.runs.plan import Plan, make_plan
from memexp.runs.run import Run, open_run
from memexp.spec.index_sets import pack, unpack
from memexp.spec.reading import read_spec
from memexp.store.manifest import read_manifest
from tests.conftest import SHARED


@pytest.fixture
def plan_case(tmp_path: Path) -> Callable[[str, str], Plan]:
    """Plan a spec of a case in a copy of its folder, its data made first."""
    if not SHARED.exists():
        pytest.skip("the cases beside the project are not here")

    def plan(name: str, spec: str) -> Plan:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(SHARED / "cases" / name, folder)
            if (folder / "make.py").exists():
                with chdir(folder):
                    runpy.run_path("make.py")
        return make_plan(read_spec(folder / spec))

    return plan


def test_icons_are_composed_on_white(plan_case: Callable[..., Plan]) -> None:
    plan = plan_case("alpha_lost", "spec.yaml")
    assert len({image.tobytes() for image in plan.data.x_train}) > 100, "they were one black image"
    assert plan.data.x_train.max() == 255
    assert "10 of 120 training images are exactly equal to another one" in plan.notes


def test_linked_folders_count(plan_case: Callable[..., Plan]) -> None:
    assert plan_case("symlinked_subfolder", "spec.yaml").layout.n_train == 100


def test_folders_named_by_numbers(plan_case: Callable[..., Plan]) -> None:
    assert plan_case("numeric_folders", "two.yaml").class_counts == [("1", 10), ("2", 10)]
    plan = plan_case("numeric_folders", "named.yaml")
    grey = {name: plan.data.x_train[plan.data.y_train == label].mean() for label, name in enumerate(plan.data.classes)}
    for number, name in ((2, "two"), (10, "ten"), (11, "eleven")):
        assert abs(grey[name] - 20 * number) < 3


def test_classes_as_a_mapping(plan_case: Callable[..., Plan]) -> None:
    plan = plan_case("classes_as_mapping", "spec.yaml")
    assert plan.data.classes == ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.mark.parametrize("spec", ["two_axes.yaml", "four_axes.yaml"])
def test_tables_of_features(spec: str, plan_case: Callable[..., Plan]) -> None:
    assert plan_case("table_features", spec).data.x_train.shape == (200, 1, 1, 20)


@pytest.mark.parametrize(
    ("case", "spec", "words"),
    [
        ("non_utf8_names", "spec.yaml", r"train/caf.udce9: the name b'caf.xe9' is no UTF-8; rename it"),
        ("vit_sees_a_corner", "patch16.yaml", r"never sees 67 % of the image \(rows 16 to 27, columns 16 to 27\)"),
        ("dropout_in_eval", "Wrong.yaml", "random in evaluation: asked twice about the same images"),
        ("model_returns_tuple", "spec.yaml", "gives a tuple of 2 for 4 images; .* return the logits alone"),
        ("model_returns_tuple", "timm.yaml", "gives a list of 5 for 4 images; .* return the logits alone"),
        ("weights_file", "s.yaml", "the weights file w.pth does not exist"),
    ],
)
def test_what_cannot_be_right_is_refused(case: str, spec: str, words: str, plan_case: Callable[..., Plan]) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        plan_case(case, spec)
    str(caught.value).encode()


@pytest.mark.parametrize(("case", "spec"), [("vit_sees_a_corner", "cnn.yaml"), ("dropout_in_eval", "Right.yaml")])
def test_their_right_counterparts_pass(case: str, spec: str, plan_case: Callable[..., Plan]) -> None:
    assert plan_case(case, spec).parameters


def test_a_constant_feature_keeps_its_scale(plan_case: Callable[..., Plan]) -> None:
    from memexp.training.batches import normalized, prepare

    plan = plan_case("standardize_constant_feature", "spec.yaml")
    work = prepare(plan.spec, plan.data, "cpu")
    assert float(normalized(work, work.x_test).abs().max()) < 100, "it was 1e8"


def test_names_in_the_manifest_that_are_not_those_of_the_data_are_refused(new_run: Callable[..., Run]) -> None:
    run = new_run()
    content: dict[str, Any] = {"identity": run.manifest.identity} | vars(run.manifest)
    names = [*run.manifest.classes]
    names[2], names[3] = names[3], names[2]
    run.paths.manifest.write_bytes(to_json(content | {"classes": names}))
    assert read_manifest(run.paths).identity == run.manifest.identity
    with pytest.raises(DataError, match=r"label 2 is '3' in .*manifest.json, but '2' in the data \(2 such names\)"):
        open_run(run.paths.root).load_data()


def test_other_names_in_a_spec_that_is_launched_again_are_refused(new_run: Callable[..., Run]) -> None:
    """The run would keep the old ones without a word."""
    names = [*"abcdefghij"]
    block = {"source": "digits", "limit": {"train": 200, "test": 60}}
    run = new_run(dataset=block | {"class_names": names})
    assert new_run(dataset=block | {"class_names": names}).paths == run.paths
    with pytest.raises(RunMismatch, match=r"label 1 is 'b' in .*manifest.json, but 'B' in this spec \(1 such names\)"):
        new_run(dataset=block | {"class_names": ["a", "B", *names[2:]]})


RECIPE = """
import torch.nn.functional as F
from torch import nn

class Noisy(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, x):
        return self.inner(F.dropout(x))

class Centred(Noisy):
    def forward(self, x):
        return self.inner(x - x.mean(0))

def train(model, images, labels, seed, kind):
    return {"Noisy": Noisy, "Centred": Centred}[kind](model)
"""


@pytest.mark.parametrize(("kind", "words"), [("Noisy", "is random in evaluation"), ("Centred", "without the other")])
def test_a_module_that_a_recipe_returns_is_tried_too(
    kind: str, words: str, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    from memexp.runs.run import prepare_run
    from memexp.runs.worker import Trainer

    (tmp_path / "recipe.py").write_text(RECIPE)
    path = write_spec()
    lines = path.read_text().splitlines()
    kept = [*lines[: lines.index("training:")], f"training: {{file: recipe.py, kind: {kind}}}"]
    path.write_text("\n".join([*kept, *lines[lines.index("subsets:") :]]))
    plan = make_plan(read_spec(path))
    run = prepare_run(plan.spec, plan.data, tmp_path / "runs")
    with pytest.raises(InputError, match=f"recipe.py: the trained module .*{words}"):
        Trainer(run, "cpu").train(0)


@pytest.mark.long
def test_packed_indices_that_unpack_to_more_than_any_training_set_are_refused() -> None:
    import base64
    import tracemalloc
    import zlib

    bomb = "bits:" + base64.b64encode(zlib.compress(bytes(100_000_000), 9)).decode()
    tracemalloc.start()
    with pytest.raises(ValueError, match="must be a list of training example indices"):
        unpack(bomb)
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()
    cut = "bits:" + base64.b64encode(zlib.compress(bytes(1000), 9)[:-6]).decode()
    with pytest.raises(ValueError, match="must be a list of training example indices"):
        unpack(cut)
    np.testing.assert_array_equal(unpack(pack([3, 70_000])), [3, 70_000])
