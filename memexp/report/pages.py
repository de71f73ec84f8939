"""Templates of the report's pages: every page stands in one frame, with one navigation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from memexp.spec.spec import Spec
from memexp.store.manifest import Manifest

Links = Sequence[tuple[str, str]]  # file and title of the pages of a report

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("memexp.report"), autoescape=True, undefined=jinja2.StrictUndefined
)


def render(template: str, spec: Spec, manifest: Manifest, links: Links = (), here: str = "", **values: Any) -> str:
    """A page of a run.

    Parameters
    ----------
    links
        Where its navigation leads.
    here
        Which of them it is.
    values
        What else its template shows.
    """
    facts = {"spec": spec, "spec_yaml": spec.to_yaml(), "data": _data_name(spec), "manifest": manifest}
    return _TEMPLATES.get_template(template).render(name=spec.name, links=links, here=here, **facts, **values)


def _data_name(spec: Spec) -> str:
    """The source, and what tells two of its data sets apart: digits, idx (fashion-mnist)."""
    if spec.trial is not None:
        return spec.origin
    which = getattr(spec.dataset, "dataset", None) or Path(getattr(spec.dataset, "path", "")).name
    return spec.dataset.source + (f" ({which})" if which else "")
