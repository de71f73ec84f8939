"""Data sets that are drawn, not read: the models in which the long-tail theory is stated and proved.

``subpopulations`` is the mixture of Feldman (2020), "Does Learning Require Memorization? A Short Tale about a
Long Tail"; ``hypercube`` the cluster labelling task of Brown, Bun, Feldman, Smith & Talwar (2021), "When Is
Memorization of Irrelevant Training Data Necessary for High-Accuracy Learning?".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from memexp.data.raw import RawData, as_nhwc, numbered
from memexp.seeds import generator
from memexp.spec import datasets

Floats = NDArray[np.float64]


def prior_shares(prior: str, kinds: int) -> Floats:
    """Shares of ``kinds`` subpopulations, most frequent first, shape (kinds,), of sum 1.

    ``zipf``: proportional to 1/rank. ``geometric``: a constant factor from one to the next. ``uniform``: all equal.
    The rarest has 1/kinds of the most frequent under both of the first two.
    """
    rank = np.arange(1, kinds + 1, dtype=np.float64)
    if prior == "geometric":
        weights = kinds ** -((rank - 1) / max(1, kinds - 1))
    else:
        weights = rank ** {"zipf": -1.0, "uniform": 0.0}[prior]
    return np.asarray(weights / weights.sum())


def frequencies(block: datasets.Subpopulations | datasets.Hypercube) -> Floats:
    """Probability of each subpopulation, by its number: what the theory calls the frequencies; sum 1."""
    if block.source == "hypercube":
        return np.full(block.clusters, 1 / block.clusters)
    return np.tile(prior_shares(block.prior, block.kinds) / block.classes, block.classes)


def load_subpopulations(block: datasets.Subpopulations) -> RawData:
    """A mixture of Gaussians: each class is a few frequent subpopulations and a tail of rare ones.

    Centres are standard normal in ``dim`` dimensions, an example its centre plus ``spread`` times standard normal
    noise. Subpopulation ``c * kinds + r`` is the one of rank r in class c. Training and test examples are drawn
    alike and independently; a share ``ambiguous`` of both has the label of the next class.
    """
    centres = generator(block.seed, "subpopulation-centres").standard_normal((block.classes * block.kinds, block.dim))
    shares = frequencies(block)

    def draw(part: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        random = generator(block.seed, f"subpopulations-{part}")
        kind = random.choice(len(shares), size=count, p=shares).astype(np.int64)
        x = centres[kind] + block.spread * random.standard_normal((count, block.dim))
        moved = random.random(count) < block.ambiguous
        return x.astype(np.float32), (kind // block.kinds + moved) % block.classes, kind

    (x_train, y_train, kind_train), (x_test, y_test, kind_test) = draw("train", block.train), draw("test", block.test)
    kinds = kind_train, kind_test
    classes = numbered(block.classes)
    return RawData(as_nhwc(x_train), y_train, as_nhwc(x_test), y_test, classes, subpopulations=kinds)


def fixed_share(clusters: int, dim: int) -> float:
    """Share of a cluster's bits that are fixed, as the authors of the task set it.

    Just so many that an example is nearer to the one training example of its own cluster than to any other:
    sqrt((2 ln(a s) - ln ln n) / d) with n clusters, d bits, s = n / e singletons, and a = 50,000.
    """
    square = (2 * math.log(50_000 * clusters * math.exp(-1)) - math.log(math.log(max(clusters, 3)))) / dim
    return min(1.0, math.sqrt(square))


def fixed_bits(block: datasets.Hypercube) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Which bits of each cluster are fixed, and every cluster's pattern of -1 and 1; both (clusters, dim)."""
    random = generator(block.seed, "hypercube-clusters")
    share = fixed_share(block.clusters, block.dim) if block.fixed is None else block.fixed
    fixed = random.random((block.clusters, block.dim)) < share
    return fixed, (2 * random.integers(0, 2, size=fixed.shape, dtype=np.int8) - 1).astype(np.int8)


def load_hypercube(block: datasets.Hypercube) -> RawData:
    """Clusters of corners of the hypercube {-1, 1}^dim, equally frequent; the label of an example is its cluster.

    A cluster fixes some of the bits; all others are fair coins, which tell nothing of the label: the irrelevant
    information that an accurate learner is shown to keep. About 1/e of the clusters have no training example.
    """
    fixed, pattern = fixed_bits(block)

    def draw(part: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        random = generator(block.seed, f"hypercube-{part}")
        cluster = random.integers(0, block.clusters, size=count, dtype=np.int64)
        coins = 2 * random.integers(0, 2, size=(count, block.dim), dtype=np.int8) - 1
        return np.where(fixed[cluster], pattern[cluster], coins).astype(np.float32), cluster

    (x_train, y_train), (x_test, y_test) = draw("train", block.train), draw("test", block.test)
    classes, kinds = numbered(block.clusters), (y_train, y_test)
    return RawData(as_nhwc(x_train), y_train, as_nhwc(x_test), y_test, classes, subpopulations=kinds, gaps=True)
