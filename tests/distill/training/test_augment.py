"""Views: what they may show, that they are torchvision's operations, and that they are the same everywhere."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from distill.config import Augment, ColourJitter, Erasing, RandAugment, RandomResizedCrop, TrivialAugment
from distill.training.augment import (
    LEVELS,
    MOVING,
    OPERATIONS,
    SIGNED,
    Draws,
    draw,
    operated,
    rectangles,
    resized_crops,
    strength,
    truths,
    views,
)


def pictures(count: int = 6, size: int = 32, channels: int = 3) -> Tensor:
    """uint8 [count, size, size, channels]: smooth enough that a pixel's neighbour is not a stranger."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 5, 5, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


EVERYTHING = Augment(
    crop_padding_px=2,
    horizontal_flip=True,
    resized_crop=RandomResizedCrop(min_area=0.5),
    policy=RandAugment(),
    colour=ColourJitter(),
    erasing=Erasing(pictures=0.5),
)


def test_views_are_crops_of_the_padded_picture_or_of_its_mirror_image() -> None:
    picture = torch.arange(36, dtype=torch.uint8).reshape(1, 6, 6, 1).repeat(1, 1, 1, 3)
    padded = torch.nn.functional.pad(picture[0], (0, 0, 2, 2, 2, 2))
    windows = [padded[y : y + 6, x : x + 6] for y in range(5) for x in range(5)]
    mirrored = torch.nn.functional.pad(picture[0].flip(1), (0, 0, 2, 2, 2, 2))
    windows += [mirrored[y : y + 6, x : x + 6] for y in range(5) for x in range(5)]
    seen = set()
    augment = Augment(crop_padding_px=2, horizontal_flip=True)
    for view in views(picture.expand(400, 6, 6, 3), augment, draw(augment, 400, torch.Generator().manual_seed(1))):
        matches = [index for index, window in enumerate(windows) if torch.equal(view, window)]
        assert matches
        seen.add(matches[0])
    assert len(seen) > 45


def test_the_view_of_an_image_does_not_depend_on_the_others() -> None:
    pixels = torch.randint(0, 256, (8, 5, 5, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for augment in (Augment(crop_padding_px=1, horizontal_flip=True), EVERYTHING):
        draws = draw(augment, 8, torch.Generator().manual_seed(2))
        some = torch.tensor([6, 1])
        assert torch.equal(views(pixels[some], augment, draws.of(some)), views(pixels, augment, draws)[some])


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_at_once_keeps_shape_and_type_and_changes_the_picture(channels: int) -> None:
    pixels = pictures(channels=channels)
    seen = views(pixels, EVERYTHING, draw(EVERYTHING, len(pixels), torch.Generator().manual_seed(3)))
    assert seen.shape == pixels.shape
    assert seen.dtype == torch.uint8
    assert not any(torch.equal(view, picture) for view, picture in zip(seen, pixels, strict=True))


def test_crops_and_mirror_images_are_drawn_before_whatever_came_later() -> None:
    plain = Augment(crop_padding_px=2, horizontal_flip=True)
    old, new = (draw(augment, 9, torch.Generator().manual_seed(5)) for augment in (plain, EVERYTHING))
    assert all(torch.equal(old[name], new[name]) for name in ("top", "left", "mirrored"))


def library(policy: RandAugment | TrivialAugment, name: str, level: int, *, negative: bool, image: Tensor) -> Tensor:
    """What torchvision's own policy does to one image [C, H, W]."""
    magnitude_of = (v2.TrivialAugmentWide if isinstance(policy, TrivialAugment) else v2.RandAugment)._AUGMENTATION_SPACE
    magnitudes = magnitude_of[name][0](LEVELS, *image.shape[1:])
    magnitude = 0.0 if magnitudes is None else float(magnitudes[level]) * (-1 if negative and name in SIGNED else 1)
    return v2.RandAugment()._apply_image_or_video_transform(image, name, magnitude, InterpolationMode.NEAREST, {})


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("policy", [RandAugment(magnitude=9), RandAugment(magnitude=19), TrivialAugment()])
def test_operations_are_torchvisions(policy: RandAugment | TrivialAugment, name: str, negative: bool) -> None:
    level = policy.magnitude if isinstance(policy, RandAugment) else 17
    pixels = pictures(3, size=224 if isinstance(policy, TrivialAugment) else 64)
    drawn = {"operation": OPERATIONS.index(name), "level": level, "negative": negative}
    found = operated(pixels, policy, Draws({key: torch.full((3, 1), value) for key, value in drawn.items()}))
    for ours, image in zip(found, pixels, strict=True):
        expected = library(policy, name, level, negative=negative, image=image.permute(2, 0, 1)).permute(1, 2, 0)
        differing = (ours.int() - expected.int()).abs().amax(-1) > 1
        # A pixel that lies between two is the one or the other.
        assert differing.float().mean() < 0.01


def test_operations_follow_one_another_and_each_picture_has_its_own() -> None:
    pixels = pictures(2)
    names = [["Solarize", "Equalize"], ["Equalize", "Solarize"]]
    operation = torch.tensor([[OPERATIONS.index(name) for name in row] for row in names])
    draws = Draws({"operation": operation, "level": operation, "negative": operation < 0})
    found = operated(pixels, RandAugment(magnitude=15), draws)
    for row, ours, image in zip(names, found, pixels, strict=True):
        expected = image.permute(2, 0, 1)
        for name in row:
            expected = library(RandAugment(), name, 15, negative=False, image=expected)
        assert torch.equal(ours, expected.permute(1, 2, 0))


@pytest.mark.parametrize("policy", [RandAugment(operations=3), TrivialAugment()])
def test_a_policy_draws_every_operation_equally_often(policy: RandAugment | TrivialAugment) -> None:
    drawn = draw(Augment(policy=policy), 14_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn["operation"][:, 0], minlength=len(OPERATIONS))
    assert counts.min() > 850
    assert counts.max() < 1150
    assert drawn["operation"].shape[1] == (3 if isinstance(policy, RandAugment) else 1)


def test_strengths_grow_with_the_level_of_a_trivial_augment_and_with_the_magnitude_of_a_rand_augment() -> None:
    assert strength("Rotate", TrivialAugment(), 30) == 135
    assert strength("Rotate", TrivialAugment(), 0) == 0
    assert strength("Rotate", RandAugment(magnitude=10), 30) == 10
    assert strength("Posterize", RandAugment(magnitude=30), 0) == 4


def test_rectangles_have_the_areas_and_the_aspects_asked_for_and_lie_inside() -> None:
    drawn = torch.rand(5000, 4, generator=torch.Generator().manual_seed(0))
    left, top, width, height = rectangles(drawn, (0.1, 0.3), 2.0).unbind(1)
    area, aspect = width * height, width / height
    assert 0.0999 < area.min() < 0.101
    assert 0.299 < area.max() < 0.3001
    assert 0.499 < aspect.min() < 0.51
    assert 1.96 < aspect.max() < 2.001
    assert (aspect < 1).float().mean() == pytest.approx(0.5, abs=0.03)
    for start, length in ((left, width), (top, height)):
        assert start.min() >= 0
        assert (start + length).max() <= 1 + 1e-6


def test_a_resized_crop_shows_the_part_that_was_drawn() -> None:
    ramp = torch.arange(0, 64, dtype=torch.uint8).expand(1, 64, 64)[..., None].contiguous()
    settings = RandomResizedCrop(min_area=0.25, max_aspect=1.0)
    whole = resized_crops(ramp, settings, torch.tensor([[1.0, 0.5, 0.5, 0.5]]))
    assert torch.equal(whole, ramp)
    right_half = resized_crops(ramp, settings, torch.tensor([[0.0, 0.5, 1.0, 0.0]]))
    expected = v2.functional.resized_crop(ramp.permute(0, 3, 1, 2), 0, 32, 32, 32, [64, 64], antialias=False)
    assert (right_half.int() - expected.permute(0, 2, 3, 1).int()).abs().max() <= 1


def test_a_jitter_changes_brightness_contrast_and_saturation_by_the_factors_drawn() -> None:
    pixels, settings = pictures(2), ColourJitter(brightness=0.5, contrast=0.3, saturation=0.4)
    draws = Draws({"colour": torch.tensor([[15, 0, 15], [0, 15, 0]])})
    found = views(pixels, Augment(colour=settings), draws)
    for ours, image, sign in zip(found, pixels, (1, -1), strict=True):
        expected = v2.functional.adjust_brightness(image.permute(2, 0, 1), 1 + sign * 0.5)
        expected = v2.functional.adjust_contrast(expected, 1 - sign * 0.3)
        expected = v2.functional.adjust_saturation(expected, 1 + sign * 0.4)
        assert torch.equal(ours, expected.permute(1, 2, 0))


def test_erasing_paints_as_many_rectangles_of_the_right_size_as_asked() -> None:
    white = torch.full((4000, 20, 20, 1), 255, dtype=torch.uint8)
    augment = Augment(erasing=Erasing(pictures=0.3, min_area=0.2, max_area=0.4))
    seen = views(white, augment, draw(augment, 4000, torch.Generator().manual_seed(0)))
    black = (seen == 0).float().mean((1, 2, 3))
    hit = black > 0
    assert hit.float().mean() == pytest.approx(0.3, abs=0.03)
    assert black[hit].mean() == pytest.approx(0.3, abs=0.01)
    assert 0.15 < black[hit].min()
    assert black[hit].max() < 0.47


def planted(count: int = 40, size: int = 24) -> tuple[Tensor, Tensor]:
    """Pictures uint8 [count, size, size, 1] of blocks, and of each pixel the class that its brightness tells."""
    blocks = torch.randint(0, 6, (count, 6, 6), generator=torch.Generator().manual_seed(3))
    classes = blocks.repeat_interleave(size // 6, 1).repeat_interleave(size // 6, 2).to(torch.uint8)
    return (40 * classes + 20)[..., None], classes


@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop_padding_px=5, horizontal_flip=True),
        Augment(policy=RandAugment(operations=3, magnitude=20)),
        Augment(erasing=Erasing(pictures=1.0)),
    ],
)
def test_a_mask_moves_with_its_picture_and_is_unknown_where_there_is_none(augment: Augment) -> None:
    pixels, classes = planted()
    draws = draw(augment, len(pixels), torch.Generator().manual_seed(4))
    if augment.policy is not None:  # of which only the moving ones leave the brightness as it is
        moving = torch.tensor([OPERATIONS.index(name) for name in MOVING])
        draws = Draws({**draws.values, "operation": moving[draws["operation"] % len(moving)]})
    shown = views(pixels, augment, draws)[..., 0]
    truth = truths(classes, augment, draws, unknown=255)
    unknown = truth == 255
    assert 0.01 < unknown.float().mean() < 0.7
    assert not shown[unknown].any()
    assert torch.equal(shown[~unknown], 40 * truth[~unknown] + 20)


def test_a_mask_grows_with_a_part_of_its_picture_and_has_no_class_between_two() -> None:
    pixels, classes = planted(size=48)
    augment = Augment(resized_crop=RandomResizedCrop(min_area=0.2))
    draws = draw(augment, len(pixels), torch.Generator().manual_seed(4))
    shown = views(pixels, augment, draws)[..., 0]
    truth = truths(classes, augment, draws, unknown=255)
    assert truth.unique().tolist() == list(range(6))
    inner = F.max_pool2d(truth[:, None].float(), 5, 1, 2) == -F.max_pool2d(-truth[:, None].float(), 5, 1, 2)
    inner[..., :3], inner[..., -3:], inner[..., :3, :], inner[..., -3:, :] = False, False, False, False  # of the part
    assert inner.float().mean() > 0.1
    assert torch.equal(shown[inner[:, 0]], 40 * truth[inner[:, 0]] + 20)


def test_metres_move_unrounded() -> None:
    metres = torch.rand(8, 12, 12) + 1
    augment = Augment(crop_padding_px=2, horizontal_flip=True)
    moved = truths(metres, augment, draw(augment, 8, torch.Generator().manual_seed(0)), unknown=0.0)
    assert moved.dtype == torch.float32
    for before, after in zip(metres, moved, strict=True):
        assert set(after[after > 0].tolist()) <= set(before.flatten().tolist())
