"""What the search for hints costs: the pass of a ResNet-110 whose 54 blocks are read, and the clustering after it."""

import time
from collections.abc import Callable

import torch

from distill import terminal
from distill.hints.clusters import kernel_k_means
from distill.hints.features import blocks_of, pooled_features
from distill.hints.similarity import Matrix, Moments, gcd_and_cca, linear_cka
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from tests.performance.side_by_side import Comparison, compare

PICTURES = Preprocess(size_px=32, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
IMAGES, BATCH, PASSED, ROUNDS = 10_000, 250, 250, 5


def comparisons() -> list[Comparison]:
    """The pass with its moments against a bare one, over some images."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = build("resnet110", num_classes=100, preprocess=PICTURES).eval()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    blocks = blocks_of(model, PICTURES, "post")
    images = torch.rand(PASSED, 3, 32, 32).to(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode():
            for batch in images.split(BATCH):
                model(batch)

    def read() -> None:
        moments = Moments(blocks.widths)
        for batch in images.split(BATCH):
            moments.add(pooled_features(model, blocks.places, batch))

    name = "forward pass of resnet110, 54 blocks read, against a bare one"
    return [compare(name, "≥ 0.87", bare, read, rounds=ROUNDS)]


def clustering() -> None:
    """Seconds from the moments of 10,000 images to clusters."""
    torch.set_num_threads(2)
    widths = [16] * 18 + [32] * 18 + [64] * 18
    generator = torch.Generator().manual_seed(0)
    moments = Moments(widths)
    for _ in range(IMAGES // BATCH):
        moments.add(torch.randn(BATCH, sum(widths), generator=generator))
    metrics: dict[str, tuple[Callable[[Moments], Matrix], int]] = {
        "CKA": (linear_cka, 1),
        "GCD": (lambda sums: gcd_and_cca(sums)[0], 10),
    }
    for name, (similarity, goal_s) in metrics.items():
        started = time.perf_counter()
        kernel_k_means(similarity(moments), 3)
        seconds = time.perf_counter() - started
        terminal.say(f"clustering 54 blocks by {name} over 10,000 images: {seconds:.2f} s (goal: ≤ {goal_s} s)")
