"""Labels: votes equal a loop over trials, planted flips come first, cleanlab reads what is written."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from memexp.analysis import votes as votes_module
from memexp.analysis.confident import write_cleanlab
from memexp.analysis.intervals import wilson
from memexp.analysis.labels import judge_labels
from memexp.analysis.merged import merge
from memexp.analysis.values import data_values
from memexp.analysis.votes import Votes
from memexp.cli.labels import _show
from memexp.errors import InputError
from memexp.notebook import RunView
from memexp.report.labels_page import _facts
from memexp.runs.run import open_run
from memexp.spec.spec import Subsets
from memexp.store.trials import DONE, FAILED
from tests.analysis.test_estimates import Arrays, make_store, random_trials
from tests.conftest import Done

CLASSES = 3


def with_predictions(n_trials: int, labels: tuple[Any, Any], seed: int, margins: bool = True) -> Arrays:
    """Random trials whose correct follows from random predictions."""
    draws = np.random.default_rng(seed)
    trials = random_trials(n_trials, *map(len, labels), seed, margins)
    for axis, label in zip(("train", "test"), labels, strict=True):
        trials[f"{axis}_predicted"] = draws.integers(0, CLASSES, (n_trials, len(label))).astype(np.uint8)
        trials[f"{axis}_correct"] = trials[f"{axis}_predicted"] == label
    return trials


@pytest.mark.long
@pytest.mark.parametrize("margins", [False, True])
def test_votes_are_those_of_the_trials_that_did_not_see_the_example(
    margins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(votes_module, "_VALUES", 100)  # several parts in a band
    draws = np.random.default_rng(5)
    labels = draws.integers(0, CLASSES, 40), draws.integers(0, CLASSES, 17)
    trials = with_predictions(30, labels, 5, margins)
    trials["mask"] = draws.random((30, 40)) < 0.5
    trials["mask"][:, 7] = True
    status = np.where(np.arange(30) == 4, FAILED, DONE).astype(np.uint8)
    votes = Votes(merge(make_store(tmp_path / "a", trials, status, 7, labels)), CLASSES)
    found = judge_labels(votes)
    done = status == DONE
    for axis, label in zip(("train", "test"), labels, strict=True):
        judged, shares = found.judged[axis], np.full((len(label), CLASSES), np.nan)
        for i, given in enumerate(label):
            counted = done & ~trials["mask"][:, i] if axis == "train" else done
            said = trials[f"{axis}_predicted"][counted, i]
            assert judged.trials[i] == len(said)
            if not len(said):
                assert judged.suggested[i] == -1
                assert np.isnan(judged.share_given[i])
                continue
            count = np.bincount(said, minlength=CLASSES)
            shares[i] = count / len(said)
            best = given if count[given] == count.max() else int(count.argmax())
            assert judged.suggested[i] == best
            assert judged.share_given[i] == count[given] / len(said)
            assert judged.share_suggested[i] == count.max() / len(said)
            if margins:
                logit = trials[f"{axis}_margin"][counted, i].astype(np.float64)
                assert judged.confidence[i] == pytest.approx((1 / (1 + np.exp(-logit))).mean(), abs=1e-6)
        score = judged.confidence if margins else judged.share_given
        assert (np.diff(score[judged.order][: int((~np.isnan(score)).sum())]) >= 0).all()
        assert sorted(judged.rank) == list(range(1, len(label) + 1))
        for given in range(CLASSES):
            np.testing.assert_allclose(found.confusion[axis][given], np.nanmean(shares[label == given], axis=0))
        assert np.isnan(judged.share_given).sum() == (axis == "train")
    assert found.judged["train"].rank[7] == 40
    low, high = wilson([0, 5, 10], [10, 10, 10])[1:]
    np.testing.assert_allclose(low, [0, 0.2366, 0.7225], atol=1e-4)  # R: prop.test(5, 10, correct = FALSE) and so on
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1], atol=1e-4)


def test_issues_are_where_another_class_is_confident(tmp_path: Path) -> None:
    """By hand: of class 0 the shares of itself are 1, 1, .1, mean .7; of class 1 they are 1, .6, mean .8."""
    given = np.array([0, 0, 0, 1, 1])
    predicted = np.zeros((10, 5), np.uint8)
    predicted[:9, 2] = 1  # .9 of class 1: confidently another
    predicted[:, 3] = 1
    predicted[:6, 4] = 1  # .6 of class 1 and .4 of class 0: confidently neither
    trials: Arrays = {
        "mask": np.zeros((10, 5), bool),
        "train_predicted": predicted,
        "train_correct": predicted == given,
    }
    trials |= {"test_predicted": predicted[:, :2], "test_correct": predicted[:, :2] == given[:2]}
    paths = make_store(tmp_path / "a", trials, np.full(10, DONE, np.uint8), 5, (given, given[:2]))
    found = judge_labels(Votes(merge(paths), CLASSES))
    assert found.judged["train"].issue.tolist() == [False, False, True, False, False]
    assert found.judged["train"].pairs() == [(0, 1, 1)]
    if not importlib.util.find_spec("cleanlab"):
        assert (found.expected, found.counted_by) == ({"train": 1, "test": 0}, "the votes")


@pytest.mark.long
def test_planted_flips_come_first(trained_run: Path, memexp: Callable[..., Done], tmp_path: Path) -> None:
    done = memexp("labels", trained_run, "--csv", "found.csv", "--out", "found.png", "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    rows = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    assert [row["split"] for row in rows] == ["train"] * 300 + ["test"] * 100
    examples = open_run(trained_run).store().examples()
    train = sorted((row for row in rows if row["split"] == "train"), key=lambda row: int(row["index"]))
    assert [int(row["given"]) for row in train] == examples["train_label"].tolist()
    assert [row["flipped"] == "True" for row in train] == examples["train_label_flipped"].tolist()
    flipped = examples["train_label_flipped"]
    assert roc_auc_score(flipped, [-int(row["rank"]) for row in train]) > 0.97
    suggested = np.array([int(row["suggested"]) for row in train])
    assert (suggested[flipped] == examples["train_label_original"][flipped]).mean() > 0.7
    first = numbers["train"]["first"][0]
    assert {"index": int(rows[0]["index"]), "given": int(rows[0]["given"])}.items() <= first.items()
    assert abs(numbers["train"]["expected_wrong"] - flipped.sum()) < 12
    assert sum(pair["count"] for pair in numbers["train"]["pairs"]) == numbers["train"]["suggested_differs"]
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_fits_a_terminal(trained_run: Path, memexp: Callable[..., Done]) -> None:
    done = memexp("labels", trained_run, "--top", 3, env={"COLUMNS": "80"})
    assert "of 300 are probably wrong" in done.stdout
    assert "test labels: about" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert sum(line.startswith("     1 ") for line in done.stdout.splitlines()) == 2


def test_an_example_is_told_by_the_name_that_the_data_have_for_it(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody finds photograph 82 of a folder."""
    found = judge_labels(Votes(RunView(open_run(trained_run)).merged, 10))
    files = np.array([f"cats/IMG {k}.jpg" for k in range(300)], dtype=object)
    _show(found, [str(k) for k in range(10)], 3, {"train_id": files})
    train, test = capsys.readouterr().out.split("\n\n")[:2]
    assert [line[7:].split("  ")[0] for line in train.splitlines()[3:]] == list(files[found.judged["train"].order[:3]])
    assert [int(line.split()[1]) for line in test.splitlines()[3:]] == found.judged["test"].order[:3].tolist()


def test_a_notebook_has_the_same_table(trained_run: Path) -> None:
    view = RunView(open_run(trained_run))
    frame = view.labels()
    judged = judge_labels(Votes(view.merged, 10)).judged
    for axis in ("train", "test"):
        mine = frame[frame["split"] == axis].set_index("index")
        np.testing.assert_array_equal(mine["share_given"].sort_index(), judged[axis].share_given)
        assert mine["rank"].tolist() == list(range(1, len(mine) + 1))


def test_cleanlab_is_given_shares_out_of_sample(trained_run: Path, memexp: Callable[..., Done], tmp_path: Path) -> None:
    done = memexp("export", trained_run, "--format", "cleanlab", "--out", "made")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(list((tmp_path / "made").iterdir())) == 4
    votes = Votes(RunView(open_run(trained_run)).merged, 10)
    for axis, before in (("train", ""), ("test", "test_")):
        shares, labels = (np.load(tmp_path / f"made/{before}{name}.npy") for name in ("pred_probs", "labels"))
        np.testing.assert_array_equal(labels, votes.labels(axis))
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        judged = judge_labels(votes).judged[axis]
        np.testing.assert_allclose(shares[np.arange(len(labels)), labels], judged.share_given, atol=1e-7)


def test_what_cannot_be_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros(4, np.int64), np.zeros(2, np.int64)
    without = merge(make_store(tmp_path / "a", random_trials(4, 4, 2, 0), np.full(4, DONE, np.uint8), 2, labels))
    with pytest.raises(InputError, match="did not record which class they predicted.*under another name with `record:"):
        Votes(without, CLASSES)
    trials = with_predictions(4, labels, 0)
    trials["mask"][:] = [True, False, True, False]
    votes = Votes(merge(make_store(tmp_path / "b", trials, np.full(4, DONE, np.uint8), 2, labels)), CLASSES)
    found = judge_labels(votes)
    _show(found, ["a", "b", "c"], 1, {})
    assert f"training labels: about {found.expected['train']} of 2 are probably wrong; 2 are" in capsys.readouterr().out
    assert ("not judged: in every trial", "2") in _facts(found, "train")
    assert len(_facts(found, "test")) == 4
    (tmp_path / "out").mkdir()
    (tmp_path / "out/test_labels.npy").touch()  # of an earlier export
    with pytest.raises(InputError, match="training example 0 is in every trial of .*Train more trials: `memexp resume"):
        write_cleanlab(votes, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file; --format cleanlab writes several"):
        write_cleanlab(votes, tmp_path / "file")
    with pytest.raises(InputError, match="cannot create the folder"):
        write_cleanlab(votes, tmp_path / "not/there")


def test_a_run_without_a_test_set_is_judged_too(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2, 0]), np.zeros(0, np.int64)
    trials = with_predictions(6, labels, 1)
    trials["mask"] = np.arange(4) % 2 == np.arange(6)[:, None] % 2
    merged = merge(make_store(tmp_path / "a", trials, np.full(6, DONE, np.uint8), 3, labels))
    found = judge_labels(Votes(merged, CLASSES))
    assert list(found.judged) == ["train"]
    assert len(write_cleanlab(Votes(merged, CLASSES), tmp_path / "out")) == 2
    with pytest.raises(InputError, match="has no test examples"):
        data_values(merged, Subsets.model_validate({"design": "uniform", "ratio": 0.5, "trials": 6}))
