"""The command that writes a file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from memexp.cli.console import out
from memexp.errors import InputError


def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write, such as spec.yaml; its name becomes the run's.")
    ],
    kind: Annotated[
        Literal["digits", "folder", "table", "profile"],
        typer.Option(help="Data of the spec: digits, an image folder, a table; or a profile of a cluster."),
    ] = "digits",
) -> None:
    """Write a commented spec, or a profile, to begin with; a file that is there is never replaced."""
    from memexp.spec.starters import starter

    text = starter(kind, file)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise InputError(f"{file} exists; give another name, or remove it") from error
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}; give another place") from error
    out.say(str(file))
