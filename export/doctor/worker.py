"""The escalation of one format in a process of its own: python -m export.doctor.worker ORDER.json.

Started by `export.doctor.process`, not by people. Events go to the stdout it was started with, one JSON object a line;
whatever converters print goes to stderr, which is the log.
"""

import sys
import tempfile
import traceback
from pathlib import Path
from typing import ClassVar, Literal

from distill.contract import Contract, Strict
from export.artifact.manifest import FormatName, Parity
from export.doctor.record import Step, Trial
from export.formats.causes import in_words
from export.quantize.recipe import HoldOutIdentity, QuantizationRecipe
from export.run.child import Tell, end_with_parent, telling

BASES: dict[FormatName, QuantizationRecipe] = {
    "executorch": QuantizationRecipe(),
    "onnx": QuantizationRecipe(),
    "litert": QuantizationRecipe(float_operations=("hard-swish",)),
}
"""Where each format's escalation starts. XNNPACK has no int8 hard swish, and LiteRT cuts the graph at each one in int8;
a float one between two conversions stays inside the delegate."""


class Order(Contract):
    """What one worker has to find out.

    Attributes:
        checkpoint: folder of the model.
        data: where its data lie now; None for where they were.
        hold_out: file of `export.proof.evidence.Evidence`: images to choose on, and to calibrate with.
        reported: the same with the validation images.
        layers: names for `float_layers`, the most sensitive first.
        min_quality_kept, min_agreement: what a recipe must reach.
        every_step: do not stop at the first that does.
        chosen_on: goes into the recipe.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    schema_version: Literal[3] = 3
    checkpoint: str
    data: str | None
    format: FormatName
    hold_out: str
    reported: str
    layers: tuple[str, ...]
    min_quality_kept: float
    min_agreement: float
    every_step: bool
    chosen_on: HoldOutIdentity


class Doing(Strict):
    """A measurement begins: `what` in words."""

    kind: Literal["doing"] = "doing"
    what: str


class StepEnded(Strict):
    """A step of the escalation is done."""

    kind: Literal["step"] = "step"
    step: Step


class Chosen(Strict):
    """The escalation is done; `trial` and `reported` are None if nothing met the limits."""

    kind: Literal["chosen"] = "chosen"
    trial: Trial | None
    reported: Parity | None


class BrokeDown(Strict):
    """The toolchain failed."""

    kind: Literal["broke-down"] = "broke-down"
    cause: str


Event = Doing | StepEnded | Chosen | BrokeDown


def work(order: Order, tell: Tell) -> None:
    """Climb the ladder and say every event."""
    from distill import checkpoint
    from export.doctor.escalation import cheapest, escalate
    from export.doctor.trial import Laboratory
    from export.doctor.words import recipe_in_words
    from export.proof.evidence import Evidence

    tell(Doing(what="fp32"))
    with tempfile.TemporaryDirectory(prefix=f"doctor-{order.format}-") as scratch:
        laboratory = Laboratory(
            checkpoint.load(Path(order.checkpoint), None if order.data is None else Path(order.data)),
            order.format,
            Evidence.load(Path(order.hold_out)),
            min_quality_kept=order.min_quality_kept,
            min_agreement=order.min_agreement,
            scratch=Path(scratch),
        )

        def measure(recipe: QuantizationRecipe) -> Trial:
            tell(Doing(what=recipe_in_words(recipe)))
            return laboratory.measure(recipe.model_copy(update={"chosen_on": order.chosen_on}))

        steps: list[Step] = []
        for step in escalate(BASES[order.format], order.layers, measure, every_step=order.every_step):
            steps.append(step)
            tell(StepEnded(step=step))
        chosen = cheapest(steps)
        tell(Doing(what="the chosen recipe on images no choice saw"))
        reported = laboratory.report(chosen.recipe, Evidence.load(Path(order.reported))) if chosen else None
    tell(Chosen(trial=chosen, reported=reported))


def main(order_path: Path) -> int:
    """Carry out one order; 0 if the toolchain held out."""
    end_with_parent()
    with telling() as tell:
        try:
            work(Order.read(order_path), tell)
        except Exception as error:
            traceback.print_exc()
            tell(BrokeDown(cause=in_words(error)))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
