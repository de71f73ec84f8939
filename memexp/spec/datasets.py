"""The dataset section of a spec: where examples come from, and what is done to them before any trial."""

from __future__ import annotations

import copy
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, model_validator

from memexp.spec.sections import NUMBER, Flag
from memexp.spec.sections import Block as _Block
from memexp.spec.subsets import Count, Fraction, PositiveInt, Seed
from memexp.spec.user_paths import NAME


def _set_name(name: str) -> str:
    if name == "test":
        raise ValueError("'test' is the name of the dataset's own test set; choose another")
    return name


SetName = Annotated[str, AfterValidator(_set_name), Field(pattern=NAME)]


class LabelNoise(_Block):
    """Training labels flipped on purpose: a planted truth to find again."""

    fraction: Fraction = Field(description="share of the training examples whose label is changed")
    seed: Seed = Field(0, description="which examples, and to which class")


class Tail(_Block):
    """Cut the data to a long tail: the class of rank r keeps a share proportional to 1 / r ** exponent.

    Training and test set alike, so that rare classes are rare in both. Which class has which rank is drawn. With
    superclasses (`limit: {superclasses: ...}`), the classes that each of them joins are ranked within it.
    """

    exponent: Annotated[float, Field(gt=0, le=10), NUMBER] = Field(1.0, description="of Zipf's law")
    seed: Seed = Field(0, description="which class has which rank, and which of its examples stay")


class Limit(_Block):
    """Use a part of the data. Examples are taken class by class in turn, in their own order."""

    classes: list[Count] | None = Field(None, description="labels to keep; they are renumbered from 0 in this order")
    superclasses: dict[str, list[Count]] | None = Field(
        None, description="names, each of a list of labels that become one class; labels in no list are left out"
    )
    tail: Tail | None = Field(None, description="keep classes at the frequencies of a long tail")
    train: PositiveInt | None = Field(None, description="training examples to keep, at most")
    test: PositiveInt | None = Field(None, description="test examples to keep, at most")


class Split(_Block):
    """A test set drawn from the examples, each class giving its share; for data that have none."""

    fraction: Fraction = Field(description="share of the examples that are tested on, and never trained on")
    seed: Seed = Field(0, description="which examples")


class _Source(_Block):
    class_names: list[str] | None = Field(None, description="names of the labels 0, 1, ..., for reports")
    label_noise: LabelNoise | None = Field(None, description="flip training labels on purpose")
    limit: Limit | None = Field(None, description="use a part of the data")
    tests: dict[SetName, Dataset] | None = Field(
        None,
        description="further test sets by name, each a dataset section: its test set where it has one, else all of it",
    )

    @model_validator(mode="after")
    def _tests_alone(self) -> _Source:
        for name, each in (self.tests or {}).items():
            if each.tests is not None or each.label_noise is not None:
                raise ValueError(f"tests.{name} is only tested on; delete its tests and label_noise")
        return self


class _Files(_Source):
    test: Split | None = Field(None, description="draw a test set, where the data have none")


class Digits(_Source):
    """scikit-learn's 1,797 images of 8x8; every fifth is a test image. Needs no download."""

    source: Literal["digits"]


class Idx(_Source):
    """A folder with the four idx files of MNIST or Fashion-MNIST, gzipped or not."""

    source: Literal["idx"]
    path: str = Field(description="the folder; relative paths start at the folder of the spec")


class Cifar(_Source):
    """The official python version of CIFAR-10 or CIFAR-100: the extracted folder or the .tar.gz."""

    source: Literal["cifar10", "cifar100"]
    path: str = Field(description="the extracted folder, or the .tar.gz")


class Npz(_Files):
    """A NumPy file with x_train, y_train, and x_test, y_test if there is a test set; images, or features (N, D)."""

    source: Literal["npz"]
    path: str = Field(description="the .npz file")


class Torchvision(_Files):
    """A data set class of torchvision.datasets, by name."""

    source: Literal["torchvision"]
    dataset: str = Field(description="name of the class, for example SVHN")
    path: str = Field(description="its root folder")
    download: Flag = Field(False, description="let torchvision fetch the files that are not there")


class ImageFolder(_Files):
    """A folder of images for each class, below train/ and test/ (or val/), or right below path."""

    source: Literal["folder"]
    path: str = Field(description="the folder that holds train/ and test/ (or val/), or the folders of the classes")
    size: Annotated[StrictInt, Field(ge=1, le=4096)] = Field(
        32, description="images are cut to a centred square and resized to this many pixels"
    )


class Prepared(_Files):
    """A folder that `memexp prepare` made of an image folder: decoded once, shared by all trials."""

    source: Literal["prepared"]
    path: str = Field(description="the folder that was written")


class _Columns(_Files):
    label: str | None = Field(None, description="column of the labels, text or integers; found if it is called so")
    image: str | None = Field(None, description="column of the images: file names, or the bytes of files")
    features: list[str] | Literal["rest"] | None = Field(
        None, description="columns of numbers, instead of images; rest: all that the spec does not name otherwise"
    )
    id: str | None = Field(None, description="column with a name for each example, for tables and reports")
    size: Annotated[StrictInt, Field(ge=1, le=4096)] | None = Field(
        None, description="images are cut to a centred square and resized to this many pixels; none: as they are"
    )


class Table(_Columns):
    """A CSV or Parquet file with a row for each example."""

    source: Literal["table"]
    path: str = Field(description="the file: .csv, .tsv or .parquet; file names in it start at its folder")
    test_path: str | None = Field(None, description="another such file, with the test set")


class HuggingFace(_Columns):
    """A data set of the library datasets: a folder that it saved, or a name of the Hugging Face Hub."""

    source: Literal["huggingface"]
    path: str | None = Field(None, description="a folder of save_to_disk, or one that load_dataset reads")
    name: str | None = Field(None, description="a name of the Hub, such as ylecun/mnist, in place of path")
    config: str | None = Field(None, description="with name: which of its configurations")
    revision: str | None = Field(None, description="with name: which version, such as a commit")
    train_split: str | None = Field(None, description="the split to train on; none: train, or the only one")
    test_split: str | None = Field(None, description="the split to test on; none: test or validation, if there is one")

    @model_validator(mode="after")
    def _one_place(self) -> HuggingFace:
        if (self.path is None) == (self.name is None):
            raise ValueError("give either path, a folder, or name, of the Hub")
        if self.name is None and (self.config or self.revision):
            raise ValueError("config and revision go with name")
        return self


class PythonData(_Files):
    """A Python file whose function load() returns x_train, y_train, x_test, y_test; further keys are its arguments."""

    model_config = ConfigDict(extra="allow")
    source: Literal["python"]
    path: str = Field(description="the Python file")

    @property
    def arguments(self) -> dict[str, Any]:
        """What the user wrote beside memexp's own keys; a copy, which its taker may change."""
        return copy.deepcopy(self.model_extra or {})


Dimension = Annotated[StrictInt, Field(ge=1, le=1_000_000)]


class Subpopulations(_Source):
    """Feldman's long tail, drawn: classes that are mixtures of a few frequent and many rare Gaussian subpopulations."""

    source: Literal["subpopulations"]
    classes: Annotated[StrictInt, Field(ge=2, le=10_000)] = Field(10, description="labels")
    kinds: Dimension = Field(60, description="subpopulations of each class")
    train: PositiveInt = Field(1000, description="training examples")
    test: PositiveInt = Field(3000, description="test examples")
    dim: Dimension = Field(64, description="features of an example")
    spread: Annotated[float, Field(ge=0), NUMBER] = Field(
        0.5, description="deviation within a subpopulation; that of the centres is 1"
    )
    prior: Literal["zipf", "geometric", "uniform"] = Field(
        "zipf", description="frequencies of a class's subpopulations; the rarest has 1/kinds of the first, or all equal"
    )
    ambiguous: Annotated[float, Field(ge=0, le=1), NUMBER] = Field(
        0.0, description="share of all examples, training and test, with the label of the next class"
    )
    seed: Seed = Field(0, description="of the centres and the examples")


class Hypercube(_Source):
    """Brown et al.'s clusters of the hypercube, drawn: which cluster an example of mostly random bits is of."""

    source: Literal["hypercube"]
    clusters: Annotated[StrictInt, Field(ge=2, le=100_000)] = Field(500, description="clusters, one label each")
    train: PositiveInt = Field(500, description="training examples; about 1/e of the clusters get none")
    test: PositiveInt = Field(1000, description="test examples")
    dim: Dimension = Field(1000, description="bits of an example, -1 or 1")
    fixed: Annotated[float | None, Field(gt=0, le=1), NUMBER] = Field(
        None, description="share of a cluster's bits that are fixed; by default as few as still tell the clusters apart"
    )
    seed: Seed = Field(0, description="of the clusters and the examples")


class Imported(_Source):
    """Examples of trials that were trained elsewhere: only their labels are known. `memexp import` writes it."""

    source: Literal["imported"]


_FromFiles = Digits | Idx | Cifar | Npz | Torchvision | ImageFolder | Prepared | Table | HuggingFace
_Made = PythonData | Subpopulations | Hypercube | Imported

Dataset = Annotated[_FromFiles | _Made, Field(discriminator="source")]

for _section in (*get_args(_FromFiles), *get_args(_Made)):
    _section.model_rebuild()  # now that Dataset, which their further test sets are, is known
