"""Speeds that the documentation claims, each a script."""
