"""Run the Python files that a spec names, and blame their faults on their own lines.

A file is executed once per process and text. It is one file: what lies beside it is not imported,
because a run keeps a copy of its text only.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from memexp.errors import InputError, MemexpError
from memexp.spec.sections import PythonFile
from memexp.spec.user_paths import read_text


def read_python_file(path: Path) -> PythonFile:
    """The text of a file that a spec names.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return PythonFile(name=path.name, source=read_source(path))


def read_source(path: Path) -> str:
    """The text of a Python file, line ends as Python sees them.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return read_text(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); wanted is a Python file (relative paths start at the spec's "
            "folder)"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


class _Loader(importlib.abc.ExecutionLoader):
    """Executes a text under a file's name; tracebacks and ``inspect`` find its lines."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def get_filename(self, fullname: str) -> str:
        """What tracebacks, and ``__file__``, say."""
        return self.name

    def get_source(self, fullname: str) -> str:
        """The text."""
        return self.source


def function_in(file: PythonFile, name: str, wanted: str) -> Callable[..., Any]:
    """A function (or class) that a file defines.

    Parameters
    ----------
    file
        Executed first, unless this process has done so.
    name
        Of the function.
    wanted
        How it is called, for the message.

    Raises
    ------
    InputError
        If the file fails, with its line, or defines no such function.
    """
    module = _executed(file)
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    raise InputError(
        f"{file.name} defines no function {name}; wanted is {wanted}. "
        f"It defines {', '.join(own) or 'no function at all'}"
    )


@lru_cache(maxsize=64)
def _executed(file: PythonFile) -> ModuleType:
    # The name is no name of an installed module, and another one for another text of the same file.
    unique = hashlib.sha256(f"{file.name}\n{file.source}".encode()).hexdigest()[:12]
    name = f"_memexp_{re.sub(r'[^0-9a-zA-Z]', '_', Path(file.name).stem)}_{unique}"
    spec = importlib.util.spec_from_loader(name, _Loader(file.name, file.source))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses, pickle and timm look for it
    try:
        with blamed():
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError | ValueError) and not isinstance(error, MemexpError):
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            text = error.msg if isinstance(error, SyntaxError) else error
            raise InputError(f"{file.name}{line}: not valid Python: {text}") from error
        raise
    return module


def require_call(function: Callable[..., Any], file: str, positional: tuple[str, ...], given: dict[str, Any]) -> None:
    """Check that a function takes what it will be passed.

    Parameters
    ----------
    file
        Its file's name, for the message.
    positional
        What is passed by place.
    given
        What is passed by name.

    Raises
    ------
    InputError
        If it does not.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # not a function of Python; it will say so itself
    try:
        signature.bind(*positional, **given)
    except TypeError as error:
        name = getattr(function, "__name__", str(function))
        call = ", ".join([*positional, *(f"{key}=..." for key in given)])
        unknown = [key for key in given if key not in signature.parameters]
        hint = f" ({meant(unknown, list(signature.parameters))})" if unknown else ""
        raise InputError(
            f"{file}: {name}{_parameters(signature)} cannot be called as {name}({call}): {error}{hint}. "
            "Further keys of the block are passed by name; change the keys, or the function"
        ) from error


def meant(unknown: list[str], taken: list[str]) -> str:
    """What arguments that a function does not take were probably meant to be."""
    close = {key: difflib.get_close_matches(key, [name for name in taken if name not in unknown], 1) for key in unknown}
    words = [f"no argument {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "") for key, near in close.items()]
    return f"there is {' and '.join(words)}" + (f"; it takes {', '.join(taken)}" if taken else "")


def _parameters(signature: inspect.Signature) -> str:
    return str(signature.replace(return_annotation=inspect.Signature.empty))


@contextlib.contextmanager
def blamed(kind: type[MemexpError] = InputError, during: str = "") -> Iterator[None]:
    """Turn an exception that came out of a spec's Python file into one message with the file's line.

    Whatever the file prints goes to standard error. Running out of memory is no fault of the file's.

    Parameters
    ----------
    kind
        What is raised.
    during
        Where it happened, for the message, such as "in trial 3".
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (MemexpError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        place = _place(error)
        if place is None or type(error).__name__ == "OutOfMemoryError":  # torch's, for a GPU
            raise
        file, line, text = place
        after = f" ({during})" if during else ""
        hint = (
            ". Files beside it are not imported: put what it needs into the file, or install it as a package"
            if isinstance(error, ImportError)
            else ""
        )
        raise kind(f"{file}, line {line}{after}: {type(error).__name__}: {error}{hint}\n  {text}".rstrip()) from error


def _place(error: BaseException) -> tuple[str, int, str] | None:
    """File, line and its text of the innermost frame that belongs to such a file."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        loader = frame.f_globals.get("__loader__")
        if isinstance(loader, _Loader):
            found = loader, line
    if found is None:
        return None
    loader, line = found
    return loader.name, line, loader.source.split("\n")[line - 1].strip()
