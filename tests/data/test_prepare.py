"""Prepared images: decoded once, continued after any stop, and every broken folder is explained."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

import memexp.data.prepare as module
from memexp.data import Data, load_data
from memexp.data.prepare import prepare_images
from memexp.data.prepared import open_prepared
from memexp.errors import DataError, InputError, OutOfSpace
from memexp.spec.datasets import Dataset


def load(**block: Any) -> Data:
    return load_data(TypeAdapter(Dataset).validate_python(block))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three classes with 7 training and 2 test images each, PNG and JPEG, of many sizes."""
    draws = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 2)):
        for name in ("cat", "cow", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = draws.integers(0, 256, (20 + k, 40 - k, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.{'jpg' if k % 2 else 'png'}")
    return tmp_path / "images"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output folder; parts of four images, so that small folders have many."""
    monkeypatch.setattr(module, "_PART", 4)
    monkeypatch.setattr(module, "_NOTE_EVERY_SECONDS", 0.0)
    return tmp_path / "out"


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    read = module.read_image

    def reading(path: Path, size: int) -> Any:
        names.append(path.name)
        return read(path, size)

    monkeypatch.setattr(module, "read_image", reading)
    return names


def test_prepared_is_what_the_folder_source_reads_without_copying_it(images: Path, out: Path) -> None:
    prepare_images(images, out, 8, workers=2)
    plain, prepared = load(source="folder", path=str(images), size=8), load(source="prepared", path=str(out))
    assert prepared.classes == ("cat", "cow", "dog")
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(prepared, name), getattr(plain, name))
    assert prepared.fingerprint() == plain.fingerprint()
    assert isinstance(prepared.x_train, np.memmap)
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "prepared.json", "x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy",
    ]  # fmt: skip


def test_classes_and_size_are_chosen(images: Path, out: Path) -> None:
    prepare_images(images, out, 16, only=["dog", "cat"])
    data = load(source="prepared", path=str(out))
    assert data.classes == ("dog", "cat")
    assert data.x_train.shape == (14, 16, 16, 3)
    whole = load(source="folder", path=str(images), size=16)
    np.testing.assert_array_equal(data.x_train[:7], whole.x_train[whole.y_train == 2])
    with pytest.raises(DataError, match="class 'cwo' is not in train/ and val/ .*; leave it out of --classes"):
        prepare_images(images, out, 16, only=["cat", "cwo"])


@pytest.mark.parametrize("stop", [0, 4, 17, 26])
def test_stopped_anywhere_it_goes_on_and_ends_the_same(
    stop: int, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def tell(done: float) -> None:
        if done >= stop:
            raise Stop

    with pytest.raises(Stop):
        prepare_images(images, out, 8, tell=tell)
    with pytest.raises(DataError, match=r"lacks prepared.json: it is not \(wholly\) prepared. Run `memexp prepare"):
        load(source="prepared", path=str(out))
    names = decoded(monkeypatch)
    prepare_images(images, out, 8)
    assert len(names) <= 27 - (stop - stop % 4 if stop else 0)
    whole = load(source="folder", path=str(images), size=8)
    assert load(source="prepared", path=str(out)).fingerprint() == whole.fingerprint()
    names.clear()
    prepare_images(images, out, 8)
    assert not names, "a finished folder is left as it is"


def test_a_part_whose_file_changed_is_decoded_again(images: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (images / "val/dog/1.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 images cannot be decoded"):
        prepare_images(images, out, 8)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(images / "val/dog/1.jpg")
    Image.new("RGB", (9, 9), (255, 0, 0)).save(images / "train/cat/0.png")
    names = decoded(monkeypatch)
    prepare_images(images, out, 8)
    assert len(names) == 4 + 2, "the first part of the training set and the last of the test set"
    data = load(source="prepared", path=str(out))
    assert (data.x_train[0] == [255, 0, 0]).all()
    assert data.fingerprint() == load(source="folder", path=str(images), size=8).fingerprint()


def break_images(images: Path) -> None:
    """A cut image, something else with an image's name, a link that leads nowhere."""
    whole = (images / "train/cat/1.jpg").read_bytes()
    (images / "train/cat/1.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "train/cow/2.png").write_text("no image")
    (images / "val/dog/9.png").symlink_to(images / "nowhere.png")


def test_all_broken_images_are_named_at_once_and_the_others_are_kept(images: Path, out: Path) -> None:
    break_images(images)
    with pytest.raises(DataError) as caught:
        prepare_images(images, out, 8)
    text = str(caught.value)
    assert "train/cat/1.jpg cannot be read as an image (" in text
    assert "train/cow/2.png cannot be read as an image (" in text
    assert "val/dog/9.png cannot be read (No such file or directory); give yourself the right, or remove it" in text
    assert "3 images cannot be decoded; mend these files, or leave them out with --skip-broken" in text


def test_broken_images_can_be_left_out_and_are_noted(images: Path, out: Path) -> None:
    break_images(images)
    made = prepare_images(images, out, 8, skip_broken=True)
    assert sorted(made.record["left_out"]) == ["train/cat/1.jpg", "train/cow/2.png", "val/dog/9.png"]
    for name in made.record["left_out"]:
        (images / name).unlink()
    whole = load(source="folder", path=str(images), size=8)
    assert load(source="prepared", path=str(out)).fingerprint() == whole.fingerprint()
    assert made.record["files"]["train"][1] == "train/cat/2.png"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_the_right_to_read_it_is_named(images: Path, out: Path) -> None:
    (images / "train/cat/0.png").chmod(0)
    with pytest.raises(DataError, match="0.png cannot be read .Permission denied.; give yourself the right"):
        prepare_images(images, out, 8)


def remove_class_content(images: Path) -> None:
    for path in (images / "val/cow").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_class_content, "val/cow has no images; delete the class from both splits, or fill it"),
        (lambda i: shutil.rmtree(i / "val/cow"), "train has classes that .*/val lacks: cow"),
        (shutil.rmtree, "images does not exist or is no folder"),
        (lambda i: shutil.rmtree(i / "val"), "needs the folders train/ and test/ .*source: folder"),
        (lambda i: shutil.copy(i / "train/dog/0.png", i / "train/dog/0.PNG"), "dog: 0.PNG and 0.png have one name"),
        (lambda i: shutil.copytree(i / "train/dog", i / "train/dog/more"), "0.png and more/0.png have one name"),
        (lambda i: shutil.copytree(i / "train/dog", i / "train/Dog"), "'Dog' and 'dog', which differ in capitals"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_meant_is_refused_before_decoding(
    damage: Callable[[Path], Any], words: str, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(images)
    names = decoded(monkeypatch)
    with pytest.raises(DataError, match=words):
        prepare_images(images, out, 8)
    assert not names
    assert not out.exists()


def test_a_class_of_which_nothing_can_be_decoded_is_named(images: Path, out: Path) -> None:
    for path in (images / "train/cow").iterdir():
        path.write_text("")
    with pytest.raises(DataError, match="train: no image of class 'cow' can be decoded"):
        prepare_images(images, out, 8, skip_broken=True)


def test_a_folder_in_use_is_not_overwritten(images: Path, out: Path) -> None:
    prepare_images(images, out, 8)
    with pytest.raises(InputError, match=r"prepared already, from something else(.|\n)*size: 8 there, 16 wanted"):
        prepare_images(images, out, 16)
    other = out.with_name("other")
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds other files \(thesis.txt\)"):
        prepare_images(images, other, 8)

    def again(_: float) -> None:
        prepare_images(images, out.with_name("third"), 8)

    with pytest.raises(InputError, match="is being prepared by another process"):
        prepare_images(images, out.with_name("third"), 8, tell=again)


def test_a_copy_is_compared_with_its_fingerprint(images: Path, out: Path, tmp_path: Path) -> None:
    prepare_images(images, out, 8)
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    os.utime(copy / "x_train.npy", (1, 1))
    assert open_prepared(copy).digests == open_prepared(out).digests
    content = bytearray((copy / "x_train.npy").read_bytes())
    content[-1] ^= 1
    (copy / "x_train.npy").write_bytes(content)
    with pytest.raises(DataError, match="x_train.npy is not what memexp prepare wrote"):
        open_prepared(copy)
    (copy / "prepared.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(DataError, match="is damaged"):
        open_prepared(copy)


def test_labels_are_compared_though_their_file_has_the_same_size_and_time(images: Path, out: Path) -> None:
    prepare_images(images, out, size=8, workers=2)
    file = out / "y_train.npy"
    before = file.stat()
    labels = np.load(file)
    assert len(np.unique(labels)) > 1
    np.save(file, labels[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    with pytest.raises(DataError, match=r"y_train.npy is not what memexp prepare wrote"):
        open_prepared(out)


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount a small disk")
def test_a_disk_that_fills_midway_is_explained_and_what_was_decoded_is_kept(images: Path, out: Path) -> None:
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", out], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    ready, ballast = out / "ready", out / "ballast"
    try:

        def fill(done: float) -> None:
            if done == 4:
                with open(ballast, "wb", buffering=0) as stream, suppress(OSError):
                    while True:
                        stream.write(b"x" * 4096)

        with pytest.raises(OutOfSpace, match="no space left .* What was decoded is kept. Free some space"):
            prepare_images(images, ready, 64, tell=fill)
        ballast.unlink()
        whole = load(source="folder", path=str(images), size=64)
        prepare_images(images, ready, 64)
        assert load(source="prepared", path=str(ready)).fingerprint() == whole.fingerprint()
    finally:
        subprocess.run(["umount", "--lazy", out], check=True)


@pytest.mark.long
def test_the_command_prepares_and_a_trial_trains_on_it(
    images: Path, tmp_path: Path, memexp: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    done = memexp("prepare", images, "ready", "--size", 8)
    assert done.returncode == 0, done.stderr
    assert "21 training and 6 test, 3 classes, 8x8" in done.stdout
    assert "dataset: {source: prepared, path: ready}" in done.stdout
    spec = write_spec(
        dataset={"source": "prepared", "path": "ready"},
        model={"arch": "memexp_cnn", "width": 4},
        training={"batch_size": 4, "epochs": 1},
        subsets={"trials": 10},
    )
    launched = memexp("launch", spec, "--device", "cpu", "--workers", 0)
    assert launched.returncode == 0, launched.stderr
    (images / "train/cat/0.png").write_text("broken")
    refused = memexp("prepare", images, "again", "--size", 8)
    assert refused.returncode == 2
    assert "0.png cannot be read as an image" in refused.stderr
    assert "Traceback" not in refused.stderr
