"""memexp: train many models on random subsets, then estimate memorization and influence.

The package has two halves that share nothing but the store. ``memexp`` makes runs (spec, plan,
designs, data, models, training, worker, launch); ``memexp.analysis`` reads them (merge, counts,
estimators, report). Method: Feldman & Zhang, NeurIPS 2020.

In a notebook: ``memexp.launch(spec, data=...)`` and ``memexp.open_run("runs/digits")``, see docs/notebook.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

from memexp.version import __version__

if TYPE_CHECKING:
    from memexp.notebook import RunView, open_run

# `memexp.worker` stays importable, since queued jobs of an earlier version start it
__path__.append(f"{__path__[0]}/former")
__all__ = ["RunView", "__version__", "launch", "open_run"]


def __getattr__(name: str) -> Any:
    """What a notebook uses, imported when it is asked for: ``import memexp`` itself costs nothing."""
    if name in ("RunView", "open_run"):
        from memexp import notebook

        return getattr(notebook, name)
    if name == "launch":  # a package that can be called
        return importlib.import_module("memexp.launch")
    raise AttributeError(f"module 'memexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
