"""Report: a folder that opens in any browser, without a network.

index.html is whole by itself and can be sent alone. The other pages stand beside it: every training and every test
example, and what else the trials say.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from memexp.errors import InputError
from memexp.files import explain_unwritable
from memexp.report.attack_page import attack_values, has_attack
from memexp.report.cards import Source
from memexp.report.classes_page import classes_values
from memexp.report.explorer import write_explorer
from memexp.report.labels_page import labels_values
from memexp.report.overview import overview_values
from memexp.report.pages import render
from memexp.report.values_page import has_values, values_values
from memexp.store.derived import derived_lock, replacing
from memexp.store.paths import RunPaths


class Page(NamedTuple):
    """A page of the report.

    ``values``: what its template shows of a run, beside what all pages do. ``there``: whether the run has it.
    """

    file: str
    title: str
    template: str
    values: Callable[[Source], dict[str, Any]]
    there: Callable[[Source], bool] = lambda source: True


def _has_tests(source: Source) -> bool:
    return source.manifest.n_test > 0


PAGES = (
    Page("index.html", "Overview", "report.html.j2", overview_values),
    Page("examples.html", "Training examples", "examples.html.j2", lambda source: {"axis": "train"}),
    Page("tests.html", "Test examples", "examples.html.j2", lambda source: {"axis": "test"}, _has_tests),
    Page("classes.html", "Classes", "classes.html.j2", classes_values, lambda source: not source.one_class),
    Page("labels.html", "Labels", "labels.html.j2", labels_values, lambda source: source.has_labels),
    Page("attack.html", "Privacy", "attack.html.j2", attack_values, has_attack),
    Page("values.html", "Values", "values.html.j2", values_values, has_values),
)
_CONTENT = {*(page.file for page in PAGES), "data.js", "sprites"}


def write_report(source: Source, path: Path) -> Path:
    """Write the report's folder, replacing an older one, and return ``path``, its index.html."""
    pages = [page for page in PAGES if page.there(source)]
    links = [(page.file, page.title) for page in pages]
    told = {
        "no_pictures": source.images is None,
        "untrusted": source.untrusted,
        "one_class": source.one_class,
        "measure": source.merged.measure,
        "has_labels": source.has_labels,
        "caption": source.look.caption if source.look else "",
    }

    def write(folder: Path) -> None:
        write_explorer(folder, source)
        for page in pages:
            values = told | page.values(source)
            text = render(page.template, source.spec, source.manifest, links, page.file, **values)
            (folder / page.file).write_text(text, encoding="utf-8")

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
