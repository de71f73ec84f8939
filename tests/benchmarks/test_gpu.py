"""The first hour on a GPU is known to start: every part in a tiny form, on the processor and on a pretended GPU."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, run_script
from tests.training.pretended import pretend_gpu

pytestmark = pytest.mark.long

Tried = Callable[..., tuple[list[dict[str, Any]], str]]


@pytest.fixture
def tried(tmp_path: Path) -> Tried:
    def run(*arguments: str) -> tuple[list[dict[str, Any]], str]:
        out = tmp_path / "gpu.jsonl"
        before = torch.are_deterministic_algorithms_enabled()
        try:
            done = run_script(ROOT / "benchmarks/gpu.py", *arguments, "--tiny", "--out", str(out), folder=tmp_path)
        finally:
            torch.use_deterministic_algorithms(before)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in out.read_text().splitlines()], done.stdout

    return run


def test_the_ceilings_stand_beside_their_predictions(tried: Tried) -> None:
    rows, printed = tried("peak", "--device", "cpu")
    assert [row["what"] for row in rows] == ["fp32, TFLOP/s", "tf32, TFLOP/s", "bf16, TFLOP/s", "copy, TB/s"]
    assert all(row["found"] > 0 for row in rows)
    assert printed.splitlines()[2].startswith("| peak | bf16, TFLOP/s | ")
    assert " of 798 |" in printed.splitlines()[2]


def test_a_step_is_timed_in_every_way_on_a_gpu(tried: Tried) -> None:
    with pretend_gpu():
        rows, printed = tried("step", "memexp_resnet9", "--backend", "no such compiler")
    assert printed.startswith("pretended GPU, torch ")
    found = {row["what"].removeprefix("memexp_resnet9: "): row for row in rows}
    ways = ["fp32", "tf32", "bf16", "bf16, any kernels", "bf16, chosen by a clock", "bf16, compiled"]
    assert list(found) == ways
    assert all(found[way]["found"] > 0 and found[way]["host_ms"] > 0 for way in ways[:-1])
    assert "no such compiler" in found["bf16, compiled"]["found"], "what fails is a finding too"
    assert found["bf16"]["predicted"] == 4.7


def test_whole_trials_are_timed_and_become_rows_of_the_readme(tried: Tried) -> None:
    tried("peak", "--device", "cpu")
    rows, _ = tried("trial", "digits", "--device", "cpu")
    seconds, bits = rows[-2:]
    assert seconds["found"] > 0
    assert seconds["in"] > 0.5
    assert bits["found"] == 1.0, "a processor gives the same bits again"
    _, printed = tried("readme", "--device", "cpu")
    (row,) = printed.splitlines()
    assert row.startswith("| digits on one GPU: a trial | ")
    assert "% of the arithmetic limit" in row


def test_nothing_begins_after_the_minutes_are_over(tried: Tried) -> None:
    before, _ = tried("peak", "--device", "cpu")
    rows, _ = tried("step", "--device", "cpu", "--minutes", "0")
    assert rows == before


def test_the_headers_of_specs_say_what_is_reckoned(tmp_path: Path) -> None:
    # bf16, tf32 and fp32; of a part of the data; a transformer
    names = ["cifar100_fast", "paper/cifar100_inception", "paper/mnist_inception", "cifar100_coarse", "vit_cifar10"]
    done = run_script(
        ROOT / "benchmarks/gpu.py", "reckon", *(Path(name).name for name in names), "--device", "cpu", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for name, row in zip(names, done.stdout.splitlines(), strict=True):
        header = (ROOT / f"specs/{name}.yaml").read_text("utf-8")
        said = re.search(r"not measured: ([\d,.]+) s a trial on an H100, about ([\d,.]+) GPU-hours", header)
        assert said is not None
        *_, seconds, trials, hours, _ = (cell.strip().replace(",", "") for cell in row.split("|"))
        assert float(seconds) == pytest.approx(float(said[1].replace(",", "")), rel=0.03)
        assert float(hours) == pytest.approx(float(said[2].replace(",", "")), rel=0.03)
        assert float(hours) == pytest.approx(float(seconds) * int(trials) / 3600, rel=0.01)
