import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from distill.errors import UsageError
from distill.vision.models import ImageClassifier, build, builder
from distill.vision.preprocess import Preprocess
from tests.distill.vision.one_of_each import ONE_OF_EACH

GREY = Preprocess(size_px=8, channels=1, mean=(0.2,), std=(0.5,))
RGB = Preprocess(size_px=8, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))


def test_input_is_channels_first_in_the_unit_range() -> None:
    images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    found = RGB.to_input(images)
    assert found.shape == (2, 3, 8, 8)
    assert found.dtype == np.float32
    assert found[1, 2, 3, 4] == np.float32(images[1, 3, 4, 2]) / np.float32(255)


def test_mean_and_std_are_applied_inside_the_network() -> None:
    inside = ImageClassifier(torch.nn.Identity(), RGB)
    images = torch.rand(2, 3, 8, 8)
    expected = (images - torch.tensor(RGB.mean).view(3, 1, 1)) / torch.tensor(RGB.std).view(3, 1, 1)
    assert torch.allclose(inside(images), expected)


def test_one_channel_becomes_three_equal_ones_inside_the_network() -> None:
    wide = ImageClassifier(torch.nn.Identity(), GREY)(torch.rand(2, 1, 8, 8))
    assert wide.shape == (2, 3, 8, 8)
    assert torch.equal(wide[:, 0], wide[:, 2])


def test_normalisation_is_not_among_the_saved_weights() -> None:
    assert list(ImageClassifier(torch.nn.Linear(1, 1), RGB).state_dict()) == ["network.weight", "network.bias"]


def published(size_px: int, share: float, interpolation: str) -> Preprocess:
    rule = {"resize": "crop", "crop_share": share, "interpolation": interpolation}
    return Preprocess.model_validate({**RGB.model_dump(), **rule, "size_px": size_px})


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("share", [0.875, 0.9, 1.0])
def test_a_crop_share_sees_what_timm_shows_a_network(share: float, interpolation: str) -> None:
    """A filter of single precision may round a level otherwise; so may the order of the two passes."""
    from timm.data.transforms_factory import transforms_imagenet_eval

    rng = np.random.default_rng(3)
    for height, width in ((99, 200), (333, 128), (64, 64), (40, 30), (700, 701)):
        coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        theirs = transforms_imagenet_eval(64, crop_pct=share, interpolation=interpolation, use_prefetcher=True)
        expected = np.asarray(theirs(picture)).transpose(1, 2, 0).astype(int)
        found = published(64, share, interpolation).resize_image(picture).astype(int)
        apart = np.abs(found - expected)
        assert apart.max() <= 2
        assert apart.mean() < 0.05


def test_without_a_share_a_picture_is_cut_and_scaled_as_ever() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 50, 3), dtype=np.uint8))
    crop = RGB.model_copy(update={"resize": "crop"})
    expected = np.asarray(picture.crop((9, 0, 40, 31)).resize((8, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(crop.resize_image(picture), expected)
    expected = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(RGB.resize_image(picture), expected)


def test_truths_are_placed_where_the_picture_is() -> None:
    """A column that is white in the picture is the same column of the truth, to the pixel that it is nearest to."""
    column = np.zeros((60, 90), dtype=np.uint8)
    column[:, 40:48] = 255
    rule = published(30, 0.75, "bilinear")
    truth = rule.resize_truth(Image.fromarray(column))
    seen = rule.resize_image(Image.fromarray(column))[:, :, 0]
    assert set(np.unique(truth)) == {0, 255}
    assert np.abs(truth.astype(int) - seen).max() <= 128


def test_a_share_belongs_to_a_crop() -> None:
    with pytest.raises(ValidationError, match=r"crop_share 0\.9 has no effect with resize stretch"):
        Preprocess.model_validate({**RGB.model_dump(), "crop_share": 0.9})


def test_mean_needs_one_value_per_channel() -> None:
    with pytest.raises(ValidationError, match="one per channel; found 1 and 3"):
        Preprocess(size_px=8, channels=3, mean=(0.5,), std=(0.25,) * 3)


@pytest.mark.parametrize("name", [*ONE_OF_EACH, "timm:test_resnet", "torchvision:shufflenet_v2_x0_5"])
def test_every_named_network_takes_a_picture_to_logits(name: str) -> None:
    model = build(name, num_classes=4, preprocess=GREY.model_copy(update={"size_px": 64})).eval()
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenet_v3_smal", "did you mean mobilenet_v3_small"),
        ("timm:resnet5000", "timm has no model"),
        ("torchvision:resnet19", "torchvision has no classifier 'resnet19'; did you mean resnet1"),
        ("keras:xception", "unknown model"),
    ],
)
def test_an_unknown_network_is_refused_with_the_nearest_names(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        builder(name)
    assert message in str(caught.value)
