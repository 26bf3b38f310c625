"""The artifacts of one format in a process of their own: python -m export.run.worker ORDER.json.

Started by `export.run.pool`, not by people. Torch and the toolchain are imported and the checkpoint is read once; what
the format's precisions have in common stays in memory. Everything printed while an artifact is made, by Python or by a
converter's native code, ends in the artifact's log.
"""

import ctypes
import importlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import JsonValue

from distill.contract import Contract, Strict
from distill.errors import ToolError
from export.artifact.manifest import FormatName, PrecisionName
from export.formats import FORMATS, Target
from export.formats.causes import in_words
from export.run.child import Tell, end_with_parent, telling

if TYPE_CHECKING:
    from distill.checkpoint import Checkpoint

Status = Literal["made", "unchanged", "refused", "failed"]
"""`refused`: it ran and lost more than its limits allow; `unchanged`: it lay there, made from the same inputs."""


class Piece(Strict):
    """One artifact of an order.

    Attributes:
        inputs_sha256: identity of everything the artifact is made from.
        folder: the artifact.
        refusal: file that keeps the manifest of an artifact that was refused.
        log: file for what is printed meanwhile.
    """

    precision: PrecisionName
    inputs_sha256: str
    folder: str
    refusal: str
    log: str


class Order(Contract):
    """What one worker has to make.

    Attributes:
        checkpoint: folder of the model.
        evidence: file of `export.proof.evidence.Evidence.save`; it is there once the worker is told to begin.
        batch: images per call; -1 = any number.
        temperature: the logits are divided by it.
        low_resolution: answers for every pixel are not enlarged to the picture's size.
        recipe: settings of the quantizer; None = the exporter's own choice.
        allow_loss: put an artifact in place even if it fails its limits.
        log: file that the worker prints to before its first artifact; every artifact's log begins with it.
        pieces: the artifacts, in the order in which they are made.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    schema_version: Literal[2] = 2
    checkpoint: str
    data: str | None
    evidence: str
    format: FormatName
    batch: int
    temperature: float
    low_resolution: bool
    recipe: dict[str, JsonValue] | None
    allow_loss: bool
    log: str
    pieces: tuple[Piece, ...]


class Begun(Strict):
    """From here on an artifact is made."""

    kind: Literal["begun"] = "begun"
    precision: PrecisionName


class Ended(Strict):
    """How an artifact ended; `cause` is empty if it was made."""

    kind: Literal["ended"] = "ended"
    precision: PrecisionName
    status: Status
    cause: str


Event = Begun | Ended


def open_checkpoint(order: Order) -> "Checkpoint":
    """Import torch and the toolchain, and read the checkpoint."""
    importlib.import_module(FORMATS[order.format].module)
    from distill import checkpoint
    from export.convert import with_small_answers, with_temperature

    data = None if order.data is None else Path(order.data)
    loaded = checkpoint.load(Path(order.checkpoint), data)
    loaded = with_temperature(loaded, order.temperature)
    return with_small_answers(loaded) if order.low_resolution else loaded


def make(order: Order, piece: Piece, loaded: "Checkpoint") -> Ended:
    """Make one of the ordered artifacts; any exception of the toolchain may come out."""
    from export.convert import LostTooMuch, convert
    from export.proof.evidence import Evidence
    from export.quantize.recipe import QuantizationRecipe

    refusal, target = Path(piece.refusal), Target(order.format, piece.precision, order.batch)
    shown = Path(piece.log).with_name(f"smallest_{target.name}.py".replace("-", "_"))
    shown.unlink(missing_ok=True)
    try:
        convert(
            loaded,
            target,
            Evidence.load(Path(order.evidence)),
            Path(piece.folder),
            recipe=None if order.recipe is None else QuantizationRecipe.model_validate_json(json.dumps(order.recipe)),
            allow_loss=order.allow_loss,
            inputs_sha256=piece.inputs_sha256,
        )
    except LostTooMuch as loss:
        loss.manifest.write(refusal)
        cause = str(loss)
        if piece.precision == "fp32":
            cause += blame(target, loaded, loss, shown)
        return Ended(precision=piece.precision, status="refused", cause=cause)
    except Exception as error:
        traceback.print_exc()
        cause = in_words(error) + blame(target, loaded, error, shown)
        return Ended(precision=piece.precision, status="failed", cause=cause)
    refusal.unlink(missing_ok=True)
    return Ended(precision=piece.precision, status="made", cause="")


def blame(target: Target, loaded: "Checkpoint", error: Exception, file: Path) -> str:
    """Which operation the toolchain fails on, if it does so with this one alone: the end of a cause.

    Empty for what we refuse ourselves.
    """
    from export.convert import CannotRun, LostTooMuch, convert, in_deployed_form
    from export.proof.smallest import show, toolchain

    ours = isinstance(error, ToolError) and not isinstance(error, LostTooMuch | CannotRun)
    if ours or (isinstance(error, CannotRun) and target.format == "coreml"):  # our interpreter does not know it
        return ""
    try:
        found = show(in_deployed_form(loaded), target, error, file, convert)
    except Exception:
        traceback.print_exc()
        return ""
    if found is None:
        return ""
    return f". {toolchain(target)} fails on {found.operation} alone, too: {found.file} shows it."


def work(order: Order, tell: Tell, wait: Callable[[], object]) -> None:
    """Make the ordered artifacts one after the other, and say every event; one that fails does not stop the others."""
    try:
        loaded = open_checkpoint(order)
    except Exception as error:
        traceback.print_exc()
        for piece in order.pieces:
            print_to(Path(piece.log), before=Path(order.log))
            tell(Ended(precision=piece.precision, status="failed", cause=in_words(error)))
        return
    wait()
    for piece in order.pieces:
        print_to(Path(piece.log), before=Path(order.log))
        tell(Begun(precision=piece.precision))
        try:
            ended = make(order, piece, loaded)
        except Exception as error:
            traceback.print_exc()
            ended = Ended(precision=piece.precision, status="failed", cause=in_words(error))
        flush()
        tell(ended)


def print_to(log: Path, *, before: Path) -> None:
    """Send what this process and its native code print to a new file, behind what another one holds."""
    flush()
    shutil.copyfile(before, log)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND)
    for printed in (1, 2):
        os.dup2(fd, printed)
    os.close(fd)


def flush() -> None:
    """Write what Python and the C library keep in buffers, so that it ends in the log that it belongs to."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)


def main(order_path: Path) -> None:
    """Carry out one order."""
    begun = end_with_parent()
    with telling() as tell:
        work(Order.read(order_path), tell, begun.wait)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
