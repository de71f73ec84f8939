"""What the manifest says about reproducibility is so, on every device that this machine has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from memexp.data import load_data
from memexp.files import to_record
from memexp.runs.run import Run
from memexp.seeds import torch_seed
from memexp.spec.designs import draw_masks
from memexp.spec.spec import Spec
from memexp.store.manifest import DETERMINISM, read_manifest
from memexp.training.batches import prepare
from memexp.training.block import Outcome, train_block
from tests.conftest import make_spec


def train(spec: Spec, device: str = "cpu", threads: int = 1) -> list[Outcome]:
    data = load_data(spec.dataset)
    torch.set_num_threads(threads)
    return train_block(prepare(spec, data, device), draw_masks(spec.subsets, len(data.y_train), range(6)), range(6))


def bits(outcomes: list[Outcome]) -> list[bytes]:
    return [o.arrays[name].tobytes() for o in outcomes for name in ("train_correct", "test_correct", "train_margin")]


def agree(a: list[Outcome], b: list[Outcome]) -> float:
    """Share of the examples on which two trainings of the same trials have one outcome."""
    return float(
        np.mean([np.mean(x.arrays["train_correct"] == y.arrays["train_correct"]) for x, y in zip(a, b, strict=True)])
    )


SPEC = {
    "dataset": {"source": "digits", "limit": {"train": 400, "test": 60}},
    "model": {"arch": "memexp_cnn", "width": 8},
    "training": {"epochs": 8},
    "record": ["correct", "margin"],
}


def test_the_manifest_makes_a_statement_for_each_device_that_is_no_part_of_the_identity(
    new_run: Callable[..., Run],
) -> None:
    run = new_run()
    written = json.loads(run.paths.manifest.read_text())
    assert written["determinism"] == DETERMINISM
    assert DETERMINISM.keys() == {"everywhere", "cpu", "cuda", "between devices"}
    written["determinism"] = {"cpu": "in other words"}
    del written["digest"]
    run.paths.manifest.write_bytes(to_record(written))
    assert read_manifest(run.paths).identity == run.manifest.identity


def test_everywhere_masks_and_seeds_are_these() -> None:
    """Drawn once, on another day; a change would let trials of two versions of one run be mixed."""
    masks = draw_masks(make_spec(subsets={"trials": 40}).subsets, 1000, range(40))
    assert hashlib.sha256(np.packbits(masks).tobytes()).hexdigest()[:16] == "378a4b1a0d444990"
    assert [torch_seed(3, "weights", trial) for trial in (0, 1)] == [5297496833586029517, 5451941696698224159]


@pytest.mark.long
def test_on_a_cpu_the_bits_are_the_same_with_the_same_threads() -> None:
    spec = make_spec(**SPEC)
    assert bits(train(spec)) == bits(train(spec))


@pytest.mark.long
def test_with_other_threads_outcomes_agree_statistically() -> None:
    spec = make_spec(**SPEC)
    one, two = train(spec, threads=1), train(spec, threads=2)
    other = train(make_spec(**SPEC, subsets={"seed": 4}))
    assert agree(one, two) > 0.97
    assert agree(one, other) < agree(one, two), "other subsets and weights differ more than other roundings"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_outcomes_agree_statistically_with_the_cpus() -> None:
    spec = make_spec(**SPEC)
    cpu, first, second = train(spec), train(spec, "cuda"), train(spec, "cuda")
    assert agree(first, second) > 0.97
    assert agree(cpu, first) > 0.97
