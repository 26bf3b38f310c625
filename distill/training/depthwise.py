"""Depthwise convolutions whose weights get their gradient fast on a CPU, also where the picture is small.

Where the output is smaller than the kernel, oneDNN (3.10, AVX2) has no depthwise kernel for the weights' gradient and
multiplies one tiny matrix per image and channel instead. In MobileNetV3-Small at 64 px this was half of a whole
training step. Here the gradient is a sum of products per tap of the kernel, over the few places where the tap meets
the picture.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def use_fast_depthwise(network: nn.Module) -> None:
    """Let every depthwise convolution of a network use `DepthwiseConv2d`; names, weights and results stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain_depthwise(module):
            module.__class__ = DepthwiseConv2d


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with a faster gradient of the weights, which differs from oneDNN's in the order of the sums."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        if not (self.training and input.device.type == "cpu" and self._is_small(input)):
            return super().forward(input)
        return _DepthwiseConvolution.apply(input, self.weight, self.stride, self.padding)

    def _is_small(self, images: Tensor) -> bool:
        sizes = zip(images.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)
        return all((size + 2 * int(pad) - kernel) // stride + 1 < kernel for size, kernel, stride, pad in sizes)


def _is_plain_depthwise(module: nn.Conv2d) -> bool:
    is_depthwise = module.groups == module.in_channels == module.out_channels > 1
    return (
        is_depthwise
        and module.bias is None
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


class _DepthwiseConvolution(torch.autograd.Function):
    """Images [B, C, H, W] and weights [C, 1, k, k] -> [B, C, H', W']."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding, 1, images.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        images, weight = ctx.saved_tensors
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = torch.ops.aten.convolution_backward(
                gradient,
                images,
                weight,
                None,
                ctx.stride,
                ctx.padding,
                (1, 1),
                False,
                (0, 0),
                len(weight),
                (True, False, False),
            )[0]
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(images, gradient, weight, ctx.stride, ctx.padding)
        return of_images, of_weight, None, None


def weight_gradient(
    images: Tensor, gradient: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Gradient of a depthwise convolution's weights, [C, 1, k, k].

    Args:
        images: its input [B, C, H, W].
        gradient: of its output [B, C, H', W'].
        weight: [C, 1, k, k].
        stride: of rows and columns.
        padding: of rows and columns, on either side.
    """
    images, gradient = images.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
    channels, _, height, width = weight.shape
    taps = images.new_zeros(height, width, channels)
    for row in range(height):
        outputs_y, inputs_y = _meeting(row - padding[0], images.shape[1], gradient.shape[1], stride[0])
        for column in range(width):
            outputs_x, inputs_x = _meeting(column - padding[1], images.shape[2], gradient.shape[2], stride[1])
            product = gradient[:, outputs_y, outputs_x] * images[:, inputs_y, inputs_x]
            taps[row, column] = product.sum((0, 1, 2))
    return taps.permute(2, 0, 1)[:, None]


def _meeting(offset: int, size: int, num_outputs: int, stride: int) -> tuple[slice, slice]:
    """The outputs for which a tap lies inside the picture, and the places of the picture it then lies on."""
    first = -(min(offset, 0) // stride)
    end = min(num_outputs, (size - 1 - offset) // stride + 1)
    if end <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, end), slice(start, start + (end - first - 1) * stride + 1, stride)
