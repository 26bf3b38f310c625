from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.config import SGD
from distill.errors import UsageError
from distill.methods.maps import as_map, map_shape
from distill.methods.review_kd import Fusion, ReviewKD, ReviewKDConfig, hierarchical_context_loss
from distill.recipes import cifar_review_kd
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, losses_of, network, samples, teacher_for

Array = NDArray[np.float64]
LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def averaged(values: Array, side: int) -> Array:
    """Windows as adaptive pooling cuts them, which overlap where the side does not divide the map's."""
    height, width = values.shape[2:]
    found = np.empty((*values.shape[:2], side, side))
    for i, j in np.ndindex(side, side):
        rows = slice(i * height // side, -(-(i + 1) * height // side))
        columns = slice(j * width // side, -(-(j + 1) * width // side))
        found[:, :, i, j] = values[:, :, rows, columns].mean((2, 3))
    return found


def slow_loss(student: Array, teacher: Array) -> float:
    losses, weights = [((student - teacher) ** 2).mean()], [1.0]
    for side in (4, 2, 1):
        if side < min(student.shape[2:]):
            losses.append(((averaged(student, side) - averaged(teacher, side)) ** 2).mean())
            weights.append(weights[-1] / 2)
    return float(np.average(losses, weights=weights))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (4, 4), (3, 9), (2, 2), (1, 1)])
def test_the_context_loss_equals_its_slow_numpy_twin_at_odd_sizes_too(size: tuple[int, int]) -> None:
    student, teacher = maps(3, 4, *size, seed=0), maps(3, 4, *size, seed=1)
    expected = slow_loss(student.numpy(), teacher.numpy())
    assert hierarchical_context_loss(student, teacher).item() == pytest.approx(expected, abs=1e-10)
    assert hierarchical_context_loss(teacher, teacher).item() == 0


def convolved(values: Array, layer: Any) -> Array:
    """A 1x1 or 3x3 convolution that keeps the size."""
    weight, bias = layer.weight.detach().numpy(), layer.bias
    pad = weight.shape[2] // 2
    padded = np.pad(values, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    found = np.zeros((len(values), len(weight), *values.shape[2:]))
    for b, o, i, j in np.ndindex(*found.shape):
        window = padded[b, :, i : i + weight.shape[2], j : j + weight.shape[3]]
        found[b, o, i, j] = (window * weight[o]).sum() + (0 if bias is None else bias[o].item())
    return found


def normalised(values: Array) -> Array:
    """Batch normalisation as it begins."""
    mean, variance = values.mean((0, 2, 3), keepdims=True), values.var((0, 2, 3), keepdims=True)
    return (values - mean) / np.sqrt(variance + 1e-5)


def nearest(values: Array, size: tuple[int, int]) -> Array:
    rows = np.arange(size[0]) * values.shape[2] // size[0]
    columns = np.arange(size[1]) * values.shape[3] // size[1]
    return values[:, :, rows[:, None], columns[None]]


def test_a_fusion_equals_its_slow_numpy_twin_between_odd_sizes() -> None:
    torch.manual_seed(0)
    fuse = Fusion(3, 4, torch.Size((6, 7, 7)), deepest=False).double()
    ours, deeper = maps(2, 3, 5, 5, seed=0), maps(2, 4, 2, 2, seed=1)
    reviewed, passed = fuse(ours, deeper)
    entered, below = normalised(convolved(ours.numpy(), fuse.enter[0])), nearest(deeper.numpy(), (5, 5))
    shares = 1 / (1 + np.exp(-convolved(np.concatenate([entered, below], axis=1), fuse.attention)))
    expected = nearest(entered * shares[:, :1] + below * shares[:, 1:], (7, 7))
    np.testing.assert_allclose(passed.detach().numpy(), expected, atol=1e-10)
    np.testing.assert_allclose(reviewed.detach().numpy(), normalised(convolved(expected, fuse.leave[0])), atol=1e-10)


def test_the_review_goes_from_the_pooled_vector_to_the_first_stage() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), teacher_for("review_kd", 3)
    run = dry(ReviewKDConfig(weight=0.5), [student], teacher, LABELS)
    method = run.method
    assert isinstance(method, ReviewKD)
    places = ["head:input", "stages.2", "stages.1", "stages.0"]
    assert [ours for ours, _ in method.pairs] == places
    assert [theirs for _, theirs in method.pairs] == ["head:input", *(f"{place}.2:input" for place in places[1:])]
    heard: list[tuple[int, ...]] = []
    for fuse in method.fusions:
        fuse.register_forward_hook(lambda _module, _inputs, output: heard.append(tuple(output[0].shape[1:])))
    method.start_epoch(11)
    losses = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    assert heard == [(128, 1, 1), (32, 2, 2), (16, 4, 4), (8, 8, 8)]
    method.start_epoch(21)
    whole = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    assert losses["review"].item() == pytest.approx(whole["review"].item() / 2, rel=1e-5)
    assert losses["label"].item() == whole["label"].item()


@pytest.mark.parametrize(("first", "expected"), [(0, [0, 0.25, 0.5, 0.75, 1, 1]), (1, [0.25, 0.5, 0.75, 1, 1, 1])])
def test_the_warm_up_counts_epochs_from_where_it_is_told(first: int, expected: list[float]) -> None:
    config = ReviewKDConfig(warmup_epochs=4, first_epoch=first)  # type: ignore[arg-type]
    method = dry(config, [network(3)], teacher_for("", 3), LABELS).method
    assert isinstance(method, ReviewKD)
    found = []
    for epoch in range(1, 7):
        method.start_epoch(epoch)
        found.append(method.share_of_weight)
    assert found == expected


def test_tokens_become_the_map_of_their_patches_and_vectors_a_map_of_one_place() -> None:
    tokens = torch.arange(2 * 11 * 3).reshape(2, 11, 3)
    found = as_map(tokens)
    assert found.shape == (2, 3, 3, 3)
    assert torch.equal(found[1, :, 2, 0], tokens[1, 2 + 2 * 3 + 0])
    assert map_shape("", tokens.shape[1:]) == found.shape[1:]
    assert as_map(torch.ones(2, 5)).shape == (2, 5, 1, 1)
    assert as_map(found) is found
    with pytest.raises(UsageError, match=r"review_kd compares maps .* tokens .*\(15, 3\)"):
        map_shape("review_kd", torch.Size((15, 3)))


def test_unequally_many_levels_are_refused() -> None:
    taps = TapPairs(student=("stages.0",), teacher=("stages.0", "stages.1"))
    with pytest.raises(UsageError, match="names 1 place"):
        dry(ReviewKDConfig(taps=taps), [network(3)], teacher_for("", 3), LABELS)


def test_the_recipe_is_the_papers_protocol() -> None:
    config = cifar_review_kd()
    assert isinstance(config.training.optimizer, SGD)
    assert (config.training.optimizer.nesterov, config.training.optimizer.lr, config.training.batch_size) == (
        True,
        0.1,
        128,
    )
    assert (config.model, config.teacher_run().model, config.method.kind) == ("wrn_16_2", "wrn_40_2", "review_kd")
