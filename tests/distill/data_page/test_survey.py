import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from distill.data_page.page import findings, render, summary
from distill.data_page.survey import Survey, contact_sheet, look_at
from distill.errors import UsageError
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.pictures import Trait
from tests.distill.vision.odd_pictures import odd_pictures

Folder = Callable[..., Path]


def survey(root: Path) -> Survey:
    return look_at(ImageFolder(path=str(root)))


def sentences(found: Survey) -> list[str]:
    return [f"{each.grade}: {each.sentence}" for each in findings(found)]


def test_every_picture_is_counted_by_class_and_split(picture_folder: Folder) -> None:
    found = survey(picture_folder(classes=("a", "b", "c"), per_class=4))
    assert found.class_names == ("a", "b", "c")
    assert found.splits == ("train", "validation")
    assert [found.count("train", label) for label in range(3)] == [4, 4, 4]
    assert {(picture.width_px, picture.height_px, picture.format) for picture in found.pictures} == {(20, 14, "PNG")}
    assert sentences(found) == ["good: Nothing odd: every picture can be decoded, and none lies in two places."]


def test_what_is_odd_is_said_the_worst_first(picture_folder: Folder) -> None:
    root = picture_folder()
    shutil.copy(root / "train" / "dark" / "1.png", root / "validation" / "dark" / "copy.png")
    (root / "train" / "dark" / "0.png").write_bytes(b"")
    (root / "train" / "dark" / "notes.txt").touch()
    Image.new("RGB", (30, 30)).save(root / "train" / "dark" / "black.png")
    for number in range(40):
        shutil.copy(root / "train" / "bright" / "0.png", root / "train" / "bright" / f"copy {number}.png")
    assert sentences(survey(root)) == [
        "bad: 1 picture cannot be decoded; they are listed below.",
        "bad: 1 of 13 validation pictures are in train as well (train/dark/1.png and validation/dark/copy.png), "
        "so the validation figures are too good: remove the duplicates.",
        "warn: train: 1 file is not used, being no picture or outside the classes: train/dark/notes.txt.",
        "warn: Classes are uneven: 46 training pictures of bright, 6 of dark. Judge by macro F1, not by accuracy.",
        "warn: 1 picture shows next to nothing, nearly black: train/dark/black.png.",
    ]


def test_a_folder_that_cannot_be_trained_on_is_shown_all_the_same(picture_folder: Folder) -> None:
    root = picture_folder()
    shutil.rmtree(root / "validation")
    found = survey(root)
    assert found.problem is not None
    assert "has no validation/ or val/ or valid/ folder" in found.problem
    assert found.class_names == ("bright", "dark")
    assert len(found.pictures) == 12


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        survey(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(UsageError):
        survey(tmp_path)


def test_grey_pictures_and_what_was_done_to_pictures_are_told(picture_folder: Folder) -> None:
    root = picture_folder()
    for file in root.rglob("*.png"):
        with Image.open(file) as picture:
            grey = picture.convert("L")
        grey.save(file)
    (turned,) = [odd for odd in odd_pictures() if odd.name == "deep-turned.png"]
    (root / "train" / "dark" / turned.name).write_bytes(turned.data)
    found = survey(root)
    assert "good: Every picture is grey: --set dataset.channels=1 reads a third of the values." in sentences(found)
    assert {picture.traits for picture in found.pictures} == {Trait(0), Trait.TURNED | Trait.DEEP}
    assert summary(found)["treated"] == {
        "turned upright by their EXIF tag": 1,
        "more than 8 bits per value, scaled": 1,
    }


def test_the_contact_sheet_shows_every_class(picture_folder: Folder) -> None:
    found = survey(picture_folder(classes=("a", "b"), per_class=9))
    sheet = list(contact_sheet(found, most=10))
    assert [(name, len(pictures)) for name, pictures in sheet] == [("a", 5), ("b", 5)]
    assert {picture.label for picture in sheet[1][1]} == {1}


def test_the_page_carries_all_it_shows_and_takes_no_name_for_markup(picture_folder: Folder) -> None:
    root = picture_folder(classes=("<b>bold</b>", "plain"))
    (root / "train" / "plain" / "<script>.png").write_bytes(b"no picture")
    page = render(survey(root))
    assert "<script>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert page.count("data:image/webp;base64,") == 24
    assert "http" not in page.replace("http-equiv", "")


def test_the_summary_is_for_programs(picture_folder: Folder) -> None:
    root = picture_folder()
    (root / "train" / "dark" / "0.png").write_bytes(b"")
    told = summary(survey(root))
    assert told["counts"]["train"] == {"bright": 6, "dark": 5}
    assert told["unreadable"] == [{"file": str(root / "train" / "dark" / "0.png"), "reason": "the file is empty"}]
    assert told["formats"] == {"PNG": 23}
    assert told["sizes_px"]["median"] == "20 x 14"
