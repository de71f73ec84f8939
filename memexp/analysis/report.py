"""Report: one HTML file that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jinja2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from memexp.analysis.estimates import Estimates
from memexp.analysis.figures import as_svg, draw_accuracies, draw_histogram, draw_in_out
from memexp.analysis.merged import Merged
from memexp.analysis.pairs import Pairs
from memexp.files import write_atomic
from memexp.precision import lemma_bound, worst_case_se
from memexp.spec import Spec
from memexp.store.manifest import Manifest

_GALLERY = 60
_PAIR_ROWS = 12
_TESTS_PER_ROW = 4
_THUMBNAIL = 96


class Images(Protocol):
    """What the report needs of a data set: uint8 or float images (N, H, W, C)."""

    @property
    def x_train(self) -> NDArray[Any]:
        """Training images."""
        ...

    @property
    def x_test(self) -> NDArray[Any]:
        """Test images."""
        ...


class Card(NamedTuple):
    """One image with its words."""

    image: str
    title: str
    lines: Sequence[str]
    flipped: bool = False


@dataclass(frozen=True)
class Source:
    """Everything that a report shows."""

    spec: Spec
    manifest: Manifest
    merged: Merged
    estimates: Estimates
    images: Images


def write_report(source: Source, path: Path) -> Path:
    """Write the report and return its path."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("memexp.analysis"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        spec=source.spec,
        spec_yaml=yaml.safe_dump(source.spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        manifest=source.manifest,
        facts=_facts(source),
        warnings=_warnings(source),
        figures=_figures(source),
        gallery=[_memorized_card(source, int(i)) for i in _most_memorized(source)],
        pair_rows=_pair_rows(source),
        n_pairs=len(source.estimates.pairs.passing()),
        selection=source.estimates.selection,
        flips=_flips(source),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page.encode())
    return path


def _facts(source: Source) -> list[tuple[str, str]]:
    """Name and value of the numbers at the top."""
    merged, scores, subsets = source.merged, source.estimates.scores, source.spec.subsets
    facts = [
        ("trials", f"{merged.n_trials:,} done, {merged.n_failed:,} failed, {merged.n_missing:,} missing"),
        ("training examples", f"{source.manifest.n_train:,}"),
        ("test examples", f"{source.manifest.n_test:,}"),
        *((name, _mean_and_deviation(merged.per_trial(key))) for name, key in _ACCURACIES.items()),
        ("memorization, mean", f"{np.nanmean(scores.memorization):.3f}"),
        ("examples with memorization ≥ 0.25", f"{int((scores.memorization >= 0.25).sum()):,}"),
        ("standard error, median", f"{np.nanmedian(scores.memorization_se):.3f}"),
    ]
    if subsets.ratio is not None:
        worst, bound = (rule(subsets.ratio, merged.n_trials) for rule in (worst_case_se, lemma_bound))
        facts.append(("standard error, worst case", f"{worst:.3f} (bound of Lemma 2.1: {bound:.3f})"))
    return facts


_ACCURACIES = {"accuracy, in": "in_accuracy", "accuracy, out": "out_accuracy", "accuracy, test": "test_accuracy"}


def _mean_and_deviation(values: NDArray[np.float32]) -> str:
    return f"{100 * np.mean(values):.2f} ± {100 * np.std(values):.2f} %"


def _warnings(source: Source) -> list[str]:
    merged, scores = source.merged, source.estimates.scores
    undefined = int(np.isnan(scores.memorization).sum())
    in_accuracy = float(np.mean(merged.per_trial("in_accuracy")))
    warnings = []
    if merged.n_missing:
        warnings.append(f"{merged.n_missing:,} trials are missing; the numbers will still move.")
    if merged.n_failed:
        warnings.append(f"{merged.n_failed:,} trials failed and are left out; see memexp status for the reasons.")
    if undefined:
        warnings.append(f"{undefined:,} examples were never in or never out: their memorization is not defined.")
    if in_accuracy < 0.98:
        warnings.append(
            f"The models get only {100 * in_accuracy:.1f} % of their own training examples right: what they did not "
            "have time to fit does not count as memorized."
        )
    return warnings


def _figures(source: Source) -> dict[str, str]:
    scores = source.estimates.scores
    flipped = source.merged.examples.get("train_label_flipped")
    accuracies = {name.split(", ")[1]: source.merged.per_trial(key) for name, key in _ACCURACIES.items()}
    return {
        "histogram": as_svg(lambda axes: draw_histogram(axes, scores.memorization, flipped)),
        "accuracies": as_svg(lambda axes: draw_accuracies(axes, accuracies), height=2.4),
        "in_out": as_svg(lambda axes: draw_in_out(axes, scores.in_accuracy, scores.out_accuracy), 3.6, 3.4),
    }


def _most_memorized(source: Source) -> NDArray[np.intp]:
    """Most memorized first; equal scores by the interval's lower end, then by index."""
    scores = source.estimates.scores
    order = np.lexsort((-scores.memorization_low, -scores.memorization))
    return order[~np.isnan(scores.memorization[order])][:_GALLERY]


def _memorized_card(source: Source, index: int) -> Card:
    scores, examples = source.estimates.scores, source.merged.examples
    flipped = "train_label_flipped" in examples and bool(examples["train_label_flipped"][index])
    label = _class(source, examples["train_label"][index])
    original = f", truly {_class(source, examples['train_label_original'][index])}" if flipped else ""
    return Card(
        _thumbnail(source.images.x_train[index]),
        f"{label}{original}",
        (
            f"{scores.memorization[index]:.2f} [{scores.memorization_low[index]:.2f}, "
            f"{scores.memorization_high[index]:.2f}]",
            f"in {scores.in_accuracy[index]:.2f} ({scores.in_count[index]}), "
            f"out {scores.out_accuracy[index]:.2f} ({scores.out_count[index]})",
            f"train #{examples['train_index'][index]}",
        ),
        flipped,
    )


def _pair_rows(source: Source) -> list[tuple[Card, list[Card]]]:
    """Training examples with the strongest pairs, each with the test examples it helps most."""
    pairs = source.estimates.pairs.passing()
    rows: list[tuple[Card, list[Card]]] = []
    for train in dict.fromkeys(pairs.train.tolist()):
        if len(rows) == _PAIR_ROWS:
            break
        mine = pairs.take(np.flatnonzero(pairs.train == train)[:_TESTS_PER_ROW])
        rows.append((_memorized_card(source, train), [_pair_card(source, mine, k) for k in range(len(mine))]))
    return rows


def _pair_card(source: Source, pairs: Pairs, k: int) -> Card:
    examples, test = source.merged.examples, pairs.test[k]
    return Card(
        _thumbnail(source.images.x_test[test]),
        _class(source, examples["test_label"][test]),
        (
            f"{pairs.influence[k]:.2f} [{pairs.influence_low[k]:.2f}, {pairs.influence_high[k]:.2f}]",
            f"test #{examples['test_index'][test]}",
        ),
    )


def _flips(source: Source) -> dict[str, str] | None:
    """How well memorization finds the labels that were flipped on purpose."""
    flipped = source.merged.examples.get("train_label_flipped")
    if flipped is None:
        return None
    from sklearn.metrics import roc_auc_score

    scores = np.nan_to_num(source.estimates.scores.memorization, nan=-1.0)
    count = int(flipped.sum())
    top = np.argsort(-scores, kind="stable")[:count]
    return {
        "count": f"{count:,}",
        "auroc": f"{roc_auc_score(flipped, scores):.4f}",
        "found": f"{int(flipped[top].sum()):,}",
        "mean_flipped": f"{scores[flipped].mean():.3f}",
        "mean_other": f"{scores[~flipped].mean():.3f}",
    }


def _class(source: Source, label: int) -> str:
    return source.manifest.classes[int(label)]


def _thumbnail(image: NDArray[Any]) -> str:
    """A PNG data URI; small images are enlarged without smoothing, large ones reduced."""
    pixels = np.clip(image * 255, 0, 255).astype(np.uint8) if image.dtype.kind == "f" else image
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    if max(picture.size) > _THUMBNAIL:
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
