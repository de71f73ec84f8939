"""Trials that were trained elsewhere: a run of tables gives the estimates of the run that the tables are from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from memexp.analysis.estimates import estimate, open_estimates
from memexp.analysis.merged import open_merged
from memexp.analysis.pairs import Selection
from memexp.errors import InputError
from memexp.runs.imported import import_trials
from memexp.runs.run import Run, open_run
from memexp.runs.table_files import read_published
from memexp.runs.tables import make_tables
from memexp.store.paths import RunPaths
from tests.conftest import outcomes

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def arrays(trained_run: Path) -> Arrays:
    return outcomes(open_run(trained_run))


@pytest.fixture
def files(arrays: Arrays, tmp_path: Path) -> Path:
    names = {"mask": "masks", "train_margin": "margins", "test_margin": "test_margins", "train_correct": "correct"}
    names |= {"test_correct": "test_correct", "train_label": "labels", "test_label": "test_labels"}
    for name, file in names.items():
        np.save(tmp_path / f"{file}.npy", arrays[name])
    return tmp_path


WHOLE = [
    f"--{name.replace('_', '-')}={name}.npy"
    for name in ("masks", "margins", "test_margins", "correct", "test_correct", "labels", "test_labels")
]


@pytest.mark.long
def test_an_import_of_our_own_tables_gives_our_estimates(
    memexp: Callable[..., Any], files: Path, run_copy: Run
) -> None:
    done = memexp("import", "foreign", *WHOLE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "foreign"
    assert "40 trials, which saw 70.0 % of 300 examples" in done.stdout
    found = open_run(files / "foreign")
    assert found.is_imported
    theirs = estimate(open_merged(found.paths), Selection())
    ours = estimate(open_merged(run_copy.paths), Selection())
    for name in vars(ours.scores):
        np.testing.assert_array_equal(getattr(theirs.scores, name), getattr(ours.scores, name))
    for name in vars(ours.pairs):
        np.testing.assert_array_equal(getattr(theirs.pairs, name), getattr(ours.pairs, name))
    np.testing.assert_array_equal(open_estimates(found.paths).scores.memorization, ours.scores.memorization)


@pytest.mark.long
def test_what_reads_runs_reads_an_import(memexp: Callable[..., Any], files: Path) -> None:
    assert memexp("import", "foreign", *WHOLE).returncode == 0
    for words in (
        ["status", "foreign"],
        ["report", "foreign"],
        ["verify", "foreign"],
        ["compare", "foreign"],
        ["attack", "foreign", "--targets", 4],
        ["select", "foreign", "--out", "some.json"],
        ["export", "foreign", "--format", "lds", "--out", "tables"],
        ["datamodel", "foreign", "--out", "weights.npy"],
        ["estimate", "foreign", "--dense"],
    ):
        done = memexp(*words)
        assert done.returncode == 0, (words, done.stderr)
    page = (files / "foreign/report/index.html").read_text()
    assert "imported" in page
    assert "Python file" not in page, "which is not why there are no pictures"
    from memexp import open_run as look

    assert "40 trials done" in repr(look(files / "foreign"))
    assert look(files / "foreign").report().read_text() == page


def test_nothing_is_trained_on_an_import(memexp: Callable[..., Any], files: Path) -> None:
    assert memexp("import", "foreign", *WHOLE).returncode == 0
    done = memexp("resume", "foreign", "--executor", "local", "--workers", 0)
    assert done.returncode == 2
    assert "foreign was imported: its trials were trained elsewhere, and none can be added here" in done.stderr
    done = memexp("launch", "foreign/spec.yaml", "--executor", "local", "--workers", 0)
    assert done.returncode == 2
    assert "come without their images: nothing can be trained on them" in done.stderr
    again = memexp("import", "foreign", *WHOLE)
    assert again.returncode == 2
    assert "foreign exists; give the folder of a new run" in again.stderr


@pytest.mark.long
def test_margins_alone_are_enough(memexp: Callable[..., Any], files: Path, arrays: Arrays) -> None:
    """Of the training examples, as LiRA keeps them: memorization of `margin above 0`, attacks, no test examples."""
    done = memexp("import", "lira", "--masks", "masks.npy", "--margins", "margins.npy", "--labels", "labels.npy")
    assert done.returncode == 0, done.stderr
    assert "correct is taken to be a margin above 0" in done.stderr
    assert memexp("estimate", "lira").returncode == 0
    mask, right = arrays["mask"], arrays["train_margin"] > 0
    expected = [right[mask[:, i], i].mean() - right[~mask[:, i], i].mean() for i in range(300)]
    found = open_estimates(RunPaths(files / "lira")).scores.memorization
    np.testing.assert_allclose(found, expected, atol=1e-6)
    attacked = json.loads(memexp("attack", "lira", "--json").stdout)
    assert attacked["lira"]["auc"] > 0.6
    assert attacked["rmia"]["auc"] is None
    refused = memexp("lds", "lira", "margins.npy")
    assert refused.returncode == 2


@pytest.mark.long
def test_test_margins_alone_are_enough_for_attribution(memexp: Callable[..., Any], files: Path) -> None:
    """As the models of TRAK and datamodels are published: masks and margins of validation examples."""
    words = ["import", "trak", "--masks", "masks.npy", "--margins", "test_margins.npy", "--labels", "test_labels.npy"]
    done = memexp(*words)
    assert done.returncode == 0, done.stderr
    assert memexp("datamodel", "trak", "--out", "weights.npy", "--trials", "0:30").returncode == 0
    score = memexp("lds", "trak", "weights.npy", "--json")
    assert json.loads(score.stdout)["trials"] == 10
    refused = memexp("estimate", "trak")
    assert refused.returncode == 2
    assert "imported without outcomes on training examples, so there is no memorization" in refused.stderr
    assert memexp("attack", "trak").returncode == 2


@pytest.mark.long
def test_logits_give_margins_and_correctness(arrays: Arrays, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels, tests = arrays["train_label"], arrays["test_label"]
    logits, test_logits = random.normal(size=(40, 300, 10)), random.normal(size=(40, 100, 10))
    tables = make_tables(arrays["mask"], {"logits": logits}, {"logits": test_logits}, labels, tests)
    found = outcomes(import_trials(tmp_path / "logits", tables).run)
    np.testing.assert_array_equal(found["train_correct"], logits.argmax(axis=2) == labels)
    log_p = np.take_along_axis(log_softmax(logits, axis=2), labels[None, :, None], axis=2)[..., 0]
    np.testing.assert_allclose(found["train_margin"], log_p - np.log1p(-np.exp(log_p)), atol=0.01)
    np.testing.assert_array_equal(found["mask"], arrays["mask"])
    small = make_tables(arrays["mask"], {"logits": logits[..., :5]}, {}, labels, None)
    with pytest.raises(InputError, match="logits have 5 classes, but there is a label 9"):
        import_trials(tmp_path / "small", small)


def test_the_released_models_are_read(arrays: Arrays, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for t in range(4):
        seen, rest = (random.permutation(np.flatnonzero(each)) for each in (arrays["mask"][t], ~arrays["mask"][t]))
        order = random.permutation(100)
        folder = tmp_path / f"0.7/{t}"
        folder.mkdir(parents=True)
        np.savez(
            folder / "aux_arrays.npz", subsample_idx=seen, index_train=seen, index_removed=rest, index_test=order,
            correctness_train=arrays["train_correct"][t, seen], correctness_removed=arrays["train_correct"][t, rest],
            correctness_test=arrays["test_correct"][t, order],
        )  # fmt: skip
    masks, train, test = read_published(tmp_path)
    np.testing.assert_array_equal(masks, arrays["mask"][:4])
    np.testing.assert_array_equal(train["correct"], arrays["train_correct"][:4])
    np.testing.assert_array_equal(test["correct"], arrays["test_correct"][:4])
    with pytest.raises(InputError, match="holds no aux_arrays.npz"):
        read_published(tmp_path / "0.7/absent")


def tables(arrays: Arrays, **changes: Any) -> Any:
    given = {
        "masks": arrays["mask"],
        "train": {"correct": arrays["train_correct"]},
        "test": {"correct": arrays["test_correct"]},
        "labels": arrays["train_label"],
        "test_labels": arrays["test_label"],
    }
    return make_tables(**(given | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"masks": a["mask"].T}, r"masks have shape \(300, 40\) .*: the masks seem to be \(training exam"),
        (lambda a: {"train": {"correct": a["train_correct"].T}}, r"correct have shape \(300, 40\).*seem turned"),
        (lambda a: {"train": {"correct": a["train_correct"][1:]}}, r"correct have shape \(39, 300\); they must"),
        (lambda a: {"labels": a["train_label"][1:]}, r"labels have shape \(299,\); they must have \(300,\)"),
        (lambda a: {"labels": None}, "labels of the training examples are missing; give --labels"),
        (lambda a: {"test_labels": None}, "labels of the test examples are missing; give --test-labels"),
        (lambda a: {"labels": a["train_label"] - 1}, "labels are int64.*; give integers from 0"),
        (lambda a: {"train": {}, "test": {}}, "no outcomes: give --margins, --correct or --logits"),
        (lambda a: {"test": {}}, "labels of the test examples are given, but not what trials say of these"),
        (lambda a: {"masks": a["mask"][0]}, r"masks have shape \(300,\); give a matrix"),
        (lambda a: {"train": {"margins": a["train_margin"]}}, "margins of one half and none of the test examples"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused(arrays: Arrays, change: Callable[[Arrays], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tables(arrays, **change(arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"masks": ~a["mask"]}, "do worse on examples that the masks mark.*give --left-out if they do"),
        (lambda a: {"masks": a["mask"] * 2}, "masks of trial 0, example .*2.*; give true and false, or 1 and 0"),
        (lambda a: {"masks": np.ones_like(a["mask"])}, "masks: trial 0 saw every example"),
        (lambda a: {"masks": np.zeros_like(a["mask"])}, "masks: trial 0 saw no example"),
        (lambda a: {"train": {"correct": a["train_correct"] + 0.5}}, "correct of trial 0, example 0: .*1.5"),
        (
            lambda a: {
                "masks": a["mask"][[*range(40), 3]],
                "train": {"correct": a["train_correct"][[*range(40), 3]]},
                "test": {"correct": a["test_correct"][[*range(40), 3]]},
            },
            "trials 3 and 40 are the same one: mask and outcomes agree in every bit, and it would count twice",
        ),
        (
            lambda a: {"train": {"margins": a["train_margin"] * np.nan}, "test": {"margins": a["test_margin"]}},
            "margins of trial 0, example 0 are not a number; leave such trials out",
        ),
    ],
)
def test_values_that_are_none_are_refused(
    arrays: Arrays, tmp_path: Path, change: Callable[[Arrays], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        import_trials(tmp_path / "bad", tables(arrays, **change(arrays)))
    assert not list(tmp_path.glob("*")), "nothing is left"


def test_masks_may_mark_what_was_left_out(arrays: Arrays, tmp_path: Path) -> None:
    found = import_trials(tmp_path / "turned", tables(arrays, masks=~arrays["mask"], left_out=True))
    np.testing.assert_array_equal(outcomes(found.run)["mask"], arrays["mask"])
    assert found.gain is not None
    assert found.gain > 0.1


@pytest.mark.long
def test_trials_in_another_order_are_noticed(arrays: Arrays, tmp_path: Path) -> None:
    """Also where an import is whole and every number is right."""
    found = import_trials(tmp_path / "mixed", tables(arrays, masks=np.roll(arrays["mask"], 17, axis=0)))
    assert any("hardly better on what they saw" in line for line in found.remarks())
    assert not import_trials(tmp_path / "straight", tables(arrays)).remarks()


@pytest.mark.long
def test_files_that_are_no_arrays_are_refused(memexp: Callable[..., Any], files: Path) -> None:
    (files / "text.npy").write_text("masks")
    np.savez(files / "several.npz", a=np.ones(2), b=np.ones(3))
    for name, message in (
        ("text.npy", "text.npy cannot be read as an array"),
        ("absent.npy", "absent.npy cannot be read as an array"),
        ("several.npz", "several.npz holds a, b; say which: several.npz:a"),
    ):
        done = memexp("import", "bad", "--masks", name, "--correct", "correct.npy", "--labels", "labels.npy")
        assert done.returncode == 2
        assert message in done.stderr
    np.savez(files / "one.npz", masks=np.load(files / "masks.npy"))
    done = memexp("import", "one", "--masks", "one.npz:masks", "--correct", "correct.npy", "--labels", "labels.npy")
    assert done.returncode == 0, done.stderr
    assert memexp("import", "bad", "--correct", "correct.npy").returncode == 2


def test_a_spec_cannot_say_that_it_is_imported(memexp: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    done = memexp("plan", write_spec(subsets={"design": "imported", "ratio": None}))
    assert done.returncode == 2
    assert "'design: imported' and 'source: imported' go together" in done.stderr


def test_a_damaged_import_says_that_it_cannot_be_mended(memexp: Callable[..., Any], files: Path) -> None:
    assert memexp("import", "foreign", *WHOLE).returncode == 0
    chunk = next((files / "foreign/trials.zarr/train_correct/c").rglob("0"))
    shutil.rmtree(chunk) if chunk.is_dir() else chunk.unlink()
    done = memexp("verify", "foreign", "--repair")
    assert done.returncode == 1
    assert "was imported, so nothing of it can be made again; import it anew" in done.stderr
