"""Doctor's judgement of GPUs: those of this machine, and those that a probe job met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memexp.launch import doctor
from memexp.slurm import probe
from memexp.slurm.profile import Profile
from memexp.training import gpu_check
from tests.training.pretended import pretend_gpu

GOOD = {
    "device": "H", "capability": "9.0", "cudnn": 92400, "cuda": "13.0", "memory_gb": 80.0, "free_gb": 79.0,
    "step_ms": {"fp32": 16.0, "tf32": 8.0, "bf16": 4.7}, "host_ms": 1.4, "bf16": True,
}  # fmt: skip


def test_the_gpu_here_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "try_gpu", lambda device: GOOD | {"device": device})
    with pretend_gpu():
        (found,) = doctor._gpus()
    assert (found.what, found.verdict) == ("GPU", "ok")
    assert found.text.startswith("cuda:0, 80 GB (79 free), compute capability 9.0, CUDA 13.0, cuDNN 92400; a step of ")
    assert found.text.endswith("takes 16.0 ms in fp32, 8.0 ms in tf32, 4.7 ms in bf16")


@pytest.mark.parametrize(
    ("gpus", "verdicts"),
    [
        ([GOOD], ["ok", "ok"]),
        ([GOOD | {"error": "RuntimeError: no kernel image"}], ["fault", "ok"]),
        ([GOOD | {"bf16": False}], ["warning", "ok"]),
        ([], ["fault"]),
    ],
)
def test_the_gpus_of_a_probe_are_judged_by_their_step_and_counted(
    gpus: list[dict[str, Any]], verdicts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"node": "n1", "versions": {}, "gpus": gpus, "submits": True, "delay": 0.1, "waited": 1.0}
    monkeypatch.setattr(probe, "run_probe", lambda *_: seen)
    monkeypatch.setattr(doctor, "_tried", lambda *_: [])  # by Slurm, before the job
    found = doctor.probe(Profile(time_min=10, gpus=1), tmp_path)
    assert [each.verdict for each in found if each.what in ("its GPU", "its GPUs")] == verdicts
