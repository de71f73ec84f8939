"""The command that looks at the machine: what it can do, and which architectures and profiles there are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from memexp.cli.console import out, print_json, show
from memexp.cli.slurm import profile_names
from memexp.cli.watch import Json


def doctor(
    runs: Annotated[Path, typer.Option(help="Folder below which runs are created.")] = Path("runs"),
    models: Annotated[bool, typer.Option("--models", help="List the architectures that a spec may name.")] = False,
    profiles: Annotated[bool, typer.Option("--profiles", help="List the profiles that there are.")] = False,
    profile: Annotated[
        str | None, typer.Option(help="Also probe a compute node, with this profile.", autocompletion=profile_names)
    ] = None,
    as_json: Json = False,
) -> int:
    """Find out what this machine and, with a profile, its cluster can do."""
    from memexp.slurm.profile import read_profile

    if models:
        _list_models()
        return 0
    if profiles:
        _list_profiles()
        return 0
    from memexp.launch.doctor import examine, probe

    findings = examine(runs)
    if profile is not None:
        findings += probe(read_profile(profile), runs)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        show([(f"{finding.verdict:<8} {finding.what}", finding.text) for finding in findings])
    return 1 if any(finding.verdict == "fault" for finding in findings) else 0


def _list_models() -> None:
    import timm

    import memexp.training.timm_networks  # noqa: F401 (registers ours)

    ours: list[Any] = [name for name in timm.list_models() if name.startswith("memexp_")]
    for name in [*ours, *(name for name in timm.list_models() if name not in ours)]:
        out.say(name)


def _list_profiles() -> None:
    from memexp.slurm.profile import profile_files

    for path in profile_files():
        out.say(f"{path.stem}  {path}")
