"""What a profile's GPUs reached in the probe job, kept below the runs for the launches that follow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memexp.files import digest, to_json, write_atomic
from memexp.slurm.profile import Profile

_FILE = ".gpu-rates.json"


def _key(profile: Profile) -> str:
    """Of what decides which GPUs a task gets."""
    options = {name: value for name, value in profile.options.items() if name != "exclude"}
    return digest({"partition": profile.partition, "gpus": profile.gpus, "sbatch": options})


def _read(runs: Path) -> dict[str, Any]:
    try:
        found = json.loads((runs / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note_rate(runs: Path, profile: Profile, gpus: Sequence[dict[str, Any]]) -> None:
    """Keep the lowest rate of these GPUs in each precision; ``gpus``: :func:`memexp.training.gpu_check.try_gpu`."""
    rates = [each["teraflops"] for each in gpus if "error" not in each]
    if rates:
        least = {name: min(rate[name] for rate in rates if name in rate) for name in rates[0]}
        kept = _read(runs) | {_key(profile): {"device": gpus[0]["device"], "teraflops": least}}
        write_atomic(runs / _FILE, to_json(kept))


def known_rate(runs: Path, profile: Profile) -> dict[str, float] | None:
    """Teraflops by precision, or None where no probe has been there."""
    found = _read(runs).get(_key(profile))
    return dict(found["teraflops"]) if found else None
