"""Data of one's own: every form that a user brings, on real files, by one line of the spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memexp.errors import DataError
from tests.data.test_data import load, write_npz

COLOURS = {"cat": 10, "dog": 200}


def pixels(label: str, number: int, side: int = 6) -> np.ndarray[Any, Any]:
    image = np.full((side, side, 3), COLOURS[label], np.uint8)
    image[0, 0] = number
    return image


@pytest.fixture
def classes_only(tmp_path: Path) -> Path:
    """CLASS/*.png without train/ and test/: 20 cats and 10 dogs."""
    for label, count in (("cat", 20), ("dog", 10)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(pixels(label, k)).save(tmp_path / "pets" / label / f"{label}{k:02d}.png")
    return tmp_path / "pets"


def test_a_folder_of_classes_is_split_by_class_and_each_example_keeps_its_file(classes_only: Path) -> None:
    data = load(source="folder", path=str(classes_only), size=6, test={"fraction": 0.2, "seed": 0})
    assert data.classes == ("cat", "dog")
    assert np.bincount(data.y_train).tolist() == [16, 8]
    assert np.bincount(data.y_test).tolist() == [4, 2]
    assert data.id_train is not None
    assert data.id_test is not None
    files = [*data.id_train, *data.id_test]
    assert sorted(files) == sorted(str(path.relative_to(classes_only)) for path in classes_only.glob("*/*.png"))
    for name, image, label in zip(data.id_test, data.x_test, data.y_test, strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(classes_only / name)))
        assert name.startswith(data.classes[label])
    whole = load(source="folder", path=str(classes_only), size=6)
    assert whole.id_train is not None
    assert whole.x_test.shape == (0, 6, 6, 3)
    np.testing.assert_array_equal(whole.id_train[data.test_index], data.id_test)
    np.testing.assert_array_equal(whole.x_train[data.train_index], data.x_train)


def test_the_split_is_part_of_the_identity_and_the_same_each_time(classes_only: Path) -> None:
    def prints(**test: Any) -> dict[str, str]:
        return load(source="folder", path=str(classes_only), size=6, test=test).fingerprint()

    assert prints(fraction=0.2) == prints(fraction=0.2, seed=0)
    assert prints(fraction=0.2) != prints(fraction=0.2, seed=1)
    assert prints(fraction=0.2) != prints(fraction=0.3)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
def test_the_split_is_stratified_to_within_one_example(fraction: float, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    y = np.concatenate([np.zeros(1, int), draws.choice([1, 2, 3], 199, p=[0.7, 0.2, 0.1])])
    x = np.arange(200, dtype=np.float32)[:, None]
    path = write_npz(tmp_path / "d.npz", x_train=x, y_train=y, x_test=None, y_test=None)
    data = load(source="npz", path=str(path), test={"fraction": fraction, "seed": 3})
    assert len(data.y_test) == round(fraction * 200)
    shares = np.bincount(data.y_test, minlength=4) - fraction * np.bincount(y)
    assert (np.abs(shares) <= 1).all()
    assert (np.bincount(data.y_train) >= 1).all(), "a class with one example trains on it"
    together = np.concatenate([data.x_train, data.x_test]).ravel()
    assert sorted(together) == x.ravel().tolist()
    np.testing.assert_array_equal(data.y_test, y[data.test_index])


def test_a_split_is_refused_where_there_is_a_test_set_or_too_little(classes_only: Path) -> None:
    (classes_only.parent / "d").mkdir()
    path = str(write_npz(classes_only.parent / "d" / "d.npz"))
    with pytest.raises(DataError, match=r"the data have one \(3 examples\); delete test"):
        load(source="npz", path=path, test={"fraction": 0.2})
    with pytest.raises(DataError, match=r"fraction = 0.01 of 30 examples in 2 classes leaves no test example"):
        load(source="folder", path=str(classes_only), test={"fraction": 0.01})


def test_a_train_folder_alone_is_a_training_set_and_a_misnamed_part_is_no_class(classes_only: Path) -> None:
    (classes_only / "train").mkdir()
    for name in ("cat", "dog"):
        (classes_only / name).rename(classes_only / "train" / name)
    data = load(source="folder", path=str(classes_only))
    assert (len(data.y_train), len(data.y_test)) == (30, 0)
    (classes_only / "Test").mkdir()
    with pytest.raises(DataError, match=r"needs the folders train/ and test/ .*; it has Test. Rename, or remove"):
        load(source="folder", path=str(classes_only))


@pytest.fixture
def tables(classes_only: Path) -> dict[str, Path]:
    """The pets as a CSV of file names, a Parquet file of bytes, and one in the form that Hugging Face writes."""
    import pyarrow
    from pyarrow import parquet

    files = sorted(classes_only.glob("*/*.png"), key=lambda path: path.name)
    labels = [path.parent.name for path in files]
    rows = [
        f"{path.relative_to(classes_only)},{label},p{k // 3}"
        for k, (path, label) in enumerate(zip(files, labels, strict=True))
    ]
    csv = classes_only / "pets.csv"
    csv.write_text("\n".join(["file,animal,patient", *rows]) + "\n", encoding="utf-8")
    contents = [path.read_bytes() for path in files]
    plain = classes_only / "plain.parquet"
    parquet.write_table(pyarrow.table({"image": contents, "label": labels, "number": range(len(files))}), plain)
    nested = classes_only / "nested.parquet"
    images = [{"bytes": content, "path": path.name} for content, path in zip(contents, files, strict=True)]
    parquet.write_table(pyarrow.table({"image": images, "label": [int(x == "dog") for x in labels]}), nested)
    return {"csv": csv, "plain": plain, "nested": nested}


def test_tables_of_file_names_and_of_bytes_are_the_same_images(tables: dict[str, Path]) -> None:
    split = {"fraction": 0.2, "seed": 0}
    csv = load(source="table", path=str(tables["csv"]), image="file", label="animal", test=split)
    plain = load(source="table", path=str(tables["plain"]), label="label", image="image", test=split)
    nested = load(source="table", path=str(tables["nested"]), test=split)
    assert csv.x_train.shape == (24, 6, 6, 3)
    assert csv.fingerprint() == plain.fingerprint() == nested.fingerprint()
    assert (csv.classes, nested.classes) == (("cat", "dog"), ("0", "1"))
    assert csv.folder == tables["csv"].parent
    assert csv.id_train is not None
    assert (csv.folder / csv.id_train[0]).is_file()
    assert nested.id_train is not None
    assert nested.id_train[0] == Path(csv.id_train[0]).name
    assert plain.id_train is None
    by_patient = load(source="table", path=str(tables["csv"]), image="file", label="animal", id="patient")
    assert by_patient.id_train is not None
    assert by_patient.id_train[:4].tolist() == ["p0", "p0", "p0", "p1"]


def test_a_second_table_is_the_test_set(tables: dict[str, Path]) -> None:
    lines = tables["csv"].read_text().splitlines()
    (tables["csv"].parent / "test.csv").write_text("\n".join([lines[0], lines[1], lines[25]]) + "\n")
    found = load(source="table", path=str(tables["csv"]), test_path=str(tables["csv"].parent / "test.csv"),
                 image="file", label="animal")  # fmt: skip
    assert (len(found.y_train), found.y_test.tolist()) == (30, [0, 1])


CSV = "name,age,height,group,sick\nann,30,1.7,a,yes\nbob,41,1.8,a,no\ncid,27,1.65,b,no\ndora,55,,b,yes\n"


@pytest.fixture
def people(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str = CSV) -> str:
        (tmp_path / "people.csv").write_text(text)
        return str(tmp_path / "people.csv")

    return write


def test_columns_of_numbers_are_features(people: Callable[[str], str]) -> None:
    path = people(CSV.replace("55,,", "55,1.75,"))
    data = load(source="table", path=path, label="sick", features=["height", "age"], id="name")
    assert data.x_train.shape == (4, 1, 1, 2)
    assert data.x_train.dtype == np.float32
    np.testing.assert_allclose(data.x_train[1].ravel(), [1.8, 41])
    assert data.features == ("height", "age")
    assert (data.classes, data.y_train.tolist()) == (("no", "yes"), [1, 0, 0, 1])
    assert data.id_train is not None
    assert data.id_train.tolist() == ["ann", "bob", "cid", "dora"]
    assert load(source="table", path=people("a,b,label\n1,2,0\n3,4,1\n"), features="rest").features == ("a", "b")
    numbers = load(source="table", path=people("a,label\n1,10\n2,9\n3,-1\n4,10\n"), features="rest")
    assert (numbers.classes, numbers.y_train.tolist()) == (("-1", "9", "10"), [2, 1, 0, 2])


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (
            {"features": "rest"},
            r"which column has the labels\? Set dataset.label to one of name, age, height, group, s",
        ),
        ({"label": "sik", "features": "rest"}, r"dataset.label = 'sik' is no column \(did you mean 'sick'\?\)"),
        ({"label": "sick"}, r"what is trained on\? Set dataset.image to the column of images, or dataset.features"),
        ({"label": "sick", "features": ["age", "age"]}, "dataset.features has 'age', which is used already"),
        ({"label": "sick", "features": ["sick"]}, "dataset.features has 'sick', which is used already"),
        ({"label": "sick", "features": "rest", "id": "name"}, r"features must be numbers, and .* 'group' \(string\)"),
        ({"label": "sick", "features": ["height"]}, "column 'height' is empty in 1 rows, first in row 3; fill them"),
        ({"label": "height", "features": ["age"]}, "column 'height' is empty in 1 rows"),
        ({"label": "sick", "image": "name"}, "ann cannot be read .No such file"),
        ({"label": "sick", "image": "name", "features": "rest"}, "exclude each other"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(block: dict[str, Any], words: str, people: Callable[..., str]) -> None:
    with pytest.raises(DataError, match=words):
        load(source="table", path=people(), **block)


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"must be a file that ends in .csv, .tsv or .parquet"):
        load(source="table", path=str(tmp_path / "a.xlsx"), label="y", features="rest")
    (tmp_path / "a.parquet").write_bytes(b"x" * 50)
    with pytest.raises(DataError, match=r"a.parquet cannot be read"):
        load(source="table", path=str(tmp_path / "a.parquet"), label="y", features="rest")


def test_images_of_many_sizes_need_a_size(classes_only: Path) -> None:
    Image.fromarray(pixels("cat", 1, side=9)).save(classes_only / "cat/cat03.png")
    rows = [f"cat/{path.name},cat" for path in sorted((classes_only / "cat").glob("*"))]
    (classes_only / "t.csv").write_text("\n".join(["image,label", *rows, "dog/dog00.png,dog"]))
    path = str(classes_only / "t.csv")
    with pytest.raises(DataError, match=r"differ in size \(6 x 6, 9 x 9 and so on\); set dataset.size, such as 32"):
        load(source="table", path=path)
    assert load(source="table", path=path, size=5).x_train.shape == (21, 5, 5, 3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of Hugging Face's library, saved to the disk: images, class labels, two splits."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "what": datasets.ClassLabel(names=["cat", "dog"]),
            "note": datasets.Value("string"),
        }
    )

    def part(count: int) -> Any:
        labels = [k % 2 for k in range(count)]
        images = [Image.fromarray(pixels(("cat", "dog")[label], k)) for k, label in enumerate(labels)]
        notes = [f"n{k}" for k in range(count)]
        return datasets.Dataset.from_dict({"picture": images, "what": labels, "note": notes}, features=features)

    folder = tmp_path_factory.mktemp("hugging")
    datasets.DatasetDict({"train": part(12), "test": part(4)}).save_to_disk(folder / "both")
    part(12).select(range(2, 12)).save_to_disk(folder / "alone")
    return folder


def test_a_saved_hugging_face_data_set(saved: Path) -> None:
    data = load(source="huggingface", path=str(saved / "both"))
    assert (data.x_train.shape, data.x_test.shape) == ((12, 6, 6, 3), (4, 6, 6, 3))
    assert data.classes == ("cat", "dog")
    np.testing.assert_array_equal(data.x_train[5], pixels("dog", 5))
    named = load(source="huggingface", path=str(saved / "both"), image="picture", label="what", id="note")
    assert named.fingerprint() == data.fingerprint()
    assert named.id_train is not None
    assert named.id_train[5] == "n5"
    alone = load(source="huggingface", path=str(saved / "alone"), test={"fraction": 0.2, "seed": 0})
    assert (len(alone.y_train), len(alone.y_test)) == (8, 2)
    by_note = load(source="huggingface", path=str(saved / "both"), image="picture", label="note", test_split="train")
    assert len(by_note.classes) == 12


def test_what_is_wrong_with_a_hugging_face_data_set_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset.train_split = 'trian' is no split; there are train, test"):
        load(source="huggingface", path=str(saved / "both"), train_split="trian")
    with pytest.raises(DataError, match=r"dataset.label = 'wat' is no column \(did you mean 'what'\?\)"):
        load(source="huggingface", path=str(saved / "both"), label="wat")
    with pytest.raises(DataError, match="is no data set of the library datasets"):
        load(source="huggingface", path=str(tmp_path))


def test_a_hugging_face_name_is_read_from_the_cache_without_a_network(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own function stands in for the Hub: it is asked without a network first, then with one."""
    import datasets
    from huggingface_hub import constants

    asked: list[tuple[Any, ...]] = []

    def load_dataset(path: str, name: str | None = None, revision: str | None = None) -> Any:
        asked.append((path, name, constants.HF_HUB_OFFLINE))
        if constants.HF_HUB_OFFLINE and len(asked) == 1:
            raise ConnectionError("not in the cache")
        return datasets.load_from_disk(saved / "both")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load(source="huggingface", name="me/pets", config="small").y_train) == 12
    assert asked == [("me/pets", "small", True), ("me/pets", "small", False)]
    load(source="huggingface", name="me/pets")
    assert asked[2:] == [("me/pets", None, True)], "what is in the cache asks no network"


LOAD = {
    "two PyTorch data sets": """
import torch, torchvision
class Own(torch.utils.data.Dataset):
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, k): return torch.full((3, 6, 5), float(k)), torch.tensor(k % 2)
def load(): return Own(12), Own(4)
""",
    "one PyTorch data set": """
import torch
def load(): return torch.utils.data.TensorDataset(torch.arange(36.).reshape(12, 3), torch.arange(12) % 2)
""",
    "four arrays": """
import numpy as np
def load():
    x = np.ones((12, 6, 5, 3)) * np.arange(12)[:, None, None, None]
    return x, np.array(["b", "a"] * 6), x[:4], ["a", "b", "a", "b"]
""",
    "a pair of tensors": """
import torch
def load(): return torch.arange(24.).reshape(12, 2), torch.arange(12) % 2
""",
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "train", "test"),
    [
        ("two PyTorch data sets", (12, 6, 5, 3), (4, 6, 5, 3)),
        ("one PyTorch data set", (12, 1, 1, 3), (0, 1, 1, 3)),
        ("four arrays", (12, 6, 5, 3), (4, 6, 5, 3)),
        ("a pair of tensors", (12, 1, 1, 2), (0, 1, 1, 2)),
    ],
)
def test_what_load_may_return(form: str, train: tuple[int, ...], test: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(LOAD[form])
    data = load(source="python", path=str(tmp_path / "d.py"))
    assert (data.x_train.shape, data.x_test.shape) == (train, test)
    if "two" in form or "four" in form:
        np.testing.assert_array_equal(data.x_train[3], np.full((6, 5, 3), 3))
    if form == "four arrays":
        assert (data.classes, data.y_train[:2].tolist(), data.y_test.tolist()) == (("a", "b"), [1, 0], [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def load(): return (1, 2, 3)", r"load\(\): tuple without x_train, y_train; it must be a dict"),
        ("def load(): return Odd('x')", r"train data set\[0\]: its label is 0.5; labels must be integers or text"),
        ("def load(): return Odd(None)", r"train data set\[0\] is a dict of image, label; it must be \(image, label\)"),
        ("def load(): return Odd(1)", r"train data set\[0\] is another image each time it is asked for; take random"),
    ],
)
def test_what_is_wrong_with_load_is_named(code: str, words: str, tmp_path: Path) -> None:
    odd = """
import random
class Odd:
    def __init__(self, kind): self.kind = kind
    def __len__(self): return 3
    def __getitem__(self, k):
        import numpy as np
        if self.kind is None: return {"image": 1, "label": 2}
        return np.full((2, 2), random.random()), (0.5 if self.kind == "x" else k % 2)
"""
    (tmp_path / "d.py").write_text(odd + code)
    with pytest.raises(DataError, match=words):
        load(source="python", path=str(tmp_path / "d.py"))


def test_npz_with_features_names_and_text_labels(tmp_path: Path) -> None:
    path = write_npz(
        tmp_path / "d.npz", x_train=np.arange(12).reshape(6, 2), y_train=np.array(["b10", "b2"] * 2 + ["b2"] * 2),
        x_test=None, y_test=None, id_train=np.array(list("uvwxyz")), features=np.array(["age", "size"]),
    )  # fmt: skip
    data = load(source="npz", path=str(path))
    assert data.classes == ("b2", "b10"), "in natural order"
    assert (data.x_train.shape, data.x_train.dtype, data.features) == ((6, 1, 1, 2), np.float32, ("age", "size"))
    assert data.id_train is not None
    assert "".join(data.id_train) == "uvwxyz"
    named = load(source="npz", path=str(write_npz(tmp_path / "e.npz", y_train=np.array(["c", "a", "b"] * 2),
                 y_test=np.array(["a", "b", "c"]), classes=np.array(["c", "b", "a"]))))  # fmt: skip
    assert (named.classes, named.y_test.tolist()) == (("c", "b", "a"), [2, 1, 0])
    with pytest.raises(DataError, match=r"y_test has 'x', which is none of the classes a, b, c"):
        load(source="npz", path=str(write_npz(tmp_path / "f.npz", y_train=np.array(["c", "a", "b"] * 2),
             y_test=np.array(["a", "b", "x"]), classes=np.array(["a", "b", "c"]))))  # fmt: skip


def test_examples_keep_their_names_through_limits(tmp_path: Path) -> None:
    ids = np.array([f"n{k}" for k in range(6)])
    path = write_npz(tmp_path / "d.npz", id_train=ids, id_test=np.array(["t0", "t1", "t2"]))
    data = load(source="npz", path=str(path), limit={"classes": [2, 0]})
    assert data.id_train is not None
    assert data.id_train.tolist() == ["n0", "n2", "n3", "n5"]
    assert data.id_test is not None
    assert data.id_test.tolist() == ["t0", "t2"]
    with pytest.raises(DataError, match=r"id_train has shape \(2,\); it must name each of the 6 examples"):
        load(source="npz", path=str(write_npz(tmp_path / "e.npz", id_train=ids[:2])))
