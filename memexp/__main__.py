"""``python -m memexp``."""

from memexp.cli.app import app

app()
