"""Report: a folder that opens in any browser, without a network.

index.html is whole by itself and can be sent alone; examples.html, beside it, shows every training example,
labels.html labels that are probably wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from memexp.analysis.grouped import describe_groups
from memexp.analysis.tested import accuracy_by_set
from memexp.analysis.worth import worth_of_memorized
from memexp.errors import InputError
from memexp.files import explain_unwritable
from memexp.report.cards import Source, class_name, memorized_card, pairs_section
from memexp.report.explorer import rank, write_explorer
from memexp.report.figures import (
    COUNTED,
    as_svg,
    draw_accuracies,
    draw_agreement,
    draw_histogram,
    draw_in_out,
    draw_scatter,
)
from memexp.report.labels_page import has_labels, labels_values
from memexp.spec.sampling_error import lemma_bound, worst_case_se
from memexp.spec.spec import Spec
from memexp.store.derived import derived_lock, replacing
from memexp.store.manifest import Manifest
from memexp.store.paths import RunPaths

_GALLERY = 60


def write_report(source: Source, path: Path) -> Path:
    """Write the report's folder, replacing an older one, and return ``path``, its index.html."""

    def write(folder: Path) -> None:
        write_explorer(folder, source.spec.name, source.manifest.classes, source.merged, source.estimates, source.look)
        page = render_examples(source.spec.name, source.images is None, source.untrusted)
        (folder / "examples.html").write_text(page, encoding="utf-8")
        if has_labels(source):
            (folder / "labels.html").write_text(_labels(source), encoding="utf-8")
        (folder / path.name).write_text(_overview(source), encoding="utf-8")

    return replace_report(source.merged.paths, path, write)


def replace_report(run: RunPaths, path: Path, write: Callable[[Path], Any]) -> Path:
    """Let ``write`` fill a folder, put it in the place of the report's old one, and return ``path``.

    Raises
    ------
    InputError
        If the folder is not the run's own and holds something else than a report, which would be lost.
    """
    folder = path.parent
    kept = "The estimates are untouched."
    if path != run.report:
        _require_replaceable(folder)
    with derived_lock(run), explain_unwritable(folder, kept), replacing(folder) as building:
        building.mkdir()
        write(building)
    return path


_CONTENT = {"index.html", "examples.html", "labels.html", "data.js", "sprites"}


def _require_replaceable(folder: Path) -> None:
    """A folder that is replaced must hold nothing but an older report."""
    if not folder.parent.is_dir():
        raise InputError(f"the folder {folder.parent} does not exist; create it, or give another --out")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is no folder; give --out a new folder, or that of an older report")
    other = sorted({entry.name for entry in folder.iterdir()} - _CONTENT) if folder.exists() else []
    if other:
        raise InputError(
            f"{folder} holds {other[0]}, which no report has; give --out a new folder, or an older report's"
        )


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("memexp.report"), autoescape=True, undefined=jinja2.StrictUndefined
)


def render_examples(name: str, no_pictures: bool = False, untrusted: bool = False) -> str:
    """The page that shows data.js and the sprites of :func:`memexp.report.explorer.write_explorer`."""
    return _TEMPLATES.get_template("examples.html.j2").render(name=name, no_pictures=no_pictures, untrusted=untrusted)


def render_notebook(name: str, facts: Sequence[tuple[str, str]]) -> str:
    """What a notebook shows of a run: names and values as a table, escaped."""
    return _TEMPLATES.get_template("notebook.html.j2").render(name=name, facts=facts)


def render(template: str, spec: Spec, manifest: Manifest, **values: Any) -> str:
    """A page that says how it was made."""
    page = _TEMPLATES.get_template(template)
    return page.render(spec=spec, spec_yaml=spec.to_yaml(), data=_data_name(spec), manifest=manifest, **values)


def _data_name(spec: Spec) -> str:
    """The source, and what tells two of its data sets apart: digits, idx (fashion-mnist)."""
    if spec.trial is not None:
        return spec.origin
    which = getattr(spec.dataset, "dataset", None) or Path(getattr(spec.dataset, "path", "")).name
    return spec.dataset.source + (f" ({which})" if which else "")


def _page(template: str, source: Source, **values: Any) -> str:
    told = {"no_pictures": source.images is None, "untrusted": source.untrusted}
    return render(template, source.spec, source.manifest, **told, **values)


def _overview(source: Source) -> str:
    return _page(
        "report.html.j2",
        source,
        facts=_facts(source),
        warnings=_warnings(source),
        caption=source.look.caption if source.look else "",
        figures=_figures(source),
        classes=_class_rows(source),
        gallery=[memorized_card(source, int(i)) for i in _most_memorized(source)],
        pairs=pairs_section(source) if source.manifest.n_test else None,
        selection=source.estimates.selection,
        cut=source.estimates.cut(),
        flips=_flips(source),
        worth=_worth(source),
        has_posterior=bool(np.isfinite(source.estimates.posterior.memorization_posterior).any()),
        comparison=_comparison(source),
        removal=source.removal,
        groups=describe_groups(source.merged.examples),
        has_labels=has_labels(source),
    )


def _worth(source: Source) -> str | None:
    """What memorized examples are worth to the test set; None where trials do not tell."""
    if source.merged.numbers or "test" not in source.merged.accuracies:
        return None
    worth = worth_of_memorized(source.merged)
    return str(worth) if worth.known else None


def _labels(source: Source) -> str:
    return _page("labels.html.j2", source, **labels_values(source))


def _comparison(source: Source) -> dict[str, object] | None:
    found = source.comparison
    if found is None:
        return None
    figures, ranks = [], []
    for name, curves in (("memorization", found.memorization), ("influence", found.influence)):
        if curves is not None:
            agreement = as_svg(partial(draw_agreement, curves=curves))
            both = partial(draw_scatter, first=curves.first, second=curves.second, names=found.names)
            scatter = as_svg(partial(both, what=COUNTED[name]), 4.4, 3.4)
            values = (each.rank_correlation if each else np.nan for each in (curves.found, curves.by_chance))
            ranks.append((name, *("–" if np.isnan(value) else f"{value:.3f}" for value in values)))
            figures += [(f"{name}, agreement over the threshold", agreement), (f"{name}, both estimates", scatter)]
    return {"name": found.names[1], "figures": figures, "selection": str(found.selection), "ranks": ranks}


def _class_rows(source: Source) -> list[tuple[int, str, list[str]]]:
    """Label, name and numbers of each class that has training examples."""
    scores, labels = source.estimates.scores, source.merged.examples["train_label"]
    rows = []
    for label in np.unique(labels).tolist():
        mine = labels == label
        means = (_mean(values[mine]) for values in (scores.memorization, scores.in_accuracy, scores.out_accuracy))
        high = int((scores.memorization[mine] >= 0.25).sum())
        rows.append((label, class_name(source, label), [f"{mine.sum():,}", f"{high:,}", *means]))
    return rows


def _mean(values: NDArray[np.float32]) -> str:
    return _of_defined(np.mean, values)


def _median(values: NDArray[np.float32]) -> str:
    return _of_defined(np.median, values)


def _of_defined(statistic: Callable[[NDArray[np.float32]], Any], values: NDArray[np.float32]) -> str:
    defined = values[~np.isnan(values)]
    return f"{statistic(defined):.3f}" if len(defined) else "–"


def _facts(source: Source) -> list[tuple[str, str]]:
    """Name and value of the numbers at the top."""
    merged, scores, subsets = source.merged, source.estimates.scores, source.spec.subsets
    facts = [
        ("trials", f"{merged.n_trials:,} done, {merged.n_failed:,} failed, {merged.n_missing:,} missing"),
        ("training examples", f"{source.manifest.n_train:,}"),
        ("test examples", f"{source.manifest.n_test:,}" if source.manifest.n_test else "none"),
        *(
            (f"accuracy, {name}", _mean_and_deviation(merged.per_trial(f"{name}_accuracy")))
            for name in merged.accuracies
        ),
        *((f"accuracy on {name}", _mean_and_deviation(each)) for name, each in accuracy_by_set(merged).items()),
        ("memorization, mean", _mean(scores.memorization)),
        ("examples with memorization ≥ 0.25", f"{int((scores.memorization >= 0.25).sum()):,}"),
    ]
    error = f"median {_median(scores.memorization_se)}"
    if subsets.ratio is None or merged.numbers:  # numbers may spread as they like
        return [*facts, ("standard error of memorization", error)]
    worst, bound = (rule(subsets.ratio, merged.n_trials) for rule in (worst_case_se, lemma_bound))
    return [
        *facts,
        ("standard error of memorization", f"{error}, at worst {worst:.3f}"),
        ("the paper's bound of it (Lemma 2.1)", f"{bound:.3f}"),
    ]


def _mean_and_deviation(values: NDArray[np.floating]) -> str:
    return f"{values.mean():.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


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
        warnings.append(f"{undefined:,} examples were never in or never out: more trials define their memorization.")
    if in_accuracy < 0.98 and not merged.numbers:
        warnings.append(
            f"The models get only {100 * in_accuracy:.1f} % of their own training examples right: what they did not "
            "have time to fit does not count as memorized. More epochs, in a spec of another name, fit more."
        )
    return warnings


def _figures(source: Source) -> dict[str, str]:
    scores = source.estimates.scores
    flipped = source.merged.examples.get("train_label_flipped")
    accuracies = {name: source.merged.per_trial(f"{name}_accuracy") for name in source.merged.accuracies}
    draw: dict[str, Callable[[Axes], Axes]] = {
        "histogram": lambda axes: draw_histogram(axes, scores.memorization, flipped),
        "in_out": lambda axes: draw_in_out(axes, scores.in_accuracy, scores.out_accuracy),
        "accuracies": lambda axes: draw_accuracies(axes, accuracies),
    }
    return {name: as_svg(each, 4.0, 3.3) for name, each in draw.items()}


def _most_memorized(source: Source) -> NDArray[np.intp]:
    order = rank(source.estimates.scores)
    return order[~np.isnan(source.estimates.scores.memorization[order])][:_GALLERY]


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
