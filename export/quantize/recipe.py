"""QuantizationRecipe: every choice in quantizing one model, as data that the manifest keeps."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from distill.contract import Strict
from distill.errors import UsageError
from distill.system import did_you_mean
from export.quantize.ranges import CalibratorName, Histogram, Range, find_range

if TYPE_CHECKING:  # recipes are read before torch is loaded
    import torch

OperationName = Literal["hard-swish", "hard-sigmoid", "multiply", "add", "pool", "concatenate"]
"""Operations without weights that may stay in float by kind."""


class HoldOutIdentity(Strict):
    """The images that a recipe was chosen on: of the training data, and none of them calibrated with.

    Attributes:
        num_images: how many.
        seed: chose them.
        images_sha256: of their pixels and labels.
        data_sha256: identity of the training split they are from.
        apart_by_group: none of them shares a group (patient) with a calibration image; False where the data name
            no groups, or have too few.
    """

    num_images: Annotated[int, Field(gt=0)]
    seed: int
    images_sha256: str
    data_sha256: str
    apart_by_group: bool


class QuantizationRecipe(Strict):
    """How weights and activations become integers.

    Attributes:
        calibrator: how a range is made of the values that calibration images gave; see `ranges.find_range`.
        percentile: for the calibrator `percentile`, in (0, 100]; None with every other.
        per_channel: one scale per output channel of a weight instead of one per weight.
        float_layers: modules whose operations stay in float, everything inside them included, by their dotted names
            in the `ImageClassifier`, e.g. "network.features.0" or "network.classifier.3".
        float_operations: kinds of operation that stay in float everywhere.
        equalise: scale channels between neighbouring convolutions first; see `export.quantize.equalisation`.
        correct_bias: take what quantization adds to a layer's mean off its bias; see `export.quantize.bias_correction`.
        chosen_on: where the choice was made; None for a recipe written by hand. Without effect on the model.
    """

    calibrator: CalibratorName = "min-max"
    percentile: Annotated[float, Field(gt=0, le=100)] | None = None
    per_channel: bool = True
    float_layers: tuple[str, ...] = ()
    float_operations: tuple[OperationName, ...] = ()
    equalise: bool = False
    correct_bias: bool = False
    chosen_on: HoldOutIdentity | None = None

    @model_validator(mode="after")
    def _percentile_belongs_to_its_calibrator(self) -> "QuantizationRecipe":
        if (self.percentile is None) == (self.calibrator == "percentile"):
            raise ValueError(
                f"the calibrator `percentile` needs a percentile and the others take none; found {self.calibrator!r} "
                f"with percentile {self.percentile}"
            )
        return self

    @property
    def calibrator_words(self) -> str:
        """For the manifest's calibration record, e.g. "percentile 99.99"."""
        return self.calibrator if self.percentile is None else f"{self.calibrator} {self.percentile:g}"

    def range_of(self, seen: Histogram, *, levels: int = 256) -> Range:
        """The range of one tensor by this recipe's calibrator."""
        return find_range(seen, self.calibrator, percentile=self.percentile or 100.0, levels=levels)

    def as_json(self) -> dict[str, JsonValue]:
        """What the manifest keeps; `QuantizationRecipe.model_validate_json` reads it back."""
        return self.model_dump(mode="json")


def check_recipe(
    recipe: QuantizationRecipe,
    model: "torch.nn.Module",
    *,
    format: str,
    calibrators: Iterable[CalibratorName],
    operations: Iterable[OperationName],
    per_tensor: bool = True,
) -> None:
    """Refuse a recipe that an exporter would not follow to the letter, before any work.

    Args:
        recipe: what was asked for.
        model: the classifier that `float_layers` speaks of.
        format: for the message.
        calibrators: those that the exporter honours.
        operations: kinds that it can leave in float.
        per_tensor: whether it can have one scale per weight.

    Raises:
        UsageError: names the setting, what was found and what is possible.
    """
    known = tuple(calibrators)
    if recipe.calibrator not in known:
        raise UsageError(f"{format} has no calibrator {recipe.calibrator!r}; it has: {', '.join(known) or 'none'}.")
    possible = tuple(operations)
    for operation in recipe.float_operations:
        if operation not in possible:
            raise UsageError(
                f"{format} cannot leave every {operation!r} in float; it can: {', '.join(possible) or 'none'}. "
                "Name the layers instead (float_layers)."
            )
    if not recipe.per_channel and not per_tensor:
        raise UsageError(f"{format} always has one scale per channel in this precision; leave per_channel on.")
    modules = [name for name, _ in model.named_modules() if name]
    for name in recipe.float_layers:
        if name not in modules:
            raise UsageError(
                f"float_layers names {name!r}, which the network does not have{did_you_mean(name, modules)} "
                f"It begins with {', '.join(modules[:4])}."
            )
