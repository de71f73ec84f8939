"""Commands that make data: images decoded once for all trials, features of a trained network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from memexp.cli.console import duration, progress, show, stoppable

if TYPE_CHECKING:
    from memexp.runs.plan import Plan

Images = Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder with train/CLASS/* and test/CLASS/* (or val/).")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write, about N * SIZE * SIZE * 3 bytes.")]


def prepare(
    images: Images,
    out: Out,
    size: Annotated[int, typer.Option(min=1, help="Pixels of a side: the centred square, resized.")] = 32,
    classes: Annotated[str | None, typer.Option(help="Only these classes: names with commas between.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="one per processor")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out images that cannot be decoded; they are noted.")
    ] = False,
) -> None:
    """Decode and resize an image folder once, for `source: prepared`; run again to go on."""
    from memexp.data.folders import list_images
    from memexp.data.prepare import prepare_images
    from memexp.launch.where import available_cpus

    only = None if classes is None else [name.strip() for name in classes.split(",")]
    total = sum(map(len, list_images(images, only).files.values()))
    start = time.monotonic()
    stopped = f"stopped; what was decoded is kept. Go on with the same command into {out}"
    with stoppable(stopped), progress("preparing", total, "images") as tell:
        made = prepare_images(images, out, size, only, workers or available_cpus(), skip_broken, tell)
    x_train, _, x_test, _ = made.arrays
    rows = [
        ("images", f"{len(x_train):,} training and {len(x_test):,} test, {len(made.classes)} classes, {size}x{size}"),
        ("size", f"{(x_train.nbytes + x_test.nbytes) / 1e6:,.1f} MB"),
        ("time", duration(time.monotonic() - start)),
        ("spec", f"dataset: {_flow(source='prepared', path=str(out))}"),
    ]
    if made.record["left_out"]:
        names = list(made.record["left_out"])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        rows.append(("left out", f"{len(names)} broken: {', '.join(names[:3])}{more} (all in prepared.json)"))
    show(rows)


def _flow(**values: str) -> str:
    """A section of a spec on one line, quoted where YAML would read a path as something else."""
    import yaml

    text = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return str(text).strip()


def features(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="What to train, once, on the whole training set.")],
    to: Annotated[Path, typer.Option("--out", help="The .npz file to write, for `source: npz`.")],
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="one per processor")] = None,
) -> None:
    """Train once on everything and keep what the last layer sees, to train linear heads on subsets."""
    from memexp.launch.where import available_cpus
    from memexp.runs.plan import make_plan
    from memexp.spec.reading import read_spec
    from memexp.spec.spec import require_network
    from memexp.training import features as made
    from memexp.training.devices import require_gpu

    if device == "cuda":
        require_gpu()
    file = read_spec(spec)
    require_network(file.spec, spec)
    plan = make_plan(file)
    with stoppable("stopped; nothing was written"), progress("training", 1, "networks") as tell:
        arrays, accuracy = made.extract(plan.spec, plan.data, device, tell, threads or available_cpus())
    made.save(arrays, to)
    width = arrays["x_train"].shape[-1]
    show(
        [
            ("network", f"{plan.spec.model.arch}, test accuracy {accuracy:.4f}"),
            (
                "features",
                f"{width} of each of {len(arrays['y_train']):,} training and {len(arrays['y_test']):,} test examples",
            ),
            ("spec", f"dataset: {_flow(source='npz', path=str(to))}, model: {{arch: memexp_mlp, hidden: []}}"),
        ]
    )


def describe_images(made: Plan) -> str:
    """Shape and type of the images, or of a table's rows."""
    height, width, channels = made.data.x_train.shape[1:]
    if (height, width) == (1, 1):
        return f"none: a table of {channels:,} features, {made.data.x_train.dtype}"
    return f"{height} x {width} pixels, {channels} channel{'s' * (channels > 1)}, {made.data.x_train.dtype}"


def describe_classes(made: Plan, most: int = 10) -> str:
    """Label, name and training examples of each class; of many classes the first and the last ones."""
    counts = made.class_counts
    told = [
        f"{k} ({count:,})" if name == str(k) else f"{k} {name} ({count:,})" for k, (name, count) in enumerate(counts)
    ]
    return ", ".join(told if len(told) <= most + 1 else [*told[: most - 2], "...", *told[-2:]])
