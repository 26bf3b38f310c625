"""The whole path in Python on this machine: from a picture file to the likeliest classes, stage by stage."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.session.row import StageSamples
from bench.timing.loop import NS_PER_MS, Clock, HostLimits, in_bursts
from distill.vision.datasets.image_folder import ImageFolder
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Runner

LIMITS = HostLimits(
    warmup_count=3,
    warmup_s=0.1,
    warmup_cap_s=2.0,
    min_count=50,
    min_s=0.5,
    max_count=1000,
    max_s=5.0,
    steady_within=None,
    half_width=None,
    burst_s=None,
)
"""Shorter than the model's own: stages are told in tenths of a millisecond, not compared by the percent."""

TOP = 5


def time_path(runner: Runner, manifest: Manifest, files: Sequence[Path], *, clock: Clock) -> StageSamples:
    """Time the stages over the pictures in turn.

    The decoder reads the file, the runtime's call returns the logits, and the likeliest classes come with their shares.

    Args:
        runner: the open model, of batch 1.
        manifest: of its artifact.
        files: pictures.
        clock: in nanoseconds.
    """
    rule, decoder = manifest.preprocess, ImageFolder(path=str(files[0].parent))
    marks: list[tuple[int, ...]] = []

    def call() -> None:
        file = files[len(marks) % len(files)]
        began = clock()
        picture = decoder.decode(file, rule.channels).image
        decoded = clock()
        pixels = rule.resize_image(picture)
        resized = clock()
        bound = runner.bind(rule.to_input(pixels[None]))
        converted = clock()
        logits = bound.logits()
        called = clock()
        top_classes(logits)
        marks.append((began, decoded, resized, converted, called, clock()))

    course = in_bursts(call, limits=LIMITS, clock=clock)
    while True:
        try:
            next(course)
        except StopIteration as end:
            totals_ms: tuple[float, ...] = end.value.samples_ms
            break
    kept = marks[len(marks) - len(totals_ms) :]
    stages = zip(*([(after - before) / NS_PER_MS for before, after in pairwise(mark)] for mark in kept), strict=True)
    decode, resize, convert, called_ms, top_k = (tuple(stage) for stage in stages)
    return StageSamples(
        decode_ms=decode, resize_ms=resize, convert_ms=convert, call_ms=called_ms, top_k_ms=top_k, total_ms=totals_ms
    )


def top_classes(logits: Batch) -> list[tuple[int, float]]:
    """The likeliest classes of one picture with their shares; ties go to the lower index."""
    values = np.asarray(logits, dtype=np.float64).reshape(-1)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    return [(int(index), float(shares[index])) for index in np.argsort(-values, kind="stable")[:TOP]]
