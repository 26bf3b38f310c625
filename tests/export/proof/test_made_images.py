import numpy as np
import pytest

from distill.vision.preprocess import Preprocess
from export.proof.made_images import NUM_SYNTHETIC, synthetic_images


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (8, 1), (50, 3)])
def test_they_reach_the_corners_of_what_pixels_can_be(size: int, channels: int) -> None:
    preprocess = Preprocess(size_px=size, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    images = synthetic_images(preprocess, 0)
    assert images.shape == (NUM_SYNTHETIC, size, size, channels)
    assert np.array_equal(images, synthetic_images(preprocess, 0))
    assert not np.array_equal(images, synthetic_images(preprocess, 1))
    means, deviations = images.mean((1, 2, 3)), images.std((1, 2, 3))
    assert {0.0, 255.0} <= set(means), "black and white"
    assert ((deviations > 120) & (abs(means - 127.5) < 1)).any(), "a checkerboard"
    assert (means[deviations > 5].min(), means[deviations > 5].max()) < (60, 255)
    assert means[deviations > 5].max() > 190
    assert deviations[0] > 10, "the first, which becomes the golden input, is no plain one"
    assert len(np.unique(images, axis=0)) == NUM_SYNTHETIC
