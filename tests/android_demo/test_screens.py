"""The app's drawn screens against those kept in `results/`, and whether what they say can be read."""

import numpy as np
import pytest
from PIL import Image

from android_demo.mock_screens import RESOURCES, SCREENS, Screen, Theme, draw
from distill.vision.painting import UNKNOWN_GREY
from tests.android_demo.conftest import ROOT

KEPT = ROOT / "results"
CLEARLY = 48
"""Levels: more than a rounding of another Pillow, less than a letter or a colour that is another."""
ALLOWED = 5e-5
"""Share of the pixels that may."""


def different(drawn: Image.Image, name: str) -> float:
    """Share of the pixels that clearly differ from the kept ones, in [0, 1]."""
    ours, theirs = np.asarray(drawn), np.asarray(Image.open(KEPT / f"app-{name}.png").convert("RGB"))
    assert ours.shape == theirs.shape
    return float(np.mean(np.abs(ours.astype(int) - theirs).max(axis=2) > CLEARLY))


def test_every_kept_screen_is_drawn() -> None:
    assert {f"app-{name}.png" for name in SCREENS} == {path.name for path in KEPT.glob("app-*.png")}


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_it_is_kept(name: str) -> None:
    assert different(draw(name), name) <= ALLOWED, (
        "look at it; if it is right: python android_demo/mock_screens.py results"
    )


def test_a_word_that_is_another_is_seen() -> None:
    """So that the comparison above can fail: a scale in feet."""
    layout, contents, theme = SCREENS["depth-portrait-dark"]
    shown = dict(contents(theme)) | {"scale_end": "8 ft"}
    assert different(Screen(theme).show(layout, shown), "depth-portrait-dark") > ALLOWED


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.1, in [0, 1]."""
    levels = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    """Contrast ratio by WCAG 2.1, from 1 on."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("night", [False, True])
def test_labels_can_be_read_and_swatches_seen(night: bool) -> None:
    """WCAG 2.1 AA: 4.5 for text; 3 for the line around a swatch, which may itself be as dark as the screen."""
    colours = Theme(land=False, night=night).colours
    for text in ("ink", "ink_soft"):
        assert contrast(colours[text], colours["background"]) >= 4.5
    assert contrast(colours["ink"], colours["badge"]) >= 4.5
    line = RESOURCES / "drawable/swatch.xml"
    assert 'android:color="@color/ink_soft"' in line.read_text()


def test_what_is_not_known_has_one_grey_in_the_app_and_here() -> None:
    source = ROOT / "android_demo/src/main/java/org/pocketdistill/demo/task/DepthScale.java"
    assert f"UNKNOWN = 0xff{UNKNOWN_GREY:02x}{UNKNOWN_GREY:02x}{UNKNOWN_GREY:02x};" in source.read_text()
