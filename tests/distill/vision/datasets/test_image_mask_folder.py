"""Own pictures with masks and depth maps, and what is wrong with them said before any work."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.errors import UsageError
from distill.vision.datasets.image_mask_folder import ImageMaskFolder
from distill.vision.preprocess import Preprocess

HALF = Preprocess(size_px=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def write(root: Path, split: str, name: str, mask: np.ndarray | None = None, depth: np.ndarray | None = None) -> None:
    """A picture whose brightness is 60 times its class."""
    known = np.zeros((16, 16), dtype=np.uint8) if mask is None else mask
    picture = root / split / "images" / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(60 * np.minimum(known, 3)[..., None], 3, axis=2)).save(picture)
    for kind, values in (("masks", mask), ("depth", depth)):
        if values is not None:
            file = root / split / kind / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(file)


def blocks() -> np.ndarray:
    """Four classes in blocks of eight pixels, one corner not known."""
    mask = np.repeat(np.repeat(np.array([[0, 1], [2, 3]], dtype=np.uint8), 8, 0), 8, 1)
    mask[:2, :2] = 255
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("road\ncar\ntree\nsky\n")
    for split, names in (("train", ("a/1", "a/2", "b/1")), ("val", ("c/1",))):
        for name in names:
            write(tmp_path, split, name, blocks())
    return tmp_path


def test_masks_come_at_the_size_of_the_pictures_by_their_nearest_pixel(root: Path) -> None:
    split = ImageMaskFolder(path=str(root)).load("train", HALF)
    assert split.task == "segmentation"
    assert split.class_names == ("road", "car", "tree", "sky")
    assert split.truth is not None
    truth = np.asarray(split.truth)
    assert truth.shape == (3, 8, 8)
    assert truth[0, 0, 0] == 255
    assert (truth[:, 5:, 5:] == 3).all()
    images = np.asarray(split.images)[..., 0]
    assert (images[:, 1:3, 5:7] == 60 * truth[:, 1:3, 5:7]).all()
    assert split.groups is not None
    assert split.groups[0] == split.groups[1] != split.groups[2]


def test_what_is_streamed_is_what_is_kept_in_memory(root: Path) -> None:
    kept = ImageMaskFolder(path=str(root)).load("train", HALF)
    streamed = ImageMaskFolder(path=str(root), memory_limit_mib=0).load("train", HALF)
    assert kept.truth is not None
    assert streamed.truth is not None
    assert not isinstance(streamed.truth, np.ndarray)
    assert np.array_equal(streamed.truth[np.array([2, 0])], np.asarray(kept.truth)[[2, 0]])
    assert np.array_equal(streamed.images[np.array([1])], np.asarray(kept.images)[[1]])


def test_a_palette_png_holds_numbers_and_not_colours(root: Path) -> None:
    file = root / "train" / "masks" / "a" / "1.png"
    palette = Image.new("P", (16, 16))
    palette.putdata(blocks().ravel().tolist())
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9] + [0] * 756)
    palette.save(file)
    split = ImageMaskFolder(path=str(root)).load("train", HALF)
    assert np.array_equal(np.asarray(split.truth)[0], np.asarray(split.truth)[1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda mask: mask[:12], r"train/masks/b/1\.png has 16 x 12 pixels, its picture 16 x 16"),
        (lambda mask: np.where(mask == 3, 9, mask), r"holds 9 in 64 pixels, but classes\.txt names classes 0 to 3"),
        (lambda mask: np.repeat(mask[..., None], 3, 2), "is a picture of mode RGB; expected 8-bit grey or palette"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(root: Path, spoil: object, message: str) -> None:
    Image.fromarray(spoil(blocks()).astype(np.uint8)).save(root / "train" / "masks" / "b" / "1.png")  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        ImageMaskFolder(path=str(root)).load("train", HALF)


def test_everything_wrong_is_said_at_once(root: Path) -> None:
    for name in ("a/1", "b/1"):
        Image.fromarray(blocks()[:12]).save(root / "train" / "masks" / f"{name}.png")
    (root / "train" / "masks" / "a" / "2.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"^3 of 3 files .*a/1\.png has .*a/2\.png cannot be decoded.*b/1\.png has"):
        ImageMaskFolder(path=str(root)).load("train", HALF)


def test_a_picture_without_a_mask_and_a_missing_list_of_classes_are_named(root: Path) -> None:
    (root / "train" / "masks" / "a" / "2.png").unlink()
    with pytest.raises(UsageError, match=r"1 of 3 pictures in .* have no mask: expected train/masks/a/2\.png"):
        ImageMaskFolder(path=str(root)).load("train", HALF)
    (root / "classes.txt").unlink()
    with pytest.raises(UsageError, match=r"classes\.txt cannot be read .* one a line: the first is 0"):
        ImageMaskFolder(path=str(root)).load("validation", HALF)
    with pytest.raises(UsageError, match="has no test/images/"):
        ImageMaskFolder(path=str(root)).load("test", HALF)


@pytest.mark.parametrize("scale", [1, 1000])
def test_depth_is_millimetres_and_another_unit_is_noticed(tmp_path: Path, scale: int) -> None:
    metres = np.linspace(1, 5, 256).reshape(16, 16)
    values = np.rint(metres * (1000 / scale)).astype(np.uint16)
    values[0, 0] = 0
    write(tmp_path, "train", "1", depth=values)
    config = ImageMaskFolder(path=str(tmp_path), truth="depth")
    if scale != 1:
        with pytest.raises(UsageError, match=r"a median of 0\.003 m; expected 0\.1 to 200 m.*depth_unit_m=0\.001 says"):
            config.load("train", HALF)
        config = config.model_copy(update={"depth_unit_m": 1.0})
    split = config.load("train", HALF.model_copy(update={"size_px": 16}))
    assert split.class_names == ("depth_m",)
    truth = np.asarray(split.truth)[0]
    assert truth[0, 0] == 0
    assert truth.ravel()[1:] == pytest.approx(metres.ravel()[1:], abs=0.6 / (1000 / scale))
