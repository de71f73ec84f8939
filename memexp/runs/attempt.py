"""attempts/ID.json of a worker."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from memexp.files import here, to_json, write_atomic
from memexp.runs.used import used
from memexp.store.paths import RunPaths


class Attempt:
    """attempts/ID.json: what this worker met, rewritten as it goes on."""

    def __init__(self, root: Path, attempt: str, device: str) -> None:
        self.device = device
        self.path = RunPaths(root).attempts / f"{attempt}.json"
        self.record: dict[str, Any] = here() | {"start": _now(), "end": None, "blocks": [], "error": None}
        write_atomic(self.path, to_json(self.record))

    def update(self, block: int | None = None, error: str | None = None) -> None:
        """Add a block that was finished, or why it ended."""
        if block is not None:
            self.record["blocks"].append(block)
        self.record |= {"end": _now(), "error": error, "used": used() | _used_of_gpu(self.device)}
        write_atomic(self.path, to_json(self.record))


def _used_of_gpu(device: str) -> dict[str, float]:
    """Peak of what torch held of the GPU's memory, and all of that."""
    if not device.startswith("cuda"):
        return {}
    with suppress(RuntimeError):  # a GPU that failed must not hide why
        peak, total = torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
        return {"gpu_memory_mb": round(peak / 1e6, 1), "gpu_total_mb": round(total / 1e6, 1)}
    return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
