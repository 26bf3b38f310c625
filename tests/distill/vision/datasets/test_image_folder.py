import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.errors import UsageError
from distill.recipes import recipe
from distill.vision.datasets import folder_tree, image_files, image_folder
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


def test_a_split_over_half_of_free_memory_is_streamed(picture_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    config, needed = ImageFolder(path=str(picture_folder())), 12 * 16 * 16 * 3
    for free_bytes, in_memory in ((2 * needed, True), (2 * needed - 1, False), (None, True)):
        monkeypatch.setattr(image_files, "available_bytes", lambda free_bytes=free_bytes: free_bytes)
        assert config.load("train", RGB).in_memory == in_memory


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


def other_capitals(root: Path) -> None:
    (root / "validation" / "dark").rename(root / "validation" / "Dark")


def a_file(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))
    root.write_bytes(b"PK\3\4")


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
        (other_capitals, "Note: the classes 'dark' and 'Dark' differ in capital letters or blanks only"),
        (a_file, "there is a file, not a folder; unpack it first"),
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


def test_pictures_of_every_format_below_a_class_are_read_and_the_rest_is_named(
    picture_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (folder_tree, image_folder):  # as without the package, which may be there
        monkeypatch.setattr(module, "reads_heif", lambda: False)
    root = picture_folder(per_class=6)
    folder = root / "train" / "dark"
    (folder / "visit 2").mkdir()
    for number, suffix in enumerate((".webp", ".bmp", ".tif", ".jfif")):
        with Image.open(folder / f"{number}.png") as picture:
            target = folder / "visit 2" / f"{number}{suffix}"
            picture.save(target, "JPEG" if suffix == ".jfif" else None)
        (folder / f"{number}.png").unlink()
    (folder / "notes.txt").write_text("left side")
    (folder / "phone.heic").write_bytes(b"")
    (root / "train" / "loose.png").write_bytes(b"")
    (root / "train" / "dark" / "._5.png").write_bytes(b"no picture")
    (root / "more").mkdir()
    split = ImageFolder(path=str(root)).load("train", RGB)
    assert len(split) == 12
    assert split.names is not None
    assert split.names[-1] == "train/dark/visit 2/3.jfif"
    assert split.remarks == (
        "more/: not used, no split's name",
        "train: 1 HEIF picture is not used (train/dark/phone.heic); to read HEIF: pip install pillow-heif",
        "train: 2 files are not used, being no pictures or outside the classes: train/loose.png, train/dark/notes.txt",
    )
    assert split.take(np.array([11, 0])).names == (split.names[11], split.names[0])


@pytest.mark.parametrize("memory_limit_mib", [4096, 0])
def test_pictures_that_cannot_be_decoded_are_listed_all_at_once(picture_folder: Folder, memory_limit_mib: int) -> None:
    root = picture_folder()
    broken_picture(root)
    (root / "train" / "bright" / "0.png").write_bytes(b"")
    (root / "train" / "dark" / "3.png").unlink()
    (root / "train" / "dark" / "3.png").symlink_to(root / "gone.png")
    with pytest.raises(UsageError) as caught:
        ImageFolder(path=str(root), memory_limit_mib=memory_limit_mib).load("train", RGB)
    assert "3 pictures of" in str(caught.value)
    assert "train/bright/0.png (the file is empty); train/dark/2.png (its content is" in str(caught.value)
    assert "train/dark/3.png (No such file or directory)" in str(caught.value)


def test_a_streamed_split_knows_its_pixels_and_looks_again_only_at_changed_files(
    picture_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = picture_folder()
    config = ImageFolder(path=str(root), memory_limit_mib=0)
    before = config.load("train", RGB).sha256()
    monkeypatch.setattr("distill.vision.datasets.image_files.decode", None)
    assert config.load("train", RGB).sha256() == before
    monkeypatch.undo()
    file = root / "train" / "dark" / "2.png"
    with Image.open(file) as picture:
        picture.load()
    picture.putpixel((0, 0), (255, 255, 255))
    picture.save(file)
    assert config.load("train", RGB).sha256() != before


def test_what_was_done_to_pictures_is_said_if_it_matters(picture_folder: Folder) -> None:
    root = picture_folder()
    Image.new("RGBA", (9, 9), (0, 0, 0, 90)).save(root / "train" / "dark" / "2.png")
    split = ImageFolder(path=str(root)).load("train", RGB)
    assert split.remarks == ("train: 1 of 12 pictures are transparent in places and are laid on white",)
    assert ImageFolder(path=str(root), memory_limit_mib=0).load("train", RGB).remarks == split.remarks


def test_twelve_bits_in_a_file_of_sixteen_are_nearly_black_and_that_is_said(picture_folder: Folder) -> None:
    root = picture_folder()
    assert not ImageFolder(path=str(root)).load("train", RGB).remarks
    deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(root / "train" / "dark" / "2.png")
    split = ImageFolder(path=str(root)).load("train", RGB)
    assert split.images[np.array([8])].max() == 15
    assert split.remarks == (
        "train: 1 of 12 pictures are nearly black, as in a viewer (train/dark/2.png); were 10 or 12 bits saved as 16?",
    )


def test_a_table_in_the_folder_is_used_and_other_loose_files_are_named(picture_folder: Folder) -> None:
    root = picture_folder()
    table = root / "patients.csv"
    Path(patients(root, lambda file: file.parts[-3] + file.stem)).replace(table)
    (root / "scan.png").write_bytes(b"nobody looks at it")
    by_folder = ImageFolder(path=str(root), patients_csv=str(table)).load("train", RGB)
    assert by_folder.remarks == ("scan.png: not used, beside the folders of the splits",)
    for name in ("train", "validation"):
        (root / name).rename(root / f"class-{name}")
    (root / "scan.png").unlink()
    table.write_text(table.read_text().replace("train/", "class-train/").replace("validation/", "class-validation/"))
    divided = ImageFolder(path=str(root), patients_csv=str(table), split_by="patient").load("train", RGB)
    assert divided.remarks == ()


def test_one_class_is_nothing_to_tell_apart(picture_folder: Folder) -> None:
    with pytest.raises(UsageError, match="holds one class only \\(dark\\)"):
        ImageFolder(path=str(picture_folder(classes=("dark",)))).load("train", RGB)


def test_fewer_images_than_classes_are_refused(picture_folder: Folder) -> None:
    with pytest.raises(UsageError, match="1 image\\(s\\) cannot show 2 classes"):
        ImageFolder(path=str(picture_folder()), max_train_images=1).load("train", RGB)


def test_a_labelled_test_folder_is_a_third_split_and_an_unlabelled_one_is_not(picture_folder: Folder) -> None:
    root = picture_folder()
    config = ImageFolder(path=str(root))
    assert not config.has_test
    with pytest.raises(UsageError, match="no labelled test/ folder"):
        config.load("test", RGB)
    shutil.copytree(root / "validation", root / "test")
    assert config.has_test
    assert len(config.load("test", RGB)) == 12
    (root / "test" / "dark").rename(root / "test" / "unknown")
    assert not config.has_test
    assert config.load("train", RGB).remarks == ("test/: not used, its classes are others (bright, unknown)",)


def test_one_folder_is_divided_by_patient(picture_folder: Folder) -> None:
    root = picture_folder(per_class=20) / "train"
    table = patients(root, lambda file: f"patient {int(file.stem) // 2} {file.parent.name}")
    config = ImageFolder.model_validate(
        {"path": str(root), "split_by": "patient", "patients_csv": table, "validation_share": 0.2, "test_share": 0.3}
    )
    splits = {name: config.load(name, RGB) for name in ("train", "validation", "test")}
    assert [len(split) for split in splits.values()] == [20, 8, 12]
    owners = [set(split.groups.tolist()) for split in splits.values() if split.groups is not None]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 20
    names = [name for split in splits.values() for name in split.names or ()]
    assert len(set(names)) == 40
    again = config.load("validation", RGB)
    assert again.sha256() == splits["validation"].sha256()


def test_a_test_share_is_taken_from_the_training_pictures(picture_folder: Folder) -> None:
    config = ImageFolder(path=str(picture_folder(per_class=10)), test_share=0.2)
    assert config.has_test
    assert [len(config.load(name, RGB)) for name in ("train", "validation", "test")] == [16, 20, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split_by": "picture"}, "has a validation/ folder, so it is divided already"),
        ({"split_by": "patient", "path": "train"}, "needs the table that says whose pictures they are"),
        ({"split_by": "picture", "path": "train", "test_share": 0.9}, "leave nothing to train on"),
        ({"path": "nowhere"}, "there is no such folder"),
    ],
)
def test_what_cannot_be_divided_is_said(picture_folder: Folder, settings: dict[str, object], message: str) -> None:
    root = picture_folder()
    with pytest.raises(UsageError, match=message):
        ImageFolder.model_validate({**settings, "path": str(root / str(settings.get("path", "")))}).load("train", RGB)


def test_a_run_that_divides_nothing_is_the_run_it_was_before_there_were_such_settings() -> None:
    def identity(**settings: object) -> str:
        dataset = ImageFolder.model_validate({"path": "data", **settings})
        return recipe("folder-scratch").model_copy(update={"dataset": dataset}).identity()

    assert identity() == identity(split_by="folder", split_seed=0)
    assert len({identity(), identity(test_share=0.2), identity(split_by="picture"), identity(split_seed=1)}) == 4


def test_the_crop_rule_cuts_the_centre_square() -> None:
    wide = Image.new("RGB", (40, 10), (255, 0, 0))
    wide.paste((0, 255, 0), (15, 0, 25, 10))
    crop = RGB.model_copy(update={"resize": "crop"}).resize_image(wide)
    stretch = RGB.resize_image(wide)
    assert crop[8, 8].tolist() == [0, 255, 0]
    assert crop[:, :, 0].max() == 0
    assert stretch[8, 0].tolist() == [255, 0, 0]
