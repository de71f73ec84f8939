"""`memexp prepare` on 10,000 JPEG files against plain decoding with the same library.

    python benchmarks/prepare.py [--images 10000] [--size 64] [--rounds 3] [--folder FOLDER]

The files are made first: photographs' sizes (500x375), smooth noise of many frequencies, 20 classes, 90 %
training. Contenders take turns:

(a) plain: Pillow in a loop, one image after the other, as a data set class does it in every trial and epoch.
(b) `memexp prepare` with one thread for each processor, with everything it does beside: looking for faults,
    arrays on the disk, fingerprints.

Then what a trial pays: mapping the prepared arrays, and reading all pixels once.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from memexp.data.folders import list_images
from memexp.data.prepare import prepare_images
from memexp.data.prepared import open_prepared
from memexp.launch.where import available_cpus

CLASSES = 20


def make_images(folder: Path, count: int) -> None:
    """JPEG files of quality 90, of about 50 to 60 kB."""

    def make(number: int) -> None:
        draws = np.random.default_rng(number)
        image = sum(
            np.asarray(Image.fromarray(draws.normal(0, 30, (size, size, 3)).astype(np.int8).view(np.uint8))
                       .resize((500, 375), Image.Resampling.BICUBIC)).astype(np.float32)
            for size in (4, 16, 64)
        )  # fmt: skip
        split = "test" if number % 10 == 9 else "train"
        path = folder / split / f"class{number // 10 % CLASSES:02}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image / 3).astype(np.uint8)).save(path, quality=90)

    with ThreadPoolExecutor(available_cpus()) as pool:
        list(pool.map(make, range(count)))


def plain(folder: Path, size: int) -> float:
    """Seconds to decode every file with Pillow, one after the other."""
    start = time.perf_counter()
    images = []
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as image:
            images.append(np.asarray(ImageOps.fit(image.convert("RGB"), (size, size))))
    np.stack(images)
    return time.perf_counter() - start


def prepared(folder: Path, size: int, out: Path) -> float:
    """Seconds of `memexp prepare`."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    prepare_images(folder, out, size, workers=available_cpus())
    return time.perf_counter() - start


def main() -> None:
    """Make the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="an image folder to use instead of one made for this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, out = given.folder or Path(place) / "images", Path(place) / "out"
        if given.folder is None:
            make_images(folder, given.images)
        count = sum(map(len, list_images(folder).files.values()))
        seconds = [(plain(folder, given.size), prepared(folder, given.size, out)) for _ in range(given.rounds)]
        a, b = (statistics.median(column) for column in zip(*seconds, strict=True))
        start = time.perf_counter()
        arrays = open_prepared(out).arrays
        mapped = time.perf_counter() - start
        total = sum(int(array.sum(dtype=np.int64)) for array in (arrays[0], arrays[2]))
        read = time.perf_counter() - start
    print(f"{count:,} images to {given.size}x{given.size}, {available_cpus()} processors (sum of pixels {total})")
    print(f"plain decoding    {count / a:8,.0f} images/s")
    print(f"memexp prepare    {count / b:8,.0f} images/s, {a / b:.1f} times")
    print(
        f"a trial then maps the arrays in {1000 * mapped:.1f} ms; reading every pixel takes {read:.2f} s, not {a:.0f} s"
    )


if __name__ == "__main__":
    main()
