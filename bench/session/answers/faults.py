"""Why answers are not those they should be: known mistakes, each tried on the computer, and the one that explains them.

Two comparisons, one after the other: the device against the very same artifact on this machine, and, where those two
agree, the artifact against eager PyTorch, of which its manifest says how often they agree.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.session.answers.held_out import HeldOut
from bench.session.answers.judge import Logits, answers_of, distance
from distill.vision.preprocess import FILTERS, Preprocess
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch

SUSPICIOUS = 0.1
"""Distance (`judge.distance`) beyond which an explanation is looked for; other kernels and JPEG decoders stay far below
(0.02 of an int8 network on another processor)."""

UNRELATED = 0.5
"""Distance beyond which logits without an explanation are those of something else."""

EXPLAINS = 0.25
"""A mistake explains the answers if it leaves at most this share of their distance."""

TRIED = 200
"""Pictures on which mistakes are tried."""

SURE_Z = 4.0
"""Agreement with eager must fall short of the manifest's by so many standard errors."""

LEVELS = 255.0

Run = Callable[[Mapping[str, Batch]], Mapping[str, Logits]]
"""Logits of an artifact on this machine, for inputs by name; those that cannot be had are left out."""


@dataclass(frozen=True)
class Suspect:
    """What is examined, on the same pictures.

    Attributes:
        here: logits of the device.
        host: of the same artifact on this machine; None if it cannot be run.
        eager: of eager PyTorch; None if there is none.
        run_artifact, run_eager: the two on this machine, for other inputs.
    """

    here: Logits
    host: Logits | None
    eager: Logits | None
    run_artifact: Run
    run_eager: Run


def find_fault(suspect: Suspect, held_out: HeldOut, manifest: Manifest) -> str | None:
    """What is wrong with the answers, in words; None if nothing is shown to be."""
    if not np.isfinite(suspect.here).any():
        return "not one of its logits is a number"
    if suspect.host is None:
        return _against_eager(suspect.here, suspect, held_out, manifest, "its answers are")
    apart = distance(suspect.here, suspect.host)
    if apart <= SUSPICIOUS:
        return _against_eager(
            suspect.host, suspect, held_out, manifest, "the artifact answers, here as on the computer,"
        )
    mistake = explanation(suspect.here, suspect.host, held_out, manifest.preprocess, suspect.run_artifact)
    same = 100 * float(np.mean(answers_of(suspect.here) == answers_of(suspect.host)))
    if mistake is not None:
        return (
            f"on the device {mistake}: only {same:.1f} % of the answers are those of the same artifact on the computer"
        )
    if apart > UNRELATED:
        return (
            f"the device computes something else than the same artifact on the computer: {same:.1f} % of the answers "
            f"are the same, logits differ by {apart:.2g} of their spread; its runtime or the model there is corrupted"
        )
    return None


def _against_eager(logits: Logits, suspect: Suspect, held_out: HeldOut, manifest: Manifest, who: str) -> str | None:
    """Whether an artifact agrees with eager as its manifest says, and if not, why."""
    promised, eager = manifest.parity.top1_agreement, suspect.eager
    if eager is None or promised is None:
        return None
    agreement, count = float(np.mean(answers_of(logits) == answers_of(eager))), len(eager)
    proven_on = max(manifest.parity.num_images, 1)
    pooled = (agreement * count + promised * proven_on + 1) / (count + proven_on + 2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / count + 1 / proven_on))
    if promised - agreement <= SURE_Z * error:
        return None
    mistake = explanation(logits, eager, held_out, manifest.preprocess, suspect.run_eager)
    told = f"{100 * agreement:.1f} % agree with eager PyTorch, its manifest says {100 * promised:.1f} %"
    if mistake is not None:
        return f"{who} as if {mistake}: {told}"
    return f"the model is corrupted or not the one that was proven: of its answers {told}; export it again"


def explanation(
    found: Logits, expected: Logits, held_out: HeldOut, rule: Preprocess, run: Run, *, tried: int = TRIED
) -> str | None:
    """The known mistake that makes `expected` what was found, in words; None if none does.

    Args:
        found: logits [N, classes].
        expected: what they should be, of the same pictures.
        held_out: the pictures.
        rule: how they become inputs.
        run: gives `expected` its logits for other inputs.
        tried: pictures that mistakes are tried on.
    """
    apart = distance(found, expected)
    if order := class_order(found, expected):
        moved = [
            f"{held_out.class_names[position]} stands for {held_out.class_names[other]}"
            for position, other in enumerate(order)
            if position != other
        ]
        return f"the classes are in another order ({', '.join(moved[:4])}{', …' if len(moved) > 4 else ''})"
    positions = np.arange(min(tried, len(held_out)))
    by_mistake = run(dict(mistakes(held_out, rule, positions)))
    distances = {name: distance(found[positions], logits) for name, logits in by_mistake.items()}
    best = min(distances, key=lambda name: distances[name], default=None)
    return best if best is not None and distances[best] <= EXPLAINS * apart else None


def class_order(found: Logits, expected: Logits) -> list[int] | None:
    """Which class of `expected` stands at each place of `found`, if all do, at other places; None if they do not."""
    known = np.isfinite(found).all(axis=1) & np.isfinite(expected).all(axis=1)
    ours, theirs = found[known].astype(np.float64), expected[known].astype(np.float64)
    apart = np.stack([np.sqrt(np.mean((theirs - column[:, None]) ** 2, axis=0)) for column in ours.T])
    order = apart.argmin(axis=1)
    is_order = len(set(order.tolist())) == len(order) and not np.array_equal(order, np.arange(len(order)))
    moved = expected[:, order]
    if not is_order or distance(found, moved) > EXPLAINS * distance(found, expected):
        return None
    return order.tolist()


def mistakes(held_out: HeldOut, rule: Preprocess, positions: NDArray[np.int64]) -> Iterator[tuple[str, Batch]]:
    """Mistakes of apps in words, and the inputs [N, C, H, W] that they make of these pictures."""
    right = rule.to_input(held_out.images[positions])
    if rule.channels == 3:
        yield "the colour channels are swapped (blue, green, red)", np.ascontiguousarray(right[:, ::-1])
    yield "values go from 0 to 255 instead of 0 to 1", right * np.float32(LEVELS)
    mean, std = (np.asarray(values, dtype=np.float32)[:, None, None] for values in (rule.mean, rule.std))
    yield "mean and deviation are applied twice", (right - mean) / std
    yield "pictures lie on their side", np.ascontiguousarray(np.rot90(right, axes=(2, 3)))
    yield "pictures are mirrored", np.ascontiguousarray(right[..., ::-1])
    pictures = [held_out.picture(int(index)) for index in positions]
    if any(picture.width != picture.height for picture in pictures):
        other = "crop" if rule.resize == "stretch" else "stretch"
        words = "cropped to the centre square instead of stretched" if other == "crop" else "stretched, not cropped"
        yield (
            f"pictures are {words} (another resize rule)",
            _resized(pictures, rule.model_copy(update={"resize": other, "crop_share": None})),
        )
    if rule.crop_share is not None:
        whole = rule.model_copy(update={"crop_share": None})
        yield "the whole centre square is seen, and no share cut out (another resize rule)", _resized(pictures, whole)
    if any(picture.size != (rule.size_px, rule.size_px) for picture in pictures):
        for resampling, words in (
            (Image.Resampling.NEAREST, "to the nearest pixel"),
            (Image.Resampling.BILINEAR, "bilinearly"),
            (Image.Resampling.BICUBIC, "bicubically"),
            (None, "without antialiasing"),
        ):
            if resampling is FILTERS[rule.interpolation]:
                continue
            inputs = np.stack([_resampled(picture, rule, resampling) for picture in pictures])
            yield f"pictures are resized {words} (another resize rule)", inputs


def _resized(pictures: list[Image.Image], rule: Preprocess) -> Batch:
    return np.concatenate([rule.to_input(rule.resize_image(picture)[None]) for picture in pictures])


def _resampled(picture: Image.Image, rule: Preprocess, resampling: Image.Resampling | None) -> Batch:
    """One input [C, H, W], resampled otherwise; None reads four neighbours only, whatever is left out between them."""
    size = rule.size_px
    if resampling is None:
        left, top, right, bottom = rule.seen_box(*picture.size)
        scale = ((right - left) / size, 0, left, 0, (bottom - top) / size, top)
        seen = picture.transform((size, size), Image.Transform.AFFINE, scale, Image.Resampling.BILINEAR)
    else:
        seen = rule.scaled(picture, resampling)
    return rule.to_input(rule.pixels(seen)[None])[0]
