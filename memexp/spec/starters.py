"""Specs and a profile to begin with: each whole, with a comment at what a user will want to change."""

from __future__ import annotations

import re
from pathlib import Path

from memexp.errors import InputError, command

_SPEC = """# {command}
# Every key: docs/spec.md, or `memexp schema`. Check it with `memexp plan FILE`, train with `memexp launch FILE`.
{name}# of the run's folder below runs/
{dataset}
{training}
subsets:
  design: balanced               # each example is left out of equally many trials
  ratio: 0.7                     # share of the training set that a trial sees
  trials: 100                    # more later: raise it and launch again; nothing is trained twice
  seed: 0
"""

_MLP = """model: {arch: memexp_mlp, hidden: [256]}
training:
  epochs: 60
  batch_size: 64
  lr: 0.1
  schedule: linear               # the rate falls to 0
  standardize: true              # by the training set's mean and deviation
  min_in_accuracy: 0.95          # a trial that did not learn its own training set has failed"""

_CNN = """model: {arch: memexp_cnn}        # or any name that timm knows: memexp doctor --models
training:
  epochs: 60
  batch_size: 64
  lr: 0.1
  schedule: linear               # the rate falls to 0
  warmup_epochs: 2
  # augment: {flip: true}        # left-right, where that keeps the meaning; wrong labels are then fitted less
  standardize: true              # by the training set's mean and deviation
  min_in_accuracy: 0.9           # a trial that did not learn its own training set has failed"""

_DATASETS = {
    "digits": "dataset: {source: digits}        # scikit-learn's, needs no download",
    "folder": """dataset:
  source: folder
  path: images                   # CLASS/*.png, or train/CLASS/*.png and test/CLASS/*.png; from this file's folder
  size: 32                       # pixels to which images are cut and resized
  test: {fraction: 0.2, seed: 0} # drawn from each class; remove it where there is a folder test/""",
    "table": """dataset:
  source: table
  path: table.csv                # or .parquet; from this file's folder
  label: label                   # column of the classes
  features: rest                 # all other columns; or a list of names, or `image: COLUMN` of file names
  test: {fraction: 0.2, seed: 0} # drawn from each class""",
}

_PROFILE = """# {command}
# Where to train on a Slurm cluster. Every key: docs/profile.md; a first profile step by step: docs/slurm.md.
# Check it with `memexp doctor --profile FILE`, use it with `memexp launch SPEC --profile FILE`.
# partition: gpu                 # the cluster's default where absent; `sinfo` lists them
# account: mine                  # whom the time is charged to
time_min: 60                     # time limit of a task, minutes
cpus: 2                          # processors of a task
mem_gb: 8
# gpus: 1                        # of a task, which then has one worker for each
# on_end: 'echo "$RUN: $STATE $REASON" | mail -s memexp me@example.org'   # run when the run has ended or given up
# setup:                         # shell lines before Python
#   - module load cuda
"""

STARTERS = (*_DATASETS, "profile")


def starter(kind: str, path: Path) -> str:
    """The text of a starter, for a file at ``path``, whose name a spec takes.

    Raises
    ------
    InputError
        If there is none of this kind.
    """
    if kind not in STARTERS:
        raise InputError(f"no starter {kind!r}; choose {', '.join(STARTERS)}")
    written_by = f"{command('init', path)} --kind {kind}"
    if kind == "profile":
        return _PROFILE.replace("{command}", written_by)
    parts = {"dataset": _DATASETS[kind], "training": _CNN if kind == "folder" else _MLP, "command": written_by}
    text = _SPEC
    for name, value in (parts | {"name": f"name: {_run_name(path)}  ".ljust(33)}).items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _run_name(path: Path) -> str:
    """The file's name as a run's name may be."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem)
    return plain[:100] if plain[:1].isalnum() else f"run{plain}"[:100]
