"""Read a YAML file into a pydantic model; all faults in one message, each with its line and a way out."""

from __future__ import annotations

import difflib
import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from memexp.brief import counted
from memexp.errors import InputError, SpecError, command
from memexp.spec.user_paths import read_text, user_path
from memexp.spec.yaml_text import Fault as Fault
from memexp.spec.yaml_text import Location, Parsed, parse, short

M = TypeVar("M", bound=BaseModel)

_MOST_SHOWN = 50  # faults of one file

SYNONYMS = {"learning_rate": "lr", "architecture": "arch", "wd": "weight_decay", "root": "path", "n_trials": "trials"}


def read_yaml(path: Path, model: type[M], what: str) -> tuple[M, dict[Location, int]]:
    """Read and check a file: the model, and the line of every key.

    Parameters
    ----------
    path
        The YAML file.
    model
        What it must be.
    what
        The word for it in messages, such as "spec".

    Raises
    ------
    SpecError
        With every fault: unknown keys (and what was probably meant), wrong values, missing keys.
    """
    parsed = parse_file(path, what)
    made, found = validate(parsed.value, model, what)
    return accept(path, parsed, made, found), parsed.lines


def accept(path: Path, parsed: Parsed, made: M | None, found: list[Fault]) -> M:
    """What was made of a file; raises :class:`SpecError` with all faults of its text and of its content."""
    misread = {fault.location for fault in parsed.faults}  # what is made of these is no fault of its own
    faults = [*parsed.faults, *(fault for fault in found if fault.location not in misread)]
    if faults or made is None:
        raise SpecError(describe_faults(path, faults, parsed.lines))
    return made


def parse_file(path: Path, what: str) -> Parsed:
    """A YAML file's keys and values, unchecked.

    Raises
    ------
    SpecError
        If it cannot be read, or has no keys.
    """
    try:
        text = read_text(user_path(path))
    except InputError as error:
        raise SpecError(f"cannot read the {what}: {error}") from error
    except OSError as error:
        raise SpecError(f"cannot read the {what} {path}: {error.strerror}; {_instead(path)}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"the {what} {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        parsed = parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        context = f" ({error.context})" if error.context else ""
        tab = ". Indent with spaces, not tabs" if "\\t" in str(error.problem) else ""
        raise SpecError(f"{path} is not valid YAML: {where}{error.problem}{context}{tab}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(parsed.value, dict):
        raise SpecError(f"{path} is not a {what}: it has no keys")
    return parsed


def _instead(path: Path) -> str:
    """What to do where there is no such file."""
    if (path / "manifest.json").is_file():
        return f"it is a run, which goes on with `{command('resume', path)}`"
    if alike := difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*.y*ml")], 1):
        return f"did you mean {path.with_name(alike[0])}?"
    return "give the path of a YAML file"


def validate(value: Any, model: type[M], what: str) -> tuple[M | None, list[Fault]]:
    """Validate parsed YAML: the model, or what is wrong with it."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        found: dict[Location, Fault] = {}
        for detail in error.errors(include_url=False):  # of a union each part has its own, of which one is enough
            fault = _fault(value, dict(detail), model, what)
            found.setdefault(fault.location, fault)
        return None, list(found.values())


def _fault(value: Any, detail: dict[str, Any], model: type[BaseModel], what: str) -> Fault:
    """One pydantic error in the words of this project."""
    kind, context = detail["type"], detail.get("ctx", {})
    place, given = _place_in_file(value, detail["loc"], kind == "missing")
    if kind == "extra_forbidden":
        return Fault(place, "unknown key." + _suggest(str(place[-1]), _allowed_keys(model, detail["loc"][:-1])))
    if kind == "invalid_key":
        return Fault(place, f"{short(place[-1] if place else given)}: a key here must be a word; quote it")
    if kind == "missing":
        return Fault(place, f"missing; the {what} needs it")
    if kind == "union_tag_not_found":
        near = difflib.get_close_matches("source", [str(key) for key in given], n=1) if isinstance(given, dict) else []
        hint = f". Did you mean it by {near[0]!r}?" if near else ""
        return Fault((*place, "source"), f"missing; the dataset block needs it{hint}")
    if kind == "union_tag_invalid":
        allowed = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return Fault(
            (*place, "source"), f"{short(context['tag'])} is no data source." + _suggest(context["tag"], allowed)
        )
    if kind == "literal_error":
        allowed = [word.strip(" '") for word in context["expected"].replace(" or ", ", ").split(",")]
        return Fault(place, f"{short(given)} is not allowed." + _suggest(str(given), allowed))
    if kind == "value_error":
        return Fault(place, str(context["error"]))
    if kind == "string_pattern_mismatch":
        return Fault(
            place, f"{short(given)} must be 1 to 100 letters, digits, '.', '_' or '-', the first a letter or digit"
        )
    message = detail["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return Fault(place, f"{short(given)}: {message}")


def _place_in_file(value: Any, location: Location, missing: bool) -> tuple[Location, Any]:
    """The fault's place as the user wrote it (without pydantic's union tags), and the value there.

    ``missing``: the last part is a key that is not there.
    """
    place: list[str | int] = []
    for position, part in enumerate(location):
        inside = part in value if isinstance(value, dict) else isinstance(part, int) and isinstance(value, list)
        if inside:
            value = value[part]
        elif not (missing and position == len(location) - 1):
            continue  # a union tag such as 'idx' in dataset.idx.path, or '[key]': no key is written so
        place.append(part)
    return tuple(place), place[-1] if location[-1:] == ("[key]",) else value


def _allowed_keys(root: type[BaseModel], location: Location) -> list[str]:
    """Keys of the block at ``location``, found by walking the models."""
    models: list[type[BaseModel]] = [root]
    for part in location:
        models = [inner for model in models for inner in _inside(model, str(part))]
    return sorted({key for model in models for key in model.model_fields})


def _inside(model: type[BaseModel], part: str) -> list[type[BaseModel]]:
    if part in model.model_fields:
        return _models_in(model.model_fields[part].annotation)
    tags = get_args(model.model_fields["source"].annotation) if "source" in model.model_fields else ()
    return [model] if part in (*tags, model.__name__) else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) is Annotated:
        return _models_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _suggest(word: str, allowed: list[str]) -> str:
    close = [SYNONYMS[word]] if SYNONYMS.get(word) in allowed else difflib.get_close_matches(word, allowed, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Allowed: {', '.join(allowed)}"


def describe_faults(path: Path | str, faults: list[Fault], lines: dict[Location, int]) -> str:
    """All faults with their lines (where these are known), in the order of the file."""
    rows = []
    for fault in faults:
        line = next(
            (lines[fault.location[:n]] for n in range(len(fault.location), 0, -1) if fault.location[:n] in lines), 1
        )
        where = f"line {line}: " if lines else ""
        rows.append((line, f"  {where}{_dotted(fault.location)}: {fault.message}"))
    count = counted(len(rows), "fault")
    shown = [text for _, text in sorted(rows)[:_MOST_SHOWN]]
    more = [f"  and {len(rows) - _MOST_SHOWN:,} more"] if len(rows) > _MOST_SHOWN else []
    return "\n".join([f"{path}: {count}", *shown, *more])


def _dotted(place: Location) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or "file"
