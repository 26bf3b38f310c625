"""What a network that is brought sees if nothing else is said."""

import pytest

from distill.errors import UsageError
from export.run.options import as_preprocess


def test_a_librarys_network_sees_what_its_library_publishes(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_preprocess("timm:mobilevit_xxs", None, None, None, None, None)
    assert (found.size_px, found.mean, found.std) == (256, (0.0,) * 3, (1.0,) * 3)
    assert "sees 256 px, mean 0 0 0, std 1 1 1 (size, mean, std as published" in capsys.readouterr().err
    other = as_preprocess("timm:mobilevit_xxs", 64, 3, "crop", "0.5,0.5,0.5", "0.25,0.25,0.25")
    assert (other.size_px, other.mean, other.std) == (64, (0.5,) * 3, (0.25,) * 3)
    assert "published" not in capsys.readouterr().err


def test_a_network_made_for_cifar_sees_its_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_preprocess("resnet20", None, None, None, None, None)
    assert (found.size_px, found.mean, found.std) == (32, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    assert "resnet20 sees 32 px, mean 0.5071 0.4867 0.4408" in capsys.readouterr().err
    assert as_preprocess("mobilenet_v3_small", None, None, None, None, None).size_px == 224


def test_a_librarys_network_sees_the_centre_as_its_library_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_preprocess("timm:mobilevit_xxs", None, None, None, None, None).resize == "crop"
    assert "published with 0.9 of that square, bicubic" in " ".join(capsys.readouterr().err.split())
    assert as_preprocess("torchvision:resnet18", None, None, "stretch", None, None).resize == "stretch"
    assert as_preprocess("my.module:factory", None, None, None, None, None).resize == "stretch"
    assert "published with" not in capsys.readouterr().err


def test_grey_pictures_are_normalised_as_the_mean_of_the_librarys_channels_is() -> None:
    grey = as_preprocess("torchvision:resnet18", 64, 1, None, None, None)
    assert grey.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert grey.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))


def test_a_network_of_the_users_own_sees_imagenets_usual_input() -> None:
    assert as_preprocess("my.module:factory", None, None, None, None, None).mean == (0.485, 0.456, 0.406)
    assert as_preprocess("my.module:factory", None, 1, None, None, None).mean == (0.5,)


def test_a_network_that_the_library_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="timm has no model"):
        as_preprocess("timm:mobilevit_xxz", None, None, None, None, None)
