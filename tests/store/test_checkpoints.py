"""A checkpoint is whole and of this training, or it is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memexp.store.checkpoints import (
    checkpoint_path,
    checkpoint_shares,
    drop_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from memexp.store.paths import RunPaths

KEY = {"identity": "abc", "trials": [3, 4], "software": {"torch": "2.9"}}
PAYLOAD = b"weights\n" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = checkpoint_path(RunPaths(tmp_path), 7)
    write_checkpoint(found, KEY, 0.25, memoryview(PAYLOAD))
    return found


def test_what_is_written_is_read(path: Path) -> None:
    assert read_checkpoint(path, KEY) == (PAYLOAD, "")
    assert [each.name for each in path.parent.iterdir()] == ["000007.checkpoint"]
    write_checkpoint(path, KEY, 0.5, memoryview(b"later"))
    assert read_checkpoint(path, KEY) == (b"later", "")


def test_where_there_is_none_nothing_is_said(tmp_path: Path) -> None:
    assert read_checkpoint(checkpoint_path(RunPaths(tmp_path), 7), KEY) == (None, "")


def test_damage_anywhere_is_seen(path: Path) -> None:
    whole = path.read_bytes()
    broken = [whole[:length] for length in range(0, len(whole), 13)] + [b"[]\n" + PAYLOAD, b"\x00" * 50, whole + b"x"]
    for place in [*range(0, len(whole) - len(PAYLOAD), 3), len(whole) - 1]:
        broken.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for content in broken:
        path.write_bytes(content)
        payload, why = read_checkpoint(path, KEY)
        damaged_share = payload == PAYLOAD  # which steers nothing but estimates of time
        assert why or damaged_share, content[:200]


@pytest.mark.parametrize(
    "changed", [{"identity": "abd"}, {"trials": [3]}, {"software": {"torch": "2.10"}}, {"more": 1}]
)
def test_one_of_another_training_is_none(path: Path, changed: dict[str, object]) -> None:
    payload, why = read_checkpoint(path, KEY | changed)
    assert payload is None
    assert why == f"{path} is of another training ({', '.join(changed)} differ)"


def test_shares_by_block_and_what_is_left_when_blocks_are_finished(path: Path, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    write_checkpoint(checkpoint_path(paths, 8), KEY, 0.75, memoryview(b""))
    (paths.partial / "000009.checkpoint").write_bytes(b"torn")
    (paths.partial / "note.checkpoint").write_bytes(b"")
    old, new = (paths.partial / f".000009.checkpoint.{name}.tmp" for name in ("old", "new"))
    for half in (old, new):
        half.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert checkpoint_shares(paths, [7, 8, 9]) == {7: 0.25, 8: 0.75}
    assert checkpoint_shares(paths, [8]) == {8: 0.75}
    drop_checkpoints(paths, [8])
    assert sorted(paths.partial.iterdir()) == [new, checkpoint_path(paths, 8)]
