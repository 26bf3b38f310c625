"""Random views of training images, on the training device.

What a view is made of is drawn on the CPU and for the images of all processes, so a run sees the same views on every
device and on any number of them. Nothing here makes a GPU wait. Images stay uint8 [B, H, W, C] all the way. What is
true of every pixel moves with it: the nearest value, and "not known" where nothing of the picture is.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as v2

from distill.config import Augment, ColourJitter, Erasing, RandAugment, RandomResizedCrop, TrivialAugment

Key = TypeVar("Key")

LEVELS = 31
"""Strengths of an operation, from 0 to 30."""

JITTER_STEPS = 16
"""Factors of a colour jitter; images of one factor are changed together."""

MOVING = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
COLOURING: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Brightness": lambda images, strength: v2.adjust_brightness(images, 1 + strength),
    "Color": lambda images, strength: v2.adjust_saturation(images, 1 + strength),
    "Contrast": lambda images, strength: v2.adjust_contrast(images, 1 + strength),
    "Sharpness": lambda images, strength: sharpened(images, 1 + strength),
    "Posterize": lambda images, bits: v2.posterize(images, int(bits)),
    "Solarize": lambda images, threshold: v2.solarize(images, 255 * threshold),
    "AutoContrast": lambda images, _: v2.autocontrast(images),
    "Equalize": lambda images, _: v2.equalize(images),
}
"""Images uint8 [n, C, H, W] and a strength -> images."""

OPERATIONS = ("Identity", *MOVING, *COLOURING)
SIGNED = (*MOVING, "Brightness", "Color", "Contrast", "Sharpness")


@dataclass(frozen=True)
class Draws:
    """What was drawn for the views of some images, by name: tensors [B, ...] on the CPU."""

    values: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def of(self, images: Tensor | slice) -> "Draws":
        """Those of some of the images: positions int64 [n], or a slice."""
        return Draws({name: value[images] for name, value in self.values.items()})


def draw(augment: Augment, count: int, generator: torch.Generator) -> Draws:
    """Draw what the views of so many images are made of."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    # Crops and mirror images were here first: what comes later is drawn after them, so that they stay what they were.
    top, left = torch.randint(0, 2 * augment.crop_padding_px + 1, (2, count, 1), generator=generator)
    values = {"top": top, "left": left}
    if augment.horizontal_flip:
        values["mirrored"] = uniform(1) < 0.5
    if augment.resized_crop is not None:
        values["part"] = uniform(4)
    if augment.policy is not None:
        rounds = augment.policy.operations if isinstance(augment.policy, RandAugment) else 1
        values["operation"] = torch.randint(0, len(OPERATIONS), (count, rounds), generator=generator)
        values["level"] = torch.randint(0, LEVELS, (count, rounds), generator=generator)
        values["negative"] = uniform(rounds) < 0.5
    if augment.colour is not None:
        values["colour"] = torch.randint(0, JITTER_STEPS, (count, 3), generator=generator)
    if augment.erasing is not None:
        values["erased"] = uniform(5)
    if augment.mixes:
        values |= draw_mixtures(augment, count, generator)
    return Draws(values)


def draw_mixtures(augment: Augment, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """How each of `count` images, an even number, is mixed with its neighbour; both of a pair in the same way.

    Returns:
        `own`: float32 [count], the share of the image itself, the neighbour has the rest.
        `box`: float32 [count, 4], the part that the neighbour fills, as (left, top, right, bottom) in a picture of
            sides 1; empty where two are blended.
    """
    pairs = count // 2
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    is_cut = torch.full((pairs,), augment.cutmix is not None)
    if augment.mixup is not None and augment.cutmix is not None:
        is_cut = torch.rand(pairs, generator=generator) < 0.5
    blended, cut = (
        torch.from_numpy(rng.beta(alpha or 1.0, alpha or 1.0, pairs).astype(np.float32))
        for alpha in (augment.mixup, augment.cutmix)
    )
    middle = torch.rand(pairs, 2, generator=generator)
    half = 0.5 * (1 - cut).sqrt()[:, None]
    box = torch.cat([(middle - half).clamp(min=0), (middle + half).clamp(max=1)], dim=1) * is_cut[:, None]
    uncovered = 1 - (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    own = torch.where(is_cut, uncovered, blended)
    return {"own": own.repeat_interleave(2), "box": box.repeat_interleave(2, dim=0)}


def neighbours(values: Tensor) -> Tensor:
    """The values [B, ...] of each one's neighbour: 1 and 0 change places, 3 and 2, and so on."""
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def mixtures(images: Tensor, draws: Draws) -> Tensor:
    """Each image of float32 [B, C, H, W] mixed with its neighbour, channels last in memory."""
    others = neighbours(images).contiguous(memory_format=torch.channels_last)
    left, top, right, bottom = without_waiting(draws["box"], images.device)[:, :, None].unbind(1)
    x, y = ((torch.arange(size, device=images.device) + 0.5) / size for size in (images.shape[3], images.shape[2]))
    inside = ((y >= top) & (y < bottom))[:, None, :, None] & ((x >= left) & (x < right))[:, None, None, :]
    is_blended = draws["box"].sum(1) == 0
    own = without_waiting(torch.where(is_blended, draws["own"], 1.0), images.device)[:, None, None, None]
    return torch.where(inside, others, torch.lerp(others, images, own))


def views(pixels: Tensor, augment: Augment, draws: Draws) -> Tensor:
    """The views of images uint8 [B, H, W, C]."""
    if augment.crop_padding_px > 0 or augment.horizontal_flip:
        pixels = crops(pixels, augment.crop_padding_px, draws)
    if augment.resized_crop is not None:
        pixels = resized_crops(pixels, augment.resized_crop, draws["part"])
    if augment.policy is not None:
        pixels = operated(pixels, augment.policy, draws)
    if augment.colour is not None:
        pixels = jittered(pixels, augment.colour, draws["colour"])
    if augment.erasing is not None:
        pixels = erased(pixels, augment.erasing, draws["erased"])
    return pixels


def truths(values: Tensor, augment: Augment, draws: Draws, *, unknown: float) -> Tensor:
    """What is true of every pixel [B, H, W], of any type, as `views` moves the pictures; colours change nothing of it.

    Args:
        values: classes or metres.
        augment: that of the pictures.
        draws: those of the pictures.
        unknown: the value of a pixel of which nothing is known, as where a picture was padded or erased.
    """
    moving = values[..., None]
    if augment.crop_padding_px > 0 or augment.horizontal_flip:
        moving = crops(moving, augment.crop_padding_px, draws, outside=unknown)
    if augment.resized_crop is not None:
        moving = resized_crops(moving, augment.resized_crop, draws["part"], nearest=True)
    if augment.policy is not None:
        for names, strengths in rounds_of(augment.policy, draws):
            moving = moved(moving, names, strengths, outside=unknown)
    if augment.erasing is not None:
        moving = erased(moving, augment.erasing, draws["erased"], to=unknown)
    return moving[..., 0]


def crops(pixels: Tensor, padding: int, draws: Draws, *, outside: float = 0) -> Tensor:
    """Crops of the padded pictures and of their mirror images, one gather for the whole batch."""
    batch, height, width, _ = pixels.shape
    device = pixels.device
    columns = torch.arange(width, device=device).expand(batch, width)
    if "mirrored" in draws.values:
        columns = torch.where(without_waiting(draws["mirrored"], device), width - 1 - columns, columns)
    rows = torch.arange(height, device=device) + without_waiting(draws["top"], device)
    columns = columns + without_waiting(draws["left"], device)
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding), value=outside)
    samples = torch.arange(batch, device=device)
    return padded[samples[:, None, None], rows[:, :, None], columns[:, None, :]]


def rectangles(drawn: Tensor, areas: tuple[float, float], max_aspect: float) -> Tensor:
    """Random rectangles [B, 4] in a picture of sides 1, as (left, top, width, height).

    One that is longer than the picture is cut to its side, so that all have a place.

    Args:
        drawn: uniform in [0, 1), [B, 4]: area, aspect, x and y.
        areas: least and greatest share of the picture.
        max_aspect: greatest ratio of the sides; the logarithm of the ratio is uniform.
    """
    area = areas[0] + (areas[1] - areas[0]) * drawn[:, 0]
    aspect = torch.exp(math.log(max_aspect) * (2 * drawn[:, 1] - 1))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    return torch.stack([drawn[:, 2] * (1 - width), drawn[:, 3] * (1 - height), width, height], dim=1)


def resized_crops(pixels: Tensor, settings: RandomResizedCrop, drawn: Tensor, *, nearest: bool = False) -> Tensor:
    """Parts of the pictures stretched to the whole, bilinear; they only grow, so there is nothing to smooth.

    With `nearest` each pixel takes the value of one pixel, of any type.
    """
    left, top, width, height = rectangles(drawn, (settings.min_area, 1.0), settings.max_aspect).unbind(1)
    zero = torch.zeros_like(left)
    # In affine_grid's coordinates the picture reaches from -1 to 1.
    theta = torch.stack([width, zero, 2 * left + width - 1, zero, height, 2 * top + height - 1], 1).reshape(-1, 2, 3)
    images = pixels.permute(0, 3, 1, 2).to(torch.float32)
    grid = F.affine_grid(without_waiting(theta, pixels.device), list(images.shape), align_corners=False)
    if nearest:
        found = F.grid_sample(images, grid, mode="nearest", padding_mode="border", align_corners=False)
        return found.to(pixels.dtype).permute(0, 2, 3, 1)
    stretched = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return stretched.round_().to(torch.uint8).permute(0, 2, 3, 1)


def operated(pixels: Tensor, policy: RandAugment | TrivialAugment, draws: Draws) -> Tensor:
    """Pictures after the operations of a policy."""
    for names, strengths in rounds_of(policy, draws):
        pixels = moved(pixels, names, strengths)
        keys = [pair if pair[0] in COLOURING else None for pair in zip(names, strengths, strict=True)]
        pixels = together(pixels, keys, lambda images, key: COLOURING[key[0]](images, key[1]))
    return pixels


def rounds_of(policy: RandAugment | TrivialAugment, draws: Draws) -> Iterator[tuple[list[str], list[float]]]:
    """The operation of each picture and its strength, round by round."""
    for round_ in range(draws["operation"].shape[1]):
        names = [OPERATIONS[number] for number in draws["operation"][:, round_].tolist()]
        levels = draws["level"][:, round_].tolist()
        strengths = [
            strength(name, policy, level) * (-1 if negative and name in SIGNED else 1)
            for name, level, negative in zip(names, levels, draws["negative"][:, round_].tolist(), strict=True)
        ]
        yield names, strengths


def strength(name: str, policy: RandAugment | TrivialAugment, level: int) -> float:
    """What an operation is called with, as torchvision has it for this policy; `level` counts for TrivialAugment only.

    Shears are slopes, translations shares of the side (in TrivialAugment 32 of the 224 px it was made for), rotations
    degrees, of colours what a factor differs from 1; the number of bits; the share of the range that stays.
    """
    strong = isinstance(policy, TrivialAugment)
    share = (level if isinstance(policy, TrivialAugment) else policy.magnitude) / (LEVELS - 1)
    match name:
        case "ShearX" | "ShearY":
            return share * (0.99 if strong else 0.3)
        case "TranslateX" | "TranslateY":
            return share * (32 / 224 if strong else 150 / 331)
        case "Rotate":
            return share * (135 if strong else 30)
        case "Posterize":
            return 8 - round(share * (6 if strong else 4))
        case "Solarize":
            return 1 - share
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            return share * (0.99 if strong else 0.9)
        case _:
            return 0.0


def moved(pixels: Tensor, names: Sequence[str], strengths: Sequence[float], *, outside: float = 0) -> Tensor:
    """Pictures sheared, shifted or turned, those whose operation does so; the nearest pixel, black outside."""
    chosen = [place for place, name in enumerate(names) if name in MOVING]
    if not chosen:
        return pixels
    _, height, width, _ = pixels.shape
    device = pixels.device
    sources = [source_of(names[place], strengths[place], height, width) for place in chosen]
    matrix = without_waiting(torch.tensor(sources), device)
    x, y = torch.arange(width, device=device), torch.arange(height, device=device)[:, None]
    columns, rows = (
        (line[:, 0, None, None] * x + line[:, 1, None, None] * y + line[:, 2, None, None]).round_().to(torch.int64)
        for line in matrix.unbind(1)
    )
    inside = ((columns >= 0) & (columns < width) & (rows >= 0) & (rows < height))[..., None]
    index = without_waiting(torch.tensor(chosen), device)
    nearest = pixels[index[:, None, None], rows.clamp_(0, height - 1), columns.clamp_(0, width - 1)]
    result = pixels.clone()
    result[index] = torch.where(inside, nearest, outside).to(pixels.dtype)
    return result


def source_of(name: str, strength: float, height: int, width: int) -> list[list[float]]:
    """Where a moving operation takes a pixel from: (column, row) = this [2, 3] times (x, y, 1)."""
    x, y = (width - 1) / 2, (height - 1) / 2
    match name:
        case "ShearX":  # about the upper left corner, as in the paper's code
            return [[1, strength, strength / 2], [0, 1, 0]]
        case "ShearY":
            return [[1, 0, 0], [strength, 1, strength / 2]]
        case "TranslateX":
            return [[1, 0, -int(strength * width)], [0, 1, 0]]
        case "TranslateY":
            return [[1, 0, 0], [0, 1, -int(strength * height)]]
        case _:  # "Rotate"
            cosine, sine = math.cos(math.radians(strength)), math.sin(math.radians(strength))
            return [[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y]]


def jittered(pixels: Tensor, settings: ColourJitter, drawn: Tensor) -> Tensor:
    """Pictures with other brightness, contrast and saturation."""
    widths = (settings.brightness, settings.contrast, settings.saturation)
    changes = (v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation)
    for change, width, steps in zip(changes, widths, drawn.unbind(1), strict=True):
        if width == 0 or (change is v2.adjust_saturation and pixels.shape[-1] == 1):
            continue
        factors = [1 + width * (2 * step / (JITTER_STEPS - 1) - 1) for step in steps.tolist()]
        pixels = together(pixels, factors, change)
    return pixels


def together(pixels: Tensor, keys: Sequence[Key | None], change: Callable[[Tensor, Key], Tensor]) -> Tensor:
    """Change the pictures uint8 [B, H, W, C] that have a key: all with the same one in one call, as [n, C, H, W]."""
    places: dict[Key, list[int]] = {}
    for place, key in enumerate(keys):
        if key is not None:
            places.setdefault(key, []).append(place)
    if not places:
        return pixels
    result = pixels.clone()
    for key, chosen in places.items():
        index = without_waiting(torch.tensor(chosen), pixels.device)
        result[index] = change(pixels[index].permute(0, 3, 1, 2), key).permute(0, 2, 3, 1)
    return result


def sharpened(images: Tensor, factor: float) -> Tensor:
    """As v2.adjust_sharpness, which copies a small kernel to the GPU in every call and makes the host wait for it."""
    pictures = images.to(torch.float32)
    inner = (..., slice(1, -1), slice(1, -1))
    blurred = pictures.clone()
    blurred[inner] = ((9 * F.avg_pool2d(pictures, 3, stride=1) + 4 * pictures[inner]) / 13).round_()
    return (blurred + factor * (pictures - blurred)).clamp_(0, 255).to(torch.uint8)


def erased(pixels: Tensor, settings: Erasing, drawn: Tensor, *, to: float = 0) -> Tensor:
    """Pictures of which some have a black rectangle."""
    _, height, width, _ = pixels.shape
    boxes = rectangles(drawn[:, 1:], (settings.min_area, settings.max_area), settings.max_aspect)
    boxes[drawn[:, 0] >= settings.pictures] = 0
    left, top, wide, high = without_waiting(boxes, pixels.device)[:, :, None].unbind(1)
    x = (torch.arange(width, device=pixels.device) + 0.5) / width
    y = (torch.arange(height, device=pixels.device) + 0.5) / height
    columns, rows = (x > left) & (x < left + wide), (y > top) & (y < top + high)
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return pixels * ~inside if to == 0 else torch.where(inside, to, pixels)


def without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; a copy to a GPU starts from pinned memory, so that the host goes on at once."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
