"""Write spec.md and profile.md, the references of the two YAML files, from the models that check them.

    python docs/make_reference.py [--out docs]

The tests make both again and compare them with what is committed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memexp.slurm.profile import Profile
from memexp.spec.spec import Spec

Schema = dict[str, Any]

SPEC = """# The spec, key by key

What to train, and nothing about where. A key without a default must be there, a key that is not listed here is refused.
Paths are relative to the spec's folder. `python docs/make_reference.py` writes this page from the models that check a
spec; change it there.

An editor can check a spec while it is written: put the schema beside the specs and name it in the first line of a spec.

```sh
memexp schema > memexp.schema.json
```
```yaml
# yaml-language-server: $schema=memexp.schema.json
name: small
dataset: {source: digits}
model: {arch: memexp_mlp, hidden: [64]}
training: {epochs: 20, batch_size: 64, lr: 0.1}
subsets: {ratio: 0.7, trials: 100}
```

**Values mean what they say.** A number is no boolean, and an integer neither starts with 0 nor has a colon: YAML 1.1
reads `0100` as 64 and `1:30` as 90. Arguments of a network and of your own code arrive with the types that you wrote,
in `plan` as in every trial: keys too (`{0: 50.0}` is not `{"0": 50.0}`, also to a run's identity), `.inf`, `.nan`,
dates and sets. Words without quotes that one version of YAML, or Python, takes for something else (`no`, `1e-3`,
`None`) are refused among them: quote the text, or write `false`, `0.001`, `null`.
"""

PROFILE = """# The profile, key by key

Where to train on a Slurm cluster, and nothing about what; [the guide](slurm.md) tells how to write a first one. A key
without a default must be there, a key that is not listed here is refused. `python docs/make_reference.py` writes this
page from the model that checks a profile; change it there.
"""

FURTHER = """
Further keys are arguments of {taker}; what it does not take is refused. A text with a slash or an ending that
names a file, seen from the spec's folder, is a path, and the file's content is part of the experiment
([files among the arguments](extending.md#files-among-the-arguments)).
"""

TAKERS = {"trial": "`trial()`", "model": "the architecture"}


def main() -> None:
    """Write both pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the pages")
    folder = parser.parse_args().out
    (folder / "spec.md").write_text(SPEC + "".join(Page(Spec.model_json_schema()).blocks()), encoding="utf-8")
    (folder / "profile.md").write_text(PROFILE + "".join(Page(Profile.model_json_schema()).blocks()), encoding="utf-8")


class Page:
    """The tables of one schema: a section for each block, depth first."""

    def __init__(self, schema: Schema) -> None:
        self.root, self.definitions = schema, schema.get("$defs", {})

    def blocks(self) -> Iterator[str]:
        """The text of each section."""
        yield self._table(self.root, ())
        yield from self._below(self.root, ())

    def _below(self, block: Schema, place: tuple[str, ...]) -> Iterator[str]:
        for name, value in block["properties"].items():
            kinds = self._kinds(value)
            inner = (*place, name)
            if len(kinds) > 1 and all("properties" in kind for kind in kinds):
                yield from self._choice(kinds, inner)
            elif len(kinds) == 1 and "properties" in kinds[0]:
                yield f"\n{'#' * (1 + len(inner))} {'.'.join(inner)}\n{_sentence(kinds[0])}\n"
                yield self._table(kinds[0], inner)
                if kinds[0].get("additionalProperties") is True:
                    yield FURTHER.format(taker=TAKERS[name])
                yield from self._below(kinds[0], inner)

    def _choice(self, kinds: list[Schema], place: tuple[str, ...]) -> Iterator[str]:
        """Blocks of which one is taken, such as the data sources: what they share, then each."""
        tags = {name for kind in kinds for name, value in kind["properties"].items() if "const" in value}
        if not tags:
            yield from self._either(kinds, place)
            return
        (tag,) = tags
        shared = {
            name: value
            for name, value in kinds[0]["properties"].items()
            if all(kind["properties"].get(name) == value for kind in kinds)
        }
        heading = ".".join(place)
        yield f"\n{'#' * (1 + len(place))} {heading}\nA block with `{tag}`, which decides what else it takes.\n"
        for kind in kinds:
            names = [f"{tag}: {each}" for each in _allowed(kind["properties"][tag])]
            yield f"\n{'#' * (2 + len(place))} {', '.join(names)}\n{_sentence(kind)}\n"
            own = {name: value for name, value in kind["properties"].items() if name not in shared and name != tag}
            if own:
                yield self._table(kind | {"properties": own}, place)
        yield f"\n{'#' * (2 + len(place))} Every {tag}\nThese keys are taken beside any `{tag}`.\n"
        yield self._table({"properties": shared}, place)
        blocks = {
            name: value
            for kind in kinds
            for name, value in kind["properties"].items()
            if any("properties" in each for each in self._kinds(value))  # one kind's number may be another's block
        }
        yield from self._below({"properties": blocks}, place)

    def _either(self, kinds: list[Schema], place: tuple[str, ...]) -> Iterator[str]:
        """Blocks of which one is taken, told apart by a key that only one of them needs."""
        usual, *others = kinds
        yield f"\n{'#' * (1 + len(place))} {'.'.join(place)}\n{_sentence(usual)}\n"
        yield self._table(usual, place)
        yield from self._below(usual, place)
        for other in others:
            key = next(name for name in other["required"] if name not in usual["properties"])
            yield f"\n**{place[-1]} with `{key}`**: {_sentence(other)}\n"
            yield self._table(other, place)

    def _table(self, block: Schema, place: tuple[str, ...]) -> str:
        rows = ["", "| key | value | default | meaning |", "|---|---|---|---|"]
        for name, value in block["properties"].items():
            default = _required(block, name) or self._default(value)
            kind = self._kind(value, (*place, name))
            rows.append(f"| `{name}` | {kind} | {default} | {value.get('description', '')} |")
        return "\n".join(rows) + "\n"

    def _default(self, value: Schema) -> str:
        kinds = self._kinds(value)
        if "$ref" in value and "properties" in kinds[0]:
            return "see there"
        if value.get("default") in (None, {}, []):
            return "none"
        default = value["default"]
        return f"`{default if isinstance(default, str) else json.dumps(default)}`"

    def _kinds(self, value: Schema) -> list[Schema]:
        """The alternatives of a value, with definitions looked up; "absent" is none of them."""
        if "$ref" in value:
            return self._kinds(self.definitions[value["$ref"].rpartition("/")[2]])
        alternatives = value.get("anyOf") or value.get("oneOf")
        if alternatives:
            return [kind for each in alternatives for kind in self._kinds(each)]
        return [] if value.get("type") == "null" else [value]

    def _kind(self, value: Schema, place: tuple[str, ...]) -> str:
        """What a value may be, in words."""
        kinds = self._kinds(value)
        if any("properties" in kind for kind in kinds):
            return f"[block](#{''.join(place).lower()})"
        return ", or ".join(dict.fromkeys(self._words(kind, place) for kind in kinds))

    def _words(self, kind: Schema, place: tuple[str, ...]) -> str:
        if _allowed(kind):
            return ", ".join(f"`{each}`" for each in _allowed(kind))
        if kind.get("type") == "array":
            return f"list: {self._kind(kind['items'], place)}"
        if kind.get("type") == "object":
            inner = kind.get("additionalProperties", True)
            if inner is not True and any("properties" in each for each in self._kinds(inner)):
                place = place[:-1]  # named blocks are of the kind of the one that they stand in
            return "names with any values" if inner is True else f"names, each with: {self._kind(inner, place)}"
        if "type" not in kind:
            return "anything"
        words = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true`, `false`"}[kind["type"]]
        limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
        bounds = [f"{sign} {_number(kind[key])}" for key, sign in limits.items() if key in kind]
        pattern = f" matching `{kind['pattern']}`" if "pattern" in kind else ""
        return " ".join([words, " and ".join(bounds)]).strip() + pattern


def _required(block: Schema, name: str) -> str:
    """In words, whether a key must be there, by itself or instead of others; empty: it need not."""
    instead = [one["required"] for one in block.get("oneOf", ()) if name not in one["required"]]
    if instead and any(name in one["required"] for one in block["oneOf"]):
        return "**required**, or " + ", ".join(f"`{each}`" for each in instead[0])
    return "**required**" if name in block.get("required", []) else ""


def _allowed(kind: Schema) -> list[Any]:
    return [kind["const"]] if "const" in kind else list(kind.get("enum", []))


def _number(value: float) -> str:
    """A bound as a reader writes it: 1,000,000, not 1e+06."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _sentence(block: Schema) -> str:
    return " ".join(block.get("description", "").split())


if __name__ == "__main__":
    main()
