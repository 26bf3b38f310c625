import os
import unicodedata
from pathlib import Path

import pytest

from distill.errors import UsageError
from distill.vision.datasets.folder_tree import (
    alike,
    class_folders,
    list_pictures,
    loose_files,
    readable_name,
    relative_name,
    split_folders,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(files: tuple[Path, ...], root: Path) -> list[str]:
    return [relative_name(file, root) for file in files]


def test_pictures_are_found_at_any_depth_whatever_the_case_of_their_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.webp", "visit 1/left/c.TIFF", "visit 1/d.jfif", "notes.txt", "visit 1/Read me")
    listing = list_pictures(tmp_path)
    assert names(listing.pictures, tmp_path) == ["a.webp", "b.JPG", "visit 1/d.jfif", "visit 1/left/c.TIFF"]
    assert names(listing.not_used, tmp_path) == ["notes.txt", "visit 1/Read me"]


def test_what_systems_leave_behind_is_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir/a.png/thumb.jpg")
    touch(tmp_path, "System Volume Information/IndexerVolumeGuid", "LOST.DIR/1.jpg", "Icon\r")
    touch(tmp_path, "__MACOSX/._a.png", ".ipynb_checkpoints/a-checkpoint.png", ".hidden/b.png")
    assert names(list_pictures(tmp_path).pictures, tmp_path) == ["a.png"]
    assert list_pictures(tmp_path).not_used == ()
    assert list(class_folders(tmp_path)) == []
    assert [file.name for file in loose_files(tmp_path)] == ["a.png"]


def test_links_in_a_circle_end_and_a_folder_that_is_linked_twice_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "class", "a.png")
    touch(tmp_path / "elsewhere", "b.png")
    (tmp_path / "class" / "again").symlink_to(tmp_path / "class")
    (tmp_path / "class" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "class" / "two").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "class" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("itself", "itself.png"):
        (tmp_path / "class" / name).symlink_to(name)
    found = [file.name for file in list_pictures(tmp_path / "class").pictures]
    assert sorted(found) == ["a.png", "b.png", "gone.png", "itself.png"]
    assert list(class_folders(tmp_path / "class")) == ["again", "one", "two"]


def test_a_pipe_named_like_a_picture_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert [file.name for file in list_pictures(tmp_path).not_used] == ["pipe.png"]


def test_the_forms_of_one_name_are_one_class(tmp_path: Path) -> None:
    composed, taken_apart = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    touch(tmp_path, f"{composed}/1.png", f"{taken_apart}/2.png")
    touch(Path(os.fsdecode(os.fsencode(tmp_path) + b"/Zo\xeb")), "3.png")
    found = class_folders(tmp_path)
    assert list(found) == [composed]
    assert sorted(file.name for place in found[composed] for file in list_pictures(place).pictures) == [
        "1.png",
        "2.png",
        "3.png",
    ]
    assert readable_name(os.fsdecode(b"Z\xfcrich")) == "Zürich"


def test_classes_that_differ_in_capitals_or_blanks_only_are_told() -> None:
    assert alike(["A4C", "PLAX", "plax", "a 4c"]) == [
        "the classes 'A4C' and 'a 4c' differ in capital letters or blanks only; if they are one, give them one name",
        "the classes 'PLAX' and 'plax' differ in capital letters or blanks only; if they are one, give them one name",
    ]
    assert alike(["cat", "dog"]) == []


@pytest.mark.parametrize("name", ["validation", "val", "valid", "Val", "VALIDATION"])
def test_splits_go_by_several_names(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"{name}/a/1.png", "Training/a/1.png", "test/a/1.png", "val.txt")
    found = split_folders(tmp_path)
    assert {split: folder.name for split, folder in found.items()} == {
        "train": "Training",
        "validation": name,
        "test": "test",
    }


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "val/a/1.png", "valid/a/1.png")
    with pytest.raises(UsageError, match="two folders for validation: val/ and valid/"):
        split_folders(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*gone"):
        class_folders(tmp_path / "gone")
