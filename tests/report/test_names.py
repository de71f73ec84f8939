"""What the data call their examples goes from the source to every table, page and notebook; how tables are shown."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import yaml
from PIL import Image

import memexp as package
from memexp.analysis.merged import open_merged
from memexp.report.looks import look_of
from memexp.runs.run import open_run
from tests.conftest import Done, changed, in_process, made_once
from tests.report.test_report import browser, page  # noqa: F401 (fixtures)


class Arrays:
    """A data set of nothing but arrays."""

    def __init__(self, x_train: Any, x_test: Any, features: tuple[str, ...] = ()) -> None:
        self.x_train, self.x_test, self.features = x_train, x_test, features


def launch(folder: Path, **blocks: Any) -> None:
    (folder / "spec.yaml").write_text(yaml.safe_dump(changed(**blocks)), encoding="utf-8")
    done = in_process("launch", "spec.yaml", "--workers", 0, folder=folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pets(shared_folder: Path) -> Path:
    """A run on a folder of images, each class in a folder, without a test set of its own."""

    def write(folder: Path) -> None:
        draws = np.random.default_rng(0)
        for label in ("cat", "dög & co"):
            (folder / label).mkdir()
            for k in range(60):
                pixels = draws.integers(0, 120, (6, 6, 3)) + (100 if label == "cat" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{label[:3]} {k:02d}.png")

    images = made_once(shared_folder / "pet_images", write)
    dataset = {"source": "folder", "path": str(images), "size": 6, "test": {"fraction": 0.2, "seed": 0}}
    return made_once(shared_folder / "pets", lambda folder: launch(folder, dataset=dataset)) / "runs/tiny"


@pytest.fixture(scope="module")
def wines(shared_folder: Path) -> Path:
    """A run on scikit-learn's wines as a CSV: 13 features, a name for each wine."""

    def write(folder: Path) -> None:
        from sklearn.datasets import load_wine

        bunch = load_wine(as_frame=True)
        frame = bunch.frame.assign(kind=bunch.target_names[bunch.target], wine=[f"wine {k}" for k in range(178)])
        frame.drop(columns="target").to_csv(folder / "wines.csv", index=False)

    table = made_once(shared_folder / "wine_table", write) / "wines.csv"
    dataset = {"source": "table", "path": str(table), "label": "kind", "features": "rest", "id": "wine"}
    dataset["test"] = {"fraction": 0.2, "seed": 0}
    return made_once(shared_folder / "wines", lambda folder: launch(folder, dataset=dataset)) / "runs/tiny"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.long
def test_names_go_from_the_files_to_the_store_and_every_table(
    pets: Path, memexp: Callable[..., Done], tmp_path: Path
) -> None:
    opened = open_run(pets)
    data = opened.load_data()
    assert data.id_train is not None
    assert data.folder is not None
    assert all((data.folder / name).is_file() for name in data.id_train)
    np.testing.assert_array_equal(open_merged(opened.paths).examples["train_id"], data.id_train)
    assert memexp("export", pets, "--format", "csv", "--out", "a.csv").returncode == 0
    table = rows(tmp_path / "a.csv")
    assert [row["id"] for row in table] == data.id_train.tolist()
    assert [row["class_name"] for row in table] == [name.split("/")[0] for name in data.id_train]
    assert memexp("export", pets, "--format", "parquet", "--out", "a.parquet").returncode == 0
    from pyarrow import parquet

    assert parquet.read_table(tmp_path / "a.parquet").column("id").to_pylist() == data.id_train.tolist()
    pairs = rows(tmp_path / "a-pairs.csv")
    assert all(row["train_id"] == data.id_train[int(row["train"])] for row in pairs)
    assert "test_id" in (tmp_path / "a-pairs.csv").read_text(encoding="utf-8").splitlines()[0]
    frame = package.open_run(pets).to_pandas()
    assert frame["id"].tolist() == data.id_train.tolist()
    store = xarray.open_zarr(pets / "trials.zarr", consolidated=False)
    assert data.id_test is not None
    assert store["test_id"].values.tolist() == data.id_test.tolist()
    assert memexp("verify", pets).returncode == 0


def test_sources_without_names_give_places(trained_run: Path, memexp: Callable[..., Done], tmp_path: Path) -> None:
    memexp("export", trained_run, "--format", "csv", "--out", "a.csv")
    table = rows(tmp_path / "a.csv")
    assert [row["id"] for row in table] == [row["train_index"] for row in table]


@pytest.mark.long
def test_renamed_files_are_told_from_changed_ones(pets: Path, tmp_path: Path, memexp: Callable[..., Done]) -> None:
    """A run goes on after a file was renamed within its order; verify says that the names are others."""
    shutil.copytree(pets, tmp_path / "copy")
    data = open_run(pets).load_data()
    assert data.folder is not None
    shutil.copytree(data.folder, tmp_path / "images")
    spec = tmp_path / "copy/spec.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace(str(data.folder), str(tmp_path / "images")), "utf-8")
    last = sorted((tmp_path / "images/cat").iterdir())[-1]
    last.rename(last.with_name("cat 99.png"))
    open_run(tmp_path / "copy").load_data()
    done = memexp("verify", "copy")
    assert done.returncode == 1
    assert "_id differs from the data's" in done.stdout + done.stderr


@pytest.mark.long
def test_the_report_links_each_example_to_its_file(pets: Path, memexp: Callable[..., Done]) -> None:
    data = open_run(pets).load_data()
    assert data.folder is not None
    assert memexp("report", pets).returncode == 0
    text = (pets / "report/index.html").read_text(encoding="utf-8")
    links = re.findall(r'<a href="(file://[^"]*)">([^<]*)</a>', text)
    assert links
    from html import unescape
    from urllib.parse import unquote, urlparse

    for link, name in links:
        path = Path(unquote(urlparse(link).path))
        assert path.is_file()
        assert path == data.folder / unescape(name)
    script = (pets / "report/data.js").read_text(encoding="utf-8")
    told = json.loads(script.removeprefix("window.MEMEXP = ").strip().removesuffix(";"))
    assert data.id_train is not None
    assert sorted(told["texts"]["train"]["id"]) == sorted(data.id_train)
    assert (told["caption"], told["folder"]) == ("", data.folder.as_uri() + "/")


@pytest.mark.browser
def test_an_example_is_found_by_its_name_in_the_browser(
    pets: Path,
    memexp: Callable[..., Done],
    page: Any,  # noqa: F811
) -> None:
    memexp("report", pets)
    page.goto((pets / "report/examples.html").as_uri() + "#index=cat 0")
    assert 1 <= page.locator("#space .cell").count() <= 10
    page.locator("#space .cell").first.click()
    link = page.locator("#subject a")
    assert link.inner_text().startswith("cat/cat 0")
    assert link.get_attribute("href").endswith(".png")
    assert "%20" in link.get_attribute("href")


@pytest.mark.long
def test_rows_of_features_are_shown_as_what_they_are(wines: Path, memexp: Callable[..., Done]) -> None:
    data = open_run(wines).load_data()
    look = look_of(data)
    assert look.x_train.shape == (142, 4, 4, 1)
    values = data.x_train[:, 0, 0].astype(float)
    low, high = values.min(0), values.max(0)
    expected = np.floor(255 * (values - low) / (high - low)).astype(int)
    np.testing.assert_allclose(look.x_train.reshape(142, 16)[:, :13], expected, atol=1)
    assert (look.x_train.reshape(142, 16)[:, 13:] == 0).all()
    away = (values - values.mean(0)) / values.std(0)
    most = int(np.argmax(np.abs(away[7])))
    assert look.words("train", 7)[0] == f"{data.features[most]} {values[7, most]:.4g} ({away[7, most]:+.1f} sd)"
    assert memexp("report", wines).returncode == 0
    text = (wines / "report/index.html").read_text(encoding="utf-8")
    assert "The examples are rows of 13 features" in text
    assert "wine " in text
    assert re.search(r"alcohol \d", text)


def test_floats_are_drawn_on_the_range_of_the_data_and_the_caption_says_so() -> None:
    spectrogram = np.linspace(-80, 20, 4 * 9, dtype=np.float32).reshape(4, 3, 3, 1)
    look = look_of(Arrays(spectrogram, spectrogram[:1] - 100))
    assert look.caption == "Pictures are drawn on the range of the data: -80 is black, 20 is white."
    np.testing.assert_allclose(look.x_train, np.floor(255 * (spectrogram + 80) / 100), atol=1)
    assert look.x_test.max() == 0, "beyond the training set's range"
    unit = np.linspace(0, 1, 36, dtype=np.float32).reshape(4, 3, 3, 1)
    assert look_of(Arrays(unit, unit)).x_train is unit
    assert look_of(Arrays(unit, unit)).caption == ""
    pixels = np.zeros((4, 3, 3, 1), np.uint8)
    assert look_of(Arrays(pixels, pixels)).x_train is pixels
    constant = look_of(Arrays(np.full((4, 1, 1, 1), 7.0), np.full((1, 1, 1, 1), 7.0)))
    assert constant.x_train.max() == 0
    assert constant.words("train", 0) == ["feature 0 7 (+0.0 sd)"]
