"""The version of memexp: its number, and a digest of the code that decides what a trial gives."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

__version__ = "0.1.0"

# What a worker can import: its own room and those below it (import-linter's layers). Reports, estimates, Slurm and the
# command line may change while tasks wait.
_ROOMS = ("runs", "training", "data", "spec", "store")
_GROUND = ("files.py", "seeds.py", "errors.py", "version.py")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Short sha256 of the sources that train and record trials, as they lie on the disk; takes 2 ms."""
    package = Path(__file__).parent
    files = [package / name for name in _GROUND] + [path for room in _ROOMS for path in (package / room).rglob("*.py")]
    found = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        found.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()[:12]
