"""The interpreter of ML Programs against NumPy and torch, coremltools' own decoding, and damaged files."""

import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from bench.cpu.device import CpuBench
from distill.errors import ToolError, UsageError
from export.artifact.runner import RUNNERS, open_runner

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # coremltools warns of its own source when Python compiles it
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.frontend.milproto.load import load as load_with_coremltools
    from coremltools.optimize.coreml import (
        OpLinearQuantizerConfig,
        OpPalettizerConfig,
        OptimizationConfig,
        linear_quantize_weights,
        palettize_weights,
    )
    from coremltools.proto import MIL_pb2, Model_pb2

    from export.artifact.mil.blob import BlobFile, unpack
    from export.artifact.mil.interpreter import Interpreter
    from export.artifact.mil.operations import OPERATIONS
    from export.artifact.mil.package import model_file
    from export.artifact.mil.program import read_program

# coremltools warns of its insides while it converts, and leaves a temporary folder to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore")

RNG = np.random.default_rng(0)
SHAPE = (1, 4, 6, 6)
X = RNG.normal(0, 2, SHAPE).astype(np.float32)
Y = RNG.uniform(0.5, 2, (4, 1, 1)).astype(np.float32)
CONV = RNG.normal(0, 1, (6, 2, 3, 3)).astype(np.float32)
BIAS = RNG.normal(0, 1, 6).astype(np.float32)
LINEAR = RNG.normal(0, 1, (5, 6)).astype(np.float32)
STATISTICS = RNG.uniform(0.5, 1.5, (4, 4)).astype(np.float32)
SCALES = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
ZEROS = np.array([0, 3, -5, 20], np.int8)

Case = tuple[Callable[[Any], Any], Callable[[torch.Tensor], torch.Tensor]]


def t(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)


def unequal_pads(x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(functional.pad(x, (2, 1, 0, 1)), t(CONV), None, (2, 1), 0, (1, 2), 2)


def halfway(x: torch.Tensor) -> torch.Tensor:
    """Twice as large, each new pixel a quarter of the way from an old one to its neighbour."""
    for axis in (2, 3):
        before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)], axis)
        after = torch.cat([x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, -1, 1)], axis)
        x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1).flatten(axis, axis + 1)
    return x


def quantized(x: np.ndarray) -> np.ndarray:
    steps = np.round(x / SCALES.reshape(4, 1, 1)) + ZEROS.reshape(4, 1, 1)
    return np.clip(steps, -128, 127).astype(np.int8)


def dequantized(x: torch.Tensor) -> torch.Tensor:
    whole = (quantized(x.numpy()).astype(np.float32) - ZEROS.reshape(4, 1, 1)) * SCALES.reshape(4, 1, 1)
    return t(whole.astype(np.float32))


CASES: dict[str, Case] = {
    "add": (lambda x: mb.add(x=x, y=Y), lambda x: x + t(Y)),
    "sub": (lambda x: mb.sub(x=x, y=Y), lambda x: x - t(Y)),
    "mul": (lambda x: mb.mul(x=x, y=Y), lambda x: x * t(Y)),
    "real_div": (lambda x: mb.real_div(x=Y, y=mb.add(x=x, y=20.0)), lambda x: t(Y) / (x + 20)),
    "maximum": (lambda x: mb.maximum(x=x, y=Y), lambda x: t(np.maximum(x.numpy(), Y))),
    "minimum": (lambda x: mb.minimum(x=x, y=Y), lambda x: t(np.minimum(x.numpy(), Y))),
    "pow": (lambda x: mb.pow(x=mb.relu(x=x), y=1.5), lambda x: x.clamp_min(0) ** 1.5),
    "sqrt": (lambda x: mb.sqrt(x=mb.relu(x=x)), lambda x: x.clamp_min(0).sqrt()),
    "exp": (lambda x: mb.exp(x=x), lambda x: t(np.exp(x.numpy()))),
    "tanh": (lambda x: mb.tanh(x=x), lambda x: t(np.tanh(x.numpy()))),
    "clip": (lambda x: mb.clip(x=x, alpha=-0.5, beta=1.25), lambda x: t(np.clip(x.numpy(), -0.5, 1.25))),
    "relu": (lambda x: mb.relu(x=x), lambda x: t(np.maximum(x.numpy(), 0))),
    "relu6": (lambda x: mb.relu6(x=mb.mul(x=x, y=5.0)), lambda x: t(np.clip(x.numpy() * 5, 0, 6))),
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=0.1), lambda x: torch.where(x >= 0, x, 0.1 * x)),
    "thresholded_relu": (lambda x: mb.thresholded_relu(x=x, alpha=0.7), lambda x: x * (x >= 0.7)),
    "sigmoid": (lambda x: mb.sigmoid(x=x), lambda x: 1 / (1 + (-x).exp())),
    "sigmoid_hard": (lambda x: mb.sigmoid_hard(x=x, alpha=0.3, beta=0.4), lambda x: (x * 0.3 + 0.4).clamp(0, 1)),
    "silu": (lambda x: mb.silu(x=x), lambda x: x / (1 + (-x).exp())),
    "gelu": (lambda x: mb.gelu(x=x, mode="EXACT"), lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
    "gelu tanh": (
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: x * (1 + torch.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    ),
    "softmax": (lambda x: mb.softmax(x=x, axis=1), lambda x: x.exp() / x.exp().sum(1, keepdim=True)),
    "conv": (
        lambda x: mb.conv(
            x=x, weight=CONV, bias=BIAS, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], dilations=[1, 1], groups=2
        ),
        lambda x: functional.conv2d(x, t(CONV), t(BIAS), 2, 1, 1, 2),
    ),
    "conv with unequal pads": (
        lambda x: mb.conv(
            x=x, weight=CONV, strides=[2, 1], pad_type="custom", pad=[0, 1, 2, 1], dilations=[1, 2], groups=2
        ),
        unequal_pads,
    ),
    "linear": (lambda x: mb.linear(x=x, weight=LINEAR, bias=BIAS[:5]), lambda x: x @ t(LINEAR).T + t(BIAS[:5])),
    "matmul": (lambda x: mb.matmul(x=x, y=x, transpose_y=True), lambda x: x @ x.mT),
    "matmul left": (lambda x: mb.matmul(x=x, y=x, transpose_x=True), lambda x: x.mT @ x),
    "batch_norm": (
        lambda x: mb.batch_norm(
            x=x, mean=STATISTICS[0], variance=STATISTICS[1], gamma=STATISTICS[2], beta=STATISTICS[3], epsilon=1e-3
        ),
        lambda x: (
            (x - t(STATISTICS[0]).view(4, 1, 1))
            / (t(STATISTICS[1]).view(4, 1, 1) + 1e-3).sqrt()
            * t(STATISTICS[2]).view(4, 1, 1)
            + t(STATISTICS[3]).view(4, 1, 1)
        ),
    ),
    "layer_norm": (
        lambda x: mb.layer_norm(x=x, axes=[-1], gamma=BIAS, beta=BIAS, epsilon=1e-3),
        lambda x: (
            (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-3).sqrt() * t(BIAS) + t(BIAS)
        ),
    ),
    "max_pool": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda x: functional.pad(x, (1, 1, 1, 1), value=-np.inf).unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2)),
    ),
    "avg_pool": (
        lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 3], strides=[2, 1], pad_type="valid"),
        lambda x: x.unfold(2, 2, 2).unfold(3, 3, 1).mean((-1, -2)),
    ),
    "avg_pool of padded": (
        lambda x: mb.avg_pool(
            x=x,
            kernel_sizes=[3, 3],
            strides=[1, 1],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            exclude_padding_from_average=True,
        ),
        lambda x: (
            functional.pad(x, (1,) * 4).unfold(2, 3, 1).unfold(3, 3, 1).sum((-1, -2))
            / functional.pad(torch.ones_like(x), (1,) * 4).unfold(2, 3, 1).unfold(3, 3, 1).sum((-1, -2))
        ),
    ),
    "reduce_mean": (lambda x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True), lambda x: x.mean((2, 3), True)),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[-1], keep_dims=False), lambda x: x.sum(-1)),
    "reshape": (lambda x: mb.reshape(x=x, shape=[1, 8, -1]), lambda x: x.reshape(1, 8, 18)),
    "transpose": (lambda x: mb.transpose(x=x, perm=[0, 3, 1, 2]), lambda x: x.permute(0, 3, 1, 2)),
    "squeeze": (lambda x: mb.squeeze(x=x, axes=[0]), lambda x: x[0]),
    "expand_dims": (
        lambda x: mb.expand_dims(x=mb.squeeze(x=x, axes=[0]), axes=[1, -1]),
        lambda x: x[0][:, None, ..., None],
    ),
    "concat": (lambda x: mb.concat(values=[x, mb.exp(x=x)], axis=1), lambda x: torch.cat([x, x.exp()], 1)),
    "concat in turn": (
        lambda x: mb.concat(values=[x, mb.exp(x=x)], axis=1, interleave=True),
        lambda x: torch.cat([x, x.exp()], 1)[:, [0, 4, 1, 5, 2, 6, 3, 7]],
    ),
    "stack": (lambda x: mb.stack(values=[x, mb.exp(x=x)], axis=1), lambda x: torch.stack([x, x.exp()], 1)),
    "split": (lambda x: mb.split(x=x, split_sizes=[1, 3], axis=1)[1], lambda x: x[:, 1:]),
    "split evenly": (lambda x: mb.split(x=x, num_splits=3, axis=-1)[2], lambda x: x[..., 4:]),
    "slice_by_index": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[0, 1, -5, 1],
            end=[0, 2, -1, 6],
            stride=[1, 1, 1, 2],
            begin_mask=[True, False, False, False],
            end_mask=[True, False, False, False],
            squeeze_mask=[False, True, False, False],
        ),
        lambda x: x[:, 1, -5:-1, 1:6:2],
    ),
    "pad": (
        lambda x: mb.pad(x=x, pad=[0, 1, 2, 3], mode="constant", constant_val=0.5),
        lambda x: t(np.pad(x.numpy(), [(0, 0), (0, 0), (0, 1), (2, 3)], constant_values=0.5)),
    ),
    "cast": (
        lambda x: mb.cast(x=mb.cast(x=mb.mul(x=x, y=3.0), dtype="int32"), dtype="fp32"),
        lambda x: (x * 3).trunc(),
    ),
    "rsqrt": (lambda x: mb.rsqrt(x=mb.exp(x=x), epsilon=0.5), lambda x: 1 / (x.exp() + 0.5).sqrt()),
    "inverse": (lambda x: mb.inverse(x=mb.exp(x=x), epsilon=0.5), lambda x: 1 / (x.exp() + 0.5)),
    "square": (lambda x: mb.square(x=x), lambda x: x * x),
    "abs": (lambda x: mb.abs(x=x), lambda x: t(np.abs(x.numpy()))),
    "sign": (lambda x: mb.sign(x=x), lambda x: t(np.sign(x.numpy()))),
    "floor": (lambda x: mb.floor(x=x), lambda x: t(np.floor(x.numpy()))),
    "ceil": (lambda x: mb.ceil(x=x), lambda x: t(np.ceil(x.numpy()))),
    "round": (lambda x: mb.round(x=x), lambda x: t(np.round(x.numpy()))),
    "sin": (lambda x: mb.sin(x=x), lambda x: t(np.sin(x.numpy()))),
    "cos": (lambda x: mb.cos(x=x), lambda x: t(np.cos(x.numpy()))),
    "erf": (lambda x: mb.erf(x=x), lambda x: torch.special.erf(x)),
    "log": (lambda x: mb.log(x=mb.exp(x=x), epsilon=0.5), lambda x: t(np.log(np.exp(x.numpy()) + 0.5))),
    "exp2": (lambda x: mb.exp2(x=x), lambda x: t(2 ** x.numpy())),
    "threshold": (lambda x: mb.threshold(x=x, alpha=0.7), lambda x: t(np.maximum(x.numpy(), 0.7).astype(np.float32))),
    "elu": (lambda x: mb.elu(x=x, alpha=0.7), lambda x: torch.where(x >= 0, x, 0.7 * (x.exp() - 1))),
    "prelu": (
        lambda x: mb.prelu(x=x, alpha=SCALES),
        lambda x: torch.where(x >= 0, x, t(SCALES).view(4, 1, 1) * x),
    ),
    "softplus": (lambda x: mb.softplus(x=x), lambda x: (1 + x.exp()).log()),
    "softsign": (lambda x: mb.softsign(x=x), lambda x: x / (1 + x.abs())),
    "select greater": (
        lambda x: mb.select(cond=mb.greater(x=x, y=0.5), a=x, b=mb.square(x=x)),
        lambda x: t(np.where(x.numpy() > 0.5, x.numpy(), x.numpy() ** 2)),
    ),
    "select less": (
        lambda x: mb.select(cond=mb.less(x=x, y=0.5), a=x, b=mb.square(x=x)),
        lambda x: t(np.where(x.numpy() < 0.5, x.numpy(), x.numpy() ** 2)),
    ),
    "greater_equal": (
        lambda x: mb.cast(x=mb.greater_equal(x=x, y=0.0), dtype="fp32"),
        lambda x: t((x.numpy() >= 0).astype(np.float32)),
    ),
    "less_equal": (
        lambda x: mb.cast(x=mb.less_equal(x=x, y=0.0), dtype="fp32"),
        lambda x: t((x.numpy() <= 0).astype(np.float32)),
    ),
    "conv_transpose": (
        lambda x: mb.conv_transpose(
            x=x, weight=CONV[:4], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], output_shape=[1, 2, 12, 12]
        ),
        lambda x: functional.conv_transpose2d(x, t(CONV[:4]), None, 2, 1, 1),
    ),
    "instance_norm": (
        lambda x: mb.instance_norm(x=x, gamma=STATISTICS[0], beta=STATISTICS[1], epsilon=1e-3),
        lambda x: (
            (x - x.mean((2, 3), True))
            / (x.var((2, 3), correction=0, keepdim=True) + 1e-3).sqrt()
            * t(STATISTICS[0]).view(4, 1, 1)
            + t(STATISTICS[1]).view(4, 1, 1)
        ),
    ),
    "reduce_max": (lambda x: mb.reduce_max(x=x, axes=[2, 3], keep_dims=True), lambda x: x.amax((2, 3), True)),
    "reduce_min": (lambda x: mb.reduce_min(x=x, axes=[1], keep_dims=False), lambda x: x.amin(1)),
    "reduce_l1_norm": (lambda x: mb.reduce_l1_norm(x=x, axes=[1]), lambda x: x.abs().sum(1)),
    "reduce_l2_norm": (
        lambda x: mb.reduce_l2_norm(x=x, axes=[1], keep_dims=True),
        lambda x: t(np.sqrt((x.numpy() ** 2).sum(1, keepdims=True))),
    ),
    "reduce_sum_square": (lambda x: mb.reduce_sum_square(x=x, axes=[-1]), lambda x: (x * x).sum(-1)),
    "upsample_nearest_neighbor": (
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, 3),
    ),
    "upsample_nearest_neighbor by a fraction": (
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=1.5, scale_factor_width=0.5),
        lambda x: x[:, :, [0, 0, 1, 2, 2, 3, 4, 4, 5]][..., [0, 2, 4]],
    ),
    "resize_nearest_neighbor": (
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=3, target_size_width=12),
        lambda x: x[:, :, ::2].repeat_interleave(2, 3),
    ),
    "upsample_bilinear": (
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False),
        lambda x: halfway(x),
    ),
    "upsample_bilinear to the corners": (
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=1.8333334, scale_factor_width=1.0, align_corners=True),
        lambda x: torch.stack(
            [x[:, :, i // 2] if i % 2 == 0 else (x[:, :, i // 2] + x[:, :, i // 2 + 1]) / 2 for i in range(11)], 2
        ),
    ),
    "resize_bilinear": (
        lambda x: mb.resize_bilinear(x=x, target_size_height=12, target_size_width=12, sampling_mode="UNALIGN_CORNERS"),
        lambda x: halfway(x),
    ),
    "pixel_shuffle": (
        lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: x.view(1, 1, 2, 2, 6, 6).permute(0, 1, 4, 2, 5, 3).reshape(1, 1, 12, 12),
    ),
    "tile": (lambda x: mb.tile(x=x, reps=[1, 2, 1, 3]), lambda x: t(np.tile(x.numpy(), (1, 2, 1, 3)))),
    "reverse": (lambda x: mb.reverse(x=x, axes=[1, -1]), lambda x: t(x.numpy()[:, ::-1, :, ::-1].copy())),
    "pad mirrored": (
        lambda x: mb.pad(x=x, pad=[0, 0, 0, 0, 1, 2, 2, 3], mode="reflect"),
        lambda x: t(np.pad(x.numpy(), [(0, 0), (0, 0), (1, 2), (2, 3)], mode="reflect")),
    ),
    "pad repeated": (
        lambda x: mb.pad(x=x, pad=[1, 0, 2, 3], mode="replicate"),
        lambda x: t(np.pad(x.numpy(), [(0, 0), (0, 0), (1, 0), (2, 3)], mode="edge")),
    ),
    "quantize and dequantize": (
        lambda x: mb.dequantize(
            input=mb.quantize(input=x, scale=SCALES, zero_point=ZEROS, axis=1, output_dtype="int8"),
            scale=SCALES,
            zero_point=ZEROS,
            axis=1,
        ),
        dequantized,
    ),
    "quantize with one scale": (
        lambda x: mb.dequantize(
            input=mb.quantize(input=x, scale=np.float32(0.05), output_dtype="uint8"), scale=np.float32(0.05)
        ),
        lambda x: (x / 0.05).round().clamp(0, 255) * 0.05,
    ),
}


def save(model: Any, folder: Path) -> Path:
    path = folder / "model.mlpackage"
    model.save(str(path))
    return path


def build(make: Callable[[Any], Any], **options: Any) -> Any:
    """A package of one MIL function over `x` float32 SHAPE; passes that would fold what is to be tested are off."""
    program = mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)(make)
    settings = {"compute_precision": ct.precision.FLOAT32, "pass_pipeline": ct.PassPipeline.EMPTY, **options}
    return ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17, **settings)


@pytest.fixture(scope="module")
def all_operations(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """One program with the result of every case as an output, in the order of `CASES`."""
    model = build(lambda x: tuple(make(x) for make, _ in CASES.values()))
    return Interpreter(read_program(save(model, tmp_path_factory.mktemp("operations"))))


@pytest.mark.parametrize("name", CASES)
def test_an_operation_computes_what_its_definition_says(all_operations: Interpreter, name: str) -> None:
    output = all_operations.program.outputs[list(CASES).index(name)]
    (input_,) = all_operations.program.inputs
    found = all_operations.run({input_.name: t(X)})[output].numpy()
    np.testing.assert_allclose(found, CASES[name][1](t(X)).numpy(), rtol=2e-5, atol=2e-5)


def test_several_calls_at_once_compute_what_each_would_alone(all_operations: Interpreter) -> None:
    """As the runner proves a package; an operation without a batching rule would warn or fail here."""
    (input_,) = all_operations.program.inputs
    calls = torch.stack([t(X), t(X) * 0.5, -t(X)])
    found = torch.vmap(lambda images: all_operations.run({input_.name: images}))(calls)
    for number, call in enumerate(calls):
        for name, alone in all_operations.run({input_.name: call}).items():
            np.testing.assert_allclose(found[name][number].numpy(), alone.numpy(), rtol=2e-5, atol=2e-5)


def test_every_operation_in_the_table_is_in_a_case(all_operations: Interpreter) -> None:
    assert {operation.type for operation in all_operations.program.operations} == set(OPERATIONS)


def test_results_declared_as_fp16_are_rounded_to_it_after_each_operation(tmp_path: Path) -> None:
    model = build(
        lambda x: mb.cast(x=mb.exp(x=mb.mul(x=mb.cast(x=x, dtype="fp16"), y=np.float16(0.3))), dtype="fp32"),
    )
    program = read_program(save(model, tmp_path))
    product = X.astype(np.float16) * np.float16(0.3)
    expected = np.exp(product.astype(np.float32)).astype(np.float16).astype(np.float32)
    found = Interpreter(program).run({program.inputs[0].name: t(X)})[program.outputs[0]].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    np.testing.assert_array_equal(found, found.astype(np.float16))
    assert not np.array_equal(found, np.exp(X * np.float32(np.float16(0.3))))


class Weights(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(4, 32, 3)
        self.linear = torch.nn.Linear(32 * 16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(x).relu().flatten(1))


@pytest.fixture(scope="module")
def weights() -> Callable[..., Any]:
    """weights(target, precision) -> a small Core ML model with a convolution and a matrix."""
    program = torch.export.export(Weights().eval(), (t(X),)).run_decompositions({})

    def make(target: Any, precision: Any = ct.precision.FLOAT16) -> Any:
        return ct.convert(program, minimum_deployment_target=target, compute_precision=precision)

    return make


def linear(**options: Any) -> Callable[[Any], Any]:
    config = OptimizationConfig(OpLinearQuantizerConfig(weight_threshold=1, **options))
    return lambda model: linear_quantize_weights(model, config)


def table(**options: Any) -> Callable[[Any], Any]:
    config = OptimizationConfig(OpPalettizerConfig(weight_threshold=1, mode="kmeans", **options))
    return lambda model: palettize_weights(model, config)


COMPRESSED: dict[str, tuple[Any, Callable[[Any], Any], str]] = {
    "int8 per channel": (ct.target.iOS16, linear(mode="linear_symmetric"), "constexpr_affine_dequantize"),
    "uint8 with zero points": (ct.target.iOS16, linear(mode="linear", dtype="uint8"), "constexpr_affine_dequantize"),
    "int8 of iOS 18": (ct.target.iOS18, linear(mode="linear_symmetric"), "constexpr_blockwise_shift_scale"),
    "uint4 in blocks": (
        ct.target.iOS18,
        linear(mode="linear", dtype="uint4", granularity="per_block", block_size=4),
        "constexpr_blockwise_shift_scale",
    ),
    "int4 in blocks": (
        ct.target.iOS18,
        linear(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=4),
        "constexpr_blockwise_shift_scale",
    ),
    **{f"{bits} bits": (ct.target.iOS16, table(nbits=bits), "constexpr_lut_to_dense") for bits in (1, 2, 4, 6, 8)},
    **{f"{bits} bits of iOS 18": (ct.target.iOS18, table(nbits=bits), "constexpr_lut_to_dense") for bits in (3, 6)},
    "4 bits in groups, scaled": (
        ct.target.iOS18,
        table(nbits=4, granularity="per_grouped_channel", group_size=8, enable_per_channel_scale=True),
        "constexpr_lut_to_dense",
    ),
    "2 bits of vectors": (ct.target.iOS18, table(nbits=2, cluster_dim=2), "constexpr_lut_to_dense"),
}


def decoded_by_coremltools(op: Any) -> np.ndarray:
    """coremltools itself does not decode a table of values that is compressed in turn."""
    if op.op_type == "constexpr_lut_to_dense" and op.lut.val is None:
        return op.decompress(op.indices.val, op.lut.op.materialized_val_inference(), None)
    return op.materialized_val_inference()


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32], ids=["fp16", "fp32"])
def test_compressed_weights_decode_to_the_bits_that_coremltools_gives(
    weights, tmp_path: Path, name: str, precision: Any
) -> None:
    target, compress, type_ = COMPRESSED[name]
    package = save(compress(weights(target, precision)), tmp_path)
    interpreter = Interpreter(read_program(package))
    model = ct.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    theirs = load_with_coremltools(spec, spec.specificationVersion, model.weights_dir)
    decoded = [op for op in theirs.functions["main"].operations if op.op_type.startswith("constexpr_")]
    assert type_ in {op.op_type for op in decoded}
    for op in decoded:
        expected = decoded_by_coremltools(op)
        found = interpreter._constants[op.outputs[0].name]
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    (input_,), (output,) = interpreter.program.inputs, interpreter.program.outputs
    assert np.isfinite(interpreter.run({input_.name: t(X)})[output].numpy()).all()


def test_values_below_a_byte_are_packed_from_the_lowest_bit_up() -> None:
    assert unpack(bytes([0b11_01_00_10]), "uint2", 4).tolist() == [2, 0, 1, 3]
    assert unpack(bytes([0x8F]), "int4", 2).tolist() == [-1, -8]
    assert unpack(bytes([0b10_111_001, 0b0000000_1]), "uint3", 3).tolist() == [1, 7, 6]
    with pytest.raises(UsageError, match="take 2 bytes, found 1"):
        unpack(bytes(1), "uint4", 3)


def edit(package: Path, change: Callable[[Any], None]) -> Path:
    """Change the main block of a package's program in place."""
    path = model_file(package)
    model = Model_pb2.Model()
    model.ParseFromString(path.read_bytes())
    function = model.mlProgram.functions["main"]
    change(function.block_specializations[function.opset])
    path.write_bytes(model.SerializeToString())
    return package


def first(block: Any, type_: str) -> Any:
    return next(operation for operation in block.operations if operation.type == type_)


@pytest.fixture(scope="module")
def float_package(weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(weights(ct.target.iOS16), tmp_path_factory.mktemp("float"))


@pytest.fixture
def package(float_package: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(float_package, tmp_path / "model.mlpackage")


def rename(block: Any) -> None:
    first(block, "conv").type = "conv_of_tomorrow"


def add_input(block: Any) -> None:
    operation = first(block, "relu")
    operation.inputs["colour"].CopyFrom(operation.inputs["x"])


def add_attribute(block: Any) -> None:
    operation = first(block, "relu")
    operation.attributes["speed"].CopyFrom(operation.attributes["name"])


def change_type(block: Any) -> None:
    first(block, "relu").outputs[0].type.tensorType.dataType = MIL_pb2.DataType.BFLOAT16


def open_size(block: Any) -> None:
    first(block, "relu").outputs[0].type.tensorType.dimensions[0].unknown.variadic = False


def drop_input(block: Any) -> None:
    del first(block, "conv").inputs["weight"]


def live_setting(block: Any) -> None:
    conv = first(block, "conv")
    conv.inputs["groups"].arguments[0].name = conv.inputs["x"].arguments[0].name


def undefined(block: Any) -> None:
    first(block, "relu").inputs["x"].arguments[0].name = "nowhere"


def other_padding(block: Any) -> None:
    for operation in block.operations:
        if operation.type == "const" and operation.outputs[0].name == pad_type_name(block):
            operation.attributes["val"].immediateValue.tensor.strings.values[0] = "same"


def pad_type_name(block: Any) -> str:
    return first(block, "conv").inputs["pad_type"].arguments[0].name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, "operation 'conv_of_tomorrow' .* is not known to the ML Program interpreter"),
        (add_input, "operation 'relu' .* has the unknown input 'colour'"),
        (add_attribute, "operation relu has the unknown attribute speed"),
        (change_type, "tensor type BFLOAT16 is not known"),
        (open_size, "known only at run time"),
        (drop_input, "operation 'conv' .* has no 'weight'"),
        (live_setting, "groups is computed at run time"),
        (undefined, "refers to 'nowhere', which nothing before it defines"),
    ],
)
def test_what_the_interpreter_does_not_know_is_refused_by_name(package: Path, change: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Interpreter(read_program(edit(package, change)))


def test_an_unknown_value_of_a_known_input_is_refused_when_it_is_met(package: Path) -> None:
    program = read_program(edit(package, other_padding))
    with pytest.raises(UsageError, match="conv with pad_type 'same' is not known here; known: custom, valid"):
        Interpreter(program).run({program.inputs[0].name: t(X)})


def test_a_wrong_declared_shape_is_noticed(package: Path) -> None:
    def change(block: Any) -> None:
        first(block, "relu").outputs[0].type.tensorType.dimensions[1].constant.size = 31

    program = read_program(edit(package, change))
    with pytest.raises(ToolError, match=r"operation relu .* gives shape \[1, 32, 4, 4\], the program declares"):
        Interpreter(program).run({program.inputs[0].name: t(X)})


def test_a_neural_network_of_the_old_kind_is_refused(package: Path) -> None:
    model = Model_pb2.Model()
    model.neuralNetwork.SetInParent()
    model_file(package).write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match="is a neuralNetwork"):
        read_program(package)


def test_a_newer_operation_set_is_refused_by_name(package: Path) -> None:
    path = model_file(package)
    model = Model_pb2.Model()
    model.ParseFromString(path.read_bytes())
    model.mlProgram.functions["main"].opset = "CoreML99"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match="operation set 'CoreML99' is unknown"):
        read_program(package)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: cut(p / WEIGHTS, 0.5), "is cut off"),
        (lambda p: cut(p / WEIGHTS, 0.0), "cannot read the weights"),
        (lambda p: (p / WEIGHTS).write_bytes(bytes(100)), "is no weight file of version 2"),
        (lambda p: (p / WEIGHTS).unlink(), "weights/weight.bin is not there"),
        (lambda p: cut(model_file(p), 0.5), "is damaged"),
        (lambda p: model_file(p).unlink(), "model.mlmodel is not there"),
        (lambda p: (p / "Manifest.json").unlink(), "Is it an .mlpackage folder"),
        (lambda p: (p / "Manifest.json").write_text("{"), "is not the manifest of an .mlpackage"),
        (lambda p: (p / "Manifest.json").write_text("[]"), "is not the manifest of an .mlpackage"),
    ],
)
def test_a_damaged_package_is_refused_in_words(package: Path, spoil: Any, message: str) -> None:
    spoil(package)
    with pytest.raises(UsageError, match=message):
        read_program(package)


@pytest.mark.parametrize("path", ["../../outside.bin", "/etc/hostname", "..", "", 5, "link.bin"])
def test_a_manifest_cannot_lead_outside_the_package(package: Path, tmp_path: Path, path: object) -> None:
    (tmp_path / "outside.bin").write_bytes(b"secret")
    (package / "Data" / "link.bin").symlink_to(tmp_path / "outside.bin")
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="not a file inside it"):
        read_program(package)


@pytest.mark.parametrize("name", ["@model_path/../../../../outside.bin", "/etc/hostname", "@model_path//etc/hostname"])
def test_weights_cannot_lie_outside_the_package(package: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(package / WEIGHTS, tmp_path / "outside.bin")

    def change(block: Any) -> None:
        for operation in block.operations:
            if operation.type == "const" and operation.attributes["val"].WhichOneof("value") == "blobFileValue":
                operation.attributes["val"].blobFileValue.fileName = name

    with pytest.raises(UsageError, match=r"not a file inside it|expected a path beginning with"):
        read_program(edit(package, change))


def test_a_blob_of_another_type_or_place_is_refused(float_package: Path) -> None:
    blobs = BlobFile(float_package / WEIGHTS)
    with pytest.raises(UsageError, match="expected values of type fp32 at byte 64, found type fp16"):
        blobs.read(64, "fp32", 1)
    with pytest.raises(UsageError, match="found no blob"):
        blobs.read(65, "fp16", 1)
    with pytest.raises(UsageError, match="is damaged: 3 values"):
        blobs.read(64, "fp16", 3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_is_more_than_an_error_in_words(float_package: Path, tmp_path: Path, data: st.DataObject) -> None:
    package = tmp_path / "fuzzed.mlpackage"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(float_package, package)
    files = {"program": model_file(package), "weights": package / WEIGHTS, "manifest": package / "Manifest.json"}
    path = files[data.draw(st.sampled_from(["program", "program", "weights", "manifest"]))]
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(ToolError):
        program = read_program(package)
        interpreter = Interpreter(program)
        inputs = {
            entry.name: torch.ones(entry.type.shape) for entry in program.inputs if np.prod(entry.type.shape) < 1e4
        }
        if len(inputs) == len(program.inputs):
            interpreter.run(inputs)


def test_the_runner_says_that_it_is_an_interpreter_and_no_bench_times_it(artifact) -> None:
    folder, manifest = artifact("coreml", "fp32")
    runner = open_runner(folder, manifest, threads=1)
    assert runner.runtime == "coreml-interpreter"
    assert not RUNNERS["coreml"].timed
    assert CpuBench().refusal(manifest) is not None
    assert manifest.parity.proven_by is not None
    assert manifest.parity.proven_by.startswith("coreml-interpreter")
    assert any("Neural Engine were not tested" in note for note in manifest.notes)


def test_a_package_with_other_names_than_its_manifest_is_refused(artifact) -> None:
    folder, manifest = artifact("coreml", "fp32")
    other = manifest.model_copy(update={"output": manifest.output.model_copy(update={"name": "scores"})})
    with pytest.raises(UsageError, match="its manifest says"):
        open_runner(folder, other, threads=1)


def test_every_value_is_observed_in_order(float_package: Path) -> None:
    program = read_program(float_package)
    seen: dict[str, tuple[int, ...]] = {}
    Interpreter(program).run({program.inputs[0].name: t(X)}, observe=lambda n, v: seen.update({n: tuple(v.shape)}))
    names = [program.inputs[0].name, *(output.name for op in program.operations for output in op.outputs)]
    assert list(seen) == names
