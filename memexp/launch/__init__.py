"""Start, follow and stop runs, on this machine or on Slurm.

The package is a function too: ``memexp.launch(spec, data=...)`` is :func:`memexp.notebook.launch`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        notebook = importlib.import_module("memexp.notebook")  # a skin above this room, known to its caller alone

        return notebook.launch(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
