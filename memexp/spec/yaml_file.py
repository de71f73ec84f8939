"""Read a YAML file into a pydantic model; all faults in one message, each with its line and a way out."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from memexp.errors import SpecError, command

Place = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

SYNONYMS = {"learning_rate": "lr", "architecture": "arch", "wd": "weight_decay", "root": "path", "n_trials": "trials"}


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a spec."""

    place: Place
    message: str


def read_yaml(path: Path, model: type[M], what: str) -> tuple[M, dict[Place, int]]:
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
    root, value = _compose(path, what)
    if not isinstance(root, yaml.MappingNode):
        raise SpecError(f"{path} is not a {what}: it needs keys such as {', '.join(list(model.model_fields)[:5])}")
    lines: dict[Place, int] = {}
    faults = list(_index_lines(root, (), lines))
    made, found = validate(value, model, what)
    faults += found
    if faults or made is None:
        raise SpecError(describe_faults(path, faults, lines))
    return made, lines


def load_yaml(path: Path, what: str) -> dict[str, Any]:
    """A YAML file's keys and values, unchecked.

    Raises
    ------
    SpecError
        If it cannot be read, or has no keys.
    """
    _, value = _compose(path, what)
    if not isinstance(value, dict):
        raise SpecError(f"{path} is not a {what}: it has no keys")
    return value


def _compose(path: Path, what: str) -> tuple[yaml.Node | None, Any]:
    """The file as YAML nodes, which know their lines, and as plain values."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "give the path of a YAML file"
        if (path / "manifest.json").is_file():
            hint = f"it is a run, which goes on with `{command('resume', path)}`"
        elif alike := difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*.y*ml")], 1):
            hint = f"did you mean {path.with_name(alike[0])}?"
        raise SpecError(f"cannot read the {what} {path}: {error.strerror}; {hint}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"the {what} {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        where = f"line {place.line + 1}, column {place.column + 1}: " if place else ""
        context = f" ({error.context})" if error.context else ""
        tab = ". Indent with spaces, not tabs" if "\\t" in str(error.problem) else ""
        raise SpecError(f"{path} is not valid YAML: {where}{error.problem}{context}{tab}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not valid YAML: {error}") from error


def validate(value: Any, model: type[M], what: str) -> tuple[M | None, list[Fault]]:
    """Validate parsed YAML: the model, or what is wrong with it."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, [_fault(value, dict(detail), model, what) for detail in error.errors()]


def _index_lines(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Iterator[Fault]:
    """Fill ``lines`` with the line of every key; yield keys that are written twice."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key_node, value_node in node.value:
            here = (*place, str(key_node.value))
            if here in seen:
                yield Fault(here, f"written twice (first in line {lines[here]}); keep one")
            seen.add(here)
            lines[here] = key_node.start_mark.line + 1
            yield from _index_lines(value_node, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            lines[(*place, position)] = item.start_mark.line + 1
            yield from _index_lines(item, (*place, position), lines)


def _fault(value: Any, detail: dict[str, Any], model: type[BaseModel], what: str) -> Fault:
    """One pydantic error in the words of this project."""
    place, given = _place_in_file(value, detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return Fault(place, "unknown key." + _suggest(str(place[-1]), _allowed_keys(model, detail["loc"][:-1])))
    if kind == "missing":
        return Fault(place, f"missing; the {what} needs it")
    if kind == "union_tag_not_found":
        return Fault((*place, "source"), "missing; the dataset block needs it")
    if kind == "union_tag_invalid":
        allowed = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return Fault((*place, "source"), f"{context['tag']!r} is no data source." + _suggest(context["tag"], allowed))
    if kind == "literal_error":
        allowed = [word.strip(" '") for word in context["expected"].replace(" or ", ", ").split(",")]
        return Fault(place, f"{given!r} is not allowed." + _suggest(str(given), allowed))
    if kind == "value_error":
        return Fault(place, str(context["error"]))
    if kind == "string_pattern_mismatch":
        return Fault(place, f"{given!r} must be 1 to 100 letters, digits, '.', '_' or '-', the first a letter or digit")
    message = detail["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return Fault(place, f"{given!r}: {message}")


def _place_in_file(value: Any, location: Place) -> tuple[Place, Any]:
    """The fault's place as the user wrote it (without pydantic's union tags), and the value there."""
    place: list[str | int] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        inside = part in value if isinstance(value, dict) else isinstance(part, int) and isinstance(value, list)
        if inside:
            value = value[part]
        elif not last or str(part)[:1].isupper():
            continue  # a union tag such as 'idx' in dataset.idx.path, or a class of ours: no key is written so
        place.append(part)
    return tuple(place), value


def _allowed_keys(root: type[BaseModel], location: Place) -> list[str]:
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


def describe_faults(path: Path | str, faults: list[Fault], lines: dict[Place, int]) -> str:
    """All faults with their lines (where these are known), in the order of the file."""
    rows = []
    for fault in faults:
        line = next((lines[fault.place[:n]] for n in range(len(fault.place), 0, -1) if fault.place[:n] in lines), 1)
        where = f"line {line}: " if lines else ""
        rows.append((line, f"  {where}{_dotted(fault.place)}: {fault.message}"))
    count = f"{len(rows)} fault" + ("s" if len(rows) > 1 else "")
    return "\n".join([f"{path}: {count}", *[text for _, text in sorted(rows)]])


def _dotted(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or "file"
