"""Specs, sweeps and profiles that are wrong, or odd, at random: structure-aware, and the same for the same seed."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


class Raw(str):
    """YAML text of a single value, written as it is."""


@dataclass(frozen=True)
class Mutant:
    """What to write, and what to do with it."""

    files: dict[str, bytes]
    command: list[str]
    told: str


RECIPE = "def train(model, images, labels, seed, epochs, lr, **more):\n    pass\n"
NETWORK = (
    "import torch\n\ndef network(num_classes, in_chans, img_size, **more):\n"
    "    linear = torch.nn.Linear(in_chans * img_size[0] * img_size[1], num_classes)\n"
    "    return torch.nn.Sequential(torch.nn.Flatten(), linear)\n"
)
DATA = (
    "import numpy as np\n\ndef load(**more):\n    draw = np.random.default_rng(0)\n"
    "    x, y = draw.integers(0, 255, (60, 4, 4), np.uint8), np.arange(60) % 3\n"
    "    return dict(x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])\n"
)
LISTS = {"nothing": [], "memorization >= 0.5": [1, 2]}

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"source": "digits", "limit": {"train": 60, "test": 20}, "label_noise": {"fraction": 0.1, "seed": 1}},
    "model": {"arch": "memexp_mlp", "hidden": [8]},
    "training": {
        "epochs": 2, "batch_size": 8, "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005,
        "label_smoothing": 0.1, "schedule": "step", "milestones": [1], "decay": 0.1, "warmup_epochs": 0.5,
        "augment": {"crop": 1, "flip": True}, "standardize": True, "precision": "fp32", "min_in_accuracy": 0.1,
    },
    "subsets": {"design": "balanced", "ratio": 0.7, "trials": 10, "seed": 3},
    "record": ["correct", "margin"],
}  # fmt: skip
REMOVE = {"design": "remove", "trials": 4, "removed": {"a": [1, 2], "memorization >= 0.5": [3]}, "control": True}
SPECS: list[dict[str, Any]] = [
    TINY,
    TINY | {"training": {"file": "recipe.py", "epochs": 1, "lr": 0.1, "weights": {0: 1.0, 1: 2.0}, "names": ["a"]}},
    TINY | {"model": {"arch": "network", "file": "network.py", "width": 3, "more": {"a": [1]}}},
    TINY | {"subsets": REMOVE},
    TINY | {"subsets": {"design": "remove", "trials": 4, "removed": "lists.json"}},
    TINY | {"dataset": {"source": "python", "path": "data.py", "size": 4, "more": {1: 2}}},
    TINY | {"dataset": {"source": "npz", "path": "data.npz", "class_names": ["a", "b", "c"]}},
    TINY | {"subsets": {"design": "uniform", "ratio": 0.5, "target_se": 0.1}},
]
SWEEP = {
    "name": "sweep",
    "base": "base.yaml",
    "vary": {"subsets.seed": [1, 2], "net": {"a": {}, "b": {"model": {"hidden": [4]}}}},
}
PROFILE: dict[str, Any] = {
    "partition": "cpu", "time_min": 60, "mem_gb": 4, "cpus": 2, "workers": 2, "threads": 1, "seconds_per_trial": 1.5,
    "sbatch": {"constraint": "a", "nice": 5}, "setup": ["module load x"], "env": {"A": "b"}, "signal_s": 60,
    "follow_up": {"time_min": 10, "mem_gb": 1}, "max_tasks": 4, "array_parallelism": 3, "account": "me",
}  # fmt: skip

SINGLE = [Raw(text) for text in (
    "yes", "no", "on", "off", "true", "False", "null", "~", "", "None", "0", "-1", "1", "2", "10", "00", "0100",
    "-010", "1_000",
    "0x1F", "0x_", "0b1", "0b_", "0o17", "1:30", "1:30:00", "1:30.5", "1e-3", "1e3", "1.0e+3", "1e999", "1.0e+999",
    ".inf", "-.inf", ".nan", "nan", "inf", "0.5", "1.5", "-0.0", "1.0e-320", "2147483647", "2147483648",
    "9223372036854775808",
    "122807528840384100672342137672332424406", "9" * 400, "9" * 5000, "0x" + "f" * 4000, "1" + "0" * 309 + ".0",
    "2026-01-02", "2026-02-30", "2026-01-02T03:04:05Z", "0000-00-00", "!!bool abc", "!!int x", "!!float x", "!!null x",
    "!!timestamp x", "!!binary x", "!!binary aGk=", "!!str 5", "!!python/object:os.system x", "!foo x", "!!set {1, a}",
    "!!omap [a: 1]", "!!pairs [a: 1]", "!!map [1]", "!!seq {a: 1}", "<<", "=", "*a", "*none", "&a 1", "text",
    "'quoted'",
    '"a\\0b"', '"\\ud800"', '"\\x85\\u2028"', '"\\e[31m"', '"a\\nb"', "é", "日本", "x" * 300, "y/" * 3000,
    "~nobody-here/x",
    "~", "..", "/", "/dev/zero", "/dev/null", "/dev/stdin", "pipe", ".", "recipe.py", "data.npz", "lists.json",
    "absent",
    "/proc/self/mem", "balanced", "uniform", "bernoulli", "remove", "cosine", "linear", "constant", "resnet18x",
    "memexp_cnn",
    "digits", "npz", "folder", "idx", "cifar10", "prepared", "torchvision", "python", "bits:AAAA", "bits:", "'bits:!'",
    "[" * 30 + "]" * 30, "[" * 3000, "{a: " * 60 + "1" + "}" * 60, "- a", "a: b", "a: b: c", "# no", "|", ">", "@x",
    "%x", "`x`",
    "[1, 2", "{a", "'open", '"open',
)]  # fmt: skip
WHOLE: list[Any] = [
    [],
    {},
    [[]],
    [{}],
    {"a": 1},
    [1, "a"],
    [0.5, True],
    {1: 2},
    list(range(50)),
    [-1],
    [10**12],
    {"a": [1]},
]
KEYS = ["name", "source", "path", "arch", "file", "hidden", "epochs", "lr", "seed", "trials", "ratio", "removed",
"limit",
        "classes", "train", "test", "augment", "milestones", "record", "control", "vary", "base", "num_classes",
        "in_chans", "model", "images", "labels", "download", "size", "removed_labels", "removed_thresholds", "sbatch",
        "setup", "env", "class_names", "pretrained", "checkpoint_path"]  # fmt: skip


class Mutator:
    """Makes mutants from one generator."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def mutant(self) -> Mutant:
        """The next one: one to three changes of a file's content, then perhaps one of its text."""
        kind = self.draw.choices(["spec", "profile", "sweep"], [7, 3, 1])[0]
        base = {"spec": self.draw.choice(SPECS), "profile": PROFILE, "sweep": SWEEP}[kind]
        value, told = copy.deepcopy(base), []
        for _ in range(self.draw.choice([1, 1, 1, 2, 3])):
            change = self.draw.choice([self.new_value, self.new_value, self.new_type, self.new_key, self.lost_key,
                                       self.added_key, self.swapped, self.argument, self.path])  # fmt: skip
            told.append(f"{change.__name__} {change(value)}")
        text = written(value).encode("utf-8", "surrogatepass")
        if self.draw.random() < 0.25:
            spoil = self.draw.choice([self.cut, self.spoilt_bytes, self.spoilt_lines, self.aliased])
            text = spoil(text)
            told.append(spoil.__name__)
        files = {
            "spec.yaml": written(TINY).encode(),
            "base.yaml": written(TINY).encode(),
            "profile.yaml": b"time_min: 5\n",
        }
        files["profile.yaml" if kind == "profile" else "spec.yaml"] = text
        where = ["--profile", "profile.yaml"] if kind == "profile" else ["--executor", "local", "--device", "cpu"]
        return Mutant(
            files, ["launch", "spec.yaml", "--dry-run", "--runs", "runs", *where], f"{kind}: {'; '.join(told)}"
        )

    # ------------------------------------------------------------------------------ changes of the content

    def places(self, value: Any, inner: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Where something stands in a value."""
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [where for key, each in parts for where in [(*inner, key), *self.places(each, (*inner, key))]]

    def somewhere(self, value: Any) -> tuple[Any, Any]:
        """A container in it, and a key or position there."""
        places = self.places(value)
        if not places:
            value["added"] = 1
            return value, "added"
        *outer, last = self.draw.choice(places)
        for key in outer:
            value = value[key]
        return value, last

    def odd(self) -> Any:
        """A value that is odd in most places."""
        return self.draw.choice(SINGLE) if self.draw.random() < 0.75 else copy.deepcopy(self.draw.choice(WHOLE))

    def new_value(self, value: Any) -> str:
        """Another value."""
        container, key = self.somewhere(value)
        container[key] = self.odd()
        return f"{key} = {container[key]!r}"[:200]

    def new_type(self, value: Any) -> str:
        """The value as another type: in a list, a mapping, quotes, or as its own text."""
        container, key = self.somewhere(value)
        old = container[key]
        forms: list[Callable[[], Any]] = [lambda: [old], lambda: {"a": old}, lambda: Raw(f"'{old}'"),
        lambda: Raw("!!str ") + str(old),
                 lambda: [old] * 3, lambda: {0: old}, lambda: str(old)]  # fmt: skip
        container[key] = self.draw.choice(forms)()
        return f"{key} = {container[key]!r}"[:200]

    def new_key(self, value: Any) -> str:
        """Another key: misspelt, of another type, or odd."""
        container, key = self.somewhere(value)
        if isinstance(container, dict):
            text = str(key)
            new = self.draw.choice(
                [
                    text[:-1],
                    text + text[-1:],
                    text.upper(),
                    text[::-1],
                    1,
                    self.draw.choice(SINGLE),
                ]
            )
            container[new] = container.pop(key)
            return f"{key} -> {new!r}"[:200]
        container.append(container[key])
        return f"[{key}] twice"

    def lost_key(self, value: Any) -> str:
        """One key less."""
        container, key = self.somewhere(value)
        del container[key]
        return str(key)[:100]

    def added_key(self, value: Any) -> str:
        """One key more."""
        container, _ = self.somewhere(value)
        if isinstance(container, list):
            container.append(self.odd())
            return "in a list"
        key = self.draw.choice(KEYS)
        container[key] = self.odd()
        return f"{key} = {container[key]!r}"[:200]

    def swapped(self, value: Any) -> str:
        """Two values in each other's place: often whole sections."""
        keys = list(value)
        a, b = self.draw.choice(keys), self.draw.choice(keys)
        value[a], value[b] = value[b], value[a]
        if self.draw.random() < 0.3 and isinstance(value[a], dict):
            value[a][b] = copy.deepcopy(value[b])
        return f"{a}, {b}"

    def argument(self, value: Any) -> str:
        """An argument of an odd type for a network, or for code of the user's."""
        block = value.get(self.draw.choice(["model", "training", "dataset"]))
        if not isinstance(block, dict):
            return self.new_value(value)
        key = self.draw.choice(["hidden", "width", "weights", "drop_rate", "act_layer", "size", "more", "hiden"])
        form = self.draw.choice(["one", "list", "map", "key"])
        odd = self.odd()
        block[key] = {"one": odd, "list": [1, odd], "map": {"a": odd}, "key": {self.draw.choice(SINGLE): 1}}[form]
        return f"{key} = {block[key]!r}"[:200]

    def path(self, value: Any) -> str:
        """A path that no file has, or of the wrong kind of file."""
        odd = self.draw.choice([Raw(text) for text in (
            '"a\\0b"', '"\\ud800"', "~nobody-here/x", "x" * 300, "y/" * 3000, "/dev/zero", "pipe", ".", "loop", "''",
            "data.npz",
            "lists.json", "/proc/self/mem", "..", "é",
        )])  # fmt: skip
        section, key = self.draw.choice([("dataset", "path"), ("model", "file"), ("training", "file"), ("subsets",
        "removed"),
                                         ("base", ""), ("python", "")])  # fmt: skip
        if key and isinstance(value.get(section), dict):
            value[section][key] = odd
        else:
            value[section] = odd
        return f"{section}.{key} = {odd!r}"[:200]

    # --------------------------------------------------------------------------------- changes of the text

    def cut(self, text: bytes) -> bytes:
        """Only the beginning."""
        return text[: self.draw.randrange(len(text) + 1)]

    def spoilt_bytes(self, text: bytes) -> bytes:
        """A few bytes replaced, inserted or left out."""
        content = bytearray(text)
        for _ in range(self.draw.randint(1, 3)):
            at = self.draw.randrange(len(content) + 1)
            new = self.draw.choice([b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"{", b"]", b":", b"'", b'"', b"#",
            b"&a ", b"*a", b"!!", b"\r",
                                    b"\x1b", b"\xc2\x85", b"|", b"-", b"\n", b"%", b"<<: ", b", ", b"? "])  # fmt: skip
            content[at : at + self.draw.randint(0, 1)] = new
        return bytes(content)

    def spoilt_lines(self, text: bytes) -> bytes:
        """A line twice, left out, indented, or moved; or a new document."""
        lines = text.split(b"\n")
        at = self.draw.randrange(len(lines))
        new = [
            [],
            [lines[at]] * 2,
            [b"  " + lines[at]],
            [b"---", lines[at]],
            [b"...", lines[at]],
            [b"%YAML 9.9", lines[at]],
            [b"\t" + lines[at]],
        ]
        lines[at : at + 1] = self.draw.choice(new)
        if self.draw.random() < 0.3:
            self.draw.shuffle(lines)
        return b"\n".join(lines)

    def aliased(self, text: bytes) -> bytes:
        """Anchors: recursive, merged, in chains or as bombs."""
        letters = "abcdefghij"
        levels = [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise(letters)]
        merges = [f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}" for a, b in itertools.pairwise(letters)]
        chain = ["a0: &a0 [1]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300))]
        extra = self.draw.choice([
            ["a: &a [1]", *levels], ["a: &a {k: 1}", *merges], chain, ["a: &a [*a]"], ["a: &a {b: *a}"], ["<<: 1"],
            ["<<: [1]"],
            ["<<: {record: [correct]}"], ["a: &a {<<: *a}"], ["a: *undefined"], ["? [1]\n: 2"], ["? {a: 1}\n: 2"],
        ])  # fmt: skip
        lines = [line.encode() for line in extra]
        return b"\n".join([*lines, text] if self.draw.random() < 0.5 else [text, *lines])


def written(value: Any) -> str:
    """YAML with sections as blocks and everything in them in flow style, Raw as it is."""
    if not isinstance(value, dict):
        return flow(value)
    return "".join(f"{flow(key)}: {flow(inner)}\n" for key, inner in value.items())


def flow(value: Any) -> str:
    """One value."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)


def write_surroundings(folder: Path) -> None:
    """The files that specs name: code, data, lists; a pipe, and a link in a circle."""
    import os

    for name, text in {
        "recipe.py": RECIPE,
        "network.py": NETWORK,
        "data.py": DATA,
        "lists.json": json.dumps(LISTS),
    }.items():
        (folder / name).write_text(text)
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 255, (60, 4, 4), np.uint8), np.arange(60) % 3
    np.savez(folder / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
