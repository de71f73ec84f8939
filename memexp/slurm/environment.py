"""The environment of every Slurm command: what says where the cluster is, and nothing else of Slurm's.

Each of Slurm's commands takes options from variables (``SQUEUE_PARTITION``, ``SCANCEL_STATE``, ``SBATCH_QOS``,
``SLURM_CLUSTERS``, ...). Those of the user, or of a job that memexp runs in, would make live tasks invisible or send
tasks elsewhere. What a job asks for stands in the profile alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_SLURMS = (
    "SLURM_", "SLURMD_", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SACCT_", "SACCTMGR_", "SCANCEL_", "SCONTROL_",
    "SINFO_", "SSTAT_", "SPRIO_", "SSHARE_", "SREPORT_", "SLURMSTEPD_", "SUBMITIT_",
)  # fmt: skip
# Of a distributed training that memexp may have been started in; submitit and torch would believe them.
_OTHERS = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# Which cluster, and the right to ask it.
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_JWKS")
# Whole lists of nodes, and times that can be read.
_FORMATS = {"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}


def without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what Slurm's commands, and submitit, would take as options."""
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT or not (name.startswith(_SLURMS) or name in _OTHERS)
    }


def slurm_environment() -> dict[str, str]:
    """What every Slurm command of memexp runs with."""
    return without_slurm(os.environ) | _FORMATS


@contextmanager
def in_slurm_environment() -> Iterator[None]:
    """This process with the environment of Slurm commands, for submitit, which starts ``sbatch`` by itself.

    The jobs inherit it, so the formats, which are for our own questions, are left away.
    """
    before = dict(os.environ)
    clean = without_slurm(before)
    for name in before.keys() - clean.keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update({name: before[name] for name in before.keys() - clean.keys()})
