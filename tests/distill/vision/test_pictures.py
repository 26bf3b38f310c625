import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.vision import pictures
from distill.vision.pictures import Trait, Unreadable, decode, reads_heif
from distill.vision.preprocess import Preprocess
from tests.distill.vision.odd_pictures import Odd, exif, jpeg, noisy, odd_pictures, png, saved, smooth

PICTURES = odd_pictures()


def written(folder: Path, name: str, data: bytes) -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, of the file whose EXIF is cut off
@pytest.mark.parametrize("odd", PICTURES, ids=lambda odd: odd.name)
def test_a_picture_is_what_a_viewer_shows(odd: Odd, tmp_path: Path) -> None:
    file = written(tmp_path, odd.name, odd.data)
    seen = np.asarray(decode(file, 3).image)
    assert seen.shape == odd.truth.shape
    assert np.abs(seen.astype(int) - odd.truth).max() <= odd.tolerance
    levels = np.asarray(decode(file, 1).image).astype(int)
    assert np.abs(levels - np.asarray(Image.fromarray(odd.truth).convert("L"))).max() <= odd.tolerance


def test_there_are_enough_odd_pictures_and_no_two_of_a_name() -> None:
    assert len({odd.name.lower() for odd in PICTURES}) == len(PICTURES) >= 120


def test_what_was_done_to_a_picture_is_known(tmp_path: Path) -> None:
    odd = {odd.name: odd.data for odd in PICTURES}

    def traits(name: str) -> Trait:
        return decode(written(tmp_path, name, odd[name]), 3).traits

    assert traits("turned-6.jpg") == traits("turned-6.tif") == Trait.TURNED
    assert traits("turned-1.jpg") == traits("srgb-profile.png") == Trait(0)
    assert traits("colour-alpha.png") == traits("colour-key.png") == Trait.ON_WHITE
    assert traits("opaque-16-bit.png") == Trait(0)
    assert traits("grey-16-bit.png") == Trait.DEEP
    assert traits("wide-gamut.jpg") == Trait.RECOLOURED
    assert traits("animated.gif") == traits("animated.png") == traits("pages.tif") == Trait.FIRST_FRAME


def seen(tmp_path: Path, name: str, data: bytes) -> Any:
    return decode(written(tmp_path, name, data), 1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_very_large_picture_is_read_at_a_fraction(tmp_path: Path, suffix: str) -> None:
    halves = Image.new("L", (5000, 3300), 200)
    halves.paste(40, (0, 0, 2500, 3300))
    picture = seen(tmp_path, f"large.{suffix}", saved(halves, {"png": "PNG", "jpg": "JPEG"}[suffix]))
    assert picture.traits == Trait.REDUCED
    assert picture.image.size == (2500, 1650)
    assert (picture.width_px, picture.height_px) == (5000, 3300)
    assert abs(picture.image.getpixel((600, 800)) - 40) <= 1
    assert abs(picture.image.getpixel((1900, 800)) - 200) <= 1


def test_two_hundred_megapixels_of_black_and_white_are_read(tmp_path: Path) -> None:
    assert seen(tmp_path, "huge.png", saved(Image.new("1", (16_400, 12_300), 1), "PNG")).image.getextrema() == (
        255,
        255,
    )


def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    head = png(np.zeros((1, 1), np.uint8), 8, 0)
    data = head[:16] + struct.pack(">II", 50_000, 40_000) + head[24:]
    data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    with pytest.raises(Unreadable, match=r"50000 x 40000 are more than the 268,435,456 pixels"):
        seen(tmp_path, "bomb.png", data)


def test_a_quick_look_decodes_a_jpeg_at_a_fraction(tmp_path: Path) -> None:
    file = written(tmp_path, "photo.jpg", saved(Image.new("RGB", (1600, 1200), "teal"), "JPEG"))
    assert decode(file, 3, at_least_px=96).image.size == (200, 150)
    assert decode(file, 3, at_least_px=700).image.size == (1600, 1200)


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.png", b"", "the file is empty"),
        ("text.jpg", b"this is no picture", "its content is no picture"),
        ("page.jpg", b"<!DOCTYPE html><title>404</title>", "it is a web page"),
        (
            "phone.jpg",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "it is a damaged HEIF picture" if reads_heif() else "it is a HEIF picture, which needs pillow-heif",
        ),
        ("scan.png", bytes(128) + b"DICM" + bytes(100), "it is a DICOM file"),
        ("lfs.png", b"version https://git-lfs\noid sha256:0\n", "it is a pointer of Git LFS"),
        ("cut.png", cut(saved(NOISE, "PNG")), "truncated"),
        ("cut.jpg", cut(saved(NOISE, "JPEG")), "truncated"),
        ("cut.webp", cut(saved(NOISE, "WEBP")), ""),
        ("cut.gif", cut(saved(NOISE[:, :, 0], "GIF")), "truncated"),
        ("cut.tif", cut(saved(NOISE, "TIFF", compression="tiff_lzw")), ""),
        ("cut.bmp", cut(saved(NOISE, "BMP")), "truncated"),
        ("negative.tif", saved(Image.fromarray(np.array([[-5, 9]], np.int32)), "TIFF"), "from -5 to 9"),
        ("large-values.tif", saved(Image.fromarray(np.array([[5, 70_000]], np.int32)), "TIFF"), "save it with 8 or 16"),
        ("metres.tif", saved(Image.fromarray(np.array([[0, 3.5]], np.float32)), "TIFF"), "expected 0 (black) to 1"),
        ("not-a-number.tif", saved(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF"), "from nan to nan"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_the_reason(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        seen(tmp_path, name, data)
    assert str(caught.value).startswith(f"{tmp_path / name} cannot be decoded (")
    assert reason in caught.value.reason


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        decode(tmp_path / "gone.png", 3)
    with pytest.raises(Unreadable, match="Is a directory"):
        decode(tmp_path, 3)


def test_names_that_are_no_text_are_read(tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Z\xfcrich.png"))
    file.write_bytes(saved(noisy(), "PNG"))
    assert decode(file, 3).image.size == (13, 10)


def test_programs_are_not_started_for_a_picture(tmp_path: Path) -> None:
    assert not {"EPS", "PDF", "WMF"} & set(pictures.FORMATS)
    with pytest.raises(Unreadable):
        seen(tmp_path, "drawing.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def test_a_mode_that_was_not_decoded_here_is_refused() -> None:
    rule = Preprocess(size_px=8, channels=1, mean=(0.5,), std=(0.25,))
    with pytest.raises(ValueError, match="a picture of mode I;16"):
        rule.resize_image(Image.fromarray(np.full((9, 9), 40_000, np.uint16)))


def test_grey_and_colour_are_turned_alike(tmp_path: Path) -> None:
    file = written(tmp_path, "turned.jpg", jpeg(smooth(), exif=exif(8)))
    assert decode(file, 1).image.size == decode(file, 3).image.size == (24, 40)
