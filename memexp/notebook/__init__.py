"""A run in a notebook: a skin, as the command line is one. Everything is read when it is asked for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from memexp.analysis import SHOWN_FDR
from memexp.brief import html_table
from memexp.errors import InputError, MemexpError
from memexp.launch import facts
from memexp.launch.status import Status, read_status
from memexp.notebook.answers import Answers
from memexp.report.axes import AxesArray, gallery, grid, one
from memexp.runs import run as runs
from memexp.spec.spec import Spec

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

    from memexp.analysis.estimates import Estimates
    from memexp.analysis.pairs import Pairs, Test
    from memexp.notebook.one_example import Influences, Shown

_TESTS = 4  # examples beside a training example


def open_run(run: str | Path) -> RunView:
    """Look at a run, finished or not.

    Parameters
    ----------
    run
        Its folder, such as ``runs/digits``.

    Raises
    ------
    InputError
        If it is none.
    """
    return RunView(runs.open_run(Path(run)))


def launch(
    spec: Mapping[str, Any] | str | Path,
    data: Any = None,
    runs: str | Path = "runs",
    workers: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> RunView:
    """Create the run of a spec, or go on with it, and train what is missing on this machine.

    The run is the one that ``memexp launch`` makes: the shell can watch, resume and report it.

    Parameters
    ----------
    spec
        A mapping with the keys of a spec, or its file.
    data
        What to train on where the spec names no source: arrays or tensors ``(x, y, x_test, y_test)`` or ``(x, y)``,
        a dict of these, map-style data sets ``(train, test)``, DataFrames, a data set of Hugging Face's library.
        It is saved below the run.
    runs
        Folder below which runs are created.
    workers
        Processes that train while this one goes on (see :meth:`RunView.wait`); 0 trains here, before it returns.
    device
        Where to train.

    Raises
    ------
    SpecError
        With every fault of the spec, and of data that do not fit it.
    DataError
        If the data alone cannot be used.
    RunMismatch
        If the run's folder holds another experiment.
    """
    from memexp.launch.in_memory import create_run, start
    from memexp.launch.launch import launch_local
    from memexp.launch.where import local_resources

    view = RunView(create_run(spec, data, Path(runs)))
    if workers == 0:
        launch_local(view.run, local_resources(0, device=device), lambda _: None)
    else:
        view._process = start(view.run, ["--device", device, *(["--workers", str(workers)] if workers else [])])
    return view


class RunView(Answers):
    """What a run has found, for reading and drawing.

    ``status`` and ``repr`` are always of now. Estimates are made when they are first asked for (or read,
    where the run's folder has current ones) and kept; open the run again to see trials that came later.
    Plots draw on the Axes given, or on new ones, and return them.
    """

    def __init__(self, run: runs.Run) -> None:
        super().__init__(run)
        self._process: subprocess.Popen[bytes] | None = None

    def wait(self, every_seconds: float = 1.0) -> RunView:
        """Wait until all trials are settled, or until what was launched here has ended; returns itself.

        Raises
        ------
        MemexpError
            If it ended with trials missing; with the last lines of its log.
        """
        while self.status.missing:
            if self._process is not None and self._process.poll() is not None and self.status.missing:
                log = (self.run.paths.logs / "launch.log").read_text(encoding="utf-8", errors="replace").splitlines()
                raise MemexpError("\n".join(["training ended before all trials were done:", *log[-5:]]))
            time.sleep(every_seconds)
        if self._process is not None:
            self._process.wait()
        self.run = runs.open_run(self.run.paths.root)
        return self

    def estimate(self) -> Estimates:
        """Estimates of all trials that are done by now."""
        for name in ("merged", "estimates"):
            vars(self).pop(name, None)
        return self.estimates

    def report(self) -> Path:
        """Write the report's folder; its page."""
        from memexp.report.cards import Source
        from memexp.report.report import write_report

        estimates, pictures = self.estimate(), self.run.pictures()
        source = Source(self.spec, self.run.manifest, self.merged, estimates, pictures)
        return write_report(source, self.run.paths.report)

    @property
    def spec(self) -> Spec:
        """What is trained."""
        return self.run.spec

    @property
    def status(self) -> Status:
        """Where the run stands now."""
        return read_status(self.run.paths.root)

    @cached_property
    def estimates(self) -> Estimates:
        """Memorization (``.scores``) and high-influence pairs (``.pairs``).

        Raises
        ------
        InputError
            Of a `remove` run, whose subsets were chosen.
        """
        from memexp.analysis.estimates import current_estimates

        self.run.require_random_subsets()
        return current_estimates(self.merged)

    @property
    def memorization(self) -> NDArray[np.float32]:
        """Memorization of each training example, shape (N,); NaN where it is not defined."""
        return self.estimates.scores.memorization

    # ------------------------------------------------------------------------------------ one example

    def show(self, index: int, axis: Literal["train", "test"] = "train") -> Shown:
        """What is known of a training (or test) example: picture or features, label, memorization, what trials say.

        ``index`` is its place on the axis, as in tables and arrays.

        Raises
        ------
        InputError
            If there is no such example.
        """
        from memexp.notebook.one_example import shown

        return shown(self, self.estimates, index, axis)

    def influences(self, train: int | None = None, test: int | None = None) -> Influences:
        """Influences of one training example on all test examples, or of all training examples on one test example.

        Raises
        ------
        InputError
            If not exactly one of both is given, or it is no example.
        """
        from memexp.notebook.one_example import influences

        return influences(self, self.estimates, train, test)

    # ---------------------------------------------------------------------------------------- tables

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each training example: what it is, and its memorization."""
        from memexp.analysis.tables import examples_frame

        return examples_frame(self.estimates, self.merged.examples, self.run.manifest.classes)

    def pairs(self, fdr: float = SHOWN_FDR, test: Test | None = None) -> pandas.DataFrame:
        """One row for each high-influence pair at a false discovery rate of at most ``fdr``, most certain first.

        1 gives all that pass the thresholds of the estimate; with few trials most of these are noise. ``test``: of
        ``"margins"`` or of ``"accuracy"``; without it that of the estimate.
        """
        from memexp.analysis.tables import pairs_frame

        return pairs_frame(self._pairs(fdr, test), self.merged.examples, self.run.manifest.classes)

    def _pairs(self, fdr: float, test: Test | None = None) -> Pairs:
        return self.estimates.pairs.passing().judged(test).discoveries(fdr)

    def to_xarray(
        self, what: Literal["estimates", "pairs", "trials"] = "estimates", fdr: float = SHOWN_FDR
    ) -> xarray.Dataset:
        """Named axes: ``train`` (estimates), ``pair``, or ``trial``, ``train``, ``test`` (finished trials, read late).

        ``fdr``: the largest false discovery rate of a pair.

        Raises
        ------
        InputError
            For another word, or without xarray.
        """
        from memexp.analysis import tables

        if what == "trials":
            return tables.trials_dataset(self.run.paths)
        if what not in ("estimates", "pairs"):
            raise InputError(f"to_xarray({what!r}): there are 'estimates', 'pairs' and 'trials'")
        examples, classes = self.merged.examples, self.run.manifest.classes
        if what == "pairs":
            return tables.pairs_dataset(self._pairs(fdr), examples, classes)
        return tables.estimates_dataset(self.estimates, examples, classes)

    # ----------------------------------------------------------------------------------------- plots

    def plot_memorization(self, axes: Axes | None = None) -> Axes:
        """Histogram of memorization; labels flipped on purpose in their own colour."""
        from memexp.report.figures import draw_histogram

        return draw_histogram(one(axes), self.memorization, self.merged.examples.get("train_label_flipped"))

    def plot_in_out(self, axes: Axes | None = None) -> Axes:
        """Accuracy with each example in training against without."""
        from memexp.report.figures import draw_in_out

        return draw_in_out(one(axes), self.estimates.scores, self.merged.measure)

    def plot_accuracies(self, axes: Axes | None = None) -> Axes:
        """Accuracy of each trial on examples in, out and of the test set."""
        from memexp.report.figures import draw_accuracies

        per_trial = {name: self.merged.per_trial(f"{name}_accuracy") for name in self.merged.accuracies}
        return draw_accuracies(one(axes), per_trial, self.merged.measure)

    def plot_against(self, other: RunView, axes: Axes | None = None) -> Axes:
        """Memorization here against that of another run of the same examples.

        Raises
        ------
        InputError
            If labels, or places in the data, tell that the examples are others.
        """
        from memexp.analysis.overlap import require_same_examples_of
        from memexp.report.figures import draw_scatter

        require_same_examples_of(self.merged, other.merged)
        return draw_scatter(one(axes), self.memorization, other.memorization, (self.spec.name, other.spec.name))

    def plot_most_memorized(self, axes: AxesArray | None = None, count: int = 24) -> AxesArray:
        """The most memorized training examples, one to each of the Axes; ``count`` of them without Axes."""
        from memexp.report.pictures import draw_memorized

        axes = gallery(count) if axes is None else np.asarray(axes)
        return draw_memorized(axes, self.estimates.scores, self.data, self._names("train"))

    def plot_class(self, name: str | int, axes: AxesArray | None = None, count: int = 24) -> AxesArray:
        """The most memorized training examples of one class, which is given by its name or label.

        Raises
        ------
        InputError
            If there is no such class.
        """
        from memexp.notebook.one_example import places_of_class
        from memexp.report.pictures import draw_memorized

        chosen = places_of_class(self, name)
        axes = gallery(min(count, len(chosen))) if axes is None else np.asarray(axes)
        return draw_memorized(axes, self.estimates.scores, self.data, self._names("train"), chosen)

    def plot_pairs(self, axes: AxesArray | None = None, rows: int = 6, fdr: float = SHOWN_FDR) -> AxesArray:
        """A row for each training example with the most certain pairs: itself, then the test examples that it helps.

        ``fdr``: the largest false discovery rate of a pair.
        """
        from memexp.report.pictures import draw_pairs

        axes = grid(rows, 1 + _TESTS) if axes is None else np.atleast_2d(axes)
        names = self._names("train"), self._names("test")
        return draw_pairs(axes, self._pairs(fdr), self.estimates.scores, self.data, names)

    def _names(self, axis: str) -> list[str]:
        """Class of each example."""
        return [self.run.manifest.classes[label] for label in self.merged.examples[f"{axis}_label"]]

    # ----------------------------------------------------------------------------------------- words

    def __repr__(self) -> str:
        words = f"{facts.trials(self.run)}; {facts.examples(self.run)}; {self.spec.arch}"
        return f"RunView({str(self.run.paths.root)!r}: {words})"

    def _repr_html_(self) -> str:
        return html_table(self.spec.name, facts.facts(self.run, vars(self).get("estimates")))
