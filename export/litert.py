"""LiteRT: a .tflite model through litert-torch, in fp32 or static int8 through ai-edge-quantizer."""

from collections import Counter
from pathlib import Path
from typing import Any

import litert_torch
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import algorithm_manager, calibrator, qtyping, quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils import qsv_utils

from distill.checkpoint import versions
from export.artifact.manifest import Delegation
from export.artifact.runner import Batch
from export.job import ExportedModel, ExportJob

MODEL_FILE = "model.tflite"
SIGNATURE = "serving_default"


def export(job: ExportJob) -> ExportedModel:
    """Write `model.tflite`, batch 1.

    Input float32 [1, C, H, W] in [0, 1], output logits float32 [1, classes]; int8 quantizes inside the graph.
    """
    path = job.folder / MODEL_FILE
    network = Widened(job.model) if job.preprocess.channels == 1 else job.model
    litert_torch.convert(network.eval(), (job.example,)).export(str(path))
    static_int8 = job.precision == "int8"
    if static_int8:
        quantize(path, job.calibration)
    names = signature_names(path)
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme="int8 weights per channel, int8 activations, static (ai-edge-quantizer)" if static_int8 else "float32",
        input_name=names[0],
        output_name=names[1],
        calibrator="min-max" if static_int8 else None,
        delegation=count_delegation(path),
        versions=versions("litert-torch", "ai-edge-litert", "ai-edge-quantizer", "torch"),
        minimum_runtime=minimum_runtime(path),
    )


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


def quantize(path: Path, images: Batch) -> None:
    """Replace the fp32 file by its static int8 form, keeping float input and output.

    Activation ranges are the extremes over all `images`. The quantizer's own moving average cuts off too much: on a
    MobileNetV3-Small it changed 14 % of the answers where the extremes changed 8 %.
    """
    work = quantizer.Quantizer(str(path), recipe())
    input_name = signature_names(path)[0]
    samples = {SIGNATURE: [{input_name: image[None]} for image in images]}
    calibration = calibrator.Calibrator(
        str(path),
        num_threads=1,
        mode=calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
        qsv_update_func=qsv_utils.min_max_update,
    )
    calibration.calibrate(samples, work._recipe_manager)
    result = work.quantize(calibration.get_model_qsvs())
    result.export_model(str(path), overwrite=True)


def recipe() -> Any:
    """Every operation in int8 with per-channel weights, except the graph's own input and output."""
    manager = RecipeManager()
    every = qtyping.TFLOperationName
    manager.add_static_config(".*", every.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for border in (every.INPUT, every.OUTPUT):
        manager.add_quantization_config(".*", border, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
    return manager.get_quantization_recipe()


def signature_names(path: Path) -> tuple[str, str]:
    """Names of the signature's one input and one output."""
    signature = Interpreter(model_path=str(path)).get_signature_list()[SIGNATURE]
    (input_name,), (output_name,) = signature["inputs"], signature["outputs"]
    return input_name, output_name


def minimum_runtime(path: Path) -> str | None:
    """The oldest TensorFlow Lite that knows every operation of the file, as the converter noted in it."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    buffers: Any = model.buffers
    for entry in model.metadata or []:
        if entry.name == b"min_runtime_version":
            noted = bytes(buffers[entry.buffer].data).rstrip(b"\0").decode()
            return f"tensorflow-lite {noted}" if noted else None
    return None


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
