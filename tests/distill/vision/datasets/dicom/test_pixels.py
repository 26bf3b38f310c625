from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from distill.vision.datasets.dicom.header import read_header
from distill.vision.datasets.dicom.pixels import Frames, Window
from tests.distill.vision.datasets.dicom.dicom_files import as_jpeg, dataset, save

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shown(file: Path, number: int = 0, window: Window | None = None) -> NDArray[np.uint8]:
    return Frames(file, starts_plainly=read_header(file).starts_plainly, window=window).frame(number)


def of(tmp_path: Path, pixels: NDArray[Any], **tags: Any) -> NDArray[np.uint8]:
    return shown(save(dataset(pixels, **tags), tmp_path / "picture.dcm"))


def test_greys_without_a_window_are_scaled_by_their_stored_bits(tmp_path: Path) -> None:
    expected = np.rint(RAMP / 4095 * 255)
    assert (of(tmp_path, RAMP, bits=12) == expected).all()
    assert (of(tmp_path, RAMP << 4, bits=16) == np.rint((RAMP << 4) / 65535 * 255)).all()
    assert (of(tmp_path, RAMP.astype(np.int16) - 2048, bits=12) == expected).all()


def test_overlays_above_the_stored_bits_are_no_greys(tmp_path: Path) -> None:
    assert (of(tmp_path, RAMP | 0x8000, bits=12) == of(tmp_path, RAMP, bits=12)).all()


def test_white_is_zero_in_monochrome1(tmp_path: Path) -> None:
    dark = of(tmp_path, RAMP, bits=12, photometric="MONOCHROME1")
    assert (dark[0, 0], dark[-1, -1]) == (255, 0)


def test_rescale_and_window_are_applied_in_their_order(tmp_path: Path) -> None:
    """A window of 400 around 40 Hounsfield units, of values that are stored 1024 higher."""
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": [40, 500], "WindowWidth": [400, 2000]}
    levels = of(tmp_path, RAMP, bits=12, **tags).ravel()
    units = np.arange(4096) - 1024
    assert (levels[units <= -160] == 0).all()
    assert (levels[units >= 240] == 255).all()
    assert levels[units == 40] == pytest.approx(127.5, abs=1)
    file = save(dataset(RAMP, bits=12, **tags), tmp_path / "other.dcm")
    assert shown(file, window=(500.0, 2000.0)).ravel()[units == 500] == pytest.approx(127.5, abs=1)


def test_a_table_of_values_of_interest_is_looked_up(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 8]
    table.LUTData = np.tile(np.arange(255, -1, -1, dtype="<u2"), 16).tobytes()
    levels = of(tmp_path, RAMP, bits=12, VOILUTSequence=Sequence([table])).ravel()
    assert (levels == np.tile(np.arange(255, -1, -1), 16)).all()


def test_padding_is_black_whatever_is_white(tmp_path: Path) -> None:
    padded = of(tmp_path, RAMP, bits=12, photometric="MONOCHROME1", PixelPaddingValue=0)
    assert (padded[0, 0], padded[0, 1]) == (0, 255)


def test_frames_of_an_enhanced_file_have_their_own_windows(tmp_path: Path) -> None:
    groups = []
    for centre in (1000.0, 3000.0):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = centre, 2.0
        group.FrameVOILUTSequence = Sequence([window])
        groups.append(group)
    data = dataset(np.stack([RAMP, RAMP]), bits=12, PerFrameFunctionalGroupsSequence=Sequence(groups))
    file = save(data, tmp_path / "enhanced.dcm")
    assert [int((shown(file, number) == 0).sum()) for number in (0, 1)] == pytest.approx([1000, 3000], abs=2)


def test_colours_are_rgb_whatever_they_are_stored_as(tmp_path: Path) -> None:
    red = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    red[..., 0] = 200
    plain = dataset(red, photometric="RGB")
    assert (shown(save(plain, tmp_path / "rgb.dcm"), 1) == red[1]).all()
    ybr = np.broadcast_to(np.asarray([60, 94, 228], dtype=np.uint8), red.shape).copy()
    assert (
        np.abs(shown(save(dataset(ybr, photometric="YBR_FULL"), tmp_path / "ybr.dcm")).astype(int) - red[0]).max() < 3
    )
    jpeg = save(as_jpeg(dataset(red), red), tmp_path / "jpeg.dcm")
    assert np.abs(shown(jpeg, 1).astype(int) - red[0]).max() < 4
    plain.compress(RLELossless)
    assert (shown(save(plain, tmp_path / "rle.dcm"), 1) == red[1]).all()


@pytest.mark.parametrize("scale", [1, 257], ids=["8 bits in words of 16", "16 bits"])
def test_palettes_are_looked_up(tmp_path: Path, scale: int) -> None:
    data = dataset(np.arange(256, dtype=np.uint8).reshape(16, 16), photometric="PALETTE COLOR")
    for colour, values in (("Red", range(256)), ("Green", range(255, -1, -1)), ("Blue", [7] * 256)):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = (np.asarray(values) * scale).astype("<u2").tobytes()
        setattr(data, f"{colour}PaletteColorLookupTableData", table)
    pixels = shown(save(data, tmp_path / "palette.dcm"))
    assert (pixels[0, 1] == [1, 254, 7]).all()
    assert (pixels[-1, -1] == [255, 0, 7]).all()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("examples_ybr_color.dcm", (240, 320, 3)),
        ("examples_rgb_color.dcm", (240, 320, 3)),
        ("examples_palette.dcm", (350, 800, 3)),
        ("JPEGLSNearLossless_16.dcm", (50, 10)),
        ("SC_rgb_jpeg_gdcm.dcm", (100, 100, 3)),
        ("SC_rgb_rle_16bit_2frame.dcm", (100, 100, 3)),
        ("ExplVR_BigEnd.dcm", (60, 80, 3)),
        ("image_dfl.dcm", (512, 512)),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100, 3)),
    ],
)
def test_files_of_many_writers_are_read(name: str, shape: tuple[int, ...]) -> None:
    file = get_testdata_file(name, download=False)
    assert isinstance(file, str)
    pixels = shown(Path(file))
    assert pixels.shape == shape
    assert pixels.max() > 100


def test_a_file_without_preamble_and_syntax_is_read(tmp_path: Path) -> None:
    data = dataset(RAMP, bits=12)
    del data.file_meta.TransferSyntaxUID
    file = tmp_path / "old.dcm"
    data.save_as(file, implicit_vr=True, little_endian=True)
    assert (shown(file) == np.rint(RAMP / 4095 * 255)).all()
