"""Data sets as arrays: where they come from, which part is used, and their fingerprint."""

from memexp.data.dataset import Data, load_data
from memexp.data.own_trial import load_examples
from memexp.data.sources import SOURCES

__all__ = ["SOURCES", "Data", "load_data", "load_examples"]
