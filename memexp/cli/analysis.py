"""Commands that read a run: merge, estimate, compare, export. torch is imported where influence is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from memexp.brief import counted
from memexp.cli import sweep as cli_sweep
from memexp.cli.console import err, out, print_json, progress, remark, show
from memexp.cli.watch import Json, RunPath
from memexp.errors import InputError, command

if TYPE_CHECKING:
    from memexp.analysis.compare import Comparison
    from memexp.analysis.estimates import Estimates
    from memexp.analysis.merged import Merged
    from memexp.analysis.pairs import Selection
    from memexp.runs.run import Run

Several = Annotated[
    list[Path], typer.Argument(metavar="RUN", help="Runs of one experiment; the first one's merged.zarr is written.")
]


LeastMemorization = Annotated[
    float, typer.Option(min=-1, max=1, help="Pairs: least memorization of the training example.")
]
LeastInfluence = Annotated[float, typer.Option(min=-1, max=1, help="Pairs: least influence.")]
Incomplete = Annotated[bool, typer.Option("--incomplete", help="Accept a run whose trials are not all trained.")]


def merge(runs: Several, as_json: Json = False) -> None:
    """Transpose the finished trials into merged.zarr; several runs: also those of other clusters or seeds."""
    from memexp.analysis import merged
    from memexp.store.paths import RunPaths

    first, *others = (RunPaths.of_run(run) for run in runs)
    with progress("merging", 1, "parts") as tell:
        result = merged.merge(first, others, tell)
    if as_json:
        counts = {"done": result.n_trials, "failed": result.n_failed, "missing": result.n_missing}
        print_json({"run": str(runs[0])} | counts | {"file": str(result.paths.merged)})
        return
    states = f"{counted(result.n_trials, 'trial')} done, {result.n_failed:,} failed, {result.n_missing:,} missing"
    show([("merged", states), ("written to", str(result.paths.merged))])


def estimate(
    run: RunPath,
    memorization: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Pairs: least memorization of the training example.", show_default="0.25"),
    ] = None,
    influence: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Pairs: least influence.", show_default="0.15")
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Pairs: keep so many of the strongest.", show_default="100000")
    ] = None,
    all_classes: Annotated[
        bool | None, typer.Option("--all-classes/--one-class", help="Pairs of different classes too.")
    ] = None,
    strongest: Annotated[
        int | None, typer.Option(min=0, help="Also the K most positive and negative pairs of each example.")
    ] = None,
    fdr: Annotated[
        float | None, typer.Option(min=0, max=1, help="Pairs: only discoveries at this false discovery rate; 1: all.")
    ] = None,
    test: Annotated[
        Literal["margins", "accuracy"] | None,
        typer.Option(help="Whose false discovery rates tell discoveries.", show_default="margins where recorded"),
    ] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Also write the whole influence matrix.")] = False,
    memory_gb: Annotated[float, typer.Option(min=0.01, help="Memory for parts of the influence matrix.")] = 1.0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to multiply.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Estimate memorization and high-influence pairs into estimates.zarr.

    What is not said about pairs stays as it was in the run's last estimate.
    """
    from memexp.analysis import estimates as store
    from memexp.analysis.pairs import Selection
    from memexp.analysis.summary import numbers, summarize
    from memexp.runs.run import open_run

    if device == "cuda":
        from memexp.training.devices import require_gpu

        require_gpu()
    opened = open_run(run)
    given: dict[str, Any] = {"memorization": memorization, "influence": influence, "most": most}
    given |= {"all_classes": all_classes, "strongest": strongest, "fdr": fdr, "test": test}
    selection = store.chosen_selection(opened.paths, Selection()).changed(**given)
    if opened.spec.subsets.design == "remove":
        remark("the subsets of this run were chosen, not drawn: differences are no estimates of memorization")
    found = merged_of(opened)
    with progress("estimating", 1, "parts") as tell:
        result = store.estimate(found, selection, dense, tell, memory_gb, device)
    if as_json:
        print_json({"run": str(run)} | numbers(found, result) | {"file": str(found.paths.estimates)})
        return
    show(summarize(found, result), err, least=12)
    out.say(str(found.paths.estimates))


def select(
    run: RunPath,
    to: Annotated[Path, typer.Option("--out", help="The JSON file to write; `removed:` of a spec takes it.")],
    memorization: Annotated[
        str | None, typer.Option(help="Least memorization, one list for each.", show_default="0.1,0.2,...,0.9")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Also the training examples of high-influence pairs.")] = False,
    duplicates: Annotated[
        float | None,
        typer.Option(help="Also training images whose pixels correlate so with a test image, such as 0.9."),
    ] = None,
    values: Annotated[bool, typer.Option("--values", help="Also the examples of lowest and of highest value.")] = False,
    tests: Annotated[
        str | None, typer.Option(help="With --pairs and --values: those of this test set.", show_default="pairs of all")
    ] = None,
    shares: Annotated[str | None, typer.Option(help="Of --values.", show_default="0.05,0.1,0.2,0.3,0.4")] = None,
    incomplete: Incomplete = False,
    as_json: Json = False,
) -> None:
    """Write lists of memorized examples, to be removed by a run of 'design: remove'."""
    from memexp.analysis import controls, removal
    from memexp.analysis.grouped import groups_of, whole_groups
    from memexp.analysis.tested import places_of
    from memexp.analysis.values import chosen_shares, data_values, value_sets
    from memexp.runs.run import open_run
    from memexp.spec.spec import require_network

    opened = open_run(run)
    opened.require_random_subsets()
    chosen = chosen_shares(shares) if values else ()
    if not incomplete:
        opened.require_complete(merged_of(opened).n_missing)
    merged, estimates = estimates_of(opened)
    try:
        thresholds = removal.THRESHOLDS if memorization is None else tuple(map(float, memorization.split(",")))
    except ValueError as error:
        raise InputError(f"--memorization {memorization} is no list of numbers; give for example 0.25,0.5") from error
    alike = None
    if duplicates is not None:
        require_network(opened.spec, run)
        data = opened.load_data()
        alike = controls.near_duplicates(data.x_train, data.x_test, duplicates)
    of_set = None if tests is None else places_of(merged.examples, tests)
    sets = removal.select_sets(estimates, thresholds, pairs, alike, of_set)
    if values:
        sets |= value_sets(data_values(merged, opened.spec.subsets, tests=tests), chosen)
    if (groups := groups_of(merged.examples)) is not None:
        sets = whole_groups(sets, groups)
        remark("the lists are of whole groups: examples were in or out with theirs")
    if not as_json:
        show([(name, counted(len(indices), "example")) for name, indices in sets.items()])
    if absent := [f"{each:g}" for each in thresholds if removal.list_name(each) not in sets]:
        remark(f"no example has a memorization of {', '.join(absent)} or more: no list for that")
    written = str(removal.write_sets(sets, opened.manifest.data["y_train"], to))
    if as_json:
        counts = {name: len(indices) for name, indices in sets.items()}
        print_json({"run": str(run), "examples": counts, "file": written})
    else:
        out.say(written)


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run, or a sweep.")],
    second: Annotated[
        Path | None,
        typer.Argument(metavar="RUN_B", help="A run, or a .npz of published values.", show_default="halves of RUN_A"),
    ] = None,
    memorization: LeastMemorization = 0.25,
    influence: LeastInfluence = 0.15,
    deals: Annotated[int, typer.Option(min=0, help="Deal the trials anew so often, to see what chance gives.")] = 4,
    figure: Annotated[Path | None, typer.Option(help="Write scatter and curves there (.svg, .png or .pdf).")] = None,
    as_json: Json = False,
) -> None:
    """Agreement of two runs, of a run with published values, or of a run's two halves, beside chance.

    The folder of a sweep: its first run with each of the others.
    """
    from memexp.analysis.compare import numbers
    from memexp.analysis.pairs import Selection

    selection = Selection(memorization, influence)
    reference, *others = cli_sweep.roots(first)
    if not others:
        found = _compare(reference, second, selection, deals, figure, as_json)
        if as_json:
            print_json(numbers(found))
        return
    if second is not None or figure is not None:
        raise InputError(
            f"{first} is a sweep, whose runs are compared with each other; name two runs for RUN_B or --figure, "
            f"such as {reference} {others[0]}"
        )
    found_each = [_compare(reference, other, selection, deals, None, as_json) for other in others]
    if as_json:
        print_json([numbers(each) for each in found_each])


def _compare(
    first: Path, second: Path | None, selection: Selection, deals: int, figure: Path | None, quiet: bool
) -> Comparison:
    """Compare two, draw it where that is wanted, and print it unless ``quiet``."""
    found = compared(first, second, selection, deals)
    if not quiet:
        _show_comparison(found)
    if figure is not None:
        from memexp.report.figures import save_comparison

        path = save_comparison(found, figure)
        if not quiet:
            out.say(str(path))
    return found


def _show_comparison(found: Comparison) -> None:
    from memexp.analysis import SHOWN_FDR
    from memexp.analysis.compare import table

    out.say(f"{found.names[0]} against {found.names[1]}")
    for name, curves in (("memorization", found.memorization), ("influence", found.influence)):
        if curves is None:
            out.say(f"\n{name}: {found.absent[name]}")
        else:
            out.say(f"\n{name}" + (f" ({found.selection})" if name == "influence" else ""))
            table(curves, lambda line: out.say(line))
    if found.differences is not None:
        sure = counted(len(found.differences.by_certainty(SHOWN_FDR)), "example", "differs", "differ")
        out.say(f"\n{sure} in memorization at a false discovery rate of {SHOWN_FDR:g}")


def compared(first: Path, second: Path | None, selection: Selection, deals: int) -> Comparison:
    """A run compared with another, with a file of published values, or its halves with each other."""
    from memexp.analysis import sides
    from memexp.analysis.compare import compare as agreement
    from memexp.runs.run import open_run

    run = open_run(first)
    run.require_random_subsets()
    if second is not None and second.resolve() == first.resolve():
        raise InputError(
            f"{first} agrees with itself; name another run, or see its halves with `{command('compare', first)}`"
        )
    merged = merged_of(run)
    if second is None:
        a, b = sides.halves_of_run(merged, selection)
    elif second.is_dir():
        other = open_run(second)
        other.require_random_subsets()
        a, b = (sides.side_of_run(each, selection) for each in (merged, merged_of(other)))
    else:
        a, b = sides.side_of_run(merged, selection), sides.side_of_file(second, selection)
    found = agreement(a, b, deals)
    if found.note:
        remark(found.note)
    if found.selection != selection:
        remark(
            f"the pairs in {second} go down to memorization {found.selection.memorization:.4g} and influence "
            f"{found.selection.influence:.4g} only; of weaker ones they tell nothing, so none is compared"
        )
    return found


def export(
    run: RunPath,
    to: Annotated[Path, typer.Option("--out", help="The file to write; of lds and cleanlab a folder.")],
    form: Annotated[
        Literal["fz", "csv", "parquet", "lds", "cleanlab"] | None,
        typer.Option(
            "--format",
            help="fz: keys of the paper's released files; lds: masks and outcomes for trak, dattri, quanda; "
            "cleanlab: class shares out of sample, and labels. Else by the ending of --out: .npz (fz), .csv, .parquet.",
        ),
    ] = None,
) -> None:
    """Write memorization and influence, or the trials themselves, for other programs."""
    from memexp.analysis import export as files
    from memexp.runs.run import open_run

    chosen = form or files.form_of(to)
    opened = open_run(run)
    if form == "lds":
        from memexp.analysis.ground_truth import write_ground_truth
        from memexp.analysis.trial_table import table_of_merged

        table = table_of_merged(merged_of(opened), opened.spec.subsets)
        with progress("writing", 1, "parts") as tell:
            written = write_ground_truth(table, opened.manifest, to, tell)
    elif form == "cleanlab":
        from memexp.analysis.confident import write_cleanlab
        from memexp.analysis.votes import Votes

        opened.require_random_subsets()
        votes = Votes(merged_of(opened), len(opened.manifest.classes))
        with progress("writing", 1, "parts") as tell:
            written = write_cleanlab(votes, to, tell)
    else:
        opened.require_random_subsets()
        written = files.export(*estimates_of(opened), chosen, to, opened.manifest.classes)
    for path in written:
        out.say(str(path))


def estimates_of(run: Run) -> tuple[Merged, Estimates]:
    """Merge and estimate where the files are not up to date."""
    from memexp.analysis import estimates as store

    merged = merged_of(run)
    with progress("estimating", 1, "parts") as tell:
        found = store.current_estimates(merged, tell)
    if cut := found.cut():
        remark(cut)
    return merged, found


def merged_of(run: Run) -> Merged:
    """The run's trials, merged where some are new."""
    from memexp.analysis.merged import open_merged

    with progress("merging", 1, "parts") as tell:
        return open_merged(run.paths, tell)
