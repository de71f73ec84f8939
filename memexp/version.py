"""The version of memexp."""

__version__ = "0.1.0"
