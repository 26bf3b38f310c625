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

ONE = torch.tensor(1.0)
ROUNDING = 1e-3

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


def rsqrt(*, x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return (x + epsilon).rsqrt()


def inverse(*, x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return (x + epsilon).reciprocal()


def square(*, x: Tensor) -> Tensor:
    """`x * x`."""
    return x.square()


def abs(*, x: Tensor) -> Tensor:
    """Absolute value."""
    return x.abs()


def sign(*, x: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return x.sign()


def floor(*, x: Tensor) -> Tensor:
    """The next lower whole number."""
    return x.floor()


def ceil(*, x: Tensor) -> Tensor:
    """The next higher whole number."""
    return x.ceil()


def round(*, x: Tensor) -> Tensor:
    """The nearest whole number, halves to even."""
    return x.round()


def sin(*, x: Tensor) -> Tensor:
    """Sine."""
    return x.sin()


def cos(*, x: Tensor) -> Tensor:
    """Cosine."""
    return x.cos()


def erf(*, x: Tensor) -> Tensor:
    """Gauss's error function."""
    return x.erf()


def log(*, x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """Natural logarithm of x + epsilon."""
    return (x + epsilon).log()


def exp2(*, x: Tensor) -> Tensor:
    """2 to the power of x."""
    return x.exp2()


def threshold(*, x: Tensor, alpha: float) -> Tensor:
    """max(x, alpha)."""
    return x.clamp_min(alpha)


def greater(*, x: Tensor, y: Tensor) -> Tensor:
    """`x > y`, broadcast."""
    return x > y


def greater_equal(*, x: Tensor, y: Tensor) -> Tensor:
    """`x >= y`, broadcast."""
    return x >= y


def less(*, x: Tensor, y: Tensor) -> Tensor:
    """`x < y`, broadcast."""
    return x < y


def less_equal(*, x: Tensor, y: Tensor) -> Tensor:
    """`x <= y`, broadcast."""
    return x <= y


def select(*, cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` where cond, else b, broadcast."""
    return torch.where(cond, a, b)


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


def elu(*, x: Tensor, alpha: float) -> Tensor:
    """`x` where x >= 0, else alpha * (exp(x) - 1)."""
    return functional.elu(x, alpha)


def prelu(*, x: Tensor, alpha: Tensor) -> Tensor:
    """`x` where x >= 0, else x times its channel's alpha."""
    return functional.prelu(x, alpha)


def softplus(*, x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return functional.softplus(x)


def softsign(*, x: Tensor) -> Tensor:
    """`x / (1 + |x|)`."""
    return functional.softsign(x)


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


def conv_transpose(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints = (1, 1),
    pad_type: str = "valid",
    pad: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    groups: int = 1,
    output_shape: Ints | None = None,
) -> Tensor:
    """The transpose of `conv`; weight [in, out / groups, height, width]; strides leave the output's shape open."""
    _refuse_unless_pictures("conv_transpose", x)
    padding = _equal_pads("conv_transpose", pad_type, pad)
    extra = (0, 0)
    if output_shape is not None:
        smallest = functional.conv_transpose2d(x, weight, bias, strides, padding, 0, groups, dilations).shape
        extra = (output_shape[-2] - smallest[-2], output_shape[-1] - smallest[-1])
    return functional.conv_transpose2d(x, weight, bias, strides, padding, extra, groups, dilations)


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


def instance_norm(
    *, x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    """Normalise each channel of each picture with its own statistics."""
    return functional.instance_norm(x, weight=gamma, bias=beta, eps=epsilon)


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


def reduce_max(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """Greatest value over axes; over all without `axes`."""
    return x.amax(_axes(x, axes), keepdim=keep_dims)


def reduce_min(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """Least value over axes; over all without `axes`."""
    return x.amin(_axes(x, axes), keepdim=keep_dims)


def reduce_l1_norm(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """Sum of absolute values over axes; over all without `axes`."""
    return x.abs().sum(_axes(x, axes), keepdim=keep_dims)


def reduce_l2_norm(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """Square root of the sum of squares over axes; over all without `axes`."""
    return x.square().sum(_axes(x, axes), keepdim=keep_dims).sqrt()


def reduce_sum_square(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """Sum of squares over axes; over all without `axes`."""
    return x.square().sum(_axes(x, axes), keepdim=keep_dims)


# Sizes of pictures.


def upsample_nearest_neighbor(
    *, x: Tensor, scale_factor_height: Tensor = ONE, scale_factor_width: Tensor = ONE
) -> Tensor:
    """Each pixel several times; factors may be fractions."""
    return functional.interpolate(x, _enlarged(x, scale_factor_height, scale_factor_width), mode="nearest")


def resize_nearest_neighbor(*, x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """Each pixel of another size is the one that its upper left corner lies in."""
    return functional.interpolate(x, (target_size_height, target_size_width), mode="nearest")


def upsample_bilinear(
    *,
    x: Tensor,
    scale_factor_height: Tensor = ONE,
    scale_factor_width: Tensor = ONE,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Bilinear in another size, from centre to centre of the corner pixels, or else from edge to edge."""
    if not align_corners and half_pixel_centers is False:
        raise UsageError("upsample_bilinear without half_pixel_centers is not known here")
    size = _enlarged(x, scale_factor_height, scale_factor_width)
    return functional.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def resize_bilinear(
    *, x: Tensor, target_size_height: int, target_size_width: int, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Bilinear in another size."""
    known = {"STRICT_ALIGN_CORNERS": True, "ALIGN_CORNERS": True, "UNALIGN_CORNERS": False}
    aligned = _known("resize_bilinear", "sampling_mode", sampling_mode, known)
    if sampling_mode == "ALIGN_CORNERS" and 1 in (target_size_height, target_size_width):
        raise UsageError("resize_bilinear with ALIGN_CORNERS to a single pixel is not known here")
    return functional.interpolate(x, (target_size_height, target_size_width), mode="bilinear", align_corners=aligned)


def pixel_shuffle(*, x: Tensor, upscale_factor: int) -> Tensor:
    """Channels into squares of pixels."""
    return functional.pixel_shuffle(x, upscale_factor)


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


def tile(*, x: Tensor, reps: Ints) -> Tensor:
    """Repeated along each axis."""
    return x.repeat(reps)


def reverse(*, x: Tensor, axes: Ints | None = None) -> Tensor:
    """In reverse order along axes; along all without `axes`."""
    return x.flip(_axes(x, axes))


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
    how = _known("pad", "mode", mode, {"constant": "constant", "reflect": "reflect", "replicate": "replicate"})
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    if how == "constant":
        return functional.pad(x, [size for pair in reversed(pairs) for size in pair], value=constant_val)
    while pairs and not any(pairs[0]):  # torch mirrors the last axes only
        pairs = pairs[1:]
    return functional.pad(x, [size for pair in reversed(pairs) for size in pair], mode=how) if pairs else x


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
        abs,
        add,
        avg_pool,
        batch_norm,
        cast,
        ceil,
        clip,
        concat,
        conv,
        conv_transpose,
        cos,
        dequantize,
        elu,
        erf,
        exp,
        exp2,
        expand_dims,
        floor,
        gelu,
        greater,
        greater_equal,
        instance_norm,
        inverse,
        layer_norm,
        leaky_relu,
        less,
        less_equal,
        linear,
        log,
        matmul,
        max_pool,
        maximum,
        minimum,
        mul,
        pad,
        pixel_shuffle,
        pow,
        prelu,
        quantize,
        real_div,
        reduce_l1_norm,
        reduce_l2_norm,
        reduce_max,
        reduce_mean,
        reduce_min,
        reduce_sum,
        reduce_sum_square,
        relu,
        relu6,
        reshape,
        resize_bilinear,
        resize_nearest_neighbor,
        reverse,
        round,
        rsqrt,
        select,
        sigmoid,
        sigmoid_hard,
        sign,
        silu,
        sin,
        slice_by_index,
        softmax,
        softplus,
        softsign,
        split,
        sqrt,
        square,
        squeeze,
        stack,
        sub,
        tanh,
        threshold,
        thresholded_relu,
        tile,
        transpose,
        upsample_bilinear,
        upsample_nearest_neighbor,
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


def _enlarged(x: Tensor, factor_height: Tensor, factor_width: Tensor) -> tuple[int, int]:
    """Height and width; a factor that is a fraction is written as the nearest float, which must not cost a pixel."""
    return (
        int(x.shape[-2] * float(factor_height) + ROUNDING),
        int(x.shape[-1] * float(factor_width) + ROUNDING),
    )


def _axes(x: Tensor, axes: Ints | None) -> Ints:
    return tuple(range(x.dim())) if axes is None else axes


def _along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """A number as it is, a vector so that it broadcasts along `axis` of `x`."""
    if values.dim() == 0:
        return values
    if axis is None:
        raise UsageError("quantize and dequantize with a vector of scales need an axis")
    return values.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])
