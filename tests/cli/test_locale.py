"""Files are UTF-8 whatever the locale: a run that was trained under another one is the same run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from memexp.data import load_data
from memexp.runs.run import prepare_run
from memexp.spec.reading import read_spec
from tests.conftest import changed

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
CLASSES = ["Zürich", "Ἀθῆναι", "猫", "العربية", "naïve", "Ø", "[/x]", "<b>", "ß", "nine"]


@pytest.mark.process
def test_a_run_under_an_ascii_locale_is_the_run_of_any_other(
    tmp_path: Path, memexp_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images[:300].reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    parts = {"x_train": images[:200], "y_train": labels[:200], "x_test": images[200:], "y_test": labels[200:300]}
    np.savez(tmp_path / "digits.npz", **parts, classes=np.array(CLASSES))
    spec = changed(dataset={"source": "npz", "path": "digits.npz"}, subsets={"trials": 10})
    path = tmp_path / "spec.yaml"
    path.write_text(f"# für alle: 猫\n{yaml.safe_dump(spec)}", encoding="utf-8")

    for words in (
        ["launch", "spec.yaml", "--yes", "--device", "cpu", "--workers", "1"],
        ["report", "runs/tiny"],
        ["export", "runs/tiny", "--format", "csv", "--out", "scores.csv"],
        ["status", "runs/tiny"],
    ):
        done = memexp_process(*words, env=ASCII)
        assert done.returncode == 0, done.stderr
    page = (tmp_path / "runs/tiny/report/index.html").read_text("utf-8")
    assert all(name in page for name in CLASSES if name not in ("[/x]", "<b>"))

    found = read_spec(path).spec
    here = prepare_run(found, load_data(found.dataset), tmp_path / "other")
    for mine, theirs in ((here.paths.spec, "spec.yaml"), (here.paths.manifest, "manifest.json")):
        content = (tmp_path / "runs/tiny" / theirs).read_text("utf-8")
        if theirs == "spec.yaml":
            assert content == mine.read_text("utf-8")
        else:
            assert here.manifest.identity in content
