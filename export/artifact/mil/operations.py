"""Operations of ML Programs on torch, one small function each; `OPERATIONS` is the one table.

A function's parameters are the inputs that coremltools' operation definitions give it, with their defaults, and its
annotations say what each may be: a `Tensor` may be computed at run time, anything else must be a constant. An input
that is not a parameter is refused by name when a program is loaded. Tensors of fp16 come in float32, holding fp16
values; the interpreter rounds what is returned.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distill.errors import UsageError

Ints = tuple[int, ...]
Bools = tuple[bool, ...]

# Of elements.


def add(*, x: Tensor, y: Tensor) -> Tensor:
    """`x + y`, broadcast."""
    return x + y


def sub(*, x: Tensor, y: Tensor) -> Tensor:
    """`x - y`, broadcast."""
    return x - y


def mul(*, x: Tensor, y: Tensor) -> Tensor:
    """`x * y`, broadcast."""
    return x * y


def real_div(*, x: Tensor, y: Tensor) -> Tensor:
    """`x / y`, broadcast."""
    return x / y


def maximum(*, x: Tensor, y: Tensor) -> Tensor:
    """The greater of x and y, broadcast."""
    return torch.maximum(x, y)


def minimum(*, x: Tensor, y: Tensor) -> Tensor:
    """The lesser of x and y, broadcast."""
    return torch.minimum(x, y)


def pow(*, x: Tensor, y: Tensor) -> Tensor:
    """`x` to the power of y, broadcast."""
    return torch.pow(x, y)


def sqrt(*, x: Tensor) -> Tensor:
    """Square root."""
    return x.sqrt()


def exp(*, x: Tensor) -> Tensor:
    """Exponential."""
    return x.exp()


def tanh(*, x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return x.tanh()


def clip(*, x: Tensor, alpha: float, beta: float) -> Tensor:
    """`x` limited to [alpha, beta]."""
    return x.clamp(alpha, beta)


def relu(*, x: Tensor) -> Tensor:
    """max(x, 0)."""
    return x.relu()


def relu6(*, x: Tensor) -> Tensor:
    """`x` limited to [0, 6]."""
    return x.clamp(0, 6)


def leaky_relu(*, x: Tensor, alpha: float) -> Tensor:
    """`x` where x >= 0, else alpha * x."""
    return functional.leaky_relu(x, alpha)


def thresholded_relu(*, x: Tensor, alpha: float) -> Tensor:
    """`x` where x >= alpha, else 0."""
    return torch.where(x >= alpha, x, torch.zeros(()))


def sigmoid(*, x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return x.sigmoid()


def sigmoid_hard(*, x: Tensor, alpha: float, beta: float) -> Tensor:
    """`alpha * x + beta`, limited to [0, 1]."""
    return (x * alpha + beta).clamp(0, 1)


def silu(*, x: Tensor) -> Tensor:
    """`x * sigmoid(x)`."""
    return functional.silu(x)


def gelu(*, x: Tensor, mode: str = "EXACT") -> Tensor:
    """`x` times the normal distribution function of x, or its tanh approximation."""
    known = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
    return functional.gelu(x, approximate=_known("gelu", "mode", mode, known))


def softmax(*, x: Tensor, axis: int = -1) -> Tensor:
    """Softmax along one axis."""
    return x.softmax(axis)


# Weighted sums.


def conv(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints = (1, 1),
    pad_type: str = "valid",
    pad: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Cross-correlation over two axes; weight [out, in / groups, height, width], pad (top, bottom, left, right)."""
    _refuse_unless_pictures("conv", x)
    top, bottom, left, right = _pads("conv", pad_type, pad)
    if (top, left) != (bottom, right):
        x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
    return functional.conv2d(x, weight, bias, strides, (top, left), dilations, groups)


def linear(*, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`."""
    return functional.linear(x, weight, bias)


def matmul(*, x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """`x @ y` on the last two axes."""
    left = x.transpose(-1, -2) if transpose_x else x
    right = y.transpose(-1, -2) if transpose_y else y
    return left @ right


# Normalisation.


def batch_norm(
    *,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """Normalise each channel (axis 1) with given statistics."""
    return functional.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon)


def layer_norm(
    *,
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """Normalise over the last axes with their own statistics."""
    chosen = range(x.dim()) if axes is None else sorted(axis % x.dim() for axis in axes)
    if list(chosen) != list(range(x.dim() - len(chosen), x.dim())):
        raise UsageError(f"layer_norm over axes {axes} of {x.dim()} is not known here; only over the last ones")
    return functional.layer_norm(x, [x.shape[axis] for axis in chosen], gamma, beta, epsilon)


# Windows and sums.


def max_pool(
    *,
    x: Tensor,
    kernel_sizes: Ints,
    strides: Ints = (1, 1),
    pad_type: str = "valid",
    pad: Ints = (0, 0, 0, 0),
    ceil_mode: bool = False,
) -> Tensor:
    """Greatest value of each window; padding never wins."""
    _refuse_unless_pictures("max_pool", x)
    return functional.max_pool2d(x, kernel_sizes, strides, _equal_pads("max_pool", pad_type, pad), ceil_mode=ceil_mode)


def avg_pool(
    *,
    x: Tensor,
    kernel_sizes: Ints,
    strides: Ints = (1, 1),
    pad_type: str = "valid",
    pad: Ints = (0, 0, 0, 0),
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """Mean of each window."""
    _refuse_unless_pictures("avg_pool", x)
    padding = _equal_pads("avg_pool", pad_type, pad)
    return functional.avg_pool2d(x, kernel_sizes, strides, padding, ceil_mode, not exclude_padding_from_average)


def reduce_mean(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """Mean over axes; over all without `axes`."""
    return x.mean(_axes(x, axes), keepdim=keep_dims)


def reduce_sum(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """Sum over axes; over all without `axes`."""
    return x.sum(_axes(x, axes), keepdim=keep_dims)


# Shape.


def reshape(*, x: Tensor, shape: Ints) -> Tensor:
    """The same values in another shape; one size may be -1."""
    return x.reshape(shape)


def transpose(*, x: Tensor, perm: Ints) -> Tensor:
    """Axes in the order `perm`."""
    return x.permute(perm)


def squeeze(*, x: Tensor, axes: Ints | None = None) -> Tensor:
    """Without the given axes of size 1; without all of them if none is given."""
    return x.squeeze() if axes is None else x.squeeze(axes)


def expand_dims(*, x: Tensor, axes: Ints) -> Tensor:
    """With new axes of size 1, counted in the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def concat(*, values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """With `interleave`, slices are taken in turn, one of each value, as a channel shuffle does."""
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def stack(*, values: list[Tensor], axis: int) -> Tensor:
    """Joined along a new axis."""
    return torch.stack(values, axis)


def split(
    *, x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None
) -> tuple[Tensor, ...]:
    """Parts along an axis, of given sizes or equal ones."""
    if split_sizes is not None:
        return x.split(list(split_sizes), axis)
    if num_splits is None or x.shape[axis] % num_splits:
        raise UsageError(f"split of {x.shape[axis]} into {num_splits} equal parts is not known here")
    return x.split(x.shape[axis] // num_splits, axis)


def slice_by_index(
    *,
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """`x[begin:end:stride]` along each axis; a mask's True ignores that bound, or takes the one index `begin`."""
    no = (False,) * len(begin)
    bounds = zip(
        begin, end, stride or (1,) * len(begin), begin_mask or no, end_mask or no, squeeze_mask or no, strict=True
    )
    return x[
        tuple(
            first if drop else slice(None if open_first else first, None if open_last else last, step)
            for first, last, step, open_first, open_last, drop in bounds
        )
    ]


def pad(*, x: Tensor, pad: Ints, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """`pad` = (before, after) of the last axes, in their order; torch wants the last axis first."""
    _known("pad", "mode", mode, {"constant": ""})
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    return functional.pad(x, [size for pair in reversed(pairs) for size in pair], value=constant_val)


# Types.


def cast(*, x: Tensor, dtype: str) -> Tensor:
    """fp16 is float32 here; the interpreter rounds by the type that the output declares."""
    return x.to(_known("cast", "dtype", dtype, {"fp16": torch.float32, "fp32": torch.float32, "int32": torch.int32}))


def quantize(
    *, input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None, output_dtype: str
) -> Tensor:
    """`clip(round(input / scale) + zero_point)`, halves rounded to even."""
    limits = torch.iinfo(_known("quantize", "output_dtype", output_dtype, {"int8": torch.int8, "uint8": torch.uint8}))
    steps = (input / _along(scale, input, axis)).round()
    if zero_point is not None:
        steps = steps + _along(zero_point, input, axis)
    return steps.clamp(limits.min, limits.max).to(torch.int32)


def dequantize(*, input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None) -> Tensor:
    """`scale * (input - zero_point)`."""
    steps = input if zero_point is None else input - _along(zero_point, input, axis)
    return steps * _along(scale, input, axis)


OPERATIONS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    function.__name__: function
    for function in (
        add,
        avg_pool,
        batch_norm,
        cast,
        clip,
        concat,
        conv,
        dequantize,
        exp,
        expand_dims,
        gelu,
        layer_norm,
        leaky_relu,
        linear,
        matmul,
        max_pool,
        maximum,
        minimum,
        mul,
        pad,
        pow,
        quantize,
        real_div,
        reduce_mean,
        reduce_sum,
        relu,
        relu6,
        reshape,
        sigmoid,
        sigmoid_hard,
        silu,
        slice_by_index,
        softmax,
        split,
        sqrt,
        squeeze,
        stack,
        sub,
        tanh,
        thresholded_relu,
        transpose,
    )
}


def _known(operation: str, parameter: str, value: str, known: dict[str, Any]) -> Any:
    if value not in known:
        raise UsageError(f"{operation} with {parameter} {value!r} is not known here; known: {', '.join(known)}")
    return known[value]


def _refuse_unless_pictures(operation: str, x: Tensor) -> None:
    if x.dim() != 4:
        raise UsageError(f"{operation} over {x.dim() - 2} dimensions is not known here; only over 2")


def _pads(operation: str, pad_type: str, pad: Ints) -> Ints:
    """Top, bottom, left, right."""
    pads = _known(operation, "pad_type", pad_type, {"custom": pad, "valid": (0, 0, 0, 0)})
    if len(pads) != 4:
        raise UsageError(f"{operation} with pad {pads} is not known here; expected four numbers")
    return pads


def _equal_pads(operation: str, pad_type: str, pad: Ints) -> Ints:
    top, bottom, left, right = _pads(operation, pad_type, pad)
    if (top, left) != (bottom, right):
        raise UsageError(f"{operation} with unequal pads {pad} is not known here")
    return top, left


def _axes(x: Tensor, axes: Ints | None) -> Ints:
    return tuple(range(x.dim())) if axes is None else axes


def _along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """A number as it is, a vector so that it broadcasts along `axis` of `x`."""
    if values.dim() == 0:
        return values
    if axis is None:
        raise UsageError("quantize and dequantize with a vector of scales need an axis")
    return values.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])
