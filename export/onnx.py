"""ONNX: one self-contained file at a conservative opset, in fp32 or static int8 (QDQ)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from distill.checkpoint import versions
from distill.errors import WorkFailed
from export.artifact.runner import Batch
from export.job import ExportedModel, ExportJob

MODEL_FILE = "model.onnx"
INPUT, OUTPUT = "images", "logits"
OPSET = 18
IR_VERSION = 8
"""Opset 18 with IR 8 is what ONNX 1.13 defined; ONNX Runtime reads it from 1.14 on, older mobile builds included."""

PERCENTILE = 99.99
"""Measured on the four students: better agreement than the full range (MinMax) on each of them."""


def export(job: ExportJob) -> ExportedModel:
    """Write `model.onnx`: opset 18, no external data, nothing in it that tells where it was made.

    Input "images" float32 [1, C, H, W] in [0, 1], output "logits" float32 [1, classes]. int8 has uint8 activations and
    per-channel int8 weights; the quantizer's own pre-processing is left out, because it splits HardSwish in two and
    adds opsets that the model does not use.

    Raises:
        WorkFailed: the exporter silently chose another opset.
    """
    path = job.folder / MODEL_FILE
    model = to_onnx(job)
    check_opset(model)
    onnx.save(model, path)
    static_int8 = job.precision == "int8"
    if static_int8:
        quantize(path, job.calibration)
        check_opset(onnx.load(path))
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme="int8 weights per channel, uint8 activations, static (QDQ)" if static_int8 else "float32",
        input_name=INPUT,
        output_name=OUTPUT,
        calibrator=f"percentile {PERCENTILE}" if static_int8 else None,
        versions=versions("onnx", "onnxruntime", "onnxscript", "torch"),
        minimum_runtime="onnxruntime 1.14",
    )


def to_onnx(job: ExportJob) -> onnx.ModelProto:
    """The model as ONNX, checked, without metadata."""
    program = torch.onnx.export(
        job.model,
        (job.example,),
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None, "torch.onnx.export returns a program when it is given no file"
    model = program.model_proto
    strip(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter noted for its own debugging: stack traces with the paths of the machine."""
    graph = model.graph
    graph.doc_string = ""
    parts: list[Any] = [model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""


def check_opset(model: onnx.ModelProto) -> None:
    """Raise WorkFailed unless the file needs exactly the opset that was asked for."""
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": OPSET}:
        raise WorkFailed(
            f"the ONNX exporter was asked for opset {OPSET} and wrote {found}; mobile runtimes may refuse that. "
            "Use the torch, onnx and onnxruntime versions of requirements.lock."
        )


def quantize(path: Path, images: Batch) -> None:
    """Replace the fp32 file by its static int8 form, activation ranges from `images`."""
    float_path = path.rename(path.with_name("float.onnx"))
    quantize_static(
        float_path,
        path,
        CalibrationImages(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": PERCENTILE},
    )
    float_path.unlink()


class CalibrationImages(CalibrationDataReader):
    """Hands images [N, C, H, W] to ONNX Runtime's calibrator one by one."""

    def __init__(self, images: Batch) -> None:
        self._images: Iterator[Batch] = (image[np.newaxis] for image in images)

    def get_next(self) -> dict[str, Any]:
        """The next input by name; empty when there are no more, as the calibrator expects."""
        image = next(self._images, None)
        return {} if image is None else {INPUT: image}
