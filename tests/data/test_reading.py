"""Images, names and files of every kind are read rightly, or refused by name: nothing is silently reduced."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from memexp.data import Data, load_data
from memexp.data.class_names import in_natural_order, likeness, read_class_names
from memexp.data.folders import list_images
from memexp.data.images import pixels_of, read_image, require_shown_bits
from memexp.data.prepare import prepare_images
from memexp.errors import DataError, InputError
from memexp.spec.datasets import Dataset

WHITE, RED = (255, 255, 255), (255, 0, 0)


def load(**block: Any) -> Data:
    return load_data(TypeAdapter(Dataset).validate_python(block))


# ------------------------------------------------------------------------------------ image files


def half_transparent(mode: str) -> Image.Image:
    """8x8: the left half opaque red (black in grey modes), the right half wholly transparent black."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (*RED, 255)
    if mode == "LA":
        pixels[:, :4] = (0, 0, 0, 255)
    return Image.fromarray(pixels).convert(mode) if mode != "RGBA" else Image.fromarray(pixels)


def save_rgba(path: Path) -> None:
    half_transparent("RGBA").save(path)


def save_palette(path: Path) -> None:
    image = Image.fromarray(np.repeat([[0] * 4 + [1] * 4], 8, 0).astype(np.uint8), "P")
    image.putpalette([*RED, 0, 0, 0])
    image.save(path, transparency=1)


def save_colour_key(path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = RED
    Image.fromarray(pixels).save(path, transparency=(0, 0, 0))


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.png", save_rgba),
        ("a.webp", lambda path: half_transparent("RGBA").save(path, lossless=True)),
        ("a.tif", save_rgba),
        ("a.png", save_palette),
        ("a.gif", save_palette),
        ("a.png", save_colour_key),
    ],
)
def test_what_is_transparent_is_white_and_what_is_not_stays(
    name: str, save: Callable[[Path], None], tmp_path: Path
) -> None:
    save(tmp_path / name)
    pixels = read_image(tmp_path / name, 8)
    assert (pixels[:, :4] == RED).all()
    assert (pixels[:, 4:] == WHITE).all()


def test_grey_with_transparency_and_half_transparent_pixels(tmp_path: Path) -> None:
    half_transparent("LA").save(tmp_path / "la.png")
    pixels = read_image(tmp_path / "la.png", 8)
    assert (pixels[:, :4] == 0).all()
    assert (pixels[:, 4:] == 255).all()
    Image.new("RGBA", (8, 8), (0, 0, 0, 51)).save(tmp_path / "veil.png")  # a fifth of black over white
    assert (read_image(tmp_path / "veil.png", 8) == 204).all()
    Image.new("L", (8, 8), 9).save(tmp_path / "key.png", transparency=9)
    assert (read_image(tmp_path / "key.png", 8) == 255).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (7, 7)), (6, (0, 7)), (8, (7, 0)), (2, (0, 7))])
def test_images_are_turned_as_their_exif_data_say(
    name: str, orientation: int, corner: tuple[int, int], tmp_path: Path
) -> None:
    """A dark corner, stored at the upper left."""
    pixels = np.full((16, 16, 3), 255, np.uint8)
    pixels[:8, :8] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if name in ("a.jpg", "a.webp") else {}
    Image.fromarray(pixels).save(tmp_path / name, exif=exif, **options)
    seen = read_image(tmp_path / name, 8)
    assert seen[corner].mean() < 20
    assert seen[7 - corner[0], 7 - corner[1]].mean() > 235


def png_of_16_bits(colour_type: int, channels: int) -> bytes:
    rows = b"".join(b"\0" + np.full(8 * channels, 5000, ">u2").tobytes() for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_jpeg_2000() -> bytes:
    """A file that says it has 16 bits a channel: made by Pillow with 8, and its header changed."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), RED).save(stream, "JPEG2000")
    content = bytearray(stream.getvalue())
    place = content.index(b"\xff\x4f\xff\x51") + 42
    content[place] = content[place + 3] = content[place + 6] = 15
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png_of_16_bits(2, 3), "more than 8 bits of colour"),
        (png_of_16_bits(6, 4), "more than 8 bits of colour"),
        (png_of_16_bits(4, 2), "more than 8 bits of colour"),
        (png_of_16_bits(0, 1), "more than 8 bits of grey"),
        (b"P6 8 8 65535\n" + b"\x12\x34" * 192, "more than 8 bits of colour"),
        (b"P5 8 8 65535\n" + b"\x12\x34" * 64, "more than 8 bits of grey"),
        (deep_jpeg_2000(), "more than 8 bits of colour"),
    ],
)
def test_more_than_8_bits_are_refused_and_not_cut(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"deep.png cannot be read as an image .*{words}.*; mend or remove it"):
        read_image(path, 8)


def test_avif_of_10_bits_is_told_by_its_header(tmp_path: Path) -> None:
    """Pillow writes 8 bits only, and reads 10 as 8; so the header of a whole file is changed and looked at alone."""
    if ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / "a.avif"
    Image.new("RGB", (16, 16), RED).save(path)
    assert np.abs(read_image(path, 8).astype(int) - RED).max() < 8
    content = bytearray(path.read_bytes())
    with Image.open(path) as image:
        content[content.index(b"av1C") + 6] |= 0x40
        path.write_bytes(content)
        with pytest.raises(ValueError, match="more than 8 bits of colour"):
            require_shown_bits(path, image)


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png", "a.webp"])
def test_further_frames_and_pages_are_refused(name: str, tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), WHITE)
    first.save(tmp_path / name, save_all=True, append_images=[second])
    with pytest.raises(DataError, match="it holds 2 pages or frames; save each as a file of its own"):
        read_image(tmp_path / name, 8)
    first.save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    assert (read_image(tmp_path / name, 8) == RED).all()


def test_a_phones_jpeg_with_a_preview_behind_it_is_its_first_picture(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), (200, 200, 200)), Image.new("RGB", (8, 8), 0)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert (read_image(tmp_path / "a.jpg", 8) > 190).all()


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (Image.new("1", (8, 8), 1), 255),
        (Image.new("L", (8, 8), 77), 77),
        (Image.new("RGBA", (8, 8), (77, 77, 77, 255)), 77),
        (Image.new("CMYK", (8, 8), (0, 0, 0, 255 - 77)), 77),
        (Image.new("P", (8, 8), 0), 0),
    ],
)
def test_one_bit_palettes_and_printing_colours_are_read_as_they_look(
    image: Image.Image, value: int, tmp_path: Path
) -> None:
    image.save(tmp_path / "a.tif")
    assert (read_image(tmp_path / "a.tif", 4) == value).all()


def test_elements_of_torchvision_sets_are_read_alike() -> None:
    """Palette numbers are no colours, and L stays one channel."""
    palette = Image.fromarray(np.zeros((4, 4), np.uint8), "P")
    palette.putpalette([*RED])
    assert (pixels_of(palette) == RED).all()
    assert (pixels_of(half_transparent("RGBA"))[:, 4:] == WHITE).all()
    assert pixels_of(Image.new("L", (4, 4), 3)).shape == (4, 4)
    with pytest.raises(ValueError, match="more than 8 bits of grey"):
        pixels_of(Image.fromarray(np.zeros((4, 4), np.uint16)))


# ------------------------------------------------------------------------------------ folders


def make_images(folder: Path, classes: list[str], count: int = 2) -> Path:
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for k in range(count):
                Image.new("RGB", (4, 4), (label, k, split == "train")).save(folder / split / name / f"{k}.png")
    return folder


def test_folders_named_by_numbers_are_numbered_by_them(tmp_path: Path) -> None:
    names = [str(number) for number in range(12)]
    data = load(source="folder", path=str(make_images(tmp_path, names)), size=4)
    assert data.classes == tuple(names)
    np.testing.assert_array_equal(data.x_train[:, 0, 0, 0], data.y_train)
    kept = load(source="folder", path=str(tmp_path), size=4, limit={"classes": [1, 2]})
    assert kept.classes == ("1", "2")
    prepare_images(tmp_path, tmp_path / "prepared", 4)
    assert load(source="prepared", path=str(tmp_path / "prepared")).fingerprint() == data.fingerprint()


def test_natural_order() -> None:
    assert in_natural_order(["10", "9", "-1", "0.5", "0.25"]) == ["-1", "0.25", "0.5", "9", "10"]
    assert in_natural_order(["class10", "class2", "Zoo", "ant"]) == ["Zoo", "ant", "class2", "class10"]
    words = ["n02012849", "n01440764", "dog", "cat", "Cat", "é"]
    assert in_natural_order(words) == sorted(words), "names without numbers of several lengths keep their order"
    assert likeness("01") == likeness("1") != likeness("10")
    assert likeness("Cafe\u0301") == likeness("caf\u00e9")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["Cat", "cat"], "has the classes 'Cat' and 'cat', which differ in capitals or zeros only"),
        (["1", "01"], "has the classes '01' and '1', which differ in capitals or zeros only"),
        (["caf\u00e9", "cafe\u0301"], "has the class 'caf\u00e9' twice, in two forms of Unicode"),
    ],
)
def test_classes_that_are_alike_are_refused(classes: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        list_images(make_images(tmp_path, classes))


def test_a_class_is_one_whichever_form_of_unicode_its_folders_have(tmp_path: Path) -> None:
    make_images(tmp_path, ["caf\u00e9", "dog"])
    (tmp_path / "test" / "caf\u00e9").rename(tmp_path / "test" / "cafe\u0301")
    data = load(source="folder", path=str(tmp_path), size=4)
    assert data.classes == ("caf\u00e9", "dog")
    assert data.y_test.tolist() == [0, 0, 1, 1]
    assert list_images(tmp_path, ["cafe\u0301", "dog"]).classes == data.classes


def test_linked_folders_are_followed_and_circles_refused(tmp_path: Path) -> None:
    make_images(tmp_path / "data", ["cat", "dog"])
    shared = tmp_path / "shared" / "deep"
    shared.mkdir(parents=True)
    for k in range(5):
        Image.new("RGB", (4, 4), (9, k, 9)).save(shared / f"s{k}.png")
    (tmp_path / "data/train/cat/more").symlink_to(tmp_path / "shared")
    assert np.bincount(load(source="folder", path=str(tmp_path / "data"), size=4).y_train).tolist() == [7, 2]
    for target in (tmp_path / "data/train/cat", tmp_path / "data/train", tmp_path / "data", tmp_path / "shared"):
        (shared / "round").symlink_to(target)
        with pytest.raises(DataError, match="more/deep/round is a link to a folder that it lies in, so in a circle"):
            list_images(tmp_path / "data")
        (shared / "round").unlink()
    (tmp_path / "data/train/cow").symlink_to(tmp_path / "nowhere")
    (tmp_path / "data/test/cow").symlink_to("cow")
    with pytest.raises(DataError, match="(?s)train/cow is a link that leads nowhere.*test/cow cannot be followed"):
        list_images(tmp_path / "data")


def test_images_outside_the_classes_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    make_images(tmp_path, ["cat", "dog"])
    (tmp_path / "train/labels.csv").write_text("x")
    (tmp_path / "train/.thumbs.png").write_text("x")
    assert len(list_images(tmp_path).files["train"]) == 4
    Image.new("RGB", (4, 4)).save(tmp_path / "train/lost.png")
    with pytest.raises(DataError, match="train/lost.png lies beside the folders of the classes"):
        list_images(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    make_images(tmp_path, ["cat", "dog"])
    (tmp_path / "train/cat/more").mkdir(mode=0)
    with pytest.raises(DataError, match=r"train/cat/more cannot be read \(Permission denied\)"):
        list_images(tmp_path)


@pytest.mark.parametrize("place", ["class", "file"])
def test_names_that_are_no_utf8_are_refused_with_their_bytes(place: str, tmp_path: Path) -> None:
    make_images(tmp_path, ["cat", "dog"])
    old, new = (b"cat", b"caf\xe9") if place == "class" else (b"cat/0.png", b"cat/\xe9t\xe9.png")
    for split in (b"train", b"test"):
        (tmp_path / os.fsdecode(split) / os.fsdecode(old)).rename(tmp_path / os.fsdecode(split) / os.fsdecode(new))
    for read in (
        lambda: load(source="folder", path=str(tmp_path)),
        lambda: prepare_images(tmp_path, tmp_path / "p", 4),
    ):
        with pytest.raises(DataError, match=r"the name b'.*\\xe9.*' is no UTF-8; rename it") as caught:
            read()
        str(caught.value).encode()


def test_a_part_prepared_by_another_reading_is_refused_or_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(tmp_path / "images", ["cat", "dog"])
    monkeypatch.setattr("memexp.data.prepare.READING", 1)
    prepare_images(tmp_path / "images", tmp_path / "out", 4)
    monkeypatch.undo()
    with pytest.raises(InputError, match="an earlier memexp read transparent, turned and deep ones otherwise"):
        prepare_images(tmp_path / "images", tmp_path / "out", 4)
    assert len(load(source="prepared", path=str(tmp_path / "out")).y_train) == 4, "runs over it go on"


# ------------------------------------------------------------------------------------ names of classes


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a", "b"], ("a", "b")),
        ({"b": 1, "a": 0}, ("a", "b")),
        ({1: "b", 0: "a"}, ("a", "b")),
        ({np.int64(1): "b", np.int64(0): "a"}, ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        (np.array([b"a", b"b"]), ("a", "b")),
        ([b"caf\xc3\xa9", "cafe"], ("caf\u00e9", "cafe")),
        (range(2), ("0", "1")),
        (np.array([3, 4]), ("3", "4")),
        ([("tench", "Tinca tinca"), ("shark",)], ("tench, Tinca tinca", "shark")),
    ],
)
def test_names_of_classes_belong_to_their_labels(given: Any, names: tuple[str, ...]) -> None:
    assert read_class_names("x", given) == names


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a", "b"}, r"classes is .* \(set\); it must be a list of names"),
        (frozenset("ab"), "frozenset"),
        ({"a": 0, "b": 1}.keys(), "dict_keys"),
        (iter("ab"), "str_.*iterator"),
        ("ab", r"'ab' \(str\)"),
        (b"ab", "bytes"),
        ({"a": 0, "b": 2}, r"the mapping \{'a': 0, 'b': 2\}; it must give each of the labels 0, 1, ... without gaps"),
        ({"a": 0, "b": 0}, "without gaps one name"),
        ({"a": 0.0, "b": 1.0}, "without gaps one name"),
        (["a", "a"], "labels 0 and 1 have one name, 'a'"),
        (["caf\u00e9", "cafe\u0301"], "labels 0 and 1 have one name"),
        ([b"\xe9", b"a"], "the name of label 0 is b'.xe9', no UTF-8"),
        (["a", None], "the name of label 1 is None; it must be text"),
        (["a", 0.5], "the name of label 1 is 0.5; it must be text"),
        (["a", ""], "the name of label 1 is '', which cannot be written"),
        (["a", "b\n"], "the name of label 1 is 'b.n', which cannot be written"),
        (["a", "\udce9"], "cannot be written"),
    ],
)
def test_names_of_classes_that_say_no_order_or_none_are_refused(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_class_names("x", given)


def test_names_from_every_source_go_through_the_same_door(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def load(classes):\n"
        "    x = np.zeros((4, 4, 4), np.uint8)\n"
        "    y = np.array([0, 1, 2, 0])\n"
        "    return dict(x_train=x, y_train=y, x_test=x, y_test=y, classes=classes)\n"
    )
    source = {"source": "python", "path": str(tmp_path / "data.py")}
    assert load(**source, classes={"two": 2, "one": 1, "zero": 0}).classes == ("zero", "one", "two")
    with pytest.raises(DataError, match="labels 0 and 2 have one name"):
        load(**source, classes=["a", "b", "a"])
    assert load(**source, classes=["a", "b", "c"], class_names=["x", "y", "z"]).classes == ("x", "y", "z")
    with pytest.raises(DataError, match="dataset.class_names: labels 0 and 1 have one name"):
        load(**source, classes=["a", "b", "c"], class_names=["x", "x", "z"])


# ------------------------------------------------------------------------------------ arrays


def save_npz(path: Path, x: Any, **more: Any) -> str:
    y = np.arange(len(x)) % 2
    np.savez(path, **({"x_train": x, "y_train": y, "x_test": x, "y_test": y} | more))
    return str(path)


@pytest.mark.parametrize(
    "shape",
    [(3, 28, 28), (1, 28, 28), (4, 16, 16), (2, 8, 8), (3, 32, 64), (1, 20, 28), (13, 64, 64), (512, 7, 7), (3, 4, 4)],
)
def test_channels_first_is_refused_whatever_its_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", np.zeros((4, *shape), np.uint8))
    with pytest.raises(DataError, match=r"x_train has shape .*, which looks like channels first.*np.moveaxis\(x_train"):
        load(source="npz", path=path)


@pytest.mark.parametrize(
    "shape", [(28, 28), (28, 28, 1), (32, 64, 3), (64, 64, 13), (7, 7, 512), (1, 1, 20), (1, 9, 1)]
)
def test_channels_last_is_taken_whatever_its_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.arange(4 * np.prod(shape)).reshape(4, *shape).astype(np.float32)
    data = load(source="npz", path=save_npz(tmp_path / "d.npz", x))
    np.testing.assert_array_equal(data.x_train, x if x.ndim == 4 else x[..., None])


def test_a_table_of_features_is_so_many_channels_of_one_pixel(tmp_path: Path) -> None:
    x = np.arange(80, dtype=np.float32).reshape(4, 20)
    data = load(source="npz", path=save_npz(tmp_path / "d.npz", x))
    assert data.x_train.shape == (4, 1, 1, 20)
    np.testing.assert_array_equal(data.x_train[:, 0, 0], x)


def write_cifar(folder: Path, pixels: Any, **meta: Any) -> str:
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "fine_labels": [0, 1]}))
    (folder / "meta").write_bytes(pickle.dumps(meta))
    return str(folder)


def test_cifar_pixels_of_another_type_are_refused(tmp_path: Path) -> None:
    for dtype in (np.int64, np.uint16, np.float32, np.bool_, np.int8):
        path = write_cifar(tmp_path, np.ones((2, 3072), dtype), fine_label_names=["a", "b"])
        with pytest.raises(DataError, match=f"data is {np.dtype(dtype)}, where CIFAR has uint8"):
            load(source="cifar100", path=path)
    with pytest.raises(DataError, match="meta lacks fine_label_names"):
        load(source="cifar100", path=write_cifar(tmp_path, np.ones((2, 3072), np.uint8)))


def test_labels_of_torchvision_sets_that_are_no_integers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import torchvision.datasets

    class Own:
        classes = {"b": 1, "a": 0}  # noqa: RUF012

        def __init__(self, root: str, train: bool) -> None:
            pass

        def __len__(self) -> int:
            return 4

        def __getitem__(self, number: int) -> tuple[Any, Any]:
            return Image.new("L", (4, 4), number), self.label(number)

    monkeypatch.setattr(torchvision.datasets, "Own", Own, raising=False)
    labels: list[Callable[[int], Any]] = [
        lambda k: k % 2 + 0.5,
        lambda k: torch.tensor(k % 2 + 0.5),
        lambda k: (k % 2, 1),
    ]
    for label in labels:
        Own.label = staticmethod(label)  # type: ignore[attr-defined]
        with pytest.raises(DataError, match=r"torchvision Own, train\[0\]: its label is .*; labels must be integers"):
            load(source="torchvision", dataset="Own", path=".")
    for whole in (lambda k: k % 2, lambda k: torch.tensor(k % 2), lambda k: np.int64(k % 2)):
        Own.label = staticmethod(whole)  # type: ignore[attr-defined]
        data = load(source="torchvision", dataset="Own", path=".")
        assert data.y_train.tolist() == [0, 1, 0, 1]
        assert data.classes == ("a", "b")


# ------------------------------------------------------------------------------------ hostile files


def npz_with(path: Path, header: bytes, body: bytes, compression: int = zipfile.ZIP_STORED) -> str:
    """An .npz file whose x_train has this header; the other arrays are whole."""
    save_npz(path, np.zeros((4, 2, 2), np.uint8))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, whole in content.items():
            archive.writestr(name, magic + body if name == "x_train.npy" else whole)
    return str(path)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(1000000, 1000, 1000)", "(4, 2)", "(-4, 2, 2)", "(4, 2, 3)"])
def test_an_npz_header_that_promises_what_is_not_there_is_refused(shape: str, tmp_path: Path) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path = npz_with(tmp_path / "d.npz", header, bytes(16), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="x_train is cut or damaged: its header says .* but 16 follow"):
        load(source="npz", path=path)


def test_npz_members_without_ending_or_twice_are_named(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    save_npz(path, np.zeros((4, 2, 2), np.uint8))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, whole in content.items():
            archive.writestr(name.removesuffix(".npy") if name == "x_train.npy" else name, whole)
    with pytest.raises(DataError, match=r"lacks x_train; it has .*x_train \(which is no array: its name must end in"):
        load(source="npz", path=str(path))
    with zipfile.ZipFile(path, "w") as archive:
        for name, whole in content.items():
            archive.writestr(name, whole)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x_train.npy", content["x_train.npy"])
    with pytest.raises(DataError, match="holds x_train twice"):
        load(source="npz", path=str(path))


def idx(shape: tuple[int, ...], body: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body


@pytest.mark.parametrize(
    "shape",
    [
        (2**32 - 1, 2**32 - 1, 2**32 - 1),
        (2**31, 2**31, 4),
        (2**22, 2**21, 2**21),
        (10**6, 1000, 1000),
        (4, 4, 4),
        (0, 4),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_sizes_that_wrap_around_or_exceed_the_file_are_refused(
    shape: tuple[int, ...], packed: bool, tmp_path: Path
) -> None:
    content = idx(shape, bytes(60))
    name = "train-images-idx3-ubyte"
    (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match="train-images-idx3-ubyte.* is cut or damaged: its header says"):
        load(source="idx", path=str(tmp_path))


def test_a_packed_idx_file_is_unpacked_no_further_than_its_header_says(tmp_path: Path) -> None:
    """A bomb: 100 MB of zeros behind a header of four images; none of it is unpacked."""
    import tracemalloc

    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx((4, 2, 2), bytes(100_000_000)), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match="its header says 16 bytes, but more follow"):
        load(source="idx", path=str(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_no_ordinary_file_is_refused_and_never_waited_for(kind: str, tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name)  # a socket's name may have 100 letters only

    make_images(tmp_path / "images", ["cat", "dog"])
    prepare_images(tmp_path / "images", tmp_path / "prepared", 4)
    write_cifar(tmp_path, np.ones((2, 3072), np.uint8), fine_label_names=["a", "b"])
    for place, block in (
        ("images/train/cat/0.png", {"source": "folder", "path": "images"}),
        ("prepared/x_train.npy", {"source": "prepared", "path": "prepared"}),
        ("prepared/prepared.json", {"source": "prepared", "path": "prepared"}),
        ("train-images-idx3-ubyte", {"source": "idx", "path": ""}),
        ("train", {"source": "cifar100", "path": ""}),
        ("d.npz", {"source": "npz", "path": "d.npz"}),
        ("c.tar.gz", {"source": "cifar100", "path": "c.tar.gz"}),
        ("load.py", {"source": "python", "path": "load.py"}),
    ):
        make(tmp_path / place)
        with pytest.raises(DataError, match=f"is a {kind}, no file; give an ordinary file, or remove it"):
            load(**block | {"path": str(tmp_path / block["path"])})


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "\udce9"])
def test_paths_that_cannot_be_are_refused(path: str) -> None:
    for source in ("npz", "idx", "folder", "cifar10", "prepared", "python"):
        with pytest.raises(DataError, match=r"dataset.path = .*(cannot be used|no such file)") as caught:
            load(source=source, path=path)
        str(caught.value).encode()
