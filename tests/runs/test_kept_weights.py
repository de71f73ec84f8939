"""Kept weights: loaded again they say what was recorded, bit for bit; they are missed and made as outcomes are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from memexp.errors import InputError, StoreError
from memexp.notebook import RunView
from memexp.runs.kept_weights import evaluate_kept, load_model
from memexp.runs.run import Run, grow, open_run, prepare_run
from memexp.runs.verify import repair, verify
from memexp.runs.worker import Trainer
from memexp.store import commit as commits
from memexp.store.commit import recover
from memexp.store.receipts import read_receipts
from memexp.store.weights import weights_path
from memexp.training import models
from tests.conftest import Done

RECORD = ["correct", "margin", "predicted", "probabilities"]
CNN = {"arch": "memexp_cnn", "width": 4}


@pytest.mark.long
@pytest.mark.parametrize("model", [{"hidden": [16]}, CNN], ids=["a stack", "one by one"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_loaded_weights_say_what_was_recorded(
    model: dict[str, Any], precision: str, new_run: Callable[..., Run]
) -> None:
    run = new_run(
        model=model, record=RECORD, keep={"weights": 2}, subsets={"trials": 7, "design": "uniform"},
        training={"epochs": 1, "precision": precision, "augment": {"flip": True}},
    )  # fmt: skip
    Trainer(run, "cpu").train(0)
    assert sorted(path.name for path in run.paths.weights.iterdir()) == ["000000.safetensors", "000001.safetensors"]
    content, data = run.store().read_block(0), run.load_data()
    view = RunView(run)
    for trial in (0, 1):
        found = evaluate_kept(run, trial, data)
        for name in found.keys() - {"train_probabilities", "test_probabilities"}:
            again = np.asarray(found[name]).astype(content[name].dtype)
            np.testing.assert_array_equal(again, content[name][trial], err_msg=name)
        assert found.keys() - content.keys() == set()
        images = torch.from_numpy(data.x_test).permute(0, 3, 1, 2).float() / 255
        mean, deviation = (float(getattr(data.x_train / 255, name)()) for name in ("mean", "std"))
        said = view.model(trial)((images - mean) / deviation).argmax(1).numpy()
        assert (said == content["test_predicted"][trial]).mean() > 0.9  # other roundings, other batches
    assert not verify(run, retrain=7).problems
    with pytest.raises(InputError, match="no weights of trial 2 were kept .*; there are those of 2 trials, 0 to 1"):
        load_model(run, 2, data)
    with pytest.raises(InputError, match="trial 7 is none of"):
        load_model(run, 7, data)


@pytest.mark.long
def test_the_weights_that_training_began_with_may_be_gone(new_run: Callable[..., Run], tmp_path: Path) -> None:
    file = tmp_path / "first.safetensors"
    save_file(models.create("memexp_cnn", {"width": 4}, (8, 8, 1), 10, 5).state_dict(), file)
    model = CNN | {"weights": str(file)}
    run = new_run(model=model, keep={"weights": 1}, subsets={"trials": 2}, training={"epochs": 1})
    Trainer(run, "cpu").train(0)
    file.unlink()
    found = evaluate_kept(run, 0, run.load_data())
    np.testing.assert_array_equal(found["test_margin"], run.store().read_block(0)["test_margin"][0])


@pytest.fixture
def run(new_run: Callable[..., Run]) -> Run:
    made = new_run(keep={"weights": 2}, subsets={"trials": 4, "design": "uniform"}, training={"epochs": 1})
    Trainer(made, "cpu").train(0)
    return made


@pytest.mark.long
def test_the_digest_stands_in_the_receipt_and_lost_weights_are_made_again(run: Run) -> None:
    (receipt,) = read_receipts(run.paths)
    paths = {trial: weights_path(run.paths, int(trial)) for trial in ("0", "1")}
    assert receipt.weights == {trial: hashlib.sha256(path.read_bytes()).hexdigest() for trial, path in paths.items()}
    assert load_file(paths["0"])["hidden.0.weight"].shape == (16, 64)
    before = paths["0"].read_bytes()
    paths["0"].write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"000000\.safetensors differs from its receipt"):
        load_model(run, 0, run.load_data())
    paths["0"].unlink()
    verdict = verify(run, retrain=0)
    assert "000000.safetensors is missing" in verdict.faults[0]
    assert repair(run, verdict) == [0, 1, 2, 3]
    Trainer(run, "cpu").train(0)
    assert paths["0"].read_bytes() == before
    assert not verify(run, retrain=0).problems


@pytest.mark.long
def test_weights_of_a_killed_worker_come_with_its_block(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the receipt, before anything is in place; and one that lost the race leaves what is there."""
    before = weights_path(run.paths, 0).read_bytes()
    repair(run, verify_without(run, 0))
    with monkeypatch.context() as patch:
        patch.setattr(commits, "_publish", lambda *_: None)
        Trainer(run, "cpu").train(0)
    assert not weights_path(run.paths, 0).exists()
    assert not Trainer(run, "cpu").train(0)["counts"]
    assert weights_path(run.paths, 0).read_bytes() == before
    repair(run, verify_without(run, 0))
    with monkeypatch.context() as patch:
        patch.setattr(commits, "_publish", lambda *_: None)
        Trainer(run, "cpu").train(0)
    recover(run.paths, run.store(writable=True))
    assert weights_path(run.paths, 0).read_bytes() == before


def verify_without(run: Run, trial: int) -> Any:
    weights_path(run.paths, trial).unlink()
    return verify(run, retrain=0)


@pytest.mark.long
def test_what_is_kept_may_change_while_a_run_goes_on(run: Run) -> None:
    """It is no part of the experiment; trials that are done leave nothing more behind."""
    data, runs = run.load_data(), run.paths.root.parent

    def going_on(**update: Any) -> Run:
        made = prepare_run(run.spec.model_copy(update=update), data, runs)
        grow(made)
        return open_run(run.paths.root)

    keep = run.spec.keep.model_copy(update={"weights": 6})
    more = going_on(keep=keep)
    assert (more.spec.keep.weights, more.spec.subsets.trials) == (6, 4)
    assert more.manifest.identity == run.manifest.identity
    subsets = run.spec.subsets.model_copy(update={"trials": 7})
    more = going_on(keep=keep, subsets=subsets)
    Trainer(more, "cpu").train(0)
    kept = sorted(int(path.stem) for path in run.paths.weights.glob("*.safetensors"))
    assert kept == [0, 1, 4, 5]
    for trial in kept:
        margins = evaluate_kept(more, trial, data)["train_margin"]
        np.testing.assert_array_equal(margins, more.store().read_block(0)["train_margin"][trial])
    silent = more.spec.model_fields_set - {"keep"}
    without = more.spec.model_copy()
    object.__setattr__(without, "__pydantic_fields_set__", silent)
    assert prepare_run(without, data, runs).spec.keep == keep
    assert not verify(more, retrain=0).problems


def test_the_plan_says_what_they_take(
    write_spec: Callable[..., Path], memexp: Callable[..., Done], tmp_path: Path
) -> None:
    write_spec(keep={"weights": 100})
    done = memexp("plan", "spec.yaml")
    assert "of the first 20 trials are kept" in done.stdout
    trial = tmp_path / "mine.py"
    trial.write_text(
        "import numpy as np\ndef sizes():\n    return 4, 2\n"
        "def trial(mask, seed):\n    return {'train': np.zeros(4), 'test': np.zeros(2)}\n"
    )
    own = "name: own\ntrial: {file: mine.py}\nkeep: {weights: 1}\nsubsets: {ratio: 0.5, trials: 2}\n"
    (tmp_path / "own.yaml").write_text(own)
    done = memexp("plan", "own.yaml")
    assert done.returncode == 2
    assert "has no weights that memexp knows" in done.stderr
