"""The instruments on emulated arm64: the same outputs as on this machine, and a wrong one is noticed."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.loopback_phone.arm64 import CROSS_COMPILER, Emulator, compare
from tests.loopback_phone.packages import Unavailable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    try:
        return Emulator.ready()
    except Unavailable as error:
        pytest.skip(f"no arm64 emulator: {error}")


def quantized_onnx() -> tuple[bytes, np.ndarray]:
    """A model that multiplies int8 by int8, and the float weights it stands for."""
    weights = np.random.default_rng(3).integers(-127, 128, (3 * 8 * 8, 3), dtype=np.int8)
    scale = np.float32(1 / 128)
    constants = {
        "scale": np.float32(1 / 255),
        "zero": np.uint8(0),
        "weights": weights,
        "w_scale": scale,
        "w_zero": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("DequantizeLinear", ["weights", "w_scale", "w_zero"], ["w"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnx.ModelProto.SerializeToString(model), weights.astype(np.float32) * scale


def test_onnx_in_both_precisions_gives_the_golden_output(emulator, make_artifact):
    model_bytes, weights = quantized_onnx()
    for folder in (
        make_artifact("float"),
        make_artifact("quantized", model_bytes=model_bytes, weights=weights, precision="int8"),
    ):
        compared = compare(folder, emulator)
        assert (compared.verdict, compared.top1_agrees) == ("pass", True)


def test_a_wrong_output_is_noticed(emulator, make_artifact):
    model_bytes, weights = quantized_onnx()
    compared = compare(make_artifact("wrong", model_bytes=model_bytes, weights=weights + 1), emulator)
    assert "the output is wrong" in compared.verdict


def test_the_native_runner_built_for_arm64_gives_the_golden_output(emulator, make_artifact, executorch_program):
    if shutil.which(CROSS_COMPILER) is None:
        pytest.skip(f"there is no {CROSS_COMPILER} on this machine")
    model_bytes, weights = executorch_program
    folder = make_artifact("program", format="executorch", model_bytes=model_bytes, weights=weights)
    compared = compare(folder, emulator)
    assert (compared.verdict, compared.top1_agrees) == ("pass", True)
    assert compared.max_difference is not None
    assert compared.max_difference < 1e-5


def test_a_format_without_an_arm64_runtime_is_said(emulator, make_artifact):
    assert "no arm64 runtime for torchscript" in compare(make_artifact("t", format="torchscript"), emulator).verdict
