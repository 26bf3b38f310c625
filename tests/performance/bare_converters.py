"""One artifact as a script by hand makes it from the toolchain's own guide, without proof or manifest.

`python -m tests.performance.bare_converters FORMAT PRECISION MODEL FOLDER`; its last line are its `Seconds` as JSON.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from distill.checkpoint import load

CALIBRATION_IMAGES = 200


@dataclasses.dataclass(frozen=True)
class Seconds:
    """Of one script.

    Attributes:
        start: interpreter and torch.
        toolchain: importing it.
        load: torchvision or timm, and the checkpoint.
        calls: of the converter.
    """

    start: float
    toolchain: float
    load: float
    calls: float

    @classmethod
    def read(cls, printed: str) -> "Seconds":
        """From what a script printed; converters print, too, so its own line is the last."""
        return cls(**json.loads(printed.splitlines()[-1]))


def torchscript(model: torch.nn.Module, images: torch.Tensor, precision: str, folder: Path) -> None:
    torch.jit.freeze(torch.jit.trace(model, images[:1])).save(folder / "model.pt")


def executorch(model: torch.nn.Module, images: torch.Tensor, precision: str, folder: Path) -> None:
    import executorch.backends.xnnpack.quantizer.xnnpack_quantizer as xnnpack
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    network: Any = model
    if precision == "int8":
        quantizer = xnnpack.XNNPACKQuantizer().set_global(
            xnnpack.get_symmetric_quantization_config(is_per_channel=True)
        )
        prepared = prepare_pt2e(torch.export.export(model, (images[:1],)).module(), quantizer)  # type: ignore[arg-type]
        for image in images.split(1):
            prepared(image)
        network = convert_pt2e(prepared)
    program = torch.export.export(network, (images[:1],))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "model.pte").write_bytes(lowered.buffer)


def onnx(model: torch.nn.Module, images: torch.Tensor, precision: str, folder: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(images.split(1))

        def get_next(self) -> Any:
            image = next(self.left, None)
            return None if image is None else {"images": image.numpy()}

    path = folder / "model.onnx"
    torch.onnx.export(model, (images[:1],), path, dynamo=True, input_names=["images"], verbose=False)
    if precision == "int8":
        quant_pre_process(path, folder / "ready.onnx")
        quantize_static(folder / "ready.onnx", path, Reader(), per_channel=True)


def coreml(model: torch.nn.Module, images: torch.Tensor, precision: str, folder: Path) -> None:
    import coremltools as ct
    import coremltools.optimize.coreml as compression

    program = torch.export.export(model, (images[:1],)).run_decompositions({})
    compute = ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16
    converted: Any = ct.convert(
        program, minimum_deployment_target=ct.target.iOS16, compute_precision=compute, skip_model_load=True
    )
    if precision == "int8-weights":
        config = compression.OptimizationConfig(compression.OpLinearQuantizerConfig(mode="linear_symmetric"))
        converted = compression.linear_quantize_weights(converted, config)
    converted.save(str(folder / "model.mlpackage"))


def litert(model: torch.nn.Module, images: torch.Tensor, precision: str, folder: Path) -> None:
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    path = folder / "model.tflite"
    litert_torch.convert(model, (images[:1],)).export(str(path))
    if precision == "int8":
        work = quantizer.Quantizer(path.read_bytes(), recipe.static_wi8_ai8())
        signature = {"serving_default": [{"args_0": image.numpy()} for image in images.split(1)]}
        quantized = work.quantize(work.calibrate(signature)).quantized_model
        assert quantized is not None
        path.write_bytes(quantized)


CONVERTERS = {
    "torchscript": torchscript,
    "executorch": executorch,
    "onnx": onnx,
    "coreml": coreml,
    "litert": litert,
}

TOOLCHAINS = {
    "torchscript": (),
    "executorch": ("executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner", "torchao"),
    "onnx": ("onnxscript", "onnxruntime.quantization"),
    "coreml": ("coremltools.optimize.coreml",),
    "litert": ("litert_torch", "ai_edge_quantizer.quantizer"),
}

if __name__ == "__main__":
    import importlib

    name, precision, checkpoint, folder = sys.argv[1:]
    start_s = time.time() - psutil.Process().create_time()
    started = time.perf_counter()
    for toolchain in TOOLCHAINS[name]:
        importlib.import_module(toolchain)
    imported = time.perf_counter()
    torch.set_num_threads(1)
    found = load(Path(checkpoint))
    images = torch.rand(CALIBRATION_IMAGES, *found.card.preprocess.input_shape)
    loaded = time.perf_counter()
    CONVERTERS[name](found.model, images, precision, Path(folder))
    seconds = Seconds(start_s, imported - started, loaded - imported, time.perf_counter() - loaded)
    print(json.dumps(dataclasses.asdict(seconds)))
