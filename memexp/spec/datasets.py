"""The dataset section of a spec: where examples come from, and what is done to them before any trial."""

from __future__ import annotations

import copy
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from memexp.spec.sections import Block as _Block
from memexp.spec.sections import Flag
from memexp.spec.subsets import Count, Fraction, PositiveInt, Seed


class LabelNoise(_Block):
    """Training labels flipped on purpose: a planted truth to find again."""

    fraction: Fraction = Field(description="share of the training examples whose label is changed")
    seed: Seed = Field(0, description="which examples, and to which class")


class Limit(_Block):
    """Use a part of the data. Examples are taken class by class in turn, in their own order."""

    classes: list[Count] | None = Field(None, description="labels to keep; they are renumbered from 0 in this order")
    train: PositiveInt | None = Field(None, description="training examples to keep, at most")
    test: PositiveInt | None = Field(None, description="test examples to keep, at most")


class _Source(_Block):
    class_names: list[str] | None = Field(None, description="names of the labels 0, 1, ..., for reports")
    label_noise: LabelNoise | None = Field(None, description="flip training labels on purpose")
    limit: Limit | None = Field(None, description="use a part of the data")


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


class Npz(_Source):
    """A NumPy file with x_train, y_train, x_test, y_test; images (N, H, W) or (N, H, W, C)."""

    source: Literal["npz"]
    path: str = Field(description="the .npz file")


class Torchvision(_Source):
    """A data set class of torchvision.datasets, by name."""

    source: Literal["torchvision"]
    dataset: str = Field(description="name of the class, for example SVHN")
    path: str = Field(description="its root folder")
    download: Flag = Field(False, description="let torchvision fetch the files that are not there")


class ImageFolder(_Source):
    """Folders train/ and test/ (or val/) with a folder of images for each class."""

    source: Literal["folder"]
    path: str = Field(description="the folder that holds train/ and test/ (or val/)")
    size: Annotated[PositiveInt, Field(le=4096)] = Field(
        32, description="images are cut to a centred square and resized to this many pixels"
    )


class Prepared(_Source):
    """A folder that `memexp prepare` made of an image folder: decoded once, shared by all trials."""

    source: Literal["prepared"]
    path: str = Field(description="the folder that was written")


class PythonData(_Source):
    """A Python file whose function load() returns x_train, y_train, x_test, y_test; further keys are its arguments."""

    model_config = ConfigDict(extra="allow")
    source: Literal["python"]
    path: str = Field(description="the Python file")

    @property
    def arguments(self) -> dict[str, Any]:
        """What the user wrote beside memexp's own keys; a copy, which its taker may change."""
        return copy.deepcopy(self.model_extra or {})


Dataset = Annotated[
    Digits | Idx | Cifar | Npz | Torchvision | ImageFolder | Prepared | PythonData, Field(discriminator="source")
]
