"""What a network that is brought sees if nothing else is said."""

import pytest

from distill.errors import UsageError
from export.run.options import Described, as_preprocess


def test_a_librarys_network_sees_what_its_library_publishes(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_preprocess("timm:mobilevit_xxs", Described())
    assert (found.size_px, found.mean, found.std) == (256, (0.0,) * 3, (1.0,) * 3)
    assert "sees 256 px, mean 0 0 0, std 1 1 1 (size, mean, std as published" in capsys.readouterr().err
    other = as_preprocess(
        "timm:mobilevit_xxs", Described(64, 3, "crop", 0.8, "bilinear", "0.5,0.5,0.5", "0.25,0.25,0.25")
    )
    assert (other.size_px, other.mean, other.std) == (64, (0.5,) * 3, (0.25,) * 3)
    assert "published" not in capsys.readouterr().err


def test_a_network_made_for_cifar_sees_its_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_preprocess("resnet20", Described())
    assert (found.size_px, found.mean, found.std) == (32, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    assert "resnet20 sees 32 px, mean 0.5071 0.4867 0.4408" in capsys.readouterr().err
    assert as_preprocess("mobilenet_v3_small", Described()).size_px == 224


def test_a_librarys_network_takes_its_own_crop_and_interpolation(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_preprocess("timm:mobilevit_xxs", Described())
    assert (found.resize, found.crop_share, found.interpolation) == ("crop", 0.9, "bicubic")
    assert "sees 90 % of a picture's centre square, resized bicubic" in " ".join(capsys.readouterr().err.split())
    theirs = as_preprocess("torchvision:resnet18", Described())
    assert (theirs.resize, theirs.crop_share, theirs.interpolation) == ("crop", 224 / 256, "bilinear")
    whole = as_preprocess("torchvision:resnet18", Described(resize="stretch"))
    assert (whole.resize, whole.crop_share) == ("stretch", None)
    own = as_preprocess("my.module:factory", Described())
    assert (own.resize, own.crop_share, own.interpolation) == ("stretch", None, "bilinear")


def test_crop_and_interpolation_can_be_chosen() -> None:
    chosen = as_preprocess("timm:mobilevit_xxs", Described(crop_share=0.8, interpolation="bilinear"))
    assert (chosen.crop_share, chosen.interpolation) == (0.8, "bilinear")
    with pytest.raises(UsageError, match=r"crop_share 0\.8 has no effect with resize stretch"):
        as_preprocess("my.module:factory", Described(crop_share=0.8))
    with pytest.raises(UsageError, match="interpolation: input should be 'bilinear' or 'bicubic'"):
        as_preprocess("my.module:factory", Described(interpolation="lanczos"))


def test_grey_pictures_are_normalised_as_the_mean_of_the_librarys_channels_is() -> None:
    grey = as_preprocess("torchvision:resnet18", Described(size=64, channels=1))
    assert grey.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert grey.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))


def test_a_network_of_the_users_own_sees_imagenets_usual_input() -> None:
    assert as_preprocess("my.module:factory", Described()).mean == (0.485, 0.456, 0.406)
    assert as_preprocess("my.module:factory", Described(channels=1)).mean == (0.5,)


def test_a_network_that_the_library_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="timm has no model"):
        as_preprocess("timm:mobilevit_xxz", Described())
