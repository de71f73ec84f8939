"""Tables of examples: CSV and Parquet files, and data sets of Hugging Face's library ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memexp.data.columns import Columns, Part, choose_columns, from_columns
from memexp.data.raw import RawData, existing, library
from memexp.errors import DataError
from memexp.spec import datasets

if TYPE_CHECKING:
    import pyarrow

_READ = {".csv": ",", ".tsv": "\t"}
_TESTS = ("test", "validation", "val", "valid")


def load_table(block: datasets.Table, groups: str | None = None) -> RawData:
    """A CSV or Parquet file, and another one with the test set where the spec names it."""
    path = existing(block.path)
    test_path = None if block.test_path is None else existing(block.test_path, "test_path")
    library("pyarrow", "source: table")
    columns = choose_columns(str(path), block, _column_names(path), groups)
    parts = [Part(str(each), _read(each, columns), each.parent) for each in (path, test_path) if each is not None]
    for part in parts[1:]:
        _require_columns(part, columns)
    return from_columns(columns, parts[0], parts[1] if len(parts) > 1 else None)


def _column_names(path: Path) -> list[str]:
    """Names of the columns, without reading the rest."""
    from pyarrow import csv, parquet

    with _as_table(path):
        if path.suffix == ".parquet":
            return list(parquet.read_schema(path).names)
        if path.suffix in _READ:
            with csv.open_csv(path, parse_options=_parsed(path)) as stream:
                return list(stream.schema.names)
    raise DataError(f"dataset.path = {path}: a table must be a file that ends in .csv, .tsv or .parquet")


def _read(path: Path, columns: Columns) -> pyarrow.Table:
    """The whole file; of a CSV, columns whose values are names are read as text, so that 007 stays 007."""
    from pyarrow import csv, parquet, string

    wanted = {*columns.features, *columns.texts}
    texts = dict.fromkeys(columns.texts, string())
    with _as_table(path):
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        convert = csv.ConvertOptions(
            column_types=texts, strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=False
        )
        table = csv.read_csv(path, parse_options=_parsed(path), convert_options=convert)
        return table.select([name for name in table.column_names if name in wanted])


def _parsed(path: Path) -> Any:
    from pyarrow import csv

    return csv.ParseOptions(delimiter=_READ[path.suffix], newlines_in_values=True)


@contextmanager
def _as_table(path: Path) -> Iterator[None]:
    from pyarrow import ArrowInvalid

    try:
        yield
    except (ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); write it again as a table with a header") from error


def _require_columns(part: Part, columns: Columns) -> None:
    wanted = (*columns._replace(groups=None).texts, *columns.features)  # tests are of no group
    absent = [name for name in wanted if name not in part.table.column_names]
    if absent:
        raise DataError(f"{part.where} lacks the columns {', '.join(absent)}, which the training table has")


def load_huggingface(block: datasets.HuggingFace, groups: str | None = None) -> RawData:
    """A data set of the library ``datasets``: saved to a folder, or by its name from the Hub."""
    found = _dataset(block)
    where = f"huggingface {block.path or block.name}"
    if not isinstance(found, dict):
        found = {"train": found}
    train = _split(where, found, block.train_split, ("train",), "train_split")
    if train is None and len(found) > 1:
        raise DataError(f"{where} has the splits {', '.join(found)}; set dataset.train_split to one of them")
    train = train or next(iter(found))
    test = _split(where, found, block.test_split, _TESTS, "test_split")
    if test == train:
        test = None
    part = _part(where, train, found[train])
    columns = _hugging_columns(part.where, block, found[train], part.table, groups)
    other = None if test is None else _part(where, test, found[test])
    if other is not None:
        _require_columns(other, columns)
    return from_columns(columns, part, other)


def _split(where: str, found: dict[str, Any], given: str | None, usual: tuple[str, ...], key: str) -> str | None:
    if given is not None and given not in found:
        raise DataError(f"{where}: dataset.{key} = {given!r} is no split; there are {', '.join(found)}")
    return given or next((name for name in usual if name in found), None)


def _part(where: str, name: str, dataset: Any) -> Part:
    """A split as a table of Arrow, images as the bytes or names of their files."""
    library_datasets = library("datasets", "source: huggingface")
    for column, feature in dataset.features.items():
        if isinstance(feature, library_datasets.Image):
            dataset = dataset.cast_column(column, library_datasets.Image(decode=False))
    return Part(f"{where}, {name}", dataset.with_format("arrow")[:])


def _hugging_columns(
    where: str, block: datasets.HuggingFace, dataset: Any, table: pyarrow.Table, groups: str | None
) -> Columns:
    """Named columns, or those that the data set's own types tell: the only image, the only class label."""
    library_datasets = library("datasets", "source: huggingface")

    def only(kind: type) -> str | None:
        found = [name for name, feature in dataset.features.items() if isinstance(feature, kind)]
        return found[0] if len(found) == 1 else None

    update: dict[str, Any] = {}
    if block.label is None and (name := only(library_datasets.ClassLabel)):
        update["label"] = name
    if block.image is None and block.features is None and (name := only(library_datasets.Image)):
        update["image"] = name
    columns = choose_columns(where, block.model_copy(update=update), table.column_names, groups)
    feature = dataset.features[columns.label]
    return columns._replace(classes=tuple(feature.names) if isinstance(feature, library_datasets.ClassLabel) else None)


def _dataset(block: datasets.HuggingFace) -> Any:
    library_datasets = library("datasets", "source: huggingface")
    if block.path is not None:
        folder = existing(block.path)
        try:
            with _quiet():
                if any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
                    return library_datasets.load_from_disk(str(folder))
                return library_datasets.load_dataset(str(folder))
        except Exception as error:  # of a library that raises what it likes
            raise DataError(
                f"dataset.path = {folder} is no data set of the library datasets ({error}); save it with save_to_disk"
            ) from error
    try:
        with _quiet():
            return _by_name(library_datasets, block)
    except Exception as error:
        raise DataError(
            f"huggingface {block.name} cannot be loaded ({error}). Correct the name; without a network, load it once "
            f'where there is one, such as a login node: `python -c "import datasets; '
            f'datasets.load_dataset({block.name!r})"`'
        ) from error


def _by_name(library_datasets: Any, block: datasets.HuggingFace) -> Any:
    """From this machine's cache where it is there, so that tasks neither wait for a network nor get a later version."""
    from huggingface_hub import constants

    arguments = {"name": block.config, "revision": block.revision}
    before = constants.HF_HUB_OFFLINE, library_datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = library_datasets.config.HF_HUB_OFFLINE = True
    try:
        return library_datasets.load_dataset(block.name, **arguments)
    except Exception:  # it is not in the cache, which the library says in many ways
        if before[1]:
            raise
    finally:
        constants.HF_HUB_OFFLINE, library_datasets.config.HF_HUB_OFFLINE = before
    return library_datasets.load_dataset(block.name, **arguments)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars, which are neither results nor ours."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()
