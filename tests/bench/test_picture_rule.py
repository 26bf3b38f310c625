"""The rule by which pictures become inputs, told to instruments: the agent's own lines do what the toolkit does."""

import numpy as np
import pytest
from PIL import Image

from bench.instruments import agent
from bench.protocol import PictureRule
from distill.vision.preprocess import Preprocess

CASES = [
    ("stretch", None, "bilinear"),
    ("stretch", None, "bicubic"),
    ("crop", None, "bilinear"),
    ("crop", 1.0, "bicubic"),
    ("crop", 0.875, "bilinear"),
    ("crop", 0.9, "bicubic"),
]


@pytest.mark.parametrize(("resize", "crop_share", "interpolation"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_agent_makes_the_same_pixels(resize, crop_share, interpolation, channels):
    rule = PictureRule(size_px=32, resize=resize, crop_share=crop_share, interpolation=interpolation, channels=channels)
    preprocess = Preprocess(**rule.model_dump(), mean=(0.0,) * channels, std=(1.0,) * channels)
    path, rng = agent.Path(rule.model_dump(mode="json")), np.random.default_rng(5)
    for height, width in ((32, 32), (40, 99), (120, 33), (7, 5), (64, 64)):
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(preprocess.mode)
        expected = preprocess.resize_image(picture).transpose(2, 0, 1)
        np.testing.assert_array_equal(path.resize(picture), expected)
