"""Depthwise convolutions: the same network, the same gradients, taken faster."""

import copy

import pytest
import torch
from torch import nn

from distill.training.depthwise import DepthwiseConv2d, use_fast_depthwise
from distill.vision.models import build
from distill.vision.preprocess import Preprocess


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(2, 5, 1, 2), (4, 5, 1, 2), (4, 5, 2, 2), (8, 5, 2, 2), (1, 3, 1, 1), (3, 3, 2, 1), (2, 3, 1, 2), (7, 5, 2, 0)],
)
def test_gradients_are_those_of_torch_in_float64(size: int, kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False).double()
    quick = copy.deepcopy(plain)
    use_fast_depthwise(quick)
    assert type(quick) is DepthwiseConv2d
    images = torch.randn(3, 6, size, size, dtype=torch.float64)
    gradients = []
    for convolution in (plain, quick):
        leaf = images.clone().requires_grad_()
        output = convolution(leaf)
        output.backward(torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
        gradients.append((output.detach(), leaf.grad, convolution.weight.grad))
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_second_derivatives_exist() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 2, 3, padding=1, groups=2, bias=False).double()
    use_fast_depthwise(convolution)
    images = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = convolution.weight.detach().requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda images, weight: torch.func.functional_call(convolution, {"weight": weight}, images), (images, weight)
    )


def test_own_gradient_is_used_where_the_output_is_smaller_than_the_kernel_and_only_in_training() -> None:
    convolution = nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
    use_fast_depthwise(convolution)
    small, large = torch.rand(2, 4, 4, 4), torch.rand(2, 4, 5, 5)
    assert type(convolution(small).grad_fn).__name__ == "_DepthwiseConvolutionBackward"
    assert type(convolution(large).grad_fn).__name__ != "_DepthwiseConvolutionBackward"
    convolution.eval()
    assert type(convolution(small).grad_fn).__name__ != "_DepthwiseConvolutionBackward"


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding="same", groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
    ],
)
def test_other_convolutions_are_left_alone(convolution: nn.Conv2d) -> None:
    use_fast_depthwise(convolution)
    assert type(convolution) is nn.Conv2d


def test_a_network_keeps_its_names_and_its_answers() -> None:
    preprocess = Preprocess(size_px=32, channels=1, mean=(0.5,), std=(0.25,))
    model = build("mobilenet_v3_small", num_classes=3, preprocess=preprocess).eval()
    images = torch.rand(2, 1, 32, 32)
    names, answers = list(model.state_dict()), model(images)
    use_fast_depthwise(model)
    assert sum(type(module) is DepthwiseConv2d for module in model.modules()) == 11
    assert list(model.state_dict()) == names
    assert torch.equal(model(images), answers)
