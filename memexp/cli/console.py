"""What the command line prints: data to standard output, progress and remarks to standard error.

Everything that is printed is text as it is: no markup, no emoji codes, and no characters that would steer the
terminal, since names, errors and log lines come from files that somebody else may have written.
"""

from __future__ import annotations

import functools
import json
import math
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from rich.console import Console
from rich.text import Text

from memexp.errors import MemexpError
from memexp.spec.user_paths import user_path

if TYPE_CHECKING:
    from rich.status import Status

P = ParamSpec("P")


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text with everything visible: what steers a terminal, or what ``encoding`` lacks, as an escape like \\x1b.

    Line ends and tabs stay. Among what is escaped are control characters, marks that reverse the direction of
    writing, and halves of surrogates, which stand for bytes that are no UTF-8.
    """
    seen = "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )
    return seen.encode(encoding, "backslashreplace").decode(encoding)


class PlainConsole(Console):
    """A console for which all text goes through :func:`printable`: lines, cells of tables, titles of rules."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does, of what is printable."""
        return super().render_str(printable(text, self.encoding), **options)

    def say(self, text: str = "", **options: Any) -> None:
        """Print a line as it is, however wide the terminal."""
        silence.broken()
        self.print(text, soft_wrap=True, **options)


out = PlainConsole()
err = PlainConsole(stderr=True)


def print_json(value: Any) -> None:
    """A value as JSON on standard output: NaN as null; what is not ASCII is escaped, so that any encoding takes it."""
    out.say(json.dumps(_without_nan(value), indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_QUIET_EVERY_SECONDS = 15.0
_ENOUGH_SECONDS = 1.0  # of work, before its speed is told
_PATIENCE_SECONDS = 2.0


def explained(command: Callable[P, int | None]) -> Callable[P, None]:
    """A command that gives its exit code (None: 0), and whose faults are printed without a traceback and set it."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            for given in kwargs.values():
                for each in given if isinstance(given, list) else [given]:
                    if isinstance(each, Path):
                        user_path(each)
            with busy(command.__name__.rstrip("_")):
                code = command(*args, **kwargs)
        except MemexpError as error:
            err.say(f"memexp: {error}", style="red" if err.is_terminal else None)
            sys.exit(error.exit_code)
        except PermissionError as error:
            err.say(f"memexp: {error.filename}: permission denied; ask its owner")
            sys.exit(2)
        if code:
            sys.exit(code)

    return wrapper


def remark(text: str) -> None:
    """A line on standard error."""
    err.say(text)


class _Silence:
    """Watches a command on a terminal: after two seconds without a word a line with its time stands there.

    Whatever is printed takes the line away. Nobody looks at a pipe, so nothing is said there.
    """

    def __init__(self) -> None:
        self.name = ""
        self.held = 0  # while a bar moves, or a question waits for its answer
        self._since = time.monotonic()
        self._line: Status | None = None
        self._lock = threading.RLock()

    def broken(self) -> None:
        """Something is printed, or about to be."""
        with self._lock:
            self._since = time.monotonic()
            if self._line is not None:
                self._line.stop()
                self._line = None

    def look(self) -> None:
        """Show the line where it is time."""
        with self._lock:
            silent = time.monotonic() - self._since
            if self.held or silent < _PATIENCE_SECONDS or not err.is_terminal:
                return
            if self._line is None:
                self._line = err.status("")
                self._line.start()
            self._line.update(Text(f"{self.name}: {silent:.0f} s"))


silence = _Silence()


@contextmanager
def busy(name: str) -> Iterator[None]:
    """A command at work, which is not left silent for long on a terminal; see :class:`_Silence`."""
    if not err.is_terminal or name in ("status", "logs"):
        yield
        return
    silence.name = name
    silence.broken()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            silence.look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        silence.broken()


@contextmanager
def spoken() -> Iterator[None]:
    """While somebody else has the terminal: a bar, or a question."""
    silence.broken()
    silence.held += 1
    try:
        yield
    finally:
        silence.held -= 1
        silence.broken()


def show(rows: list[tuple[str, str]], console: PlainConsole = out, least: int = 0) -> None:
    """Names and values, aligned, on standard output; ``least`` is the least width of the names.

    On a terminal long values go on below themselves. In a file each row is one line, and a command
    to copy is one anywhere.
    """
    width = max(least, *(len(name) for name, _ in rows))
    for name, text in rows:
        value = " ".join(text.splitlines())
        lines = [value]
        if console.is_terminal and not value.startswith("memexp "):
            room = max(20, console.width - width - 2)
            lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(lines or [""]):
            console.say(f"{'' if number else name:<{width}}  {line}")


def duration(seconds: float) -> str:
    """Seconds for people: 4.2 s, 42 s, 3 min 20 s, 5 h 10 min, 3.2 days."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.1f} days"


def size(megabytes: float) -> str:
    """Room on a disk for people: 15 kB, 3.4 MB, 12,000.0 MB."""
    return f"{megabytes:,.1f} MB" if megabytes >= 0.95 else f"{1000 * megabytes:,.0f} kB"


@contextmanager
def progress(what: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    """Show how much is done; yields a function that takes the amount done so far.

    On a terminal a bar with speed and time left, which is gone when the work is: what was done is told after it,
    and where nothing had to be done no empty bar stays. Otherwise a line now and then.
    """
    began: tuple[float, float] | None = None

    def words(done: float) -> str:
        nonlocal began
        now = time.monotonic()
        if began is None and done > 0:
            began = now, done  # processes have started and loaded by then, which the rest need not do again
        if began is None or now - began[0] < _ENOUGH_SECONDS or done <= began[1]:
            return "starting"
        speed = (done - began[1]) / (now - began[0])
        rate = f"{speed:.2f} {unit}/s" if speed >= 0.1 else f"{3600 * speed:.1f} {unit}/h"
        return f"{rate}, {duration(max(0, total - done) / speed)} left"

    if not err.is_terminal:
        yield _lines(what, total, unit, words)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    words_of = functools.partial(TextColumn, markup=False)
    left = words_of("{task.fields[words]}")
    columns = (words_of("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), left)
    with spoken(), Progress(*columns, console=err, refresh_per_second=4, transient=True) as bar:
        task = bar.add_task(what, total=total, words="")
        yield lambda done: bar.update(task, completed=done, words=words(done))


def _lines(what: str, total: float, unit: str, words: Callable[[float], str]) -> Callable[[float], None]:
    told = time.monotonic()

    def tell(done: float) -> None:
        nonlocal told
        if time.monotonic() - told >= _QUIET_EVERY_SECONDS:
            told = time.monotonic()
            remark(f"{what}: {done:.0f} of {total:.0f} {unit}, {words(done)}")

    return tell


@contextmanager
def stoppable(message: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the work cleanly: print ``message`` and exit with 3 (not complete yet)."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        remark(message)
        sys.exit(3)
    finally:
        signal.signal(signal.SIGTERM, before)
