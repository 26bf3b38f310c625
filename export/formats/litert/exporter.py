"""LiteRT: a .tflite model through litert-torch, in fp32, fp16, int8 (static, dynamic, weights) or int16x8."""

import copy
import hashlib
import tempfile
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import litert_torch
import torch
from ai_edge_litert.interpreter import Interpreter
from litert_torch import fx_infra

from distill.checkpoint import versions
from export.artifact.manifest import Delegation, PrecisionName
from export.formats.job import ExportedModel, ExportJob
from export.formats.litert.int8 import CALIBRATORS, LEVELS, OPERATIONS, observe, quantize
from export.formats.litert.metadata import noted, with_flat_biases, with_metadata
from export.formats.litert.nearest import exact_nearest
from export.graph.pools import padded_pools
from export.graph.taken_apart import TAKEN_APART
from export.quantize.kept import Kept
from export.quantize.ranges import Histogram
from export.quantize.recipe import QuantizationRecipe, check_recipe

MODEL_FILE = "model.tflite"
SIGNATURE = "serving_default"

fx_infra.decomp.update_pre_convert_decomp(dict(TAKEN_APART))

RECIPES: dict[PrecisionName, QuantizationRecipe] = {
    "int8": QuantizationRecipe(calibrator="mse", float_operations=("hard-swish",)),
    "int16x8": QuantizationRecipe(),
    "int8-dynamic": QuantizationRecipe(),
    "int8-weights": QuantizationRecipe(),
}
"""`int8`: swept on MobileNetV3-Small only, on training images not used for calibration: its logits move as little as
with percentile 99.99, and less than with min-max. XNNPACK has no int8 hard swish: each would cut the graph in two; a
float one between two conversions stays inside."""

_SCHEMES: dict[PrecisionName, str] = {
    "fp32": "float32",
    "fp16": "float16 weights, float32 activations",
    "int8": "int8 weights {weights}, int8 activations, static (ai-edge-quantizer)",
    "int16x8": "int8 weights {weights}, int16 activations, static (ai-edge-quantizer)",
    "int8-dynamic": "int8 weights {weights}, activations quantized at run time (ai-edge-quantizer)",
    "int8-weights": "int8 weights {weights}, float32 activations (ai-edge-quantizer)",
}


@dataclass(frozen=True)
class FloatModel:
    """The converted model in fp32, and what was rewritten on the way."""

    content: bytes
    rewrites: tuple[str, ...]


_float_models = Kept[FloatModel]()
_observations = Kept[dict[str, Histogram]]()


def export(job: ExportJob) -> ExportedModel:
    """Write `model.tflite` for one batch size.

    Input float32 [B, C, H, W] in [0, 1], output logits float32 [B, classes]; other precisions convert inside the graph.
    The job's metadata are entries of the flatbuffer's own metadata, one string each. Two exports of the same inputs are
    byte-identical.

    Raises:
        UsageError: a recipe that cannot be followed.
        WorkFailed: a float layer of the recipe cannot be found in the converted model.
    """
    recipe = job.recipe or RECIPES.get(job.precision)
    if recipe is not None and job.precision in RECIPES:
        _check(job, recipe)
    converted = float_model(job)
    content = converted.content
    if job.precision != "fp32":
        seen = observations(job) if job.precision in LEVELS else None
        content = quantize(content, job.precision, recipe or QuantizationRecipe(), seen)
    path = job.folder / MODEL_FILE
    path.write_bytes(with_metadata(content, job.metadata()))
    names = signature_names(path)
    runtime = noted(content, "min_runtime_version")
    settings = recipe if job.precision in RECIPES else None
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme=_SCHEMES[job.precision].format(weights=_weights(settings)),
        input_name=names[0],
        output_name=names[1],
        batch=job.batch,
        calibrator=settings.calibrator_words if settings and job.precision in LEVELS else None,
        recipe=settings.as_json() if settings else None,
        delegation=count_delegation(path),
        notes=tuple(f"rewritten without changing a number: {what}" for what in converted.rewrites),
        versions=versions("litert-torch", "ai-edge-litert", "ai-edge-quantizer", "torch"),
        minimum_runtime=f"tensorflow-lite {runtime}" if runtime else None,
    )


def _check(job: ExportJob, recipe: QuantizationRecipe) -> None:
    static = job.precision in LEVELS
    check_recipe(
        recipe,
        job.model,
        format=f"litert {job.precision}",
        calibrators=CALIBRATORS if static else ("min-max",),
        operations=OPERATIONS if static else (),
    )


def _weights(recipe: QuantizationRecipe | None) -> str:
    return "per channel" if recipe is None or recipe.per_channel else "per tensor"


class Widened(torch.nn.Module):
    """A one-channel model whose image is repeated to three channels by concatenation; the logits are the same bits.

    Left to itself, the converter turns the broadcast against the three-channel mean into BROADCAST_TO, which XNNPACK
    does not take: the graph would fall into two pieces.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 1, H, W] -> logits [B, classes]."""
        return self.model(torch.cat([images, images, images], dim=1))


def float_model(job: ExportJob) -> FloatModel:
    """The model in fp32, converted once for all precisions and recipes."""
    return _float_models.get(job.model, _key(job), lambda: convert(job))


def observations(job: ExportJob) -> dict[str, Histogram]:
    """The values of every activation on the calibration images, observed once for all recipes."""
    key = (_key(job), hashlib.sha256(job.calibration.tobytes()).hexdigest())
    return _observations.get(job.model, key, lambda: observe(float_model(job).content, job.calibration))


def _key(job: ExportJob) -> Hashable:
    return (job.batch, job.model.temperature)


def convert(job: ExportJob) -> FloatModel:
    """Convert, after the rewrites that let XNNPACK take the whole graph."""
    network, rewrites = padded_pools(copy.deepcopy(job.model), job.example)
    if job.preprocess.channels == 1:
        network = Widened(network)
    network.eval()
    with tempfile.TemporaryDirectory(prefix="litert-") as folder, exact_nearest(network, job.example):
        path = Path(folder) / MODEL_FILE
        litert_torch.convert(network, (job.example,)).export(str(path))
        return FloatModel(with_flat_biases(path.read_bytes()), rewrites)


def signature_names(path: Path) -> tuple[str, str]:
    """Names of the signature's one input and one output."""
    signature = Interpreter(model_path=str(path)).get_signature_list()[SIGNATURE]
    (input_name,), (output_name,) = signature["inputs"], signature["outputs"]
    return input_name, output_name


def count_delegation(path: Path) -> Delegation:
    """Count the pieces that XNNPACK takes on this machine, and the operations left to the built-in kernels.

    The interpreter lists every operation of the file and, beside them, one DELEGATE per piece. An operation runs
    outside if something that runs needs its result and no piece delivers it.
    """
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    pieces = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operations = [node for node in nodes if node["op_name"] != "DELEGATE"]
    delivered = {index for piece in pieces for index in piece["outputs"]}
    needed = {interpreter.get_output_details()[0]["index"], *(index for piece in pieces for index in piece["inputs"])}
    left = Counter[str]()
    for operation in reversed(operations):  # the list is in order of execution, so consumers come first here
        if any(index in needed and index not in delivered for index in operation["outputs"]):
            left[operation["op_name"]] += 1
            needed.update(operation["inputs"])
    return Delegation(backend="xnnpack", pieces=len(pieces), undelegated=dict(sorted(left.items())))
