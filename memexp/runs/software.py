"""The software that trains a run: every trial of a run by the same, unless somebody decides otherwise.

A launch notes what it was made with. Tasks wait for hours, workers are replaced, runs are resumed after weeks; an
edited installation or another torch would make the later blocks another experiment under the same name.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memexp.errors import InputError, command
from memexp.files import versions
from memexp.store.launches import Launch, read_launches
from memexp.store.receipts import Receipt, read_receipts
from memexp.version import code_digest

if TYPE_CHECKING:
    from memexp.runs.run import Run

# What decides outcomes, beside memexp's own sources (key "code"). The data have digests of their own, and zarr only
# stores what it is given.
_DECIDES = ("code", "python", "torch", "timm", "numpy")
ACCEPT = "--accept-software"


@dataclass(frozen=True)
class Accept:
    """What a user accepts knowingly when going on with a run.

    Attributes
    ----------
    software
        Other software than what trained the run so far.
    lost_queue
        That Slurm cannot say whether tasks of earlier launches are alive: they are gone.
    """

    software: bool = False
    lost_queue: bool = False


NOTHING = Accept()


def software() -> dict[str, str]:
    """What this process would train with: versions, and the digest of memexp's sources (``code``)."""
    return versions() | {"code": code_digest()}


def provenance() -> dict[str, object]:
    """The same as receipts note it, with Python's folder."""
    return {"versions": versions(), "code": code_digest(), "prefix": sys.prefix}


def trained_with(receipt: Receipt) -> dict[str, str]:
    """What trained a block; without ``code`` where an earlier memexp did."""
    made_by = receipt.made_by
    return dict(made_by.get("versions", {})) | ({"code": made_by["code"]} if made_by.get("code") else {})


def deciding(found: Mapping[str, str], arch: str = "") -> dict[str, str]:
    """The part of it that decides outcomes: without third numbers of Python, and without builds (``+cu128``).

    Parameters
    ----------
    arch
        The spec's architecture: timm does not matter to memexp's own.
    """
    names = [name for name in _DECIDES if name in found and not (name == "timm" and arch.startswith("memexp_"))]
    plain = {name: found[name].partition("+")[0] for name in names}
    return plain | ({"python": ".".join(plain["python"].split(".")[:2])} if "python" in plain else {})


def differences(before: Mapping[str, str], now: Mapping[str, str], arch: str = "") -> list[str]:
    """What could give other outcomes, in words; what one of the two does not know is no matter."""
    old, new = deciding(before, arch), deciding(now, arch)
    return [
        f"{'the code of memexp' if name == 'code' else name} was {old[name]}, is {new[name]}"
        for name in _DECIDES
        if name in old and name in new and old[name] != new[name]
    ]


def require_same_software(run: Run, trains_here: bool) -> None:
    """Refuse to go on with a run by other software than before.

    Parameters
    ----------
    trains_here
        Whether this Python will train; otherwise a profile may lead to another one, whose libraries are its own.

    Raises
    ------
    InputError
        Naming what changed and the option that accepts it.
    """
    launches = read_launches(run.paths)
    if not launches:
        return
    changed = differences(_before(run, launches, trains_here), software(), run.spec.arch)
    if changed:
        raise InputError(
            f"{run.paths.root} was launched with other software: {'; '.join(changed)}. The missing trials would be "
            "those of another experiment. Go on with the former software, or accept the change knowingly with "
            f"{ACCEPT}, or launch the spec under another name"
        )


def require_noted_software(run: Run, launch_id: str) -> None:
    """Refuse to train a task of a launch by other software than it was launched with.

    Raises
    ------
    InputError
        Naming what changed and the next step.
    """
    launches = [launch for launch in read_launches(run.paths) if launch.launch_id <= launch_id]
    refuse_changed(differences(_before(run, launches, True), software(), run.spec.arch), run.paths.root)


def refuse_changed(changed: Sequence[str], root: Path) -> None:
    """Raise for what changed since a launch of this run, if anything did."""
    if changed:
        raise InputError(
            f"the software changed since this was launched: {'; '.join(changed)} (on {platform.node()}). Nothing was "
            f"trained with it. Restore it and run `{command('resume', root)}`, or accept the change knowingly with "
            f"`{command('resume', root, ACCEPT)}`"
        )


def _before(run: Run, launches: Sequence[Launch], trains_here: bool) -> dict[str, str]:
    """What the last of these launches, and the newest block since a change was accepted, were made with."""
    last = launches[-1]
    since = max((launch.when.timestamp() for launch in launches if launch.accepted), default=0.0)
    receipts = [receipt for receipt in read_receipts(run.paths) if receipt.finished >= since]
    newest = max(receipts, key=lambda receipt: receipt.finished, default=None)
    noted = {"code": last.code} if last.code else {}
    if newest is not None and (trains_here or newest.made_by.get("prefix") == sys.prefix):
        return dict(newest.made_by.get("versions", {})) | noted
    if last.prefix == sys.prefix or (trains_here and last.backend == "local"):
        return last.versions | noted
    return noted
