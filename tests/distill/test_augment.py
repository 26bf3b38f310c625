"""Views: what they may show, and that they are the same everywhere."""

import torch

from distill.augment import draw, views
from distill.config import Augment


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
    augment = Augment(crop_padding_px=1, horizontal_flip=True)
    draws = draw(augment, 8, torch.Generator().manual_seed(2))
    some = torch.tensor([6, 1])
    assert torch.equal(views(pixels[some], augment, draws.of(some)), views(pixels, augment, draws)[some])


def test_without_mirror_images_none_is_drawn() -> None:
    augment = Augment(crop_padding_px=1)
    assert draw(augment, 3, torch.Generator()).mirrored is None
    assert draw(augment, 3, torch.Generator()).of(slice(0, 1)).mirrored is None
