"""One artifact in a process of its own: python -m export.run.worker ORDER.json (started by `pool`, not by people).

Everything printed here, by Python or by a converter's native code, ends in the artifact's log.
"""

import gc
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue

from distill.contract import Contract
from distill.errors import ToolError
from export.artifact.manifest import FormatName, PrecisionName

Status = Literal["made", "unchanged", "refused", "failed"]
"""`refused`: it ran and lost more than its limits allow; `unchanged`: it lay there, made from the same inputs."""

COLLECTED_AFTER = 100_000
"""New objects after which Python looks for garbage, instead of 700: converters make millions of nodes that live on, and
looking through them again and again was a quarter of ExecuTorch's time. It costs some 50 MB."""


class Order(Contract):
    """What one worker has to make.

    Attributes:
        checkpoint: folder of the model.
        evidence: file that `export.proof.evidence.Evidence.save` wrote.
        batch: images per call; -1 = any number.
        temperature: the logits are divided by it.
        recipe: settings of the quantizer; None = the exporter's own choice.
        allow_loss: put the artifact in place even if it fails its limits.
        inputs_sha256: identity of everything the artifact is made from.
        folder: the artifact.
        shared: folder that a `Preparation` was given; None without one.
        refusal: file that keeps the manifest of an artifact that was refused.
        ending: file that the worker leaves; without it, its process died.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    checkpoint: str
    evidence: str
    format: FormatName
    precision: PrecisionName
    batch: int
    temperature: float
    recipe: dict[str, JsonValue] | None
    allow_loss: bool
    inputs_sha256: str
    folder: str
    shared: str | None
    refusal: str
    ending: str


class Preparation(Contract):
    """The work that the artifacts of one format share.

    Attributes:
        checkpoint, batch, temperature: as in their orders.
        folder: an existing empty one for the format's intermediate files.
        ending: file that is left; without it, the process died.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    checkpoint: str
    format: FormatName
    batch: int
    temperature: float
    folder: str
    ending: str


class Ending(Contract):
    """How a worker ended; `cause` is empty if the artifact was made."""

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    status: Status
    cause: str


def work(order: Order) -> Ending:
    """Make the ordered artifact."""
    from distill import checkpoint
    from export.convert import LostTooMuch, convert, with_temperature
    from export.formats import Target
    from export.proof.evidence import Evidence
    from export.quantize.recipe import QuantizationRecipe

    loaded = with_temperature(checkpoint.load(Path(order.checkpoint)), order.temperature)
    try:
        convert(
            loaded,
            Target(order.format, order.precision, order.batch),
            Evidence.load(Path(order.evidence)),
            Path(order.folder),
            recipe=None if order.recipe is None else QuantizationRecipe.model_validate_json(json.dumps(order.recipe)),
            allow_loss=order.allow_loss,
            inputs_sha256=order.inputs_sha256,
            shared=None if order.shared is None else Path(order.shared),
        )
    except LostTooMuch as refusal:
        refusal.manifest.write(Path(order.refusal))
        return Ending(status="refused", cause=str(refusal))
    Path(order.refusal).unlink(missing_ok=True)
    return Ending(status="made", cause="")


def prepare(preparation: Preparation) -> Ending:
    """Do the work that the artifacts of a format share."""
    from distill import checkpoint
    from export.convert import prepare_format, with_temperature
    from export.formats import Target

    loaded = with_temperature(checkpoint.load(Path(preparation.checkpoint)), preparation.temperature)
    prepare_format(loaded, Target(preparation.format, "fp32", preparation.batch), Path(preparation.folder))
    return Ending(status="made", cause="")


def main(order_path: Path) -> int:
    """Carry out one order and say in its `ending` file how that went; 0 if the artifact was made, else 1."""
    end_with_parent()
    order = Order.read(order_path)
    return _said(lambda: work(order), Path(order.ending))


def main_preparation(path: Path) -> int:
    """Carry out one preparation, in a process group that its caller ends."""
    preparation = Preparation.read(path)
    return _said(lambda: prepare(preparation), Path(preparation.ending))


def _said(work: Callable[[], Ending], path: Path) -> int:
    gc.set_threshold(COLLECTED_AFTER)
    try:
        ending = work()
    except Exception as error:
        traceback.print_exc()
        ending = Ending(status="failed", cause=one_line(error))
    ending.write(path)
    return 0 if ending.status == "made" else 1


def end_with_parent() -> None:
    """Kill this process group when the process that started it is gone: its end of our stdin closes then.

    Without a group of its own (started by hand) nothing is watched.
    """
    if os.getpgrp() != os.getpid():
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def one_line(error: Exception) -> str:
    """The cause for the person at the keyboard: our own words as they are, a toolchain's first line with its type."""
    if isinstance(error, ToolError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:400]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
