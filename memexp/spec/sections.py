"""The parts of a spec that may name a Python file of the user's: the model, how it is trained, or a whole trial.

The file's text is part of the spec: reading a spec replaces the file's name by its content, so that a
run carries the code that it trains with, and its identity has the digest. What runs such a file is in
:mod:`memexp.spec.python_files`.
"""

from __future__ import annotations

import copy
import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from memexp.spec.yaml_text import Unquoted, short

# What training passes to a user's recipe, beside the keys of its block.
PASSED = ("model", "images", "labels", "seed")

# What is passed to a trial of the user's own, beside the keys of its block.
PASSED_TO_TRIAL = ("mask", "seed")

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def _number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)  # such as 1e-3, which YAML 1.1 takes for text
    if isinstance(value, str):
        raise ValueError(f"{short(value)}: must be a valid number, unable to parse string as a number")
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError(f"{short(value)}: must be a number")
    return value


def _flag(value: Any) -> Any:
    value = value.switch if isinstance(value, Unquoted) else value
    if not isinstance(value, bool):
        raise ValueError(f"{short(value)}: must be true or false")
    return value


NUMBER = BeforeValidator(_number)  # the last in an annotation, so that a schema shows the bounds before it
Flag = Annotated[bool, BeforeValidator(_flag)]


def _standardize(value: Any) -> Any:
    return value if value == "weights" else _flag(value)


Standardize = Annotated[
    bool | Literal["weights"],
    BeforeValidator(_standardize),
    Field(
        description="subtract a mean and divide by a deviation, per channel: those of the training images, or of what "
        "timm's weights were trained on"
    ),
]
MinInAccuracy = Annotated[
    float,
    Field(ge=0, le=1, description="a trial that ends below this accuracy on its own training set has failed"),
    NUMBER,
]


class Block(BaseModel):
    """A block of the spec: unknown keys are faults, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PythonFile(Block):
    """A Python file as it was when the spec was read."""

    name: str = Field(description="for messages")
    source: str = Field(description="the whole text")

    @property
    def digest(self) -> str:
        """sha256 of the text: what a run's identity knows of the file."""
        return hashlib.sha256(self.source.encode()).hexdigest()


def _named(value: Any) -> Any:
    if not isinstance(value, str | dict | PythonFile | None):
        raise ValueError("must be the name of a Python file, relative to the spec's folder")
    return value


FileName = Annotated[PythonFile | str, BeforeValidator(_named, json_schema_input_type=str)]
MaybeFileName = Annotated[PythonFile | str | None, BeforeValidator(_named, json_schema_input_type=str | None)]


class Model(BaseModel):
    """Any architecture that timm.create_model knows, or one of your own; further keys are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    arch: str = Field(
        description="a name that timm knows (`memexp doctor --models`), or that of a function or class in file"
    )
    file: MaybeFileName = Field(None, description="a Python file that defines arch; the run keeps a copy")

    @property
    def arguments(self) -> dict[str, Any]:
        """What the user wrote beside ``arch`` and ``file``; a copy, which its taker may change."""
        return copy.deepcopy(self.model_extra or {})

    @property
    def code(self) -> PythonFile | None:
        """The user's file, if the spec names one."""
        assert not isinstance(self.file, str), "reading the spec replaces the file's name by its content"
        return self.file


class _UserFile(Block):
    """A Python file of the user's, and the arguments of what it defines."""

    model_config = ConfigDict(extra="allow")
    file: FileName

    @property
    def arguments(self) -> dict[str, Any]:
        """What the user wrote beside memexp's own keys; a copy, which its taker may change."""
        return copy.deepcopy(self.model_extra or {})

    @property
    def code(self) -> PythonFile:
        """The user's file."""
        assert isinstance(self.file, PythonFile), "reading the spec replaces the file's name by its content"
        return self.file


class UserTraining(_UserFile):
    """A trial is trained by the function train() of a Python file; further keys are its arguments."""

    file: FileName = Field(description="a Python file that defines train(); the run keeps a copy")
    standardize: Standardize = False
    min_in_accuracy: MinInAccuracy = 0.0

    @model_validator(mode="after")
    def _free_names(self) -> UserTraining:
        _require_free(self.arguments, PASSED)
        return self


class UserTrial(_UserFile):
    """A trial is one call of the function trial() of a Python file, whatever it trains; further keys are its arguments.

    Its function sizes() tells how many examples there are, or their labels.
    """

    file: FileName = Field(description="a Python file that defines sizes() and trial(); the run keeps a copy")
    scalars: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]] = Field(
        default=[], description="names of further numbers that trial() returns and that are worth keeping"
    )

    @model_validator(mode="after")
    def _free_names(self) -> UserTrial:
        _require_free(self.arguments, PASSED_TO_TRIAL)
        if len(set(self.scalars)) < len(self.scalars):
            raise ValueError("scalars names one twice")
        return self


def _require_free(arguments: dict[str, Any], passed: tuple[str, ...]) -> None:
    if taken := sorted(set(passed) & set(arguments)):
        raise ValueError(f"{', '.join(taken)}: memexp passes that itself; give the argument another name")
