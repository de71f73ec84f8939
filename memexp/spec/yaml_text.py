"""YAML as text: read so that nothing means something else than it says, and written so that it reads back the same.

Values are those of YAML 1.1, as PyYAML reads it. Numbers that YAML 1.1 reads by a rule few know (``0100`` is 64,
``1:30`` is 90) are faults. Words that are text in one version of YAML, or in Python, and something else in another
(``no``, ``1e-3``, ``None``) become :class:`Unquoted`: a key that wants a number, a switch or text takes it for what
it wants; among the arguments of a user's own code, where nobody knows what is meant, it is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Location = tuple[str | int, ...]

MOST_VALUES = 500_000  # a list of indices for each example of any usual data set; more belongs into a file of its own
DEEPEST = 40
_LARGEST = 1 << 1023  # of an integer: what a float can hold

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML was built with it: 20 times as fast
_PYTHON_MESSAGES_BELOW = 100_000  # characters: the slow parser explains faults of syntax better
_TAG = "tag:yaml.org,2002:"

# What YAML 1.1 takes for text though it looks like a number or a word of Python.
_UNCLEAR = re.compile(
    r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+|[-+]?0[oO][0-7_]+|[-+]?([iI]nf|INF)(inity)?|[nN]a[nN]|NAN|None"
)
_WORDS = {"yes": True, "on": True, "no": False, "off": False}  # booleans in YAML 1.1, text in YAML 1.2
_OCTAL = re.compile(r"[-+]?0[\d_]+")
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE


class Unquoted(str):
    """A word without quotes that other readers of YAML, or Python, take for something else than this text."""

    __slots__ = ()

    @property
    def switch(self) -> bool | None:
        """What it is as a boolean, if it is one in YAML 1.1."""
        return _WORDS.get(self.lower())

    @property
    def meaning(self) -> str:
        """What else it is, and how to write that."""
        if self.switch is not None:
            return f"{self} is {str(self.switch).lower()} in YAML 1.1 and text in YAML 1.2; write true or false"
        if self == "None":
            return "None is text in YAML; write null"
        return f"{self} is text in YAML 1.1 and a number elsewhere; write the number as 0.001, 1.0e-3, .inf or .nan"


class Unbounded(yaml.YAMLError):
    """YAML that no spec looks like: it is too deep, too large, or refers to itself."""

    def __init__(self, event: yaml.Event, problem: str) -> None:
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        super().__init__(f"line {line}: {problem}")


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file."""

    location: Location
    message: str


@dataclass(frozen=True)
class Parsed:
    """A YAML text: its value, the line of every key, and what is wrong with single values and keys."""

    value: Any
    lines: dict[Location, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def parse(text: str, stored: bool = False) -> Parsed:
    """Read a YAML text.

    Parameters
    ----------
    text
        Of the whole file.
    stored
        It was written by memexp: a word without quotes is text, as it was when it was written.

    Raises
    ------
    yaml.YAMLError
        If it is no YAML, refers to itself, or is too deep or too large.
    """
    if (found := _UNPRINTABLE.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise yaml.YAMLError(f"line {line}: a character that YAML does not allow, {found.group()!a}")
    try:
        _require_bounded(text, _LOADER)
        loader = _LOADER(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError:
        if len(text) < _PYTHON_MESSAGES_BELOW:
            _require_bounded(text, yaml.SafeLoader)
        raise
    if root is None:
        return Parsed(None)
    builder = _Builder(loader, stored)
    return Parsed(builder.build(root, ()), builder.lines, builder.faults)


@dataclass
class _Open:
    """A collection being read: values in it, and how deep it is, aliases counted with all that they stand for."""

    anchor: str | None
    values: int = 1
    depth: int = 1


def _require_bounded(text: str, parser: Any) -> None:
    """Go through the events, without recursion, before anything is built from them."""
    whole: dict[str, tuple[int, int]] = {}
    nested = [_Open(None)]
    for event in yaml.parse(text, Loader=parser):
        if isinstance(event, yaml.ScalarEvent):
            size, anchor = (1, 0), event.anchor
        elif isinstance(event, yaml.CollectionStartEvent):
            nested.append(_Open(event.anchor))
            if len(nested) > DEEPEST:
                raise Unbounded(event, f"nested more than {DEEPEST} deep")
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = nested.pop()
            size, anchor = (closed.values, closed.depth), closed.anchor
        elif isinstance(event, yaml.AliasEvent):
            if any(outer.anchor == event.anchor for outer in nested):
                raise Unbounded(event, f"*{event.anchor} refers to what it stands in")
            size, anchor = whole.get(str(event.anchor), (1, 0)), None
        else:
            continue
        if anchor is not None:
            whole[anchor] = size
        inner = nested[-1]
        inner.values, inner.depth = inner.values + size[0], max(inner.depth, size[1] + 1)
        if inner.values > MOST_VALUES:
            text = f"more than {MOST_VALUES:,} values, aliases counted as often as they are used"
            raise Unbounded(event, text)
        if len(nested) + inner.depth > DEEPEST + 1:
            raise Unbounded(event, f"nested more than {DEEPEST} deep")


class _Builder:
    """Values from nodes, with the line of every key and all faults of single values."""

    def __init__(self, loader: Any, stored: bool) -> None:
        self.lines: dict[Location, int] = {}
        self.faults: list[Fault] = []
        self._loader, self._stored = loader, stored
        self._flat: set[int] = set()  # mappings whose merge keys are resolved: keys may be in them twice

    def build(self, node: yaml.Node, place: Location) -> Any:
        """The value of a node."""
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_TAG):
            return self._scalar(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._item(item, (*place, position)) for position, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag in (f"{_TAG}map", f"{_TAG}set"):
            made = dict(self._pairs(node, place))
            return made if node.tag == f"{_TAG}map" else set(made)
        return self._constructed(node, place)

    def _item(self, node: yaml.Node, place: Location) -> Any:
        self.lines[place] = node.start_mark.line + 1
        return self.build(node, place)

    def _pairs(self, node: yaml.MappingNode, place: Location) -> Iterator[tuple[Any, Any]]:
        own = {id(key) for key, _ in node.value} if id(node) not in self._flat else set()
        self._flat.add(id(node))
        self._loader.flatten_mapping(node)
        seen: dict[Any, int] = {}
        for key_node, value_node in node.value:
            key = self.build(key_node, place)
            here = (*place, key if type(key) in (str, int) else str(key_node.value))
            line = key_node.start_mark.line + 1
            try:
                first = seen.get(key)
            except TypeError:
                self.faults.append(Fault(place, f"a key must be a single value; that in line {line} is none"))
                continue
            if first is not None and id(key_node) in own:
                self.faults.append(Fault(here, f"written twice (first in line {first}); keep one"))
            if id(key_node) in own:
                seen[key] = line
            self.lines[here] = line
            yield key, self.build(value_node, here)

    def _scalar(self, node: yaml.ScalarNode, place: Location) -> Any:
        text = node.value
        if node.tag == f"{_TAG}str":
            if _UNWRITABLE.search(text):
                self.faults.append(Fault(place, f"{short(text)} holds a character that no file can; remove it"))
            unclear = not (node.style or self._stored) and _UNCLEAR.fullmatch(text)
            return Unquoted(text) if unclear else text
        if node.tag == f"{_TAG}bool" and text.lower() in _WORDS and not self._stored:
            return Unquoted(text)
        if (fault := _misread(node)) is not None:
            self.faults.append(Fault(place, fault))
            return None
        return self._constructed(node, place)

    def _constructed(self, node: yaml.Node, place: Location) -> Any:
        """What PyYAML makes of a node."""
        try:
            value = self._loader.construct_object(node, deep=True)
        except Exception as error:  # of any kind: PyYAML checks little of what it parses
            reason = f": {error.problem}" if isinstance(error, yaml.MarkedYAMLError) else ""
            given = short(node.value) if isinstance(node, yaml.ScalarNode) else "this"
            self.faults.append(Fault(place, f"{given} cannot be read as {node.tag.removeprefix(_TAG)}{reason}"))
            return None
        large = isinstance(value, int) and abs(value) > _LARGEST
        if large or (isinstance(value, float) and math.isinf(value) and "inf" not in node.value.lower()):
            self.faults.append(Fault(place, f"{short(node.value)} is beyond the largest number, 1.0e+308"))
            return None
        return value


def _misread(node: yaml.ScalarNode) -> str | None:
    """What is wrong with a number that YAML 1.1 reads by a rule that few know."""
    text = node.value
    if node.tag == f"{_TAG}int" and _OCTAL.fullmatch(text):
        return f"{short(text)} starts with 0, which YAML reads as octal; write the number without it, or quote the text"
    if node.tag in (f"{_TAG}int", f"{_TAG}float") and ":" in text:
        return (
            f"{short(text)} has a colon, which YAML reads as base 60; write the number in one unit, or quote the text"
        )
    if node.tag == f"{_TAG}null" and text not in ("", "~", "null", "Null", "NULL"):
        return f"{short(text)} is no null"
    return None


def short(value: Any) -> str:
    """A value for a message, cut where it is long."""
    try:
        text = ascii(value) if isinstance(value, str) and _UNWRITABLE.search(value) else repr(value)
    except ValueError:  # an integer of too many digits
        text = f"an integer of {value.bit_length():,} bits" if isinstance(value, int) else type(value).__name__
    return text if len(text) <= 120 else f"{text[:80]}... ({len(text):,} characters)"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that code in a resolved spec can be read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write what is used twice twice."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    if re.search("[\r\x85\u2028\u2029]", value):  # line ends to YAML, which makes them line feeds
        style = '"'
    elif _UNCLEAR.fullmatch(value):
        style = "'"
    return dumper.represent_scalar(f"{_TAG}str", value, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(value: Any) -> str:
    """YAML for people, keys in their order.

    Raises
    ------
    yaml.YAMLError, ValueError
        For a value that YAML has no words for.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, type by type: 1 is not 1.0, nor True; NaN is NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, [*a, *a.values()], [*b, *b.values()]))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, set):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    return repr(a) == repr(b) if isinstance(a, float) else bool(a == b)


def first_lost(value: Any, place: Location = ()) -> Location | None:
    """Where a value is something else once it is written and read again; None if it survives."""
    try:
        parsed = parse(as_yaml(value))
        if not parsed.faults and same(parsed.value, value):
            return None
    except (yaml.YAMLError, ValueError, RecursionError):
        pass
    inner = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    return next((found for key, each in inner if (found := first_lost(each, (*place, key))) is not None), place)
