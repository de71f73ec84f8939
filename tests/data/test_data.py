"""Data sources: real files are read as they are, broken ones are named."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from memexp.data import Data, load_data
from memexp.errors import DataError
from memexp.spec.datasets import Dataset
from tests.conftest import FASHION, SHARED


def load(**block: Any) -> Data:
    return load_data(TypeAdapter(Dataset).validate_python(block))


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for split, count in (("train", 40), ("t10k", 10)):
        images = draws.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        labels = np.arange(count, dtype=np.uint8) % 4
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    return tmp_path


def write_npz(path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "x_train": np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": np.zeros((3, 4, 4), np.uint8),
        "y_test": np.array([0, 1, 2]),
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_digits_are_whole_and_split_by_place() -> None:
    data = load(source="digits")
    assert data.x_train.shape == (1438, 8, 8, 1)
    assert data.x_test.shape == (359, 8, 8, 1)
    assert data.x_train.dtype == np.uint8
    assert data.x_train.max() == 255
    assert data.flipped is None


@pytest.mark.long
@pytest.mark.skipif(not FASHION.exists(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_debian_installs_it() -> None:
    data = load(source="idx", path=str(FASHION))
    assert data.x_train.shape == (60000, 28, 28, 1)
    assert data.x_test.shape == (10000, 28, 28, 1)
    assert np.bincount(data.y_train).tolist() == [6000] * 10


@pytest.mark.skipif(not SHARED.exists(), reason="the data beside the project are not here")
def test_mnist() -> None:
    data = load(source="idx", path=str(SHARED / "data/mnist"))
    assert np.bincount(data.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_python_files(packed: bool, tmp_path: Path) -> None:
    """The official layout: rows of 3072 bytes, red first."""
    draws = np.random.default_rng(0)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    pixels = {}
    for split, count in (("train", 20), ("test", 8)):
        pixels[split] = draws.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = {"data": pixels[split], "fine_labels": [k % 4 for k in range(count)], "coarse_labels": [0] * count}
        (folder / split).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bear", "cup", "dog"]}))
    path = tmp_path
    if packed:
        path = tmp_path / "cifar-100-python.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, "cifar-100-python")
    data = load(source="cifar100", path=str(path))
    assert data.classes == ("apple", "bear", "cup", "dog")
    assert data.y_test.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    np.testing.assert_array_equal(data.x_train[5, 2, 7], pixels["train"][5].reshape(3, 32, 32)[:, 2, 7])


@pytest.mark.parametrize("ending", ["tar.gz", "tar"])
def test_a_cut_or_damaged_cifar_archive_is_named(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        content = {"data": np.zeros((500, 3072), np.uint8), "fine_labels": [0, 1] * 250, "fine_label_names": ["a", "b"]}
        (folder / name).write_bytes(pickle.dumps(content))
    path = tmp_path / f"c.{ending}"
    with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w") as archive:
        archive.add(folder, "cifar-100-python")
    whole = path.read_bytes()
    assert len(load(source="cifar100", path=str(path)).y_train) == 500
    for place in range(0, len(whole) // 2, len(whole) // 40):
        path.write_bytes(whole[:place])
        with pytest.raises(DataError, match=f"(?s)c.{ending}: .* is cut or is no CIFAR file .*; get it again"):
            load(source="cifar100", path=str(path))
        path.write_bytes(whole[:place] + bytes(b ^ 0x55 for b in whole[place : place + 99]) + whole[place + 99 :])
        with suppress(DataError):  # not every damage can be seen, but none may end in a traceback
            load(source="cifar100", path=str(path))


@pytest.mark.parametrize("labels", [None, [0.5] * 4, ["a"] * 4])
def test_cifar_labels_that_are_no_integers_are_named(labels: Any, tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(pickle.dumps({"data": np.zeros((4, 3072), np.uint8), "fine_labels": labels}))
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": ["a", "b"]}))
    with pytest.raises(DataError, match="the train files are not cifar100's"):
        load(source="cifar100", path=str(tmp_path))
    (tmp_path / "train").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="train holds a list, so it is no CIFAR file"):
        load(source="cifar100", path=str(tmp_path))


def test_a_cifar_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "owned"), "w"))

    for name in ("train", "test", "meta"):
        (tmp_path / name).write_bytes(pickle.dumps(Attack()))
    with pytest.raises(DataError, match="train is cut or is no CIFAR file"):
        load(source="cifar100", path=str(tmp_path))
    assert not (tmp_path / "owned").exists()


def test_torchvision_by_name(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for split, count in (("train", 30), ("t10k", 10)):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx_bytes(np.full((count, 28, 28), 7, np.uint8)))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count, dtype=np.uint8) % 10))
    data = load(source="torchvision", dataset="FashionMNIST", path=str(tmp_path))
    assert data.x_train.shape == (30, 28, 28, 1)
    assert data.classes[9] == "Ankle boot"
    with pytest.raises(DataError, match="no 'FashionMNST'"):
        load(source="torchvision", dataset="FashionMNST", path=str(tmp_path))
    with pytest.raises(DataError, match="download: true"):
        load(source="torchvision", dataset="MNIST", path=str(tmp_path))


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for k in range(3):
                Image.new("RGB", (20, 10 + k), (100 * label, k, 0)).save(folder / f"{k}.png")
    return tmp_path


def test_image_folders(image_folder: Path) -> None:
    data = load(source="folder", path=str(image_folder), size=8)
    assert data.x_train.shape == (6, 8, 8, 3)
    assert data.classes == ("cat", "dog")
    assert data.x_train[:, 0, 0, 0].tolist() == [0, 0, 0, 100, 100, 100]


def test_broken_image_folders_are_named(image_folder: Path) -> None:
    (image_folder / "train/dog/1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/dog/1.png cannot be read as an image"):
        load(source="folder", path=str(image_folder))
    (image_folder / "train/dog/1.png").unlink()
    (image_folder / "val/cow").mkdir()
    with pytest.raises(DataError, match="has classes that .* lacks: cow"):
        load(source="folder", path=str(image_folder))
    (image_folder / "train/cow").mkdir()
    with pytest.raises(DataError, match="train/cow has no images"):
        load(source="folder", path=str(image_folder))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_grey_images_of_more_than_8_bits_are_refused_and_not_cut_off(dtype: Any, image_folder: Path) -> None:
    path = image_folder / "train/cat/3.tif"
    Image.fromarray(np.full((9, 9), 5000, dtype)).save(path)
    with pytest.raises(DataError, match="3.tif cannot be read as an image .mode .*: more than 8 bits of grey"):
        load(source="folder", path=str(image_folder))


def test_npz_with_names_floats_and_channels(tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 6 * 4 * 4 * 3).reshape(6, 4, 4, 3)
    path = write_npz(tmp_path / "d.npz", x_train=x, x_test=x[:3], classes=np.array(["a", "b", "ü"]))
    data = load(source="npz", path=str(path))
    assert data.x_train.dtype == np.float32
    assert data.classes == ("a", "b", "ü")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, "lacks y_test; it has x_train, y_train, x_test"),
        ({"y_train": np.array([0, 1, 2, 0, 1])}, "6 train images but labels of shape"),
        ({"y_test": np.array([0, 1, 7])}, r"y_test\[2\] = 7 is outside the classes 0..2"),
        ({"y_train": np.array([0, -1, 2, 0, 1, 2])}, r"y_train\[1\] = -1 is outside"),
        ({"y_train": np.array([0, 1, 4, 0, 1, 4])}, "no training example has label 2"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 10**12])}, "label 1000000000000 among 6 training examples"),
        ({"y_train": np.array(0)}, r"labels of shape \(\)"),
        ({"y_train": np.zeros(6, int), "y_test": np.zeros(3, int)}, "all training examples have one label"),
        ({"y_train": np.zeros(6)}, "y_train is float64; labels must be integers"),
        ({"x_train": np.zeros((6, 4, 4), np.int64)}, "images are int64; they must be uint8"),
        ({"x_train": np.full((6, 4, 4), np.nan), "x_test": np.ones((3, 4, 4))}, "contains NaN"),
        ({"x_test": np.zeros((3, 5, 5), np.uint8)}, "must have one size"),
        ({"x_train": np.zeros((6, 2, 2, 2, 2), np.uint8)}, r"x_train has shape \(6, 2, 2, 2, 2\)"),
        ({"x_train": np.zeros((6, 16), np.uint8)}, r"training images are \(1, 1, 16\), test images \(4, 4, 1\)"),
        ({"x_test": np.zeros((0, 4, 4), np.uint8), "y_test": np.zeros(0, int)}, "at least one test example"),
        ({"x_test": np.zeros((3, 4, 4))}, "x_train is uint8, x_test float32; they must have one type and one scale"),
        ({"x_train": np.full((6, 4, 4), 200), "x_test": np.ones((3, 4, 4))}, "images are int64"),
        ({"x_train": np.full((6, 4, 4), 200.0), "x_test": np.ones((3, 4, 4))}, "200 on average .*, those of x_test 1;"),
        ({"x_train": np.zeros((6, 3, 8, 8)), "x_test": np.zeros((3, 3, 8, 8))}, "looks like channels first"),
        ({"classes": np.array("abc")}, "must be a list of names"),
    ],
)
def test_wrong_arrays_are_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "d.npz", **changes)
    with pytest.raises(DataError, match=words):
        load(source="npz", path=str(path))


@pytest.mark.parametrize("keep", [0, 10, 200, -20])
def test_a_cut_npz_is_named(keep: int, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "d.npz")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="d.npz cannot be read as .npz"):
        load(source="npz", path=str(path))


def test_an_npz_that_is_a_single_array_or_damaged_in_its_directory_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match="x.npy cannot be read as .npz .it holds a single array"):
        load(source="npz", path=str(tmp_path / "x.npy"))
    content = bytearray(write_npz(tmp_path / "d.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 0xFF  # the version of zip that is needed
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match="d.npz cannot be read as .npz"):
        load(source="npz", path=str(tmp_path / "d.npz"))


def test_broken_idx_files_are_named(idx_folder: Path) -> None:
    images = idx_folder / "train-images-idx3-ubyte"
    labels = idx_folder / "t10k-labels-idx1-ubyte.gz"
    load(source="idx", path=str(idx_folder))
    whole, packed = images.read_bytes(), labels.read_bytes()
    for content, words in (
        (
            whole[:-1],
            r"train-images-idx3-ubyte is cut .*: its header says \(40, 5, 4\), that is 800 bytes, but 799 follow",
        ),
        (whole[:6], "is cut within its header"),
        (b"PNG......", "not an idx file of bytes"),
    ):
        images.write_bytes(content)
        with pytest.raises(DataError, match=words):
            load(source="idx", path=str(idx_folder))
    images.write_bytes(whole)
    labels.write_bytes(packed[:-9])
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.gz is cut or damaged"):
        load(source="idx", path=str(idx_folder))
    labels.unlink()
    with pytest.raises(DataError, match="lacks t10k-labels-idx1-ubyte"):
        load(source="idx", path=str(idx_folder))
    with pytest.raises(DataError, match="no such file or folder"):
        load(source="idx", path=str(idx_folder / "absent"))


def test_limits_keep_classes_in_order_and_spread_examples() -> None:
    whole = load(source="digits")
    data = load(source="digits", limit={"classes": [7, 2], "train": 31, "test": 10})
    assert data.classes == ("7", "2")
    assert np.bincount(data.y_train).tolist() in ([16, 15], [15, 16])
    assert (np.diff(data.train_index) > 0).all()
    np.testing.assert_array_equal(data.x_train, whole.x_train[data.train_index])
    np.testing.assert_array_equal(np.array([7, 2])[data.y_test], whole.y_test[data.test_index])
    with pytest.raises(DataError, match=r"limit.classes = \[3, 12\]"):
        load(source="digits", limit={"classes": [3, 12]})


def test_limits_that_leave_a_class_or_the_test_set_empty_are_refused(tmp_path: Path) -> None:
    path = str(write_npz(tmp_path / "d.npz", y_test=np.zeros(3, int)))
    with pytest.raises(DataError, match=r"limit.classes = \[1, 2\]: no test example is of these classes"):
        load(source="npz", path=path, limit={"classes": [1, 2]})
    with pytest.raises(DataError, match="limit.train = 2 leaves some of the 3 classes without a training example"):
        load(source="npz", path=path, limit={"train": 2})
    with pytest.raises(DataError, match="class_names has 2 names, but there are 3 classes"):
        load(source="npz", path=path, class_names=["a", "b"])


def test_label_noise_flips_exactly_the_fraction_and_keeps_the_truth() -> None:
    clean, noisy = load(source="digits"), load(source="digits", label_noise={"fraction": 0.05, "seed": 1})
    assert noisy.flipped is not None
    assert noisy.flipped.sum() == round(0.05 * 1438)
    np.testing.assert_array_equal(noisy.y_original, clean.y_train)
    np.testing.assert_array_equal(noisy.y_train[~noisy.flipped], clean.y_train[~noisy.flipped])
    assert set(noisy.y_train[noisy.flipped]) == set(range(10))
    np.testing.assert_array_equal(noisy.y_test, clean.y_test)
    with pytest.raises(DataError, match="flips none"):
        load(source="digits", label_noise={"fraction": 1e-5, "seed": 1})


def test_the_fingerprint_sees_content_order_and_type(tmp_path: Path) -> None:
    x = np.arange(96, dtype=np.uint8).reshape(6, 4, 4)
    base = load(source="npz", path=str(write_npz(tmp_path / "a.npz"))).fingerprint()
    assert load(source="npz", path=str(write_npz(tmp_path / "b.npz"))).fingerprint() == base
    floats = {"x_train": x.astype(np.float32), "x_test": np.zeros((3, 4, 4), np.float32)}
    for changes in ({"x_train": x[::-1].copy()}, floats, {"x_train": x ^ 1}):
        assert load(source="npz", path=str(write_npz(tmp_path / "c.npz", **changes))).fingerprint() != base


def test_equal_images_are_counted_and_those_of_another_label(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    assert load(source="npz", path=str(write_npz(tmp_path / "a.npz", x_train=x))).equal_images() == (0, 0)
    x[3] = x[0]  # of the same label
    x[4] = x[5]  # of labels 1 and 2
    data = load(source="npz", path=str(write_npz(tmp_path / "b.npz", x_train=x)))
    assert data.equal_images() == (4, 2)
    assert data.equal_images(most_bytes=10) is None
    noisy = load(source="npz", path=str(tmp_path / "b.npz"), label_noise={"fraction": 0.9, "seed": 0})
    assert noisy.equal_images() == (4, 2), "labels flipped on purpose do not count"
