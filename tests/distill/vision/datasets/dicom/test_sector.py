from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file

from distill.vision.datasets.dicom.frames import Frame, Look, picture
from distill.vision.datasets.dicom.sector import Sector, outline, region
from distill.vision.pictures import Trait
from tests.distill.vision.datasets.dicom import dicom_files
from tests.distill.vision.datasets.dicom.dicom_files import TEXT, cine, dataset, fan, save, with_regions

SHOWN = Look(crops=True, masks=True, window=None)


def test_the_largest_two_dimensional_region_is_taken() -> None:
    box = (10, 5, 109, 89)
    items = [
        dicom_files.region((0, 0, 127, 95), spatial_format=3),
        dicom_files.region(box),
        dicom_files.region((20, 20, 40, 40)),
    ]
    data = with_regions(dataset(cine(1, bright=True, seed=0)), *items)
    assert region(data) == ((10, 5, 110, 90), None)


def test_regions_that_say_nothing_of_the_picture_are_told() -> None:
    data = dataset(cine(1, bright=True, seed=0))
    assert region(data) == (None, None)
    assert region(with_regions(data, dicom_files.region((0, 0, 127, 95), spatial_format=2)))[1] == "name no 2-D region"
    for box in ((20, 20, 255, 191), (50, 50, 40, 60)):
        assert region(with_regions(data, dicom_files.region(box))) == (
            None,
            "name a region that does not lie in the picture",
        )


def test_text_beside_the_sector_is_black_and_the_sector_is_whole(tmp_path: Path) -> None:
    for frames in (1, 6):
        stored = cine(frames, bright=True, seed=frames)
        file = save(dataset(stored), tmp_path / f"{frames}.dcm")
        seen = picture(Frame(file, 0, "clip"), 1, SHOWN)
        pixels = np.asarray(seen.image)
        assert (pixels[TEXT] == 0).all()
        assert (pixels[fan()] == stored[0][fan()]).mean() > 0.99
        assert seen.traits == Trait.MASKED


def test_only_what_is_asked_for_is_cropped_and_masked(tmp_path: Path) -> None:
    data = with_regions(dataset(cine(2, bright=True, seed=0)), dicom_files.region((0, 0, 99, 79)))
    file = save(data, tmp_path / "clip.dcm")
    both = picture(Frame(file, 0, "clip"), 3, SHOWN)
    assert (both.image.size, both.image.mode) == ((100, 80), "RGB")
    assert both.traits == Trait.CROPPED | Trait.MASKED
    neither = picture(Frame(file, 1, "clip"), 1, Look(crops=False, masks=False, window=None))
    assert (np.asarray(neither.image) == cine(2, bright=True, seed=0)[1]).all()
    assert neither.traits == Trait(0)
    data.Modality = "XA"
    other = picture(Frame(save(data, tmp_path / "angiogram.dcm"), 0, "clip"), 1, SHOWN)
    assert other.image.size == (128, 96)


def test_a_bar_that_is_larger_than_the_sector_is_no_sector() -> None:
    frames = cine(1, bright=True, seed=0)[..., None].repeat(3, axis=3)
    frames[:, 84:] = (30, 60, 110)
    mask, _ = Sector(None, outline(list(frames))).cut(Image.fromarray(frames[0]))
    assert not np.asarray(mask)[90:].any()


def test_a_still_part_is_no_sector_where_another_moves() -> None:
    frames = cine(5, bright=False, seed=0)
    frames[:, :30, 88:] = 90
    seen = np.asarray(Sector(None, outline(list(frames))).cut(Image.fromarray(frames[0]))[0])
    assert not seen[:25, 95:].any()
    assert (seen[fan()] == frames[0][fan()]).mean() > 0.99


def test_nothing_is_masked_where_no_sector_can_be_made_out() -> None:
    black = np.zeros((96, 128), dtype=np.uint8)
    assert outline([black]) == ()
    assert Sector().cut(Image.fromarray(black))[1] is False


def test_names_and_dates_of_real_scanners_are_gone() -> None:
    """Of the places of writing in a cine loop and a still that pydicom carries."""
    for name, writing, tissue in (
        ("examples_ybr_color.dcm", [(slice(0, 25), slice(0, 60)), (slice(225, 240), slice(0, 320))], (85, 152)),
        ("examples_palette.dcm", [(slice(0, 60), slice(0, 800)), (slice(60, 260), slice(0, 90))], (110, 450)),
    ):
        file = get_testdata_file(name, download=False)
        assert isinstance(file, str)
        pixels = np.asarray(picture(Frame(Path(file), 0, name), 1, SHOWN).image)
        assert not any(pixels[place].any() for place in writing)
        assert pixels[tissue[0] - 10 : tissue[0] + 10, tissue[1] - 10 : tissue[1] + 10].mean() > 20
