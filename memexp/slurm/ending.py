"""What the follow-up job does when a round or a run has ended: it tidies the logs, and tells whoever wants to know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from memexp.files import write_once
from memexp.slurm.tasks import element_of
from memexp.store.launches import Launch, read_launches
from memexp.store.paths import RunPaths

State = Literal["complete", "failed", "gave_up"]
_MOST_SECONDS = 600  # that the user's command may take


def tell_end(paths: RunPaths, profile: dict[str, object] | None, state: State, reason: str = "") -> bool:
    """Run the profile's ``on_end`` once for each end of the run; its fault is no fault of the run.

    Launches with several profiles may share a run, and each has a follow-up job: the first to see the end tells it.

    Parameters
    ----------
    profile
        As the launch that ends has noted it; an earlier memexp noted no ``on_end``.
    state, reason
        For the command: ``STATE`` and ``REASON`` among its variables, beside ``RUN``.

    Returns
    -------
    told
        Whether this call ran the command.
    """
    command = (profile or {}).get("on_end")
    newest = read_launches(paths)[-1].launch_id
    if not command or not write_once(paths.launches / f"{newest}.told-{state}", b""):
        return False
    about = {"RUN": str(paths.root.resolve()), "STATE": state, "REASON": reason}
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", str(command)], env=os.environ | about, stdin=subprocess.DEVNULL,
            timeout=_MOST_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"on_end: {error}\n")
        return True
    if done.returncode:
        sys.stderr.write(f"on_end: {command} ended with exit code {done.returncode}\n")
    return True


def tidy_logs(paths: RunPaths, launches: Iterable[Launch], missing: Collection[int]) -> None:
    """Leave one log of each task whose blocks are finished, whatever its attempts and workers wrote.

    A file that is gone, or cannot be changed, is passed over: others of the group may tidy at the same moment.

    Parameters
    ----------
    launches
        Those whose tasks have ended. Where a profile says ``keep_logs``, its files stay.
    missing
        Blocks that are not finished; the files of their tasks may still explain why.
    """
    missing = set(missing)
    for launch in launches:
        if (launch.profile or {}).get("keep_logs", False):
            continue
        for number, blocks in enumerate(launch.tasks):
            element = element_of(launch, number)
            if element is not None and not missing & set(blocks):
                with suppress(OSError):
                    _join(paths, launch.launch_id, number, paths.logs / element[0], element[1])


def _join(paths: RunPaths, launch_id: str, number: int, folder: Path, element: str) -> None:
    """Append what the task's workers said to the job's log, and remove their files and submitit's pickles."""
    for path in sorted(paths.logs.glob(f"{launch_id}-t{number}-r*-w*.log")):
        if said := path.read_bytes().rstrip():
            with open(folder / f"{element}_0_log.out", "ab") as log:
                log.write(f"-- {path.name}\n".encode() + said + b"\n")
        path.unlink(missing_ok=True)
    links = folder.glob(".submission_file_*.sh")  # to the script, which stays under the job's number
    for path in (folder / f"{element}_submitted.pkl", folder / f"{element}_0_result.pkl", *links):
        path.unlink(missing_ok=True)
