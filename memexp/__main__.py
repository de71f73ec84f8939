"""``python -m memexp``."""

from memexp.cli import app

app()
