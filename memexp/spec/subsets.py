"""The subsets section of a spec: how each trial's training examples are drawn, and how many trials there are."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, ValidationInfo, field_validator, model_validator

from memexp.spec.index_sets import pack, require_name, thresholds_in_names
from memexp.spec.sampling_error import balanced_group, trials_for
from memexp.spec.sections import NUMBER, Block, Flag
from memexp.spec.yaml_text import short

MOST = 2**31 - 1  # of anything that is counted
_LEAST_SE = 1e-4


def _countable(value: int) -> int:
    if value > MOST:
        raise ValueError(f"{short(value)}: must be at most {MOST:,}")
    return value


Count = Annotated[StrictInt, Field(ge=0), AfterValidator(_countable)]
PositiveInt = Annotated[StrictInt, Field(ge=1), AfterValidator(_countable)]
Seed = Annotated[StrictInt, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1), NUMBER]
ListName = Annotated[str, AfterValidator(require_name)]
IndexSet = Annotated[str, BeforeValidator(pack, json_schema_input_type=list[Seed] | str)]


GROUP_FILES = (".csv", ".txt", ".npy")


def names_file(groups: str | None) -> bool:
    """Whether ``subsets.groups`` names a file, rather than a column."""
    return groups is not None and groups.endswith(GROUP_FILES)


class Subsets(Block):
    """Which examples each trial trains on, and how many trials."""

    design: Literal["uniform", "balanced", "bernoulli", "remove", "imported"] = Field(
        "balanced",
        description="how a trial's examples are drawn; uniform: m of n, any m as likely as any other (the paper's); "
        "balanced: each example is out equally often in every group of trials, and sizes differ by at most one; "
        "bernoulli: each example by itself; remove: all but given ones; imported: drawn elsewhere, which only "
        "`memexp import` writes",
    )
    ratio: Fraction | None = Field(
        None, description="share of the training set that a trial sees; every design but remove needs it"
    )
    target_se: Fraction | None = Field(
        None, description="instead of trials: the standard error of memorization to reach even in the worst case"
    )
    trials: PositiveInt = Field(
        None,
        validate_default=True,
        description="how many models to train; follows from target_se where that is given",
        json_schema_extra=lambda schema: schema.__delitem__("default"),
    )
    seed: Seed = Field(0, description="of every random choice: masks, weights, order, augmentation")
    removed: dict[ListName, IndexSet] | str = Field(
        default={},
        description="for remove: indices of the training examples left out; or several named lists of them, which "
        "trials take in turn; or a JSON file of such lists, as `memexp select` writes it",
    )
    removed_labels: str | None = Field(
        None, description="digest of the training labels that removed belongs to; filled in from the JSON file"
    )
    removed_thresholds: dict[str, Annotated[float, Field(ge=-1, le=1), NUMBER]] = Field(
        default={}, description="least memorization of the lists of removed; filled in from the JSON file"
    )
    groups: str | None = Field(
        None,
        description="examples in or out as one, such as those of a patient, or near-duplicates: a column of the "
        "table, or a file (.csv, .txt, .npy) that names each example's group",
    )
    control: Flag = Field(
        False, description="for remove: each list is followed by as many examples drawn at random, anew each time"
    )

    @field_validator("removed", mode="before", json_schema_input_type=list[Seed] | dict[str, IndexSet] | str)
    @classmethod
    def _one_list(cls, removed: Any) -> Any:
        return {"removed": removed} if isinstance(removed, list) and removed else removed or {}

    @field_validator("trials", mode="before")
    @classmethod
    def _follow_from_the_goal(cls, trials: Any, info: ValidationInfo) -> Any:
        if "target_se" not in info.data or "ratio" not in info.data or "design" not in info.data:
            return 1 if trials is None else trials  # those are faults already
        goal, ratio = info.data["target_se"], info.data["ratio"]
        if goal is None:
            if trials is None:
                raise ValueError("missing; give a number, or target_se, the standard error to reach")
            return trials
        if ratio is None:
            raise ValueError("target_se needs a ratio, and a design with trials that have an example out")
        group = balanced_group(ratio) if info.data["design"] == "balanced" else None
        if goal < _LEAST_SE:
            raise ValueError(f"{goal:g} is out of reach; target_se must be {_LEAST_SE:g} or more")
        try:
            needed: float = trials_for(ratio, goal, group[0] if group else 1)
        except (ZeroDivisionError, OverflowError):
            needed = math.inf
        if not needed <= MOST:
            raise ValueError(f"target_se {goal:g} at ratio {ratio:g} needs {needed:.3g} trials; raise one of them")
        if trials not in (None, needed):
            raise ValueError(
                f"{short(trials)} is not the {needed} that follow from target_se {goal:g}; delete trials or target_se"
            )
        return needed

    @model_validator(mode="after")
    def _coherent(self) -> Subsets:
        if self.groups is not None and self.design in ("remove", "imported"):
            raise ValueError(
                f"groups are drawn, and 'design: {self.design}' draws nothing; delete groups (removed may list all "
                "examples of a group)"
            )
        if self.design == "remove":
            if self.ratio is not None:
                raise ValueError("ratio does not go with 'design: remove'; delete it")
            if not self.removed:
                raise ValueError("'design: remove' needs removed: a list of training example indices")
            if isinstance(self.removed, dict) and (foreign := self.removed_thresholds.keys() - self.removed.keys()):
                raise ValueError(f"removed_thresholds names {sorted(foreign)}, which removed has not")
        else:
            if self.ratio is None and self.design != "imported":
                raise ValueError(f"ratio is missing; 'design: {self.design}' needs it, for example 0.7")
            if self.removed or self.removed_labels or self.removed_thresholds or self.control:
                raise ValueError("removed (and what was filled in from its file) and control go with 'design: remove'")
        return self

    @property
    def index_sets(self) -> dict[str, str]:
        """The named lists of removed examples, packed; see :mod:`memexp.spec.index_sets`."""
        assert isinstance(self.removed, dict), "reading the spec replaces the file's name by its content"
        return self.removed

    @property
    def thresholds(self) -> dict[str, float]:
        """Least memorization of the lists that were made by it."""
        return self.removed_thresholds or thresholds_in_names(self.index_sets)

    @property
    def conditions(self) -> list[tuple[str, bool]]:
        """What trials 0, 1, ... remove, round and round: name of a list, and whether a random control of its size.

        A list without examples has no control.
        """
        empty = pack([])
        return [
            (name, control)
            for name, packed in self.index_sets.items()
            for control in ((False, True) if self.control and packed != empty else (False,))
        ]
