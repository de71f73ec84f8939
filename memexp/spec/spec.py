"""The spec: what to train, as frozen pydantic models. Unknown keys are faults.

Reading a spec file, with the YAML line of every fault, is in :mod:`memexp.spec.reading`; checks that
need the data or the models are in :mod:`memexp.runs.plan`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from memexp.errors import InputError
from memexp.spec.argument_files import with_digests
from memexp.spec.datasets import Dataset
from memexp.spec.identity import typed_json
from memexp.spec.index_sets import read_digest
from memexp.spec.sections import Block as _Block
from memexp.spec.sections import Model, PythonFile, UserTraining, UserTrial
from memexp.spec.subsets import Count
from memexp.spec.subsets import Subsets as Subsets
from memexp.spec.training import Augment as Augment
from memexp.spec.training import Training as Training
from memexp.spec.training import without_later_keys
from memexp.spec.user_paths import NAME
from memexp.spec.yaml_text import as_yaml


class Keep(_Block):
    """What stays of a trial beside its outcomes. No part of the experiment: it may be changed while a run goes on."""

    weights: Count = Field(
        0,
        description="of the first so many trials, as weights/TRIAL.safetensors below the run; of trials that were "
        "trained before this was asked for, none are there",
    )


def _which_training(value: Any) -> str:
    named = "file" in value if isinstance(value, dict) else isinstance(value, UserTraining)
    return (UserTraining if named else Training).__name__


AnyTraining = Annotated[
    Annotated[Training, Tag(Training.__name__)] | Annotated[UserTraining, Tag(UserTraining.__name__)],
    Discriminator(_which_training),
]


_NETWORK = ("dataset", "model", "training")  # the sections of a spec that trains networks


def _without_default(schema: dict[str, Any]) -> None:
    """None, which stands for a section that is not there, is nothing to write."""
    del schema["default"]


class Spec(_Block):
    """One experiment: dataset, model, training, subsets, and what to record of every trial.

    Or a trial of the user's own in the place of dataset, model and training, which are None then: whoever reads them
    has asked :attr:`trial` before.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [*_NETWORK]}, {"required": ["trial"]}]})
    name: Annotated[str, Field(pattern=NAME)] = Field(description="the run's folder below --runs")
    trial: UserTrial | None = Field(
        None, description="a trial of your own, whatever it trains, in the place of dataset, model and training"
    )
    dataset: Dataset = Field(
        None, validate_default=True, description="what to train and to test on", json_schema_extra=_without_default
    )
    model: Model = Field(None, validate_default=True, description="what to train", json_schema_extra=_without_default)
    training: AnyTraining = Field(
        None, validate_default=True, description="how a trial is trained", json_schema_extra=_without_default
    )
    subsets: Subsets = Field(description="which examples each trial sees, and how many trials")
    record: list[Literal["correct", "margin", "predicted", "probabilities", "learning", "score"]] = Field(
        default=["correct", "margin", "predicted"],
        validate_default=True,
        description="of every example; correct always; margin adds log p_y - log sum of the others, predicted the "
        "class of the largest logit, probabilities those of all classes, summed over the trials of a block that did "
        "not see the example, learning how the examples that a trial sees are learned (memexp's own recipe only). "
        "Without this key, a run goes on recording what it began with. A trial of your own records score, or correct "
        "and predicted where it gives classes",
    )

    keep: Keep = Field(default_factory=Keep, description="what stays of trials beside their outcomes")

    @field_validator(*_NETWORK, mode="wrap")
    @classmethod
    def _or_a_trial(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        own = "trial" not in info.data or info.data["trial"] is not None
        if own and value is not None:
            raise ValueError("does not go with trial, which brings its own; delete one of them")
        if value is None and not own:
            raise PydanticCustomError("missing", "missing")
        return None if own else check(value)

    @field_validator("record")
    @classmethod
    def _always_correct(cls, record: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("trial") is not None:
            if record == cls.model_fields["record"].default:
                return []  # the plan fills in what trial() gives
            if sorted(set(record)) not in (["score"], ["correct"], ["correct", "predicted"]):
                raise ValueError(
                    "of a trial of your own must be [score], or [correct, predicted] where it gives classes"
                )
        elif "score" in record:
            raise ValueError("has 'score', which only a trial of your own gives; delete it")
        elif "correct" not in record:
            raise ValueError("must contain 'correct'; every estimate is made from it")
        return sorted(set(record))

    @model_validator(mode="after")
    def _imported_as_a_whole(self) -> Spec:
        imported = self.trial is None and self.dataset.source == "imported"
        if (self.subsets.design == "imported") != imported:
            raise ValueError(
                "'design: imported' and 'source: imported' go together, and only `memexp import` writes them; choose "
                "another design and source"
            )
        return self

    @field_serializer(*_NETWORK, mode="wrap")
    def _absent_or_whole(self, section: Any, dump: SerializerFunctionWrapHandler) -> Any:
        return None if section is None else dump(section)

    @model_serializer(mode="wrap")
    def _only_what_is_there(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        sections: dict[str, Any] = dump(self)
        absent = _NETWORK if self.trial is not None else ("trial",)
        return {name: value for name, value in sections.items() if name not in absent}

    @property
    def arch(self) -> str:
        """The network's name; of a trial of the user's own its file's."""
        return self.model.arch if self.trial is None else self.trial.code.name

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the further numbers that a trial of the user's own gives, sorted."""
        return () if self.trial is None else tuple(sorted(self.trial.scalars))

    @property
    def origin(self) -> str:
        """Where the examples come from, in a word or two: a data source, or the file of a trial of the user's own."""
        return self.dataset.source if self.trial is None else self.trial.code.name

    @property
    def sgd(self) -> Training:
        """The recipe of a spec that trains by memexp's own."""
        assert isinstance(self.training, Training)
        return self.training

    @property
    def resumable(self) -> bool:
        """Whether a trial can be gone on with after any of its steps: not where a file of the user's trains it."""
        return isinstance(self.training, Training)

    def to_yaml(self) -> str:
        """The resolved spec: every default filled in, every file's content in it."""
        return as_yaml(self.model_dump())

    def science(self, contents: bool = True) -> dict[str, Any]:
        """What the outcomes depend on, apart from the data's content: the spec's part of the identity.

        Without the name, the number of trials (or the error to reach, from which it follows), the dataset
        block (the data count by content), what only guards it, and what is kept.

        ``contents``: whether files that arguments name are read for their digests; else their paths stay.
        """
        science: dict[str, Any] = typed_json(self.model_dump(exclude={"name", "dataset", "keep"}))
        subsets = science["subsets"]
        del subsets["trials"], subsets["target_se"], subsets["removed_labels"], subsets["removed_thresholds"]
        subsets["removed"] = [[name, read_digest(packed)] for name, packed in self.subsets.index_sets.items()]
        if not subsets["control"]:
            del subsets["control"]
        if subsets.pop("groups") is not None:
            subsets["groups"] = True  # which they are, the data's digests say
        for name in ("model", "training", "trial"):
            section = getattr(self, name)
            if section is None:
                continue
            if isinstance(file := getattr(section, "file", None), PythonFile):
                science[name]["file"] = file.digest  # its name does not count
            else:
                science[name].pop("file", None)
            science[name] = with_digests(science[name]) if contents else science[name]
        if isinstance(self.training, Training):
            science["training"] = without_later_keys(science["training"])
            if self.training.augment.crop or self.training.augment.flip:
                # The device drew the moves of images once: other moves, and so another experiment than today's.
                science["training"]["augment"]["drawn"] = "by the host"
            if self.training.precision == "bf16" and self.model is not None and self.model.arch == "memexp_mlp":
                # Processors with AVX512-BF16 and no AMX computed dense layers in float32 once, and round them today.
                science["training"]["dense"] = "in bf16 wherever there are units"
        return science


def require_network(spec: Spec, where: Path) -> None:
    """Raise :class:`InputError` for what needs images and a network, where the trials are the user's own."""
    if spec.trial is not None:
        raise InputError(
            f"{where} is of trials of one's own ({spec.arch}), which have no images and no network that memexp knows; "
            "name a spec or run with dataset, model and training"
        )
