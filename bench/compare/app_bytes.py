"""What counts as a model's bytes: on phones also those of the runtime that it brings into the app."""

from pathlib import Path
from typing import Annotated

import typer

from bench.record.carried import RUNTIME_BYTES, RuntimeBytes
from distill.errors import UsageError
from distill.terminal import say

RuntimeBytesOption = Annotated[
    Path | None,
    typer.Option(
        "--runtime-bytes",
        help="What runtimes add to an app (python -m android_demo weigh); counted with each model on phones.",
        show_default=f"{RUNTIME_BYTES} if it is there",
    ),
]


def runtime_bytes(kind: str, asked: Path | None) -> RuntimeBytes | None:
    """What runtimes add on a kind of device; None where no app carries them, or where none was weighed, which is said.

    Raises:
        UsageError: the file asked for is none, or no phone is meant.
    """
    if kind != "android":
        if asked is not None:
            raise UsageError(f"--runtime-bytes is for phones and has no effect on {kind}. Leave it out.")
        return None
    if asked is None and not RUNTIME_BYTES.is_file():
        say("[yellow]bytes are the models' alone:[/] weigh the runtimes of an app with: python -m android_demo weigh")
        return None
    return RuntimeBytes.read(asked or RUNTIME_BYTES)


def in_words(carried: RuntimeBytes | None) -> str:
    """Which bytes count, e.g. for the head of a table."""
    return "the model's bytes" if carried is None else f"the model's bytes and its runtime's on {carried.abi}"
