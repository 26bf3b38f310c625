"""Compressed weights of an ML Program (`constexpr_*`), decoded when the program is loaded.

Signatures are those of coremltools' operation definitions for iOS 16 and iOS 18; results equal theirs to the bit.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.artifact.mil.blob import unpack

Values = NDArray[Any]


def constexpr_affine_dequantize(*, quantized_data: Values, zero_point: Values, scale: Values, axis: int) -> Values:
    """`scale * (quantized_data - zero_point)`; both numbers, or vectors along `axis` (iOS 16)."""
    shape = [1] * quantized_data.ndim
    shape[axis] = -1
    zeros, scales = (v.reshape(shape) if v.ndim else v for v in (zero_point, scale))
    values = quantized_data.astype(np.float32) - zeros.astype(np.float32)
    return (values * scales.astype(np.float32)).astype(scale.dtype)


def constexpr_blockwise_shift_scale(*, data: Values, scale: Values, offset: Values | None = None) -> Values:
    """`scale * (data - offset)`; scale and offset have one value per block (iOS 18).

    The block along an axis is as long as `data` is longer than `scale` there.
    """
    values = data.astype(np.float32)
    if offset is not None:
        values = values - _per_element(offset, data.shape).astype(np.float32)
    return (values * _per_element(scale, data.shape).astype(np.float32)).astype(scale.dtype)


def constexpr_lut_to_dense_ios16(*, indices: Values, lut: Values, shape: Values) -> Values:
    """`lut[index]` for indices of log2(len(lut)) bits packed into bytes; one table [values] for a whole weight."""
    bits = int(lut.size).bit_length() - 1
    sizes = tuple(int(size) for size in shape)
    positions = unpack(indices.astype(np.uint8).tobytes(), f"uint{bits}", math.prod(sizes))
    return lut[positions.astype(np.intp)].reshape(sizes)


def constexpr_lut_to_dense_ios18(*, indices: Values, lut: Values, vector_axis: int | None = None) -> Values:
    """One table per block of a weight (iOS 18): `lut` [blocks along each axis of `indices`..., values, vector].

    An index stands for `vector` neighbouring weights along `vector_axis`.
    """
    vector = lut.shape[-1]
    blocks = np.ix_(*(np.arange(n) // (n // b) for n, b in zip(indices.shape, lut.shape[:-2], strict=True)))
    entries = lut[(*blocks, indices.astype(np.intp))]
    if vector == 1:
        return entries[..., 0]
    if vector_axis is None:
        raise ValueError("a table of vectors needs vector_axis")
    axis = vector_axis % indices.ndim
    sizes = [n * vector if i == axis else n for i, n in enumerate(indices.shape)]
    return np.moveaxis(entries, -1, axis + 1).reshape(sizes)


def decompressor(type: str, parameters: set[str]) -> Callable[..., Values] | None:
    """The function for an operation; the two look-up tables share a name and differ in their parameters."""
    if type == "constexpr_lut_to_dense":
        return constexpr_lut_to_dense_ios16 if "shape" in parameters else constexpr_lut_to_dense_ios18
    return {
        "constexpr_affine_dequantize": constexpr_affine_dequantize,
        "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    }.get(type)


def _per_element(values: Values, shape: tuple[int, ...]) -> Values:
    for axis, (count, blocks) in enumerate(zip(shape, values.shape, strict=True)):
        values = np.repeat(values, count // blocks, axis)
    return values
