"""Small networks as ONNX files and as artifacts, made without training and without torch."""

from pathlib import Path

import numpy as np
import onnx

from distill.contract import sha256_of_file
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import DEPTH_CLASSES, TASKS, TaskName
from export.artifact.manifest import MANIFEST_FILE, SINCE_VERSION_5, SINCE_VERSION_6, Manifest

SHAPE = (1, 3, 20, 20)
CLASSES = 5


def classifier(path: Path) -> Path:
    """A small network of the operators that our exported students consist of, with random weights."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    axes = onnx.numpy_helper.from_array(np.array([-1, -2]), "axes")
    shape = onnx.numpy_helper.from_array(np.array([0, -1]), "shape")
    constants = [
        axes,
        shape,
        *(weight("mean", 1, 3, 1, 1), weight("scale", 1, 3, 1, 1), weight("w1", 8, 3, 3, 3), weight("b1", 8)),
        *(weight("w2", 8, 1, 5, 3), weight("w3", 4, 8, 1, 1), weight("w4", 8, 4, 1, 1), weight("b4", 8)),
        *(weight("w5", 12, 4, 3, 3), weight("w6", CLASSES, 12), weight("b6", CLASSES)),
    ]
    make = onnx.helper.make_node
    nodes = [
        make("Sub", ["images", "mean"], ["centred"]),
        make("Mul", ["centred", "scale"], ["scaled"]),
        make("Conv", ["scaled", "w1", "b1"], ["c1"], kernel_shape=[3, 3], strides=[2, 1], pads=[1, 0, 1, 2]),
        make("HardSwish", ["c1"], ["h1"]),
        make("Conv", ["h1", "w2"], ["c2"], kernel_shape=[5, 3], group=8, pads=[2, 2, 2, 2], dilations=[1, 2]),
        make("Relu", ["c2"], ["r2"]),
        make("ReduceMean", ["r2", "axes"], ["squeezed"], keepdims=1),
        make("Conv", ["squeezed", "w3"], ["c3"], kernel_shape=[1, 1]),
        make("Sigmoid", ["c3"], ["s3"]),
        make("Conv", ["s3", "w4", "b4"], ["c4"], kernel_shape=[1, 1]),
        make("HardSigmoid", ["c4"], ["gate"], alpha=1 / 6, beta=0.5),
        make("Mul", ["r2", "gate"], ["gated"]),
        make("Add", ["gated", "h1"], ["sum"]),
        make("MaxPool", ["sum"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        make("Conv", ["pooled", "w5"], ["c5"], kernel_shape=[3, 3], group=2, pads=[1, 1, 1, 1]),
        make("GlobalAveragePool", ["c5"], ["mean5"]),
        make("Reshape", ["mean5", "shape"], ["flat"]),
        make("Gemm", ["flat", "w6", "b6"], ["logits"], transB=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "classifier",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, SHAPE)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, (1, CLASSES))],
        constants,
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def per_pixel(path: Path, outputs: int) -> Path:
    """Two convolutions at half the size, enlarged as mobile networks do; a depth is somewhere around 3 m."""
    rng = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(rng.normal(0, 0.4, shape).astype(np.float32), name)

    bias = onnx.numpy_helper.from_array(np.full(outputs, 3.0, dtype=np.float32), "b2")
    sizes = onnx.numpy_helper.from_array(np.array([1, outputs, *SHAPE[2:]]), "sizes")
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["images", "w1", "b1"], ["c1"], kernel_shape=[5, 5], strides=[2, 2], pads=[2, 2, 2, 2]),
        make("Relu", ["c1"], ["r1"]),
        make("Conv", ["r1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        make("Resize", ["c2", "", "", "sizes"], ["logits"], mode="linear"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "per_pixel",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, SHAPE)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, (1, outputs, *SHAPE[2:]))],
        [weight("w1", 8, 3, 5, 5), weight("b1", 8), weight("w2", outputs, 8, 3, 3), bias, sizes],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path)
    return path


NAMES: dict[TaskName, tuple[str, ...]] = {
    "classification": tuple("abcde"),
    "segmentation": tuple("abcdefghijk"),
    "depth": DEPTH_CLASSES,
}


def artifact(folder: Path, task: TaskName = "classification") -> Path:
    """A network with its golden input, ONNX Runtime's golden output and a manifest."""
    import onnxruntime

    folder.mkdir(parents=True)
    path, names = folder / "model.onnx", NAMES[task]
    if TASKS[task].is_dense:
        per_pixel(path, len(names))
    else:
        classifier(path)
    image = np.random.default_rng(3).random(SHAPE, dtype=np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.save(folder / "golden_input.npy", image)
    np.save(folder / "golden_output.npy", session.run(["logits"], {"images": image})[0])
    roles = {"model.onnx": "model", "golden_input.npy": "golden-input", "golden_output.npy": "golden-output"}
    size_px = SHAPE[2]
    files = [{"path": name, "role": role, **identity(folder / name)} for name, role in roles.items()]
    record = {
        "inputs_sha256": "i" * 64,
        "format": "onnx",
        "precision": "fp32",
        "scheme": "float32",
        "recipe": None,
        "files": tuple(files),
        "model": "tiny",
        "num_parameters": 900,
        "macs": 900,
        "checkpoint_sha256": "c" * 64,
        "teacher_sha256": None,
        "method": None,
        "task": task,
        "class_names": names,
        "preprocess": Preprocess(size_px=size_px, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3),
        "temperature": 1.0,
        "dataset": None,
        "input": tensor("images", SHAPE, "NCHW", (0.0, 1.0)),
        "output": tensor(
            "logits",
            (1, *TASKS[task].output_shape(len(names), size_px)),
            "NCHW" if TASKS[task].is_dense else "NC",
            None,
        ),
        "calibration": None,
        "delegation": None,
        "parity": {
            "verdict": "pass",
            "reason": "a test",
            "judged_by": "agreement",
            "limit": 1.0,
            "proven_by": "onnxruntime",
            "images": "held-out",
            "num_images": 1,
            "max_abs_difference": 0.0,
            "mean_abs_difference": 0.0,
            "top1_agreement": 1.0,
            "accuracy": 0.8,
            "eager_accuracy": 0.8,
            "accuracy_interval": (0.0, 0.0),
            **dict.fromkeys((*SINCE_VERSION_5, *SINCE_VERSION_6)),
        },
        "allowed_loss": False,
        "notes": (),
        "versions": {"onnx": onnx.__version__},
        "minimum_runtime": None,
    }
    Manifest.model_validate(record).write(folder / MANIFEST_FILE)
    return folder


def tensor(
    name: str, shape: tuple[int, ...], layout: str, value_range: tuple[float, float] | None
) -> dict[str, object]:
    return {"name": name, "shape": shape, "dtype": "float32", "layout": layout, "value_range": value_range}


def identity(path: Path) -> dict[str, object]:
    return {"sha256": sha256_of_file(path), "size_bytes": path.stat().st_size}
