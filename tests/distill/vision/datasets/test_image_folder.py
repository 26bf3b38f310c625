from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.errors import UsageError
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.preprocess import Preprocess

GREY = Preprocess(size_px=16, channels=1, mean=(0.5,), std=(0.25,))
RGB = Preprocess(size_px=16, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
Folder = Callable[..., Path]


def test_labels_follow_the_sorted_class_names_and_sizes_are_made_equal(picture_folder: Folder) -> None:
    split = ImageFolder(path=str(picture_folder(per_class=3))).load("train", RGB)
    assert split.class_names == ("bright", "dark")
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.images.shape == (6, 16, 16, 3)
    means = split.images[np.arange(6)].mean(axis=(1, 2, 3))
    assert means[:3].min() > means[3:].max()


def test_greyscale_is_one_channel(picture_folder: Folder) -> None:
    split = ImageFolder(path=str(picture_folder()), channels=1).load("validation", GREY)
    assert split.images.shape == (12, 16, 16, 1)


def test_a_split_over_the_memory_limit_is_streamed_and_gives_the_same_pixels(picture_folder: Folder) -> None:
    path = str(picture_folder())
    decoded = ImageFolder(path=path).load("train", RGB)
    streamed = ImageFolder(path=path, memory_limit_mib=0).load("train", RGB)
    assert decoded.in_memory
    assert not streamed.in_memory
    chosen = np.array([5, 0, 7])
    assert np.array_equal(decoded.images[chosen], streamed.images[chosen])
    assert streamed.sha256() == ImageFolder(path=path, memory_limit_mib=0).load("train", RGB).sha256()


def test_a_subset_is_balanced_and_repeatable(picture_folder: Folder) -> None:
    config = ImageFolder(path=str(picture_folder(per_class=6)), max_train_images=5)
    split = config.load("train", RGB)
    assert np.bincount(split.labels).tolist() == [3, 2]
    assert split.sha256() == config.load("train", RGB).sha256()


def test_val_serves_as_validation(picture_folder: Folder) -> None:
    root = picture_folder()
    (root / "validation").rename(root / "val")
    assert len(ImageFolder(path=str(root)).load("validation", RGB)) == 12


def patients(root: Path, owner: Callable[[Path], str]) -> str:
    rows = [f"{file.relative_to(root).as_posix()},{owner(file)}" for file in sorted(root.rglob("*.png"))]
    table = root.parent / "patients.csv"
    table.write_text("file,patient\n" + "\n".join(rows) + "\n")
    return str(table)


def test_patients_become_groups(picture_folder: Folder) -> None:
    root = picture_folder(per_class=4)
    table = patients(root, lambda file: f"{file.parts[-3]}-{int(file.stem) % 2}")
    split = ImageFolder(path=str(root), patients_csv=table).load("train", RGB)
    assert split.groups is not None
    assert split.groups.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


def test_a_patient_in_both_splits_is_refused(picture_folder: Folder) -> None:
    root = picture_folder()
    with pytest.raises(UsageError, match=r"1 patient\(s\) are in both train and validation \(anna"):
        ImageFolder(path=str(root), patients_csv=patients(root, lambda _: "anna")).load("train", RGB)


def test_a_picture_without_a_patient_is_named(picture_folder: Folder) -> None:
    root = picture_folder()
    table = Path(patients(root, lambda file: file.parts[-3]))
    table.write_text(table.read_text().replace("train/dark/3.png", "train/dark/other.png"))
    with pytest.raises(UsageError, match=r"names no patient for 1 of 12 pictures, e\.g\. train/dark/3\.png"):
        ImageFolder(path=str(root), patients_csv=str(table)).load("train", RGB)


def broken_picture(root: Path) -> None:
    (root / "train" / "dark" / "2.png").write_bytes(b"this is no picture")


def cut_picture(root: Path) -> None:
    file = root / "train" / "dark" / "2.png"
    file.write_bytes(file.read_bytes()[:60])


def empty_class(root: Path) -> None:
    for file in (root / "train" / "dark").iterdir():
        file.unlink()


def class_mismatch(root: Path) -> None:
    (root / "validation" / "dark").rename(root / "validation" / "dusk")


def no_split(root: Path) -> None:
    (root / "train").rename(root / "learning")


@pytest.mark.parametrize("memory_limit_mib", [4096, 0])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken_picture, "cannot be decoded: train/dark/2.png (its content is no picture that Pillow knows)"),
        (cut_picture, "cannot be decoded: train/dark/2.png (image file is truncated"),
        (empty_class, "class 'dark' has no pictures"),
        (class_mismatch, "different classes (only in train: dark; only in validation: dusk)"),
        (no_split, "has no train/ or training/ folder (found: learning, validation)"),
    ],
)
def test_bad_data_is_named(
    picture_folder: Folder, spoil: Callable[[Path], None], message: str, memory_limit_mib: int
) -> None:
    root = picture_folder()
    spoil(root)
    with pytest.raises(UsageError) as caught:
        ImageFolder(path=str(root), memory_limit_mib=memory_limit_mib).load("train", RGB)
    assert message in str(caught.value)


def test_the_crop_rule_cuts_the_centre_square() -> None:
    wide = Image.new("RGB", (40, 10), (255, 0, 0))
    wide.paste((0, 255, 0), (15, 0, 25, 10))
    crop = RGB.model_copy(update={"resize": "crop"}).resize_image(wide)
    stretch = RGB.resize_image(wide)
    assert crop[8, 8].tolist() == [0, 255, 0]
    assert crop[:, :, 0].max() == 0
    assert stretch[8, 0].tolist() == [255, 0, 0]
