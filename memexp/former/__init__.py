"""Modules under their former names, for jobs that were queued before they moved."""
